//! A real PostgreSQL server, and what may happen to it.

use std::time::{Duration, Instant};

use millpond_pool::managers::SqlxPostgres;
use millpond_pool::{Error, Pool};
use servers::{Postgres, require};
use sqlx::postgres::PgConnectOptions;

fn options(server: &Postgres) -> PgConnectOptions {
    server.url().parse().unwrap()
}

async fn one(pool: &Pool<SqlxPostgres>) -> Result<i32, String> {
    let mut connection = pool.get().await.map_err(|error| error.to_string())?;
    sqlx::query_scalar("select 1").fetch_one(&mut *connection).await.map_err(|error| error.to_string())
}

async fn poll_until_served(pool: &Pool<SqlxPostgres>) -> Duration {
    let began = Instant::now();
    while one(pool).await.is_err() {
        assert!(began.elapsed() < Duration::from_secs(20), "no recovery: {:?}", pool.stats());
        tokio::task::yield_now().await;
    }
    began.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn survives_kill_and_terminated_backends() {
    let Some(server) = require(Postgres::start()) else { return };
    let manager = SqlxPostgres::new(options(&server));
    let pool = Pool::builder(manager).max_size(4).validation_bypass(Duration::ZERO).build().unwrap();
    assert_eq!(one(&pool).await.unwrap(), 1);

    // All backends but our own are terminated: the check finds it, no caller sees it.
    let held = [pool.get().await.unwrap(), pool.get().await.unwrap()];
    let mut other = pool.get().await.unwrap();
    drop(held);
    sqlx::query("select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() and usename is not null")
        .execute(&mut *other)
        .await
        .unwrap();
    for _ in 0..8 {
        assert_eq!(one(&pool).await.unwrap(), 1);
    }
    drop(other);

    // The server dies: the real error, soon; and all is well once it is back.
    server.kill().unwrap();
    let began = Instant::now();
    let error = one(&pool).await.unwrap_err();
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    assert!(error.to_lowercase().contains("refused"), "{error}");
    server.restart().unwrap();
    let recovery = poll_until_served(&pool).await;
    assert!(recovery < Duration::from_secs(2), "{recovery:?}");
    assert_eq!(pool.close(Duration::from_secs(5)).await, 0);
}

/// T30: a frozen server holds nobody beyond the timeout, and the pool recovers by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t30_a_frozen_server_holds_nobody() {
    let Some(server) = require(Postgres::start()) else { return };
    let manager = SqlxPostgres::new(options(&server));
    let pool = Pool::builder(manager)
        .max_size(4)
        .validation_bypass(Duration::ZERO)
        .validation_timeout(Duration::from_millis(300))
        .connect_timeout(Duration::from_millis(500))
        .acquire_timeout(Duration::from_secs(1))
        .build()
        .unwrap();
    assert_eq!(one(&pool).await.unwrap(), 1);
    server.pause().unwrap();
    for _ in 0..3 {
        let began = Instant::now();
        assert!(one(&pool).await.is_err());
        assert!(began.elapsed() < Duration::from_millis(1500), "{:?}", began.elapsed());
    }
    server.resume().unwrap();
    poll_until_served(&pool).await;
}

#[tokio::test]
async fn t19_wrong_databases_are_told_at_once() {
    let Some(server) = require(Postgres::start()) else { return };
    let manager = SqlxPostgres::new(options(&server).database("nosuch"));
    let pool = Pool::builder(manager).build().unwrap();
    let began = Instant::now();
    let Err(Error::Connect { failure, .. }) = pool.get().await else { panic!("a permanent error") };
    assert!(failure.to_string().contains("nosuch"), "{failure}");
    assert!(began.elapsed() < Duration::from_secs(2));
}

/// T34: a raw `BEGIN` that was never ended: nobody gets the connection inside it. After a panic by itself, else by `clean`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t34_nobody_borrows_an_open_transaction() {
    let Some(server) = require(Postgres::start()) else { return };
    let pool = Pool::builder(SqlxPostgres::new(options(&server)).clean(true)).max_size(2).build().unwrap();
    let level = "select pg_current_xact_id_if_assigned() is null";
    for _ in 0..5 {
        let mut connection = pool.get().await.unwrap();
        let fresh: bool = sqlx::query_scalar(level).fetch_one(&mut *connection).await.unwrap();
        assert!(fresh, "inside no transaction");
        sqlx::raw_sql("begin; create temp table t (n int); set statement_timeout = 1234")
            .execute(&mut *connection)
            .await
            .unwrap();
    }
    assert_eq!(pool.stats().discarded, 0, "cleaned, not thrown away");
    let pool = Pool::builder(SqlxPostgres::new(options(&server))).max_size(2).build().unwrap();
    for _ in 0..5 {
        let pool = pool.clone();
        let task = tokio::spawn(async move {
            let mut connection = pool.get().await.unwrap();
            let fresh: bool = sqlx::query_scalar(level).fetch_one(&mut *connection).await.unwrap();
            sqlx::raw_sql("begin; create temp table t (n int)").execute(&mut *connection).await.unwrap();
            assert!(!fresh, "the panic under test");
            unreachable!("inside a transaction of another's");
        });
        let panic = task.await.unwrap_err().into_panic();
        assert!(panic.downcast_ref::<&str>().is_some_and(|text| text.contains("under test")));
    }
}

/// All backends are killed under load: who was in the middle of a query loses it, and nobody else notices for long. Without
/// a check on each borrow.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_backends_cost_what_was_in_flight() {
    let Some(server) = require(Postgres::start()) else { return };
    for callers in [2, 32] {
        let pool = Pool::builder(SqlxPostgres::new(options(&server))).max_size(10).build().unwrap();
        let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let tasks: Vec<_> = (0..callers)
            .map(|_| {
                let (pool, stop) = (pool.clone(), std::sync::Arc::clone(&stop));
                tokio::spawn(async move {
                    let mut errors = 0;
                    while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                        errors += usize::from(one(&pool).await.is_err());
                    }
                    errors
                })
            })
            .collect();
        let began = Instant::now();
        while pool.stats().acquired < 500 {
            assert!(began.elapsed() < Duration::from_secs(20));
            tokio::task::yield_now().await;
        }
        let sql = "select count(pg_terminate_backend(pid)) from pg_stat_activity \
                   where pid <> pg_backend_pid() and backend_type = 'client backend'";
        server.psql(sql).unwrap();
        let killed_at = pool.stats().acquired;
        let began = Instant::now();
        while pool.stats().acquired < killed_at + 2000 {
            assert!(began.elapsed() < Duration::from_secs(20), "{:?}", pool.stats());
            tokio::task::yield_now().await;
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        let mut errors = 0;
        for task in tasks {
            errors += task.await.unwrap();
        }
        // At most one for each connection that was out, and one for who found out first.
        assert!(errors <= 11, "{errors} errors, {callers} callers");
        let _out = pool.close(Duration::from_secs(5)).await;
    }
}
