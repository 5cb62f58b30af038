//! Writes that the shared tier was not told of, by nodes that are cut off from it: what it holds is older than the store.

use std::sync::Arc;
use std::time::Duration;

use millpond_cache::Cache;
use millpond_cache::backing::{StoreCache, Write};
use millpond_cache::nodes::{Announced, Coherence, Invalidations, RedisBus, RedisTier, Tier, WhenCut};
use servers::{Redis, require};

use super::{Cable, Table, client, poll_until, write};

type Node = StoreCache<u64, u64, Announced<RedisTier<Arc<Table>>, RedisBus>>;

/// By then others forget what is not told to its end.
const WRITE_LEASE: Duration = Duration::from_millis(1500);
/// Nothing comes right by time alone before the tests give up.
const LONG: Duration = Duration::from_secs(600);

fn settings(when_cut: WhenCut) -> Coherence {
    Coherence::new()
        .max_staleness(LONG)
        .write_lease(WRITE_LEASE)
        .timeout(Duration::from_millis(500))
        .when_cut(when_cut)
}

fn tier(to_tier: &str) -> Tier {
    Tier::new(client(to_tier), "untold")
        .timeout(Duration::from_millis(300))
        .cool_down(Duration::from_millis(50))
        .write_lease(WRITE_LEASE)
        .time_to_live(LONG)
}

/// A node whose ways to the tier and to the bus are two.
fn node(table: &Arc<Table>, to_tier: &str, to_bus: &str, when_cut: WhenCut) -> Node {
    node_with(table, to_tier, to_bus, settings(when_cut))
}

fn node_with(table: &Arc<Table>, to_tier: &str, to_bus: &str, settings: Coherence) -> Node {
    let changes = Invalidations::new(RedisBus::new(&client(to_bus), "untold").unwrap(), settings);
    let store = changes.announce(RedisTier::new(Arc::clone(table), tier(to_tier)));
    let node = Cache::builder().max_capacity(100).read_through(store).write_through().build().unwrap();
    changes.attach(&node);
    node
}

/// All are connected, and what they forget at the start and a write's time later is behind them; then the key is in both near caches
/// and in Redis.
async fn settle(nodes: [&Node; 2], key: u64) {
    for node in nodes {
        let changes = node.store().changes();
        poll_until("it forgets for the second time", async || changes.stats().forgot_all() >= 2).await;
        node.get(&key).await.unwrap();
    }
    assert!(nodes.iter().any(|node| node.store().store().stats().hits() > 0), "one found it in Redis");
}

async fn sees(node: &Node, key: u64, value: u64) {
    poll_until("the new value is seen", async || node.get(&key).await.unwrap() == Some(value)).await;
}

#[tokio::test]
async fn a_writer_that_reaches_the_bus_and_not_the_tier_leaves_nobody_behind() {
    let Some(redis) = require(Redis::start()) else { return };
    let cable = Cable::to(redis.port()).await;
    let table = Table::new([(1, 10)]);
    let a = node(&table, &cable.url(&redis), &redis.url(), WhenCut::Refuse);
    let b = node(&table, &redis.url(), &redis.url(), WhenCut::Refuse);
    settle([&a, &b], 1).await;
    cable.cut();
    a.put(1, 11).await.unwrap();
    sees(&b, 1, 11).await;
    assert!(!a.store().store().is_settled(), "it still can't tell Redis");
    assert_eq!(a.get(&1).await.unwrap(), Some(11));
    cable.mend();
    poll_until("it has told Redis", async || a.store().store().is_settled()).await;
    assert_eq!((a.get(&1).await.unwrap(), b.get(&1).await.unwrap()), (Some(11), Some(11)));
    // A doubt is nobody's own debt, so it goes no further.
    assert!(b.store().store().is_settled());
}

#[tokio::test]
async fn a_writer_that_is_cut_off_in_the_middle_leaves_nobody_behind_for_longer_than_a_write_takes() {
    let Some(redis) = require(Redis::start()) else { return };
    let (to_tier, to_bus) = (Cable::to(redis.port()).await, Cable::to(redis.port()).await);
    let table = Table::new([(1, 10)]);
    let a = node(&table, &to_tier.url(&redis), &to_bus.url(&redis), WhenCut::Refuse);
    let b = node(&table, &redis.url(), &redis.url(), WhenCut::Refuse);
    settle([&a, &b], 1).await;
    // The beginning is told, the mark in Redis is not, nor the end of either.
    to_tier.cut();
    table.hold_next();
    let writer = tokio::spawn({
        let a = a.clone();
        async move { a.put(1, 11).await }
    });
    table.held().await;
    to_bus.cut();
    table.let_go();
    writer.await.unwrap().unwrap();
    sees(&b, 1, 11).await;
    let stats = b.store().changes().stats();
    assert_eq!((stats.overdue(), stats.is_connected()), (1, true));
    assert!(!a.store().store().is_settled(), "and the writer is still cut off");
}

#[tokio::test]
async fn a_writer_that_comes_back_to_the_bus_before_it_comes_back_to_the_tier_is_heard_twice() {
    let Some(redis) = require(Redis::start()) else { return };
    let (to_tier, to_bus) = (Cable::to(redis.port()).await, Cable::to(redis.port()).await);
    let table = Table::new([(1, 10), (2, 20)]);
    // It writes all the same, so nobody knows the beginning either.
    let a = node(&table, &to_tier.url(&redis), &to_bus.url(&redis), WhenCut::Write);
    let b = node(&table, &redis.url(), &redis.url(), WhenCut::Write);
    settle([&a, &b], 1).await;
    to_tier.cut();
    to_bus.cut();
    a.put(1, 11).await.unwrap();
    to_bus.mend();
    let forgot = b.store().changes().stats().forgot_all();
    poll_until("it is heard again", async || {
        // Its message says that one was lost.
        a.put(2, 21).await.unwrap();
        b.store().changes().stats().forgot_all() > forgot
    })
    .await;
    assert_eq!(b.get(&1).await.unwrap(), Some(10), "what Redis has, and nobody can know better");
    to_tier.mend();
    poll_until("it says so once more when it has told Redis", async || {
        a.put(2, 21).await.unwrap();
        b.get(&1).await.unwrap() == Some(11)
    })
    .await;
}

#[tokio::test]
async fn a_node_that_comes_later_learns_what_a_writer_still_owes() {
    let Some(redis) = require(Redis::start()) else { return };
    let cable = Cable::to(redis.port()).await;
    let table = Table::new([(1, 10)]);
    let pinging = || settings(WhenCut::Refuse).max_staleness(Duration::from_secs(3));
    let a = node_with(&table, &cable.url(&redis), &redis.url(), pinging());
    poll_until("it listens", async || a.store().changes().stats().is_connected()).await;
    assert_eq!(a.get(&1).await.unwrap(), Some(10));
    cable.cut();
    a.put(1, 11).await.unwrap();
    // Nobody else has heard it. This one forgets nothing by itself after what it forgets at the start.
    let c = node(&table, &redis.url(), &redis.url(), WhenCut::Refuse);
    settle_alone(&c, 1).await;
    sees(&c, 1, 11).await;
    assert!(!a.store().store().is_settled(), "it still can't tell Redis");
}

/// Past what it forgets at the start and a write's time later.
async fn settle_alone(node: &Node, key: u64) {
    poll_until("it forgets for the second time", async || node.store().changes().stats().forgot_all() >= 2)
        .await;
    node.get(&key).await.unwrap();
}

#[tokio::test]
async fn a_writer_that_hears_nothing_says_too_that_it_could_not_tell_the_tier() {
    let Some(redis) = require(Redis::start()) else { return };
    let cable = Cable::to(redis.port()).await;
    let table = Table::new([(1, 10), (2, 20)]);
    let b = node(&table, &redis.url(), &redis.url(), WhenCut::Refuse);
    settle_alone(&b, 1).await;
    // No cache, nothing attached.
    let job = Invalidations::new(
        RedisBus::new(&client(&redis.url()), "untold").unwrap(),
        settings(WhenCut::Refuse),
    )
    .announce(RedisTier::new(Arc::clone(&table), tier(&cable.url(&redis))));
    write(&job, &[Write::put(2, 21)]).await;
    sees(&b, 2, 21).await;
    cable.cut();
    write(&job, &[Write::put(1, 11)]).await;
    sees(&b, 1, 11).await;
    assert!(!job.store().is_settled(), "it still can't tell Redis");
}
