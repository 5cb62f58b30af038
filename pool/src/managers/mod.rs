//! Ready-made managers, one for each driver, each behind a feature of the same name.

#[cfg(feature = "sqlx-postgres")]
mod sqlx_postgres;
#[cfg(feature = "sqlx-sqlite")]
mod sqlx_sqlite;

#[cfg(feature = "sqlx-postgres")]
pub use sqlx_postgres::SqlxPostgres;
#[cfg(feature = "sqlx-sqlite")]
pub use sqlx_sqlite::SqlxSqlite;
