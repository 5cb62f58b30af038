//! PostgreSQL is away for half a minute while writes behind go on: nothing that was accepted is lost, and the queue stays bounded.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use airports::store::Error;
use millpond_cache::Cache;
use millpond_cache::backing::{
    Store, StoreCache, StoreCacheError, StoreError, StoreStats, WhenFull, Write, WriteBehind, Written,
};
use millpond_pool::Pool;
use millpond_pool::managers::SqlxPostgres;
use parking_lot::Mutex;
use servers::{Postgres, require};
use sqlx::Connection;
use tokio::time::{Instant, sleep_until, timeout};

use crate::support::poll_until;

const AWAY: Duration = Duration::from_secs(30);
/// After this time whatever was on its way when PostgreSQL went has come to an end.
const SETTLED: Duration = Duration::from_secs(2);
const QUEUE: usize = 100;
const WRITERS: u64 = 4;
/// Keys of each writer; those of all are more than the queue holds.
const KEYS: u64 = 50;
/// Between two writes of a writer.
const PAUSE: Duration = Duration::from_millis(15);

/// A table of numbers, and one that tells all that was ever written, in its order.
const CREATE: [&str; 2] = [
    "CREATE TABLE numbers (key BIGINT PRIMARY KEY, value BIGINT NOT NULL)",
    "CREATE TABLE told (id BIGSERIAL PRIMARY KEY, key BIGINT NOT NULL, value BIGINT NOT NULL)",
];
const WRITE: &str = "WITH batch AS (SELECT * FROM unnest($1::bigint[], $2::bigint[]) AS batch (key, value)),
    told AS (INSERT INTO told (key, value) SELECT key, value FROM batch)
    INSERT INTO numbers SELECT key, value FROM batch ON CONFLICT (key) DO UPDATE SET value = excluded.value";

struct Numbers(Pool<SqlxPostgres>);

impl Store<i64, i64> for Numbers {
    type Error = Error;

    async fn load(&self, key: &i64) -> Result<Option<i64>, StoreError<Error>> {
        let mut connection = self.0.get().await.map_err(Error::from)?;
        let query = sqlx::query_scalar("SELECT value FROM numbers WHERE key = $1").bind(key);
        Ok(query.fetch_optional(&mut *connection).await.map_err(Error::from)?)
    }

    async fn write(&self, batch: &[Write<i64, i64>]) -> Result<Written<Error>, StoreError<Error>> {
        let keys: Vec<i64> = batch.iter().map(|write| *write.key()).collect();
        let values: Vec<i64> =
            batch.iter().map(|write| *write.value().expect("nothing is deleted")).collect();
        let mut connection = self.0.get().await.map_err(Error::from)?;
        sqlx::query(WRITE).bind(keys).bind(values).execute(&mut *connection).await.map_err(Error::from)?;
        Ok(Written::all())
    }
}

/// A cache over a server, and what its writers were told.
struct Scene {
    server: Postgres,
    cache: StoreCache<i64, i64, Numbers>,
    /// The last value of each key whose write was accepted.
    accepted: Mutex<BTreeMap<i64, i64>>,
    /// Those that began when the database had gone, so that they wait.
    waiting: Mutex<BTreeMap<i64, i64>>,
    is_away: AtomicBool,
    puts: AtomicU64,
    refused: AtomicU64,
    is_over: AtomicBool,
}

impl Scene {
    async fn new(server: Postgres, when_full: WhenFull) -> Arc<Self> {
        let mut connection = sqlx::PgConnection::connect(&server.url()).await.unwrap();
        for statement in CREATE {
            sqlx::query(statement).execute(&mut connection).await.unwrap();
        }
        let pool = Pool::builder(SqlxPostgres::new(server.url().parse().unwrap()))
            .max_size(4)
            .acquire_timeout(Duration::from_millis(500));
        let settings = WriteBehind::new(|letter| panic!("given up: {letter:?}"))
            .max_delay(Duration::from_millis(50))
            .max_queue(QUEUE)
            .when_full(when_full)
            .backoff(Duration::from_millis(50), Duration::from_secs(1));
        let builder = Cache::builder().max_capacity(10_000).read_through(Numbers(pool.build().unwrap()));
        Arc::new(Self {
            server,
            cache: builder.write_behind(settings).build().unwrap(),
            accepted: Mutex::default(),
            waiting: Mutex::default(),
            is_away: AtomicBool::new(false),
            puts: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
        })
    }

    /// Steady puts, of keys that nobody else writes.
    async fn write(self: Arc<Self>, writer: u64) {
        let mut turns = tokio::time::interval(PAUSE);
        for n in 0.. {
            turns.tick().await;
            if self.is_over.load(SeqCst) {
                return;
            }
            let (key, value) = ((writer * KEYS + n % KEYS) as i64, n as i64);
            let is_away = self.is_away.load(SeqCst);
            match self.cache.put(key, value).await {
                Ok(()) => {
                    self.accepted.lock().insert(key, value);
                    if is_away {
                        self.waiting.lock().insert(key, value);
                    }
                    self.puts.fetch_add(1, SeqCst);
                }
                Err(StoreCacheError::QueueFull) => {
                    self.refused.fetch_add(1, SeqCst);
                }
                Err(error) => panic!("{error}"),
            }
            let length = self.cache.stats().queue_length();
            assert!(length <= QUEUE, "{length} writes wait");
        }
    }

    /// What the cache has forgotten is found in the queue; there is nobody else to ask.
    async fn reads_see_what_waits(&self) {
        let waiting = self.waiting.lock().clone();
        assert!(!waiting.is_empty());
        self.cache.invalidate_all();
        for (key, value) in waiting {
            let read =
                timeout(Duration::from_secs(1), self.cache.get(&key)).await.expect("it asked the database");
            assert!(read.unwrap() >= Some(value), "{key}");
        }
    }

    /// Half a minute, from `leave` to `come_back`; the figures at its end.
    async fn outage(self: &Arc<Self>, leave: fn(&Postgres), come_back: fn(&Postgres)) -> StoreStats {
        let writers: Vec<_> =
            (0..WRITERS).map(|writer| tokio::spawn(Arc::clone(self).write(writer))).collect();
        poll_until(async || self.cache.stats().written() > 2 * QUEUE as u64).await;
        tokio::task::block_in_place(|| leave(&self.server));
        self.is_away.store(true, SeqCst);
        let began = Instant::now();
        sleep_until(began + SETTLED).await;
        let written = self.cache.stats().written();
        for part in 1..=2 {
            sleep_until(began + AWAY * part / 3).await;
            self.reads_see_what_waits().await;
        }
        sleep_until(began + AWAY).await;
        let during = self.cache.stats();
        assert_eq!(during.written(), written, "it was away");
        let puts = self.puts.load(SeqCst);
        tokio::task::block_in_place(|| come_back(&self.server));
        // It goes on by itself.
        poll_until(async || self.puts.load(SeqCst) > puts + 200).await;
        self.is_over.store(true, SeqCst);
        for writer in writers {
            writer.await.unwrap();
        }
        timeout(Duration::from_secs(20), self.cache.flush()).await.expect("the flush ends");
        self.all_is_there().await;
        during
    }

    /// Each key once, with its last value, and never back to an older one on the way there.
    async fn all_is_there(&self) {
        let mut connection = sqlx::PgConnection::connect(&self.server.url()).await.unwrap();
        let rows: Vec<(i64, i64)> =
            sqlx::query_as("SELECT key, value FROM numbers").fetch_all(&mut connection).await.unwrap();
        let count = rows.len();
        let rows: BTreeMap<i64, i64> = rows.into_iter().collect();
        assert_eq!((&rows, count), (&*self.accepted.lock(), rows.len()));
        let told: Vec<(i64, i64)> = sqlx::query_as("SELECT key, value FROM told ORDER BY id")
            .fetch_all(&mut connection)
            .await
            .unwrap();
        let mut last = BTreeMap::new();
        for (key, value) in told {
            let older = last.insert(key, value).unwrap_or(-1);
            assert!(older <= value, "{key}: {value} after {older}");
        }
        let stats = self.cache.stats();
        assert_eq!((stats.queue_length(), stats.dead(), stats.callback_panics()), (0, 0, 0));
        assert_eq!(stats.accepted(), self.puts.load(SeqCst));
        assert_eq!(stats.accepted(), stats.coalesced() + stats.written());
        self.cache.close(Duration::from_secs(10)).await.unwrap();
    }
}

async fn killed(server: Postgres) {
    let scene = Scene::new(server, WhenFull::Error).await;
    let during = scene.outage(|server| server.kill().unwrap(), |server| server.restart().unwrap()).await;
    assert!(during.is_store_down() && during.retried() > 0, "{during:?}");
    assert!(scene.refused.load(SeqCst) > 0, "there was no room");
    assert!(!scene.cache.stats().is_store_down());
}

async fn frozen(server: Postgres) {
    let scene = Scene::new(server, WhenFull::Wait).await;
    scene.outage(|server| server.pause().unwrap(), |server| server.resume().unwrap()).await;
    assert_eq!(scene.refused.load(SeqCst), 0, "who finds no room waits");
}

/// Both at once, since both take their time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_a_minute_without_postgres_costs_no_write_behind() {
    let Some(one) = require(Postgres::start()) else { return };
    let Some(other) = require(Postgres::start()) else { return };
    tokio::join!(killed(one), frozen(other));
}
