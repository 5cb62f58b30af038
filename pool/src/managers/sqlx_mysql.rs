//! MySQL and MariaDB connections of sqlx.

use sqlx::mysql::{MySqlConnectOptions, MySqlConnection, MySqlDatabaseError};
use sqlx::{ConnectOptions, Connection, Executor};

use super::provider::{Provider, ProviderFuture};
use crate::manager::{Manager, Verdict};

/// Errors of the server that do not go away by themselves: no access to the database or at all, no such database, no
/// permission for this host, a way to sign in that is not supported.
const PERMANENT: [u16; 5] = [1044, 1045, 1049, 1130, 1251];

/// Opens [`MySqlConnection`]s, to MySQL or MariaDB.
///
/// A connection that comes back is drained in the background of what is still to come of its last query, so that one that
/// broke under a query is noticed and never lent again: a task a borrow, and no round trip. One that comes back inside a
/// transaction that sqlx knows of is discarded; one that was opened by a `BEGIN` of the user's own is ended by
/// [`clean`](Self::clean).
#[derive(Clone, Debug)]
pub struct SqlxMySql {
    options: Provider<MySqlConnectOptions, sqlx::Error>,
    clean: bool,
}

impl SqlxMySql {
    /// A manager that connects with these options.
    #[must_use]
    pub fn new(options: MySqlConnectOptions) -> Self {
        Self { options: Provider::Fixed(options), clean: false }
    }

    /// A manager that asks for its options before each attempt to connect; as
    /// `SqlxPostgres::with_provider`.
    #[must_use]
    pub fn with_provider(
        provider: impl Fn() -> ProviderFuture<MySqlConnectOptions, sqlx::Error> + Send + Sync + 'static,
    ) -> Self {
        Self { options: Provider::ask(provider), clean: false }
    }

    /// Whether a transaction that is still open is rolled back in the background before anybody gets the connection. One
    /// round trip a borrow. Settings and temporary tables stay. Default: off.
    #[must_use]
    pub fn clean(mut self, clean: bool) -> Self {
        self.clean = clean;
        self
    }
}

impl Manager for SqlxMySql {
    type Connection = MySqlConnection;
    type Error = sqlx::Error;

    async fn connect(&self) -> Result<MySqlConnection, sqlx::Error> {
        self.options.options().await?.connect().await
    }

    async fn validate(&self, connection: &mut MySqlConnection) -> Result<(), sqlx::Error> {
        connection.ping().await
    }

    fn on_return(&self, connection: &mut MySqlConnection) -> Verdict {
        // sqlx reads MySQL's packets in two steps, so the draining must not be dropped half way: no look in passing, as
        // with PostgreSQL.
        if connection.is_in_transaction() { Verdict::Discard } else { Verdict::Reset }
    }

    async fn reset(&self, connection: &mut MySqlConnection) -> Result<(), sqlx::Error> {
        connection.flush().await?;
        if self.clean {
            connection.execute(sqlx::raw_sql("ROLLBACK")).await?;
        }
        Ok(())
    }

    async fn close(&self, connection: MySqlConnection) {
        // Nothing can be done about a connection that does not even close.
        let _closed = connection.close().await;
    }

    fn is_permanent(&self, error: &sqlx::Error) -> bool {
        let error =
            error.as_database_error().and_then(|error| error.try_downcast_ref::<MySqlDatabaseError>());
        error.is_some_and(|error| PERMANENT.contains(&error.number()))
    }
}
