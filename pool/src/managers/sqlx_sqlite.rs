//! SQLite connections of sqlx.

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection};

use crate::manager::{Manager, Verdict};

/// Opens [`SqliteConnection`]s.
///
/// A connection that comes back inside a transaction is discarded. Each connection to `:memory:` has a database of its own;
/// use a file, or a shared cache.
#[derive(Clone, Debug)]
pub struct SqlxSqlite {
    options: SqliteConnectOptions,
}

impl SqlxSqlite {
    /// A manager that connects with these options.
    #[must_use]
    pub fn new(options: SqliteConnectOptions) -> Self {
        Self { options }
    }
}

impl Manager for SqlxSqlite {
    type Connection = SqliteConnection;
    type Error = sqlx::Error;

    async fn connect(&self) -> Result<SqliteConnection, sqlx::Error> {
        self.options.connect().await
    }

    async fn validate(&self, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        connection.ping().await
    }

    fn on_return(&self, connection: &mut SqliteConnection) -> Verdict {
        if connection.is_in_transaction() { Verdict::Discard } else { Verdict::Keep }
    }

    async fn close(&self, connection: SqliteConnection) {
        // Nothing can be done about a connection that does not even close.
        let _closed = connection.close().await;
    }
}
