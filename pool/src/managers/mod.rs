//! Ready-made managers, one for each driver, each behind a feature of the same name; adapters for managers of other pools,
//! likewise; and [`Objects`] for what is no connection, which needs no feature.

#[cfg(feature = "bb8")]
mod bb8;
#[cfg(feature = "deadpool")]
mod deadpool;
mod objects;
#[cfg(any(feature = "sqlx-postgres", feature = "sqlx-mysql", feature = "tokio-postgres"))]
mod provider;
#[cfg(feature = "r2d2")]
mod r2d2;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "sqlx-mysql")]
mod sqlx_mysql;
#[cfg(feature = "sqlx-postgres")]
mod sqlx_postgres;
#[cfg(feature = "sqlx-sqlite")]
mod sqlx_sqlite;
#[cfg(feature = "tokio-postgres")]
mod tokio_postgres;

#[cfg(feature = "bb8")]
pub use bb8::Bb8;
#[cfg(feature = "deadpool")]
pub use deadpool::{Deadpool, DeadpoolError, DeadpoolObject};
pub use objects::Objects;
#[cfg(any(feature = "sqlx-postgres", feature = "sqlx-mysql", feature = "tokio-postgres"))]
pub use provider::ProviderFuture;
#[cfg(feature = "r2d2")]
pub use r2d2::{R2d2, R2d2Connection, R2d2Error};
#[cfg(feature = "redis")]
pub use redis::{Redis, RedisConnection};
#[cfg(feature = "sqlx-mysql")]
pub use sqlx_mysql::SqlxMySql;
#[cfg(feature = "sqlx-postgres")]
pub use sqlx_postgres::SqlxPostgres;
#[cfg(feature = "sqlx-sqlite")]
pub use sqlx_sqlite::SqlxSqlite;
#[cfg(feature = "tokio-postgres")]
pub use tokio_postgres::{PostgresClient, TokioPostgres};

/// What makes a session of PostgreSQL as good as new without forgetting its prepared statements. `DISCARD ALL` would.
#[cfg(any(feature = "sqlx-postgres", feature = "tokio-postgres"))]
const POSTGRES_CLEAN: &str = "ROLLBACK; CLOSE ALL; SET SESSION AUTHORIZATION DEFAULT; RESET ALL; UNLISTEN *; \
    SELECT pg_advisory_unlock_all(); DISCARD TEMP; DISCARD SEQUENCES";

/// Whether an SQLSTATE says that trying again is useless: a wrong password or role, an unknown database.
#[cfg(any(feature = "sqlx-postgres", feature = "tokio-postgres"))]
fn is_permanent_in_postgres(code: &str) -> bool {
    code.starts_with("28") || code == "3D000"
}
