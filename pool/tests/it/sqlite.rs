//! Real SQLite connections.

use std::time::Duration;

use millpond_pool::Pool;
use millpond_pool::managers::SqlxSqlite;
use sqlx::Connection;
use sqlx::sqlite::SqliteConnectOptions;

#[tokio::test]
async fn statements_run_and_open_transactions_do_not_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let options = SqliteConnectOptions::new().filename(folder.path().join("db")).create_if_missing(true);
    let pool = Pool::builder(SqlxSqlite::new(options)).max_size(1).build().unwrap();
    let mut connection = pool.get().await.unwrap();
    sqlx::query("create table t (n int)").execute(&mut *connection).await.unwrap();
    let mut transaction = connection.begin().await.unwrap();
    sqlx::query("insert into t values (1)").execute(&mut *transaction).await.unwrap();
    #[expect(clippy::mem_forget, reason = "the accident under test")]
    std::mem::forget(transaction);
    drop(connection);
    assert_eq!(pool.stats().discarded, 1);
    let mut connection = pool.get().await.unwrap();
    let count: i64 = sqlx::query_scalar("select count(*) from t").fetch_one(&mut *connection).await.unwrap();
    assert_eq!(count, 0);
    drop(connection);
    assert_eq!(pool.close(Duration::from_secs(5)).await, 0);
}

#[tokio::test]
async fn a_file_that_cannot_be_opened_is_named() {
    let options = SqliteConnectOptions::new().filename("/nowhere/at/all.db");
    let pool =
        Pool::builder(SqlxSqlite::new(options)).acquire_timeout(Duration::from_secs(10)).build().unwrap();
    let error = pool.get().await.unwrap_err();
    assert!(error.to_string().contains("unable to open database file"), "{error}");
}
