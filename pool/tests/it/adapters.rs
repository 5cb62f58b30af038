//! Managers of other pools, unchanged, on real servers; and the managers of our own for the same drivers.

use std::time::{Duration, Instant};

use millpond_pool::managers::{Bb8, Deadpool, R2d2, Redis as RedisManager, TokioPostgres};
use millpond_pool::{Error, Manager, Pool, PoolBuilder};
use servers::{Postgres, Redis, require};
use tokio_postgres::NoTls;

fn config(server: &Postgres) -> tokio_postgres::Config {
    server.url().parse().unwrap()
}

fn small<M: Manager>(manager: M) -> PoolBuilder<M> {
    Pool::builder(manager).max_size(3).acquire_timeout(Duration::from_secs(10))
}

/// Kills all clients of the server but psql's own.
fn terminate(server: &Postgres) {
    let sql = "select count(pg_terminate_backend(pid)) from pg_stat_activity \
               where pid <> pg_backend_pid() and backend_type = 'client backend'";
    server.psql(sql).unwrap();
}

/// Borrows until a query works; counts what went wrong before.
macro_rules! errors_until_served {
    ($pool:expr, $connection:ident => $query:expr) => {{
        let (began, mut errors) = (Instant::now(), 0);
        loop {
            assert!(began.elapsed() < Duration::from_secs(20), "no recovery: {:?}", $pool.stats());
            let served = match $pool.get().await {
                #[allow(unused_mut, reason = "some drivers take it shared")]
                Ok(mut $connection) => $query.await.is_ok(),
                Err(_) => false,
            };
            if served {
                break errors;
            }
            errors += 1;
        }
    }};
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deadpool_postgres_managers_work_unchanged() {
    let Some(server) = require(Postgres::start()) else { return };
    let pool = small(Deadpool::new(deadpool_postgres::Manager::new(config(&server), NoTls))).build().unwrap();
    {
        let client = pool.get().await.unwrap();
        let statement = client.prepare_cached("select $1::int + 1").await.unwrap();
        assert_eq!(client.query_one(&statement, &[&41]).await.unwrap().get::<_, i32>(0), 42);
    }
    let client = pool.get().await.unwrap();
    assert!(client.metrics().recycle_count >= 1, "recycled between two borrowers");
    assert_eq!(client.statement_cache.size(), 1, "the wrapper's own cache is there");
    drop(client);
    terminate(&server);
    errors_until_served!(pool, client => client.query_one("select 1", &[]));
    assert_eq!(pool.close(Duration::from_secs(5)).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deadpool_redis_managers_work_unchanged() {
    let Some(server) = require(Redis::start()) else { return };
    let pool = small(Deadpool::new(deadpool_redis::Manager::new(server.url()).unwrap())).build().unwrap();
    let mut connection = pool.get().await.unwrap();
    redis::cmd("SET").arg("k").arg(1).query_async::<()>(&mut **connection).await.unwrap();
    drop(connection);
    server.restart().unwrap();
    errors_until_served!(pool, connection => redis::cmd("PING").query_async::<()>(&mut **connection));
    assert_eq!(pool.close(Duration::from_secs(5)).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bb8_postgres_managers_work_unchanged() {
    let Some(server) = require(Postgres::start()) else { return };
    let manager = bb8_postgres::PostgresConnectionManager::new(config(&server), NoTls);
    let pool = small(Bb8::new(manager)).build().unwrap();
    {
        let client = pool.get().await.unwrap();
        assert_eq!(client.query_one("select 7", &[]).await.unwrap().get::<_, i32>(0), 7);
    }
    terminate(&server);
    errors_until_served!(pool, client => client.query_one("select 1", &[]));
    assert_eq!(pool.close(Duration::from_secs(5)).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r2d2_managers_work_unchanged_for_async_and_blocking_callers() {
    let Some(server) = require(Redis::start()) else { return };
    let client = redis::Client::open(server.url()).unwrap();
    let pool = small(R2d2::new(client)).validation_bypass(Duration::ZERO).build().unwrap();
    drop(pool.get().await.unwrap());
    let blocking = pool.clone();
    let ask = move || {
        let mut connection = blocking.get_blocking().unwrap();
        redis::cmd("PING").query::<String>(&mut **connection)
    };
    assert_eq!(tokio::task::spawn_blocking(ask.clone()).await.unwrap().unwrap(), "PONG");
    assert_eq!(pool.stats().opened, 1);
    server.restart().unwrap();
    // Every borrow is checked, so nobody sees the dead one.
    assert_eq!(tokio::task::spawn_blocking(ask).await.unwrap().unwrap(), "PONG");
    assert_eq!(pool.close(Duration::from_secs(5)).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokio_postgres_keeps_statements_and_cleans_sessions() {
    let Some(server) = require(Postgres::start()) else { return };
    let manager = TokioPostgres::new(config(&server)).clean(true).statements(2);
    let pool = small(manager).max_size(1).build().unwrap();
    {
        let client = pool.get().await.unwrap();
        for query in ["select 1", "select 2", "select 1", "select 3"] {
            let statement = client.prepare_cached(query).await.unwrap();
            client.query_one(&statement, &[]).await.unwrap();
        }
        assert_eq!(client.cached_statements(), 2);
        client.batch_execute("create temp table t (n int); set search_path = nowhere; begin").await.unwrap();
    }
    let client = pool.get().await.unwrap();
    let row =
        client.query_one("select current_setting('search_path'), to_regclass('pg_temp.t') is null", &[]);
    let row = row.await.unwrap();
    assert_ne!(row.get::<_, &str>(0), "nowhere", "settings are gone");
    assert!(row.get::<_, bool>(1), "the transaction and its table are gone");
    assert_eq!((client.cached_statements(), pool.stats().opened), (2, 1));
    let statement = client.prepare_cached("select 3").await.unwrap();
    assert_eq!(client.query_one(&statement, &[]).await.unwrap().get::<_, i32>(0), 3, "kept over the clean");
    drop(client);
    assert_eq!(pool.close(Duration::from_secs(5)).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokio_postgres_never_lends_what_it_knows_is_dead() {
    let Some(server) = require(Postgres::start()) else { return };
    let pool = small(TokioPostgres::new(config(&server))).build().unwrap();
    drop((pool.get().await.unwrap(), pool.get().await.unwrap()));
    let mut held = pool.get().await.unwrap();
    terminate(&server);
    let began = Instant::now();
    while !held.is_closed() {
        assert!(began.elapsed() < Duration::from_secs(10), "its task sees the end");
        tokio::task::yield_now().await;
    }
    assert!(held.transaction().await.is_err());
    drop(held);
    assert_eq!(errors_until_served!(pool, client => client.query_one("select 1", &[])), 0);
    let wrong = {
        let mut config = config(&server);
        config.password("wrong");
        small(TokioPostgres::new(config)).build().unwrap()
    };
    let Err(Error::Connect { failure, .. }) = wrong.get().await else { panic!("a permanent error") };
    assert!(failure.to_string().contains("db error"), "{failure}");
}

/// The provider is asked before each attempt, so a new password needs no new pool.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn credentials_may_rotate() {
    use std::sync::Arc;

    use parking_lot::Mutex;
    let Some(server) = require(Postgres::start()) else { return };
    server.psql("create role app login password 'old'").unwrap();
    let password = Arc::new(Mutex::new("old"));
    let asked = Arc::clone(&password);
    let port = server.port();
    let manager = TokioPostgres::with_provider(move || {
        let password = *asked.lock();
        Box::pin(async move {
            let mut config = tokio_postgres::Config::new();
            config.host("127.0.0.1").port(port).user("app").password(password).dbname("postgres");
            Ok(config)
        })
    });
    let pool = small(manager).build().unwrap();
    drop(pool.get().await.unwrap());
    server.psql("alter role app password 'new'").unwrap();
    *password.lock() = "new";
    pool.reset();
    assert!(pool.get().await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_gives_up_what_was_begun() {
    let Some(server) = require(Redis::start()) else { return };
    let client = redis::Client::open(server.url()).unwrap();
    let pool = small(RedisManager::new(client).clean(true)).max_size(1).build().unwrap();
    let mut connection = pool.get().await.unwrap();
    redis::cmd("MULTI").query_async::<()>(&mut *connection).await.unwrap();
    drop(connection);
    let mut connection = pool.get().await.unwrap();
    let set: String = redis::cmd("SET").arg("k").arg("v").query_async(&mut *connection).await.unwrap();
    assert_eq!((set.as_str(), pool.stats().opened), ("OK", 1), "not QUEUED");
    drop(connection);
    let wrong = redis::Client::open(format!("redis://:wrong@127.0.0.1:{}/0", server.port())).unwrap();
    let wrong = small(RedisManager::new(wrong)).build().unwrap();
    let began = Instant::now();
    assert!(matches!(wrong.get().await, Err(Error::Connect { .. })));
    assert!(began.elapsed() < Duration::from_secs(5));
}
