//! PostgreSQL connections of sqlx.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Connection, Executor};

use super::provider::{Provider, ProviderFuture};
use crate::manager::{Manager, Verdict};

/// Opens [`PgConnection`]s.
///
/// A connection that comes back after a query that failed because it broke is noticed, and makes all others prove themselves
/// before they are lent; that costs no system call where all is well. One that comes back inside a transaction that sqlx
/// knows of is discarded. One that was opened by a `BEGIN` of the user's own is seen only by [`clean`](Self::clean). A wrong password or role (SQLSTATE class 28) and an unknown
/// database (3D000) count as permanent errors.
#[derive(Clone, Debug)]
pub struct SqlxPostgres {
    options: Provider<PgConnectOptions, sqlx::Error>,
    clean: bool,
}

impl SqlxPostgres {
    /// A manager that connects with these options.
    #[must_use]
    pub fn new(options: PgConnectOptions) -> Self {
        Self { options: Provider::Fixed(options), clean: false }
    }

    /// A manager that asks for its options before each attempt to connect: for passwords that rotate and tokens that expire.
    /// The time the provider takes is part of [`connect_timeout`](crate::PoolBuilder::connect_timeout), and its error is a
    /// connect error.
    ///
    /// ```
    /// use millpond_pool::managers::SqlxPostgres;
    /// use sqlx::postgres::PgConnectOptions;
    /// # async fn token() -> Result<String, sqlx::Error> { Ok(String::new()) }
    /// let manager = SqlxPostgres::with_provider(|| {
    ///     Box::pin(async { Ok(PgConnectOptions::new().host("db").password(&token().await?)) })
    /// });
    /// ```
    #[must_use]
    pub fn with_provider(
        provider: impl Fn() -> ProviderFuture<PgConnectOptions, sqlx::Error> + Send + Sync + 'static,
    ) -> Self {
        Self { options: Provider::ask(provider), clean: false }
    }

    /// Whether each connection that comes back is cleaned in the background before anybody gets it: open transactions are
    /// rolled back, settings, temporary tables, cursors, `LISTEN`s and advisory locks go; prepared statements stay. One round
    /// trip a borrow, during which the connection is not lent. Default: off.
    #[must_use]
    pub fn clean(mut self, clean: bool) -> Self {
        self.clean = clean;
        self
    }
}

impl Manager for SqlxPostgres {
    type Connection = PgConnection;
    type Error = sqlx::Error;

    async fn connect(&self) -> Result<PgConnection, sqlx::Error> {
        self.options.options().await?.connect().await
    }

    async fn validate(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        connection.ping().await
    }

    fn on_return(&self, connection: &mut PgConnection) -> Verdict {
        // Reads what is still to come of the last query, as far as it is there. After a query that got no answer because the
        // connection broke, that is an error. What is not there yet is left to the next query.
        let flushed = pin!(connection.flush()).poll(&mut Context::from_waker(Waker::noop()));
        if let Poll::Ready(Err(_)) = flushed {
            return Verdict::Broken;
        }
        if connection.is_in_transaction() {
            Verdict::Discard
        } else if self.clean {
            Verdict::Reset
        } else {
            Verdict::Keep
        }
    }

    async fn reset(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        connection.execute(sqlx::raw_sql(super::POSTGRES_CLEAN)).await.map(drop)
    }

    async fn close(&self, connection: PgConnection) {
        // Nothing can be done about a connection that does not even close.
        let _closed = connection.close().await;
    }

    fn is_permanent(&self, error: &sqlx::Error) -> bool {
        let code = error.as_database_error().and_then(|error| error.code());
        code.is_some_and(|code| super::is_permanent_in_postgres(&code))
    }
}
