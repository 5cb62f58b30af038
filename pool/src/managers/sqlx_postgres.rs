//! PostgreSQL connections of sqlx.

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Connection};

use crate::manager::{Manager, Verdict};

/// Opens [`PgConnection`]s.
///
/// A connection that comes back inside a transaction that sqlx knows of is discarded. A wrong password or role (SQLSTATE
/// class 28) and an unknown database (3D000) count as permanent errors.
#[derive(Clone, Debug)]
pub struct SqlxPostgres {
    options: PgConnectOptions,
}

impl SqlxPostgres {
    /// A manager that connects with these options.
    #[must_use]
    pub fn new(options: PgConnectOptions) -> Self {
        Self { options }
    }
}

impl Manager for SqlxPostgres {
    type Connection = PgConnection;
    type Error = sqlx::Error;

    async fn connect(&self) -> Result<PgConnection, sqlx::Error> {
        self.options.connect().await
    }

    async fn validate(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        connection.ping().await
    }

    fn on_return(&self, connection: &mut PgConnection) -> Verdict {
        if connection.is_in_transaction() { Verdict::Discard } else { Verdict::Keep }
    }

    async fn close(&self, connection: PgConnection) {
        // Nothing can be done about a connection that does not even close.
        let _closed = connection.close().await;
    }

    fn is_permanent(&self, error: &sqlx::Error) -> bool {
        let code = error.as_database_error().and_then(|error| error.code());
        code.is_some_and(|code| code.starts_with("28") || code == "3D000")
    }
}
