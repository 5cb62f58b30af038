//! PostgreSQL as a bus: LISTEN and NOTIFY.

use sqlx::PgPool;
use sqlx::postgres::PgListener;

use super::bus::{Bus, BusError, Subscription};

/// A channel of PostgreSQL, through `sqlx`. Needs the feature `postgres-bus`.
///
/// For nodes that share a database and nothing else: who is cut off from the bus can't write either. It takes one connection of
/// the pool to listen, and another for a moment to send. A message with many keys, beyond 8,000 bytes, becomes "forget everything".
///
/// ```no_run
/// use millpond_cache::nodes::{Coherence, Invalidations, PostgresBus};
/// use sqlx::PgPool;
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = PgPool::connect_lazy("postgres://localhost/airports")?;
/// let changes = Invalidations::new(PostgresBus::new(pool, "airports"), Coherence::new());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct PostgresBus {
    pool: PgPool,
    channel: String,
}

impl PostgresBus {
    /// A channel, of one cache: all nodes use the same, and no other cache does. The pool must have room for two connections.
    pub fn new(pool: PgPool, channel: impl Into<String>) -> Self {
        Self { pool, channel: channel.into() }
    }
}

/// Messages of a [`PostgresBus`].
#[derive(Debug)]
pub struct PostgresSubscription(PgListener);

impl Bus for PostgresBus {
    type Subscription = PostgresSubscription;

    fn longest(&self) -> usize {
        7999
    }

    async fn subscribe(&self) -> Result<PostgresSubscription, BusError> {
        let mut listener = PgListener::connect_with(&self.pool).await.map_err(BusError::new)?;
        // One that is made anew has missed something: that is for us to know.
        listener.eager_reconnect(false);
        listener.listen(&self.channel).await.map_err(BusError::new)?;
        Ok(PostgresSubscription(listener))
    }

    async fn publish(&self, text: String) -> Result<(), BusError> {
        let sending = sqlx::query("SELECT pg_notify($1, $2)").bind(&self.channel).bind(text);
        sending.execute(&self.pool).await.map(|_| ()).map_err(BusError::new)
    }
}

impl Subscription for PostgresSubscription {
    async fn next(&mut self) -> Result<String, BusError> {
        match self.0.try_recv().await {
            Ok(Some(notification)) => Ok(notification.payload().to_owned()),
            Ok(None) => Err(BusError::new("the connection has ended")),
            Err(error) => Err(BusError::new(error)),
        }
    }
}
