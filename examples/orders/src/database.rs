//! The database: pools on SQLite or PostgreSQL, the tables, and what its errors mean. The SQL is the same on both.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use millpond_cache::backing::StoreError;
use millpond_pool::Pool;
use millpond_pool::managers::{SqlxPostgres, SqlxSqlite};
use sqlx::Connection;
use sqlx::postgres::{PgConnectOptions, PgDatabaseError};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};

use crate::config::Config;

/// Why a statement has no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no connection.
    #[error(transparent)]
    Pool(#[from] millpond_pool::Error<sqlx::Error>),
    /// The database refused, or the connection broke.
    #[error(transparent)]
    Statement(#[from] sqlx::Error),
    /// Nobody writes this table through a cache.
    #[error("the table is not written through its cache")]
    ReadOnly,
}

impl Error {
    /// Whether it failed because of the server or the connection, and not because of itself.
    #[must_use]
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Pool(_) => true,
            Self::Statement(error) => is_outage(error),
            Self::ReadOnly => false,
        }
    }

    /// For a cache: whether to try again. (The `?` operator would call each error transient.)
    #[must_use]
    pub fn for_cache(self) -> StoreError<Self> {
        if self.is_outage() { StoreError::Transient(self) } else { StoreError::Permanent(self) }
    }
}

/// Whether a statement failed because of the server or the connection.
#[must_use]
pub fn is_outage(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed => {
            true
        }
        sqlx::Error::Database(error) => {
            if let Some(error) = error.try_downcast_ref::<PgDatabaseError>() {
                // Class 57: shutting down, starting up, terminated by the administrator. 53: out of resources.
                // 08: connection. 40: rolled back because of others. 25006: a standby, which takes no writes.
                let code = error.code();
                return code == "25006"
                    || ["57", "53", "08", "40"].iter().any(|class| code.starts_with(class));
            }
            // The low byte of an extended code is what kind it is.
            let code = error.code().and_then(|code| code.parse::<u32>().ok());
            code.is_some_and(|code| SQLITE_OUTAGES.contains(&(code & 0xff)))
        }
        _ => false,
    }
}

/// Busy, locked, read-only, I/O error, full, cannot open.
const SQLITE_OUTAGES: [u32; 6] = [5, 6, 8, 10, 13, 14];

/// A reservation is there from the moment that units are taken from the stock until the order is in its table, so that a crash in
/// between leaves a trace. `owner` is the instance in whose journal the order is.
const CREATE: [&str; 5] = [
    "CREATE TABLE IF NOT EXISTS users (id TEXT PRIMARY KEY, name TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS stock (sku TEXT PRIMARY KEY, units BIGINT NOT NULL CHECK (units >= 0))",
    "CREATE TABLE IF NOT EXISTS reservations (
        order_id TEXT PRIMARY KEY, user_id TEXT NOT NULL, sku TEXT NOT NULL, quantity BIGINT NOT NULL, owner TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS orders (
        id TEXT PRIMARY KEY, user_id TEXT NOT NULL, sku TEXT NOT NULL, quantity BIGINT NOT NULL, placed_at_ms BIGINT NOT NULL)",
    "CREATE INDEX IF NOT EXISTS orders_by_user ON orders (user_id, placed_at_ms, id)",
];

/// Several instances may start at once, and PostgreSQL's `IF NOT EXISTS` is no lock.
const LOCK: &str = "SELECT pg_advisory_xact_lock(50051)";

/// Pools, and a count of statements.
#[derive(Debug)]
pub struct Database {
    pub(crate) pools: Pools,
    statements: AtomicU64,
}

#[derive(Debug)]
pub(crate) enum Pools {
    /// Embedded. It has one writer at a time, so writers stand in line for one connection, first come, first served, instead
    /// of asking the file again and again whether it is free.
    Sqlite { readers: Pool<SqlxSqlite>, writer: Pool<SqlxSqlite> },
    /// A server.
    Postgres(Pool<SqlxPostgres>),
}

/// Runs code with a connection of this pool. One that is broken goes to nobody else.
macro_rules! run {
    ($pool:expr, |$connection:ident| $body:expr) => {
        async {
            let mut guard = $pool.get().await?;
            let result = async {
                let $connection = &mut *guard;
                Ok::<_, sqlx::Error>($body)
            };
            let result = result.await;
            if result.as_ref().is_err_and($crate::database::is_outage) {
                millpond_pool::Guard::discard(guard);
            }
            Ok::<_, $crate::database::Error>(result?)
        }
        .await
    };
}

/// Runs the same code that reads on whichever database it is.
macro_rules! reading {
    ($database:expr, |$connection:ident| $body:expr) => {
        match &$database.pools {
            $crate::database::Pools::Sqlite { readers, .. } => {
                $crate::database::run!(readers, |$connection| $body)
            }
            $crate::database::Pools::Postgres(pool) => $crate::database::run!(pool, |$connection| $body),
        }
    };
}

/// Runs the same code in a transaction, which it must commit or roll back, on whichever database it is.
macro_rules! writing {
    ($database:expr, |$transaction:ident| $body:expr) => {
        match &$database.pools {
            $crate::database::Pools::Sqlite { writer, .. } => {
                $crate::database::run!(writer, |connection| {
                    // The ordinary BEGIN takes the lock at the first write, and then refuses who has read before others wrote.
                    let mut $transaction =
                        sqlx::Connection::begin_with(connection, "BEGIN IMMEDIATE").await?;
                    $body
                })
            }
            $crate::database::Pools::Postgres(pool) => $crate::database::run!(pool, |connection| {
                let mut $transaction = sqlx::Connection::begin(connection).await?;
                $body
            }),
        }
    };
}

pub(crate) use {reading, run, writing};

impl Database {
    /// Pools for the configured database. Opens nothing yet.
    ///
    /// # Errors
    /// If the address is not one of a known database.
    pub fn new(config: &Config) -> anyhow::Result<Self> {
        let (size, timeout) = (usize::from(config.max_connections), config.acquire_timeout);
        let pools = if config.database.starts_with("sqlite:") {
            anyhow::ensure!(
                names_a_file(&config.database),
                "--database: SQLite needs the name of a file; a database in memory is one for each connection"
            );
            let options: SqliteConnectOptions = config.database.parse()?;
            let options = options
                .create_if_missing(true)
                .journal_mode(SqliteJournalMode::Wal)
                // What was sold must not come back after a power cut: each commit is synced.
                .synchronous(SqliteSynchronous::Full)
                .busy_timeout(Duration::from_secs(5));
            let pool = |name, size| {
                let pool = Pool::builder(SqlxSqlite::new(options.clone()));
                pool.max_size(size).acquire_timeout(timeout).name(name).build()
            };
            Pools::Sqlite {
                readers: pool("sqlite readers", (size - 1).max(1))?,
                writer: pool("sqlite writer", 1)?,
            }
        } else {
            anyhow::ensure!(
                config.database.starts_with("postgres:") || config.database.starts_with("postgresql:"),
                // Not the address itself: it may have a password in it.
                "--database: it is neither sqlite:… nor postgres://…"
            );
            let options: PgConnectOptions = config.database.parse()?;
            // The server gives up, too: a cache that is told of a failure must not be overtaken by a write that still comes.
            let limit = config.request_timeout.as_millis().max(1).to_string();
            let options = options.options([("statement_timeout", limit)]);
            let pool = Pool::builder(SqlxPostgres::new(options))
                .max_size(size)
                .acquire_timeout(timeout)
                .connect_timeout(Duration::from_secs(2))
                .validation_timeout(Duration::from_secs(1))
                .name("postgres");
            Pools::Postgres(pool.build()?)
        };
        Ok(Self { pools, statements: AtomicU64::new(0) })
    }

    /// Counts a statement that is about to run.
    pub(crate) fn sql(&self, statement: &'static str) -> &'static str {
        self.statements.fetch_add(1, Ordering::Relaxed);
        statement
    }

    /// Statements that ran.
    #[must_use]
    pub fn statements(&self) -> u64 {
        self.statements.load(Ordering::Relaxed)
    }

    /// Makes the tables that are missing.
    ///
    /// # Errors
    /// If the database refuses.
    pub async fn create(&self) -> Result<(), Error> {
        if let Pools::Postgres(pool) = &self.pools {
            return run!(pool, |connection| {
                let mut transaction = connection.begin().await?;
                sqlx::query(LOCK).execute(&mut *transaction).await?;
                for statement in CREATE {
                    sqlx::query(self.sql(statement)).execute(&mut *transaction).await?;
                }
                transaction.commit().await?;
            });
        }
        writing!(self, |transaction| {
            for statement in CREATE {
                sqlx::query(self.sql(statement)).execute(&mut *transaction).await?;
            }
            transaction.commit().await?;
        })
    }

    /// Whether it answers.
    ///
    /// # Errors
    /// If it does not.
    pub async fn ping(&self) -> Result<(), Error> {
        reading!(self, |connection| {
            sqlx::query(self.sql("SELECT 1")).execute(connection).await?;
        })
    }

    /// Closes all connections; those in use get so long. How many were left.
    pub async fn close(&self, deadline: Duration) -> usize {
        match &self.pools {
            Pools::Sqlite { readers, writer } => {
                let (readers, writer) = tokio::join!(readers.close(deadline), writer.close(deadline));
                readers + writer
            }
            Pools::Postgres(pool) => pool.close(deadline).await,
        }
    }
}

/// Whether a SQLite address is that of a file, and not of a database that ends with its connection.
fn names_a_file(address: &str) -> bool {
    let address = address.trim_start_matches("sqlite:").trim_start_matches("//");
    let (path, parameters) = address.split_once('?').unwrap_or((address, ""));
    !path.is_empty()
        && path != ":memory:"
        && !parameters.split('&').any(|parameter| parameter == "mode=memory")
}
