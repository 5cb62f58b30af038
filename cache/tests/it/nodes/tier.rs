//! The shared tier: what is loaded once, what is refused, and what happens without Redis.

use std::sync::Arc;
use std::time::{Duration, Instant};

use millpond_cache::Cache;
use millpond_cache::backing::{Store, Write};
use millpond_cache::nodes::{Postcard, RedisTier, Tier};
use redis::AsyncCommands;
use servers::{Redis, require};

use super::{Table, client, demote, poll_until, promote, raw, write};

type Tiered = RedisTier<Arc<Table>>;

fn settings(redis: &Redis) -> Tier {
    // Debug builds on a busy machine: a slow answer is no outage here.
    Tier::new(client(&redis.url()), "test").timeout(Duration::from_secs(5))
}

fn tier(table: &Arc<Table>, settings: Tier) -> Arc<Tiered> {
    Arc::new(RedisTier::new(Arc::clone(table), settings))
}

async fn names(redis: &Redis) -> Vec<String> {
    raw(redis).await.keys("*").await.unwrap()
}

#[tokio::test]
async fn what_one_node_has_loaded_others_find() {
    let Some(redis) = require(Redis::start()) else { return };
    let table = Table::new([(1, 10), (2, 20), (3, 30)]);
    let (a, b) = (tier(&table, settings(&redis)), tier(&table, settings(&redis)));
    assert_eq!((a.load(&1).await, a.load(&9).await), (Ok(Some(10)), Ok(None)));
    assert_eq!((b.load(&1).await, b.load(&9).await), (Ok(Some(10)), Ok(None)));
    assert_eq!(table.loads(), 2);
    let mut many = b.load_many(&[1, 2, 9, 3]).await.unwrap();
    many.sort_unstable();
    assert_eq!(many, [(0, 10), (1, 20), (3, 30)]);
    assert_eq!(table.loads(), 4, "one by one, those that were missing");
    write(&*a, &[Write::put(1, 11), Write::delete(2)]).await;
    assert_eq!((b.load(&1).await, b.load(&2).await), (Ok(Some(11)), Ok(None)));
    let (a, b) = (a.stats(), b.stats());
    assert_eq!((a.loads(), a.fills(), b.hits(), b.loads(), b.fills()), (2, 2, 4, 4, 4));
    assert_eq!((a.failures() + b.failures(), a.foreign() + b.foreign(), a.owed()), (0, 0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_nodes_that_miss_one_loads() {
    let Some(redis) = require(Redis::start()) else { return };
    let table = Table::new([(1, 10)]);
    table.hold_next();
    let patient = settings(&redis).wait(Duration::from_secs(60)).lease(Duration::from_secs(60));
    let loads: Vec<_> = (0..8)
        .map(|_| {
            let tier = tier(&table, patient.clone());
            tokio::spawn(async move { (tier.load(&1).await, tier.stats().waits()) })
        })
        .collect();
    table.held().await;
    poll_until("the others have looked", async || names(&redis).await.len() == 1).await;
    table.let_go();
    for load in loads {
        assert_eq!(load.await.unwrap().0, Ok(Some(10)));
    }
    assert_eq!(table.loads(), 1);
}

#[tokio::test]
async fn a_load_that_was_overtaken_by_a_write_is_not_kept() {
    let Some(redis) = require(Redis::start()) else { return };
    let table = Table::new([(1, 10)]);
    let (a, b) = (tier(&table, settings(&redis)), tier(&table, settings(&redis)));
    table.hold_next();
    let old = tokio::spawn({
        let a = Arc::clone(&a);
        async move { a.load(&1).await }
    });
    table.held().await;
    write(&*b, &[Write::put(1, 11)]).await;
    table.let_go();
    assert_eq!(old.await.unwrap(), Ok(Some(10)), "it began before the write");
    assert_eq!((a.stats().fills(), a.stats().refused_fills()), (0, 1));
    assert_eq!((a.load(&1).await, b.load(&1).await), (Ok(Some(11)), Ok(Some(11))));
}

#[tokio::test]
async fn while_a_key_is_written_nobody_fills_it() {
    let Some(redis) = require(Redis::start()) else { return };
    let table = Table::new([(1, 10)]);
    let (a, b, c) =
        (tier(&table, settings(&redis)), tier(&table, settings(&redis)), tier(&table, settings(&redis)));
    a.load(&1).await.unwrap();
    table.hold_next();
    let first = tokio::spawn({
        let a = Arc::clone(&a);
        async move { write(&*a, &[Write::put(1, 11)]).await }
    });
    table.held().await;
    // A second writer comes and goes: the first one's mark stands.
    write(&*b, &[Write::put(1, 12)]).await;
    for _ in 0..2 {
        assert_eq!(c.load(&1).await, Ok(Some(12)));
    }
    assert_eq!((c.stats().beside_writes(), c.stats().fills()), (2, 0));
    table.let_go();
    first.await.unwrap();
    assert!(names(&redis).await.is_empty());
    c.load(&1).await.unwrap();
    assert_eq!(c.stats().fills(), 1);
}

#[tokio::test]
async fn a_writer_that_dies_leaves_the_key_empty_for_a_while() {
    let Some(redis) = require(Redis::start()) else { return };
    let table = Table::new([(1, 10)]);
    let short = settings(&redis).write_lease(Duration::from_millis(300));
    let (a, b) = (tier(&table, short.clone()), tier(&table, short));
    b.load(&1).await.unwrap();
    table.hold_next();
    let dying = tokio::spawn(async move { a.write(&[Write::put(1, 11)]).await });
    table.held().await;
    dying.abort();
    assert!(dying.await.unwrap_err().is_cancelled());
    assert_eq!(b.load(&1).await, Ok(Some(11)));
    poll_until("it is kept again", async || {
        assert_eq!(b.load(&1).await, Ok(Some(11)));
        b.stats().fills() == 2
    })
    .await;
    assert!(b.stats().beside_writes() >= 1);
}

#[tokio::test]
async fn a_holder_of_a_lease_that_dies_holds_nobody_up_for_long() {
    let Some(redis) = require(Redis::start()) else { return };
    let table = Table::new([(1, 10)]);
    // First: its lease ends before anybody's patience does.
    let short = settings(&redis).lease(Duration::from_millis(300)).wait(Duration::from_secs(60));
    let a = tier(&table, short.clone());
    a.load(&1).await.unwrap();
    let name = names(&redis).await.remove(0);
    let lease = [&b"\xa1L"[..], &[7; 16]].concat();
    let mut raw = raw(&redis).await;
    let _: () =
        redis::cmd("SET").arg(&name).arg(&lease).arg("PX").arg(300).query_async(&mut raw).await.unwrap();
    assert_eq!(a.load(&1).await, Ok(Some(10)));
    let stats = a.stats();
    assert_eq!((stats.waits(), stats.gave_up(), stats.fills()), (1, 0, 2));
    // Then: patience ends before the lease does.
    let hasty = tier(&table, short.wait(Duration::from_millis(30)));
    let _: () =
        redis::cmd("SET").arg(&name).arg(&lease).arg("PX").arg(60_000).query_async(&mut raw).await.unwrap();
    assert_eq!(hasty.load(&1).await, Ok(Some(10)));
    let stats = hasty.stats();
    assert_eq!((stats.waits(), stats.gave_up(), stats.fills()), (1, 1, 0));
    // A load that is dropped gives its lease back.
    let _: () = raw.del(&name).await.unwrap();
    table.hold_next();
    let dropped = tokio::spawn({
        let a = Arc::clone(&a);
        async move { a.load(&1).await }
    });
    table.held().await;
    dropped.abort();
    poll_until("the lease is back", async || names(&redis).await.is_empty()).await;
}

#[tokio::test]
async fn what_is_not_ours_is_a_miss_and_is_replaced() {
    let Some(redis) = require(Redis::start()) else { return };
    let table = Table::new([(1, 10)]);
    let a = tier(&table, settings(&redis));
    a.load(&1).await.unwrap();
    let name = names(&redis).await.remove(0);
    let mut raw = raw(&redis).await;
    let ours: Vec<u8> = raw.get(&name).await.unwrap();
    let mut junk: Vec<Vec<u8>> = vec![
        Vec::new(),
        b"junk".to_vec(),
        vec![0xa1],
        [&b"\xa1W"[..], &[0; 31]].concat(),
        [&ours[..4], b"not a number"].concat(),
        [&ours[..], b"7]"].concat(),
    ];
    // Each byte of the head, and random ones.
    for place in 0..4 {
        let mut other = ours.clone();
        other[place] ^= 0x55;
        junk.push(other);
    }
    for length in 0..50 {
        junk.push((0..length).map(|_| fastrand::u8(..)).collect());
    }
    for (n, junk) in junk.iter().enumerate() {
        let _: () = raw.set(&name, junk).await.unwrap();
        let before = a.stats();
        assert_eq!(a.load(&1).await, Ok(Some(10)), "{junk:?}");
        let held: Vec<u8> = raw.get(&name).await.unwrap();
        assert_eq!(held, ours, "{n}: {junk:?} was replaced");
        // Bytes that are not there are foreign to nobody.
        assert_eq!(a.stats().foreign() - before.foreign(), u64::from(!junk.is_empty()), "{junk:?}");
    }
    // Something that is no string.
    let _: () = raw.del(&name).await.unwrap();
    let _: () = raw.lpush(&name, "junk").await.unwrap();
    assert_eq!(a.load(&1).await, Ok(Some(10)));
    let held: Vec<u8> = raw.get(&name).await.unwrap();
    assert_eq!(held, ours);
    // Another version and another codec.
    let newer = tier(&table, settings(&redis).version(1));
    let brief = RedisTier::with_codec(Arc::clone(&table), settings(&redis), Postcard);
    for _ in 0..2 {
        newer.load(&1).await.unwrap();
    }
    assert_eq!((newer.stats().foreign(), newer.stats().loads(), newer.stats().hits()), (1, 1, 1));
    let held: Vec<u8> = raw.get(&name).await.unwrap();
    assert_eq!(held, [&[0xa1, b'V', 128, 1][..], b"10"].concat());
    brief.load(&1).await.unwrap();
    assert_eq!(
        (brief.stats().loads(), brief.stats().fills()),
        (1, 1),
        "its name is another, or its value is foreign"
    );
    assert_eq!(a.stats().failures(), 0);
}

#[tokio::test]
async fn a_near_cache_keeps_a_value_no_longer_than_the_shared_one() {
    let Some(redis) = require(Redis::start()) else { return };
    let table = Table::new([(1, 10)]);
    let a = tier(&table, settings(&redis));
    a.load(&1).await.unwrap();
    let name = names(&redis).await.remove(0);
    let _: () = raw(&redis).await.pexpire(&name, 4000).await.unwrap();
    let near = Cache::builder()
        .max_capacity(100)
        .time_to_live(Duration::from_secs(3600))
        .read_through(tier(&table, settings(&redis)))
        .build()
        .unwrap();
    assert_eq!(near.get(&1).await.unwrap(), Some(10));
    table.map.lock().insert(1, 11);
    assert_eq!(near.get(&1).await.unwrap(), Some(10), "it is in the cache");
    poll_until("the value has ended", async || near.get(&1).await.unwrap() == Some(11)).await;
}

#[tokio::test]
async fn without_redis_the_store_serves_and_nobody_waits_for_long() {
    let Some(redis) = require(Redis::start()) else { return };
    let table = Table::new([(1, 10)]);
    let hasty = settings(&redis).timeout(Duration::from_millis(200)).cool_down(Duration::from_secs(3600));
    let a = tier(&table, hasty);
    a.load(&1).await.unwrap();
    // Frozen, it does not even refuse.
    redis.pause().unwrap();
    let began = Instant::now();
    for _ in 0..1000 {
        assert_eq!(a.load(&1).await, Ok(Some(10)));
    }
    let took = began.elapsed();
    assert!(took < Duration::from_secs(5), "1000 loads took {took:?}");
    let stats = a.stats();
    assert_eq!((stats.failures(), stats.skipped(), stats.is_down()), (3, 997, true));
    redis.resume().unwrap();
}

#[tokio::test]
async fn what_was_written_while_redis_was_away_is_not_read_from_it_later() {
    let Some(redis) = require(Redis::builder().durable(true).start()) else { return };
    let table = Table::new([(1, 10), (2, 20)]);
    let hasty = settings(&redis).timeout(Duration::from_millis(300)).cool_down(Duration::from_millis(50));
    let (a, b) = (tier(&table, hasty.clone()), tier(&table, hasty));
    for key in [1, 2] {
        a.load(&key).await.unwrap();
    }
    // Frozen: it comes back with all it had.
    redis.pause().unwrap();
    write(&*a, &[Write::put(1, 11)]).await;
    assert_eq!(a.load(&1).await, Ok(Some(11)));
    assert_eq!(a.stats().owed(), 1);
    redis.resume().unwrap();
    poll_until("it has been told", async || a.stats().owed() == 0).await;
    assert_eq!((a.load(&1).await, b.load(&1).await), (Ok(Some(11)), Ok(Some(11))));
    // Killed: it reads its file, in which the old value is, and knows nothing of the write.
    b.load(&2).await.unwrap();
    redis.kill().unwrap();
    table.map.lock().insert(2, 21);
    redis.restart().unwrap();
    assert!(!names(&redis).await.is_empty(), "the old value is there");
    let used = b.stats().hits() + b.stats().fills();
    poll_until("it is used again", async || {
        assert_eq!(b.load(&2).await, Ok(Some(21)));
        b.stats().hits() + b.stats().fills() > used
    })
    .await;
}

/// The connection stays open, and the server answers: only its role changes.
#[tokio::test]
async fn a_primary_that_becomes_a_replica_is_down() {
    let Some(redis) = require(Redis::start()) else { return };
    let table = Table::new([(1, 10), (2, 20)]);
    let settings = settings(&redis).cool_down(Duration::from_millis(50));
    let (a, b) = (tier(&table, settings.clone()), tier(&table, settings));
    for key in [1, 2] {
        a.load(&key).await.unwrap();
    }
    b.load(&1).await.unwrap();
    demote(&redis).await;
    // By a node that is at the new primary: here the old value is still there, and nobody will take it away.
    table.map.lock().insert(1, 11);
    assert_eq!(b.load(&1).await, Ok(Some(11)));
    assert_eq!(b.load_many(&[1, 2]).await, Ok(vec![(0, 11), (1, 20)]));
    assert_eq!(b.load(&9).await, Ok(None), "nor is it leased");
    let stats = b.stats();
    assert_eq!((stats.hits(), stats.failures(), stats.is_down()), (1, 3, true));
    assert!(b.last_error().unwrap().contains("replica"), "{:?}", b.last_error());
    // What is written now is owed.
    write(&*a, &[Write::put(2, 21)]).await;
    assert_eq!((a.load(&2).await, a.stats().owed()), (Ok(Some(21)), 1));
    assert!(a.stats().failures() >= 2);
    promote(&redis).await;
    write(&*b, &[Write::put(1, 12)]).await;
    poll_until("what is owed has been told", async || a.stats().owed() + b.stats().owed() == 0).await;
    let hits = b.stats().hits();
    poll_until("it is used again", async || {
        assert_eq!((b.load(&1).await, b.load(&2).await), (Ok(Some(12)), Ok(Some(21))));
        b.stats().hits() >= hits + 2 && !b.stats().is_down()
    })
    .await;
    assert_eq!((a.load(&1).await, a.load(&2).await), (Ok(Some(12)), Ok(Some(21))));
    assert!(!a.stats().is_down());
}

#[tokio::test]
async fn a_redis_that_refuses_to_write_is_not_read() {
    let Some(redis) = require(Redis::start()) else { return };
    let table = Table::new([(1, 10)]);
    let a = tier(&table, settings(&redis));
    a.load(&1).await.unwrap();
    let set = async |name: &str, value: u64| {
        let () = redis::cmd("CONFIG")
            .arg("SET")
            .arg(name)
            .arg(value)
            .query_async(&mut raw(&redis).await)
            .await
            .unwrap();
    };
    // Fewer replicas than it insists on: no mark of a write would be taken.
    set("min-replicas-to-write", 1).await;
    table.map.lock().insert(1, 11);
    assert_eq!((a.load(&1).await, a.stats().failures()), (Ok(Some(11)), 1));
    set("min-replicas-to-write", 0).await;
    // One that is full is still read, and takes leases as little as before.
    set("maxmemory", 1).await;
    assert_eq!((a.load(&1).await, a.stats().hits(), a.stats().failures()), (Ok(Some(10)), 1, 1));
    assert_eq!((a.load_many(&[1, 9]).await, a.stats().failures()), (Ok(vec![(0, 11)]), 2));
}

#[tokio::test]
async fn a_write_of_ones_own_is_seen_too() {
    let Some(redis) = require(Redis::start()) else { return };
    let table = Table::new([(1, 10)]);
    let (a, b) = (tier(&table, settings(&redis)), tier(&table, settings(&redis)));
    b.load(&1).await.unwrap();
    let before = a
        .writing(&[1_u64], async {
            let seen = b.load(&1).await;
            table.map.lock().insert(1, 11);
            seen
        })
        .await;
    assert_eq!((before, b.load(&1).await), (Ok(Some(10)), Ok(Some(11))));
}

#[tokio::test]
async fn the_longest_times_do_no_harm() {
    let Some(redis) = require(Redis::start()) else { return };
    let table = Table::new([(1, 10)]);
    let max = Duration::MAX;
    let forever = Tier::new(client(&redis.url()), "test")
        .time_to_live(max)
        .negative_time_to_live(max)
        .lease(max)
        .wait(max)
        .write_lease(max)
        .timeout(max)
        .cool_down(max);
    let a = tier(&table, forever);
    assert_eq!((a.load(&1).await, a.load(&9).await), (Ok(Some(10)), Ok(None)));
    write(&*a, &[Write::put(1, 11)]).await;
    assert_eq!((a.load(&1).await, a.load(&1).await), (Ok(Some(11)), Ok(Some(11))));
    assert_eq!((a.stats().hits(), a.stats().failures(), a.last_error()), (1, 0, None));
}

#[tokio::test]
async fn it_tells_what_redis_failed_with() {
    let table = Table::new([(1, 10)]);
    // Nobody listens there.
    let a = tier(&table, Tier::new(client("redis://127.0.0.1:1/"), "test").timeout(Duration::from_secs(60)));
    assert_eq!(a.load(&1).await, Ok(Some(10)));
    let error = a.last_error().unwrap().to_lowercase();
    assert!(error.contains("refused"), "{error}");
}
