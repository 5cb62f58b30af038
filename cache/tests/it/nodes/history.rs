//! Three nodes on one Redis under load: what a reader sees never goes back beyond the bound.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use millpond_cache::Cache;
use millpond_cache::backing::StoreCache;
use millpond_cache::nodes::{Announced, Coherence, Invalidations, RedisBus, RedisTier, Tier, WhenCut};
use parking_lot::Mutex;
use servers::{Redis, require};
use tokio::sync::Mutex as AsyncMutex;

use super::{Cable, Table, client, poll_until};

const KEYS: u64 = 20;
const NODES: usize = 3;
const MAX_STALENESS: Duration = Duration::from_millis(1000);
/// What is promised, also for writers that are cut off in the middle, and what a busy machine may take on top.
const BOUND: Duration = Duration::from_millis(1000 + 1500);

type Node = StoreCache<u64, u64, Announced<RedisTier<Arc<Table>>, RedisBus>>;

fn node(table: &Arc<Table>, url: &str, when_cut: WhenCut) -> Node {
    let settings = Coherence::new()
        .max_staleness(MAX_STALENESS)
        .write_lease(MAX_STALENESS)
        .timeout(Duration::from_millis(200))
        .when_cut(when_cut);
    let tier = Tier::new(client(url), "history")
        .write_lease(MAX_STALENESS)
        .timeout(Duration::from_millis(200))
        .wait(Duration::from_millis(200));
    let changes = Invalidations::new(RedisBus::new(&client(url), "history").unwrap(), settings);
    let store = changes.announce(RedisTier::new(Arc::clone(table), tier));
    let node = Cache::builder().max_capacity(100).read_through(store).write_through().build().unwrap();
    changes.attach(&node);
    node
}

/// What was acknowledged, and when.
#[derive(Default)]
struct Log {
    writes: Mutex<HashMap<u64, Vec<(Instant, u64)>>>,
    longest_behind: Mutex<Duration>,
    reads: AtomicU64,
    /// Of the node that faults happen to.
    of_the_first: AtomicU64,
    writes_done: AtomicU64,
    refused: AtomicU64,
    stop: AtomicBool,
}

impl Log {
    /// A read that began then, and saw this.
    fn check(&self, key: u64, began: Instant, seen: u64, node: usize) {
        let writes = self.writes.lock();
        // The first acknowledged write that it should have seen, and did not.
        let missed =
            writes.get(&key).and_then(|writes| writes.iter().find(|(_, value)| *value > seen).copied());
        drop(writes);
        let Some((acknowledged, value)) = missed else { return };
        let behind = began.saturating_duration_since(acknowledged);
        let mut longest = self.longest_behind.lock();
        *longest = behind.max(*longest);
        assert!(
            behind <= BOUND,
            "node {node} read {key} = {seen}, {behind:?} after {value} was acknowledged"
        );
    }
}

async fn write(nodes: Arc<Vec<Node>>, turns: Arc<Vec<AsyncMutex<u64>>>, log: Arc<Log>) {
    while !log.stop.load(Ordering::Relaxed) {
        let key = fastrand::u64(..KEYS);
        // One writer of a key at a time, so that values grow in the store; at any node.
        let mut next = turns[key as usize].lock().await;
        *next += 1;
        let value = *next;
        if nodes[fastrand::usize(..NODES)].put(key, value).await.is_ok() {
            log.writes.lock().entry(key).or_default().push((Instant::now(), value));
            log.writes_done.fetch_add(1, Ordering::Relaxed);
        } else {
            log.refused.fetch_add(1, Ordering::Relaxed);
        }
        drop(next);
        tokio::time::sleep(Duration::from_millis(fastrand::u64(..20))).await;
    }
}

async fn read(nodes: Arc<Vec<Node>>, log: Arc<Log>) {
    while !log.stop.load(Ordering::Relaxed) {
        for _ in 0..20 {
            let (node, key) = (fastrand::usize(..NODES), fastrand::u64(..KEYS));
            let began = Instant::now();
            let seen = nodes[node].get(&key).await.unwrap().unwrap_or(0);
            log.check(key, began, seen, node);
            log.reads.fetch_add(1, Ordering::Relaxed);
            log.of_the_first.fetch_add(u64::from(node == 0), Ordering::Relaxed);
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Load on three nodes, of which the first has this way to Redis, while faults happen.
async fn under_load(
    redis: &Redis,
    cable: &Cable,
    when_cut: WhenCut,
    faults: impl AsyncFnOnce(&Log),
) -> Arc<Log> {
    let table = Table::new([]);
    let nodes: Arc<Vec<Node>> = Arc::new(
        (0..NODES)
            .map(|n| node(&table, &if n == 0 { cable.url(redis) } else { redis.url() }, when_cut))
            .collect(),
    );
    let all_connected = async || nodes.iter().all(|node| node.store().changes().stats().is_connected());
    poll_until("all are connected", all_connected).await;
    let log = Arc::new(Log::default());
    let turns: Arc<Vec<_>> = Arc::new((0..KEYS).map(|_| AsyncMutex::new(0)).collect());
    let mut tasks = Vec::new();
    for _ in 0..4 {
        tasks.push(tokio::spawn(write(Arc::clone(&nodes), Arc::clone(&turns), Arc::clone(&log))));
        tasks.push(tokio::spawn(read(Arc::clone(&nodes), Arc::clone(&log))));
    }
    faults(&log).await;
    poll_until("all are connected again", all_connected).await;
    let done = log.writes_done.load(Ordering::Relaxed);
    poll_until("it works again", async || log.writes_done.load(Ordering::Relaxed) > done + 50).await;
    log.stop.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.unwrap();
    }
    // In the end all agree with the store.
    let values = table.map.lock().clone();
    for (key, value) in values {
        for (n, node) in nodes.iter().enumerate() {
            poll_until(&format!("node {n} has the last value of {key}"), async || {
                node.get(&key).await.unwrap() == Some(value)
            })
            .await;
        }
    }
    eprintln!(
        "{} reads, {} writes, {} refused, at most {:?} behind",
        log.reads.load(Ordering::Relaxed),
        log.writes_done.load(Ordering::Relaxed),
        log.refused.load(Ordering::Relaxed),
        log.longest_behind.lock(),
    );
    log
}

/// Lets load run, as part of a fault.
async fn for_millis(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_faults_nobody_is_behind_for_long() {
    let Some(redis) = require(Redis::start()) else { return };
    let cable = Cable::to(redis.port()).await;
    let log = under_load(&redis, &cable, WhenCut::Refuse, async |_| for_millis(1500).await).await;
    assert_eq!(log.refused.load(Ordering::Relaxed), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_is_killed_and_restarted_under_load() {
    let Some(redis) = require(Redis::start()) else { return };
    let cable = Cable::to(redis.port()).await;
    // All are cut off at once, so nobody hears what others do not: writes may go on.
    let log = under_load(&redis, &cable, WhenCut::Write, async |_| {
        for _ in 0..3 {
            for_millis(500).await;
            tokio::task::block_in_place(|| redis.kill().unwrap());
            for_millis(1500).await;
            tokio::task::block_in_place(|| redis.restart().unwrap());
        }
    })
    .await;
    assert_eq!(log.refused.load(Ordering::Relaxed), 0, "the store was there all the time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_is_frozen_under_load() {
    let Some(redis) = require(Redis::start()) else { return };
    let cable = Cable::to(redis.port()).await;
    under_load(&redis, &cable, WhenCut::Refuse, async |_| {
        for _ in 0..2 {
            for_millis(500).await;
            tokio::task::block_in_place(|| redis.pause().unwrap());
            for_millis(2000).await;
            tokio::task::block_in_place(|| redis.resume().unwrap());
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_node_is_cut_off_under_load() {
    let Some(redis) = require(Redis::start()) else { return };
    let cable = Cable::to(redis.port()).await;
    let log = under_load(&redis, &cable, WhenCut::Refuse, async |_| {
        for _ in 0..2 {
            for_millis(500).await;
            cable.cut();
            for_millis(3000).await;
            cable.mend();
        }
    })
    .await;
    assert!(log.refused.load(Ordering::Relaxed) > 0, "the one that was cut off");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_node_is_cut_off_for_ten_seconds() {
    let Some(redis) = require(Redis::start()) else { return };
    let cable = Cable::to(redis.port()).await;
    let log = under_load(&redis, &cable, WhenCut::Refuse, async |log| {
        for_millis(500).await;
        cable.cut();
        // Four times the bound: a node that went on with what it had would be seen. It is read and others write to the end.
        let so_far = || (log.of_the_first.load(Ordering::Relaxed), log.writes_done.load(Ordering::Relaxed));
        for_millis(5000).await;
        let before = so_far();
        for_millis(5000).await;
        let after = so_far();
        assert!(after.0 > before.0 && after.1 > before.1, "{before:?}, {after:?}");
        cable.mend();
    })
    .await;
    assert!(log.refused.load(Ordering::Relaxed) > 0, "the one that was cut off");
    assert!(*log.longest_behind.lock() > Duration::ZERO, "it could not be told");
}
