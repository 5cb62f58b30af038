//! Faults of the network between the pool and real servers.

use std::time::{Duration, Instant};

use millpond_pool::managers::{Redis as RedisManager, TokioPostgres};
use millpond_pool::{Manager, Pool};
use servers::{Postgres, Redis, require};

use crate::proxy::Proxy;

const TIMEOUT: Duration = Duration::from_millis(800);

fn pool<M: Manager>(manager: M) -> Pool<M> {
    Pool::builder(manager)
        .max_size(3)
        .acquire_timeout(TIMEOUT)
        .connect_timeout(Duration::from_millis(400))
        .validation_timeout(Duration::from_millis(300))
        .validation_bypass(Duration::ZERO)
        .build()
        .unwrap()
}

async fn ask_postgres(pool: &Pool<TokioPostgres>) -> bool {
    let Ok(client) = pool.get().await else { return false };
    matches!(tokio::time::timeout(TIMEOUT, client.simple_query("select 1")).await, Ok(Ok(_)))
}

async fn ask_redis(pool: &Pool<RedisManager>) -> bool {
    let Ok(mut connection) = pool.get().await else { return false };
    let ping = redis::cmd("PING");
    matches!(tokio::time::timeout(TIMEOUT, ping.query_async::<()>(&mut *connection)).await, Ok(Ok(())))
}

/// Every fault in turn, and after each the same pool works again.
macro_rules! survives {
    ($server:expr, $proxy:expr, $pool:expr, $ask:path) => {{
        let (proxy, pool) = (&$proxy, &$pool);
        let recovers = async |what: &str| {
            let began = Instant::now();
            while !$ask(pool).await {
                assert!(began.elapsed() < Duration::from_secs(20), "{what}: {:?}", pool.stats());
                tokio::task::yield_now().await;
            }
            pool.check_invariants();
        };
        let quiet = async || {
            let began = Instant::now();
            while pool.stats().status.checking > 0 {
                assert!(began.elapsed() < Duration::from_secs(10), "{:?}", pool.stats());
                tokio::task::yield_now().await;
            }
        };
        assert!($ask(pool).await);
        // Late: slower, and nothing else.
        proxy.delay(Duration::from_millis(30));
        assert!($ask(pool).await);
        proxy.delay(Duration::ZERO);
        // Ended from the other side: found by the check, seen by nobody. What is just coming back is handed on unchecked.
        quiet().await;
        proxy.reset();
        assert!($ask(pool).await, "a reset while idle is nobody's error");
        quiet().await;
        proxy.half_close();
        assert!($ask(pool).await, "an end of file while idle is nobody's error");
        // T30: swallowed, idle and new ones alike.
        drop((pool.get().await.unwrap(), pool.get().await.unwrap()));
        quiet().await;
        proxy.black_hole(true);
        let dialled = proxy.accepted();
        for _ in 0..3 {
            let began = Instant::now();
            assert!(pool.get().await.is_err());
            let took = began.elapsed();
            assert!(took < TIMEOUT + Duration::from_millis(500), "within the timeout: {took:?}");
        }
        assert!(pool.stats().status.total() <= 3, "{:?}", pool.stats().status);
        assert!(proxy.accepted() - dialled <= 30, "{} dials", proxy.accepted() - dialled);
        proxy.black_hole(false);
        recovers("black hole").await;
        // A slot lost would show here.
        let all = [pool.get().await, pool.get().await, pool.get().await];
        assert!(all.iter().all(Result::is_ok), "{:?}", pool.stats());
        drop(all);
        // Gone and back.
        $server.kill().unwrap();
        proxy.reset();
        assert!(!$ask(pool).await);
        $server.restart().unwrap();
        recovers("restart").await;
        let _out = pool.close(Duration::from_secs(5)).await;
    }};
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t30_postgres_behind_a_faulty_network() {
    let Some(server) = require(Postgres::start()) else { return };
    let proxy = Proxy::start(server.port()).await;
    let mut config: tokio_postgres::Config = server.url().parse().unwrap();
    config = {
        let mut through = tokio_postgres::Config::new();
        through.host("127.0.0.1").port(proxy.port).user("postgres").dbname("postgres");
        through.password(config.get_password().unwrap());
        through
    };
    survives!(server, proxy, pool(TokioPostgres::new(config)), ask_postgres);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t30_redis_behind_a_faulty_network() {
    let Some(server) = require(Redis::start()) else { return };
    let proxy = Proxy::start(server.port()).await;
    let url = server.url().replace(&format!(":{}/", server.port()), &format!(":{}/", proxy.port));
    let client = redis::Client::open(url).unwrap();
    survives!(server, proxy, pool(RedisManager::new(client)), ask_redis);
}

#[cfg(all(unix, feature = "sqlx-mysql"))]
async fn ask_mysql(pool: &Pool<millpond_pool::managers::SqlxMySql>) -> bool {
    let Ok(mut connection) = pool.get().await else { return false };
    let one = sqlx::query_scalar::<_, i64>("select 1").fetch_one(&mut *connection);
    matches!(tokio::time::timeout(TIMEOUT, one).await, Ok(Ok(1)))
}

#[cfg(all(unix, feature = "sqlx-mysql"))]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t30_mariadb_behind_a_faulty_network() {
    let Some(mut server) = crate::mysql::MariaDb::start() else { return };
    let proxy = Proxy::start(server.port).await;
    let manager = millpond_pool::managers::SqlxMySql::new(server.options().port(proxy.port));
    survives!(server, proxy, pool(manager), ask_mysql);
}
