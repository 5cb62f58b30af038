//! Caches that tell each other what they write, over Redis and over PostgreSQL.

use std::sync::Arc;
use std::time::{Duration, Instant};

use millpond_cache::Cache;
use millpond_cache::backing::{StoreCache, StoreCacheError};
use millpond_cache::nodes::{
    AnnounceError, Announced, Bus, Coherence, Forget, Invalidations, PostgresBus, RedisBus, Subscription,
    WhenCut,
};
use parking_lot::Mutex;
use redis::AsyncCommands;
use servers::{Postgres, Redis, require};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

use super::{Cable, Table, client, demote, poll_until, promote, raw};

type Near<B> = StoreCache<u64, u64, Announced<Arc<Table>, B>>;

const A_MINUTE: Duration = Duration::from_secs(60);

/// Nothing is forgotten by time alone, unless a test wants it.
fn patient() -> Coherence {
    Coherence::new().max_staleness(A_MINUTE).write_lease(A_MINUTE).timeout(Duration::from_secs(5))
}

fn near<B: Bus>(table: &Arc<Table>, bus: B, settings: Coherence) -> Near<B> {
    let changes = Invalidations::new(bus, settings);
    let builder = Cache::builder().max_capacity(100).read_through(changes.announce(Arc::clone(table)));
    let near = builder.write_through().build().unwrap();
    changes.attach(&near);
    near
}

fn over_redis(url: &str) -> RedisBus {
    RedisBus::new(&client(url), "changes").unwrap()
}

async fn connected<B: Bus>(near: &Near<B>) {
    poll_until("it is connected", async || near.store().changes().stats().is_connected()).await;
}

/// Puts the key into the cache, and returns when it stays there: what was forgotten at the start is over.
async fn warm<B: Bus>(near: &Near<B>, key: u64) {
    connected(near).await;
    assert!(near.get(&key).await.unwrap().is_some());
}

async fn sees<B: Bus>(near: &Near<B>, key: u64, value: u64) {
    poll_until("the new value is seen", async || near.get(&key).await.unwrap() == Some(value)).await;
}

/// What one writes the other forgets, and nothing else; and the writer keeps what it wrote.
async fn tell_each_other<B: Bus>(buses: [B; 2]) {
    let table = Table::new([(1, 10), (2, 20)]);
    let [a, b] = buses.map(|bus| near(&table, bus, patient()));
    for key in [1, 2] {
        warm(&a, key).await;
        warm(&b, key).await;
    }
    let loads = table.loads();
    a.put(1, 11).await.unwrap();
    sees(&b, 1, 11).await;
    b.delete(&1).await.unwrap();
    poll_until("it is gone", async || a.get(&1).await.unwrap().is_none()).await;
    // One load after each write, by the other one.
    assert_eq!((b.get(&1).await.plain(), b.get(&2).await.plain()), (None, Some(20)));
    assert_eq!(table.loads(), loads + 2);
    let stats = b.store().changes().stats();
    assert_eq!((stats.forgotten(), stats.connects(), stats.cuts(), stats.foreign()), (1, 1, 0, 0));
}

/// So that tests can compare; the errors of stores have no equality.
trait Plain<T> {
    fn plain(self) -> T;
}

impl<T, E: std::fmt::Debug> Plain<T> for Result<T, E> {
    fn plain(self) -> T {
        self.unwrap()
    }
}

#[tokio::test]
async fn nodes_tell_each_other_over_redis() {
    let Some(redis) = require(Redis::start()) else { return };
    tell_each_other([over_redis(&redis.url()), over_redis(&redis.url())]).await;
}

fn pool(postgres: &Postgres) -> PgPool {
    PgPoolOptions::new().max_connections(4).connect_lazy(&postgres.url()).unwrap()
}

#[tokio::test]
async fn nodes_tell_each_other_over_postgres() {
    let Some(postgres) = require(Postgres::start()) else { return };
    let bus = || PostgresBus::new(pool(&postgres), "changes");
    tell_each_other([bus(), bus()]).await;
    // Many keys in one write are too long for a NOTIFY.
    let table = Table::new([(1, 10)]);
    let b = near(&table, bus(), patient());
    warm(&b, 1).await;
    let changes = Invalidations::new(bus(), patient());
    let keys: Vec<u64> = (0..5000).collect();
    let written = changes.writing(&keys, async { table.map.lock().insert(1, 11) }).await;
    assert_eq!(written, Ok(Some(10)));
    sees(&b, 1, 11).await;
}

#[tokio::test]
async fn a_node_forgets_after_postgres_was_away() {
    let Some(postgres) = require(Postgres::start()) else { return };
    let table = Table::new([(1, 10)]);
    let b = near(&table, PostgresBus::new(pool(&postgres), "changes"), patient());
    warm(&b, 1).await;
    postgres.kill().unwrap();
    table.map.lock().insert(1, 11);
    assert_eq!(b.get(&1).await.plain(), Some(10));
    postgres.restart().unwrap();
    sees(&b, 1, 11).await;
    assert_eq!(b.store().changes().stats().connects(), 2);
}

#[tokio::test]
async fn a_node_that_is_cut_off_is_behind_for_a_bounded_time() {
    let Some(redis) = require(Redis::start()) else { return };
    let table = Table::new([(1, 10)]);
    let cable = Cable::to(redis.port()).await;
    let a = near(&table, over_redis(&redis.url()), patient());
    let bound = Duration::from_secs(2);
    let b = near(&table, over_redis(&cable.url(&redis)), patient().max_staleness(bound));
    connected(&a).await;
    warm(&b, 1).await;
    cable.cut();
    poll_until("it knows", async || !b.store().changes().stats().is_connected()).await;
    for value in 11..14 {
        b.get(&1).await.unwrap();
        a.put(1, value).await.unwrap();
        let written = Instant::now();
        sees(&b, 1, value).await;
        let behind = written.elapsed();
        assert!(behind < bound + Duration::from_secs(2), "it was behind for {behind:?}");
    }
    b.get(&1).await.unwrap();
    a.put(1, 20).await.unwrap();
    let all = b.store().changes().stats().forgot_all();
    cable.mend();
    connected(&b).await;
    sees(&b, 1, 20).await;
    assert!(b.store().changes().stats().forgot_all() > all, "what it missed");
    // It hears again.
    a.put(1, 21).await.unwrap();
    sees(&b, 1, 21).await;
}

#[tokio::test]
async fn a_bus_that_says_nothing_is_cut() {
    let Some(redis) = require(Redis::start()) else { return };
    let table = Table::new([(1, 10)]);
    let settings = patient().max_staleness(Duration::from_millis(300)).timeout(Duration::from_millis(100));
    let b = near(&table, over_redis(&redis.url()), settings);
    warm(&b, 1).await;
    redis.pause().unwrap();
    poll_until("it gives the connection up", async || b.store().changes().stats().cuts() > 0).await;
    table.map.lock().insert(1, 11);
    sees(&b, 1, 11).await;
    redis.resume().unwrap();
    poll_until("it is back", async || b.store().changes().stats().is_connected()).await;
}

#[tokio::test]
async fn a_writer_that_dies_before_it_tells_leaves_nobody_behind() {
    let Some(redis) = require(Redis::start()) else { return };
    let table = Table::new([(1, 10)]);
    let b = near(&table, over_redis(&redis.url()), patient());
    warm(&b, 1).await;
    let cable = Cable::to(redis.port()).await;
    let dying =
        Invalidations::new(over_redis(&cable.url(&redis)), patient().write_lease(Duration::from_millis(500)));
    // It needs somebody who keeps it connected.
    let other = Cache::<u64, u64>::new(10);
    dying.attach_cache(&other);
    poll_until("it is connected", async || dying.stats().is_connected()).await;
    let write = tokio::spawn({
        let (dying, table) = (dying.clone(), Arc::clone(&table));
        async move {
            let write = async {
                table.map.lock().insert(1, 11);
                std::future::pending::<()>().await;
            };
            dying.writing(&[1_u64], write).await
        }
    });
    poll_until("the store has it", async || table.map.lock()[&1] == 11).await;
    cable.cut();
    write.abort();
    assert_eq!(b.get(&1).await.plain(), Some(10));
    sees(&b, 1, 11).await;
    assert_eq!(b.store().changes().stats().overdue(), 1);
}

#[tokio::test]
async fn a_writer_that_is_cut_off_writes_or_refuses_as_it_was_told() {
    let Some(redis) = require(Redis::start()) else { return };
    let table = Table::new([(1, 10)]);
    let cable = Cable::to(redis.port()).await;
    let hasty = patient().timeout(Duration::from_millis(500)).max_staleness(Duration::from_secs(3));
    let refusing = near(&table, over_redis(&cable.url(&redis)), hasty.clone().when_cut(WhenCut::Refuse));
    let writing = near(&table, over_redis(&cable.url(&redis)), hasty);
    let b = near(&table, over_redis(&redis.url()), patient());
    connected(&refusing).await;
    connected(&writing).await;
    warm(&b, 1).await;
    cable.cut();
    poll_until("they know", async || {
        let stats = [&refusing, &writing].map(|node| node.store().changes().stats());
        stats.iter().all(|stats| !stats.is_connected())
    })
    .await;
    match refusing.put(1, 11).await {
        Err(StoreCacheError::Store(error)) => {
            assert!(error.is_transient());
            assert!(matches!(error.get_ref(), AnnounceError::CutOff(_)), "{error}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(table.map.lock()[&1], 10);
    assert_eq!(refusing.store().changes().stats().refused(), 1);
    writing.put(1, 12).await.unwrap();
    assert_eq!(table.map.lock()[&1], 12);
    assert_eq!(b.get(&1).await.plain(), Some(10), "nobody could tell it");
    cable.mend();
    sees(&b, 1, 12).await;
    connected(&refusing).await;
    refusing.put(1, 13).await.unwrap();
    sees(&b, 1, 13).await;
}

#[tokio::test]
async fn a_process_without_a_cache_can_tell() {
    let Some(redis) = require(Redis::start()) else { return };
    let table = Table::new([(1, 10)]);
    let b = near(&table, over_redis(&redis.url()), patient());
    warm(&b, 1).await;
    let cable = Cable::to(redis.port()).await;
    let job = Invalidations::new(over_redis(&cable.url(&redis)), patient().when_cut(WhenCut::Refuse));
    let write = async |value| job.writing(&[1_u64], async { table.map.lock().insert(1, value) }).await;
    write(11).await.unwrap();
    sees(&b, 1, 11).await;
    cable.cut();
    poll_until("it knows", async || write(12).await.is_err()).await;
    let last = table.map.lock()[&1];
    sees(&b, 1, last).await;
    cable.mend();
    poll_until("it is back", async || write(13).await.is_ok()).await;
    sees(&b, 1, 13).await;
}

#[tokio::test]
async fn messages_that_cant_be_read_are_missed_messages() {
    let Some(redis) = require(Redis::start()) else { return };
    let table = Table::new([(1, 10)]);
    let b = near(&table, over_redis(&redis.url()), patient());
    warm(&b, 1).await;
    let junk = ["", "junk", "{}", r#"{"node":1,"losses":0,"what":{"end":{"write":0,"keys":["no number"]}}}"#];
    for (n, junk) in junk.into_iter().enumerate() {
        let value = 11 + n as u64;
        table.map.lock().insert(1, value);
        let _: () = raw(&redis).await.publish("changes", junk).await.unwrap();
        sees(&b, 1, value).await;
    }
    assert_eq!(b.store().changes().stats().foreign(), 4);
}

#[tokio::test]
async fn what_listens_ends_with_its_cache_or_with_the_last_handle() {
    let Some(redis) = require(Redis::start()) else { return };
    let listeners = async || {
        let mut raw = raw(&redis).await;
        let answer: (String, usize) =
            redis::cmd("PUBSUB").arg("NUMSUB").arg("changes").query_async(&mut raw).await.unwrap();
        answer.1
    };
    let table = Table::new([(1, 10)]);
    let a = near(&table, over_redis(&redis.url()), patient());
    // Of these only the cache ends.
    let kept =
        Invalidations::new(over_redis(&redis.url()), patient().max_staleness(Duration::from_millis(100)));
    let cache = Cache::<u64, u64>::new(10);
    kept.attach_cache(&cache);
    poll_until("both listen", async || listeners().await == 2).await;
    drop(cache);
    poll_until("one listens", async || listeners().await == 1 || kept.stats().cuts() > 0).await;
    drop(a);
    drop(kept);
    poll_until("nobody listens", async || listeners().await == 0).await;
    assert_eq!(Arc::strong_count(&table), 1, "nobody holds the store");
}

/// A target that panics once does not make its node deaf.
#[tokio::test]
async fn a_target_that_panics_goes_on_to_hear() {
    struct Clumsy(Arc<Mutex<Vec<u64>>>);

    impl Forget<u64> for Clumsy {
        fn forget(&self, key: &u64) {
            self.0.lock().push(*key);
            assert_ne!(*key, 1, "clumsy");
        }

        fn forget_all(&self) {}
    }

    let Some(redis) = require(Redis::start()) else { return };
    let seen = Arc::new(Mutex::new(Vec::new()));
    let clumsy = Invalidations::new(over_redis(&redis.url()), patient());
    clumsy.attach_to(Clumsy(Arc::clone(&seen)));
    poll_until("it is connected", async || clumsy.stats().is_connected()).await;
    let other = Invalidations::new(over_redis(&redis.url()), patient());
    let cache = Cache::<u64, u64>::new(10);
    other.attach_cache(&cache);
    poll_until("it is connected", async || other.stats().is_connected()).await;
    for key in [1_u64, 2] {
        other.writing(&[key], async {}).await.unwrap();
    }
    poll_until("both were heard", async || *seen.lock() == [1, 2]).await;
}

#[tokio::test]
async fn the_longest_times_do_not_make_a_node_deaf() {
    let max = Duration::MAX;
    let forever = Coherence::new().max_staleness(max).write_lease(max).timeout(max);
    let Some(redis) = require(Redis::start()) else { return };
    let table = Table::new([(1, 10)]);
    let [a, b] = [0, 1].map(|_| near(&table, over_redis(&redis.url()), forever.clone()));
    warm(&b, 1).await;
    connected(&a).await;
    a.put(1, 11).await.unwrap();
    sees(&b, 1, 11).await;
}

#[tokio::test]
async fn it_tells_what_the_bus_failed_with() {
    let table = Table::new([(1, 10)]);
    // Nobody listens there.
    let settings = patient().when_cut(WhenCut::Refuse);
    let a = near(&table, over_redis("redis://127.0.0.1:1/"), settings);
    let changes = a.store().changes();
    let fails = async || changes.last_error().is_some_and(|error| error.to_lowercase().contains("refused"));
    poll_until("the listener has failed", fails).await;
    assert!(a.put(1, 11).await.is_err());
    assert!(fails().await);
}

#[tokio::test]
async fn a_replica_is_no_bus() {
    let Some(redis) = require(Redis::start()) else { return };
    demote(&redis).await;
    let table = Table::new([(1, 10)]);
    let a = near(&table, over_redis(&redis.url()), patient().when_cut(WhenCut::Refuse));
    let changes = a.store().changes();
    let told = async || changes.last_error().is_some_and(|error| error.contains("replica"));
    poll_until("it is refused", told).await;
    assert!(a.put(1, 11).await.is_err(), "whoever only sends is refused too");
    assert!(!changes.stats().is_connected());
    // It takes the primary's place.
    promote(&redis).await;
    connected(&a).await;
    a.put(1, 11).await.unwrap();
}

/// The connection stays open all the time: only the server's role changes.
#[tokio::test]
async fn a_primary_that_becomes_a_replica_is_a_cut() {
    let Some(redis) = require(Redis::start()) else { return };
    let table = Table::new([(1, 10)]);
    let bound = Duration::from_secs(2);
    let settings = patient().max_staleness(bound).when_cut(WhenCut::Refuse);
    let [a, b] = [0, 1].map(|_| near(&table, over_redis(&redis.url()), settings.clone()));
    // It only sends, on a connection that is open.
    let job = Invalidations::new(over_redis(&redis.url()), patient().when_cut(WhenCut::Refuse));
    job.writing(&[9_u64], async {}).await.unwrap();
    warm(&a, 1).await;
    warm(&b, 1).await;
    demote(&redis).await;
    // Nobody who writes gets through from the first write on.
    assert!(a.put(1, 11).await.is_err());
    assert!(job.writing(&[1_u64], async {}).await.is_err());
    assert_eq!(table.map.lock()[&1], 10);
    for value in 11..14 {
        b.get(&1).await.unwrap();
        // By a node that is at the new primary.
        table.map.lock().insert(1, value);
        let written = Instant::now();
        sees(&b, 1, value).await;
        let behind = written.elapsed();
        assert!(behind < bound + Duration::from_secs(2), "it was behind for {behind:?}");
    }
    let stats = b.store().changes().stats();
    assert_eq!((stats.is_connected(), stats.cuts()), (false, 1));
    let error = b.store().changes().last_error().unwrap();
    assert!(error.contains("replica"), "{error}");
    promote(&redis).await;
    connected(&a).await;
    connected(&b).await;
    a.put(1, 20).await.unwrap();
    sees(&b, 1, 20).await;
    job.writing(&[1_u64], async { table.map.lock().insert(1, 21) }).await.unwrap();
    sees(&b, 1, 21).await;
}

/// What was said elsewhere meanwhile was not heard, though no message has failed.
#[tokio::test]
async fn a_server_that_was_a_replica_for_a_moment_is_a_cut() {
    let Some(redis) = require(Redis::start()) else { return };
    let table = Table::new([(1, 10)]);
    let b = near(&table, over_redis(&redis.url()), patient().max_staleness(Duration::from_secs(3)));
    warm(&b, 1).await;
    let mut both = redis::pipe();
    both.cmd("REPLICAOF").arg("127.0.0.1").arg(1).ignore().cmd("REPLICAOF").arg("NO").arg("ONE").ignore();
    let () = both.atomic().query_async(&mut raw(&redis).await).await.unwrap();
    table.map.lock().insert(1, 11);
    sees(&b, 1, 11).await;
    connected(&b).await;
    let stats = b.store().changes().stats();
    assert_eq!((stats.cuts(), stats.connects(), stats.send_failures()), (1, 2, 1));
}

/// Somebody gave up a message, so there is another connection to send on, and that one knows the server as it is now only.
#[tokio::test]
async fn a_server_that_was_a_replica_between_two_connections_is_a_cut() {
    let Some(redis) = require(Redis::start()) else { return };
    let bus = over_redis(&redis.url());
    let mut hears = bus.subscribe().await.unwrap();
    tokio::select! {
        biased;
        _ = bus.publish("given up".to_owned()) => unreachable!("it needs an answer"),
        () = std::future::ready(()) => {}
    }
    let mut both = redis::pipe();
    both.cmd("REPLICAOF").arg("127.0.0.1").arg(1).ignore().cmd("REPLICAOF").arg("NO").arg("ONE").ignore();
    let () = both.atomic().query_async(&mut raw(&redis).await).await.unwrap();
    bus.publish("late".to_owned()).await.unwrap();
    let end = async { while hears.next().await.is_ok() {} };
    tokio::time::timeout(Duration::from_secs(20), end)
        .await
        .expect("it is told that it may have missed something");
    // Who hears from now on has missed nothing.
    let mut hears = bus.subscribe().await.unwrap();
    bus.publish("then".to_owned()).await.unwrap();
    assert_eq!(hears.next().await.unwrap(), "then");
}
