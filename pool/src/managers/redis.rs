//! Redis and Valkey connections of the redis crate.

use redis::aio::MultiplexedConnection;
use redis::{Client, ErrorKind, RedisError, cmd};

use crate::manager::{Manager, Verdict};

/// Opens [`MultiplexedConnection`]s.
///
/// A multiplexed connection may be cloned and shared; pool it where commands are not independent: transactions, `WATCH`,
/// blocking commands. A failed sign-in counts as a permanent error.
#[derive(Clone, Debug)]
pub struct Redis {
    client: Client,
    clean: bool,
}

impl Redis {
    /// A manager that connects through this client.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client, clean: false }
    }

    /// Whether a transaction that is still open and watched keys are given up in the background before anybody gets the
    /// connection. One round trip a borrow. Default: off.
    #[must_use]
    pub fn clean(mut self, clean: bool) -> Self {
        self.clean = clean;
        self
    }
}

impl Manager for Redis {
    type Connection = MultiplexedConnection;
    type Error = RedisError;

    async fn connect(&self) -> Result<MultiplexedConnection, RedisError> {
        self.client.get_multiplexed_async_connection().await
    }

    async fn validate(&self, connection: &mut MultiplexedConnection) -> Result<(), RedisError> {
        cmd("PING").query_async::<()>(connection).await
    }

    fn on_return(&self, _: &mut MultiplexedConnection) -> Verdict {
        if self.clean { Verdict::Reset } else { Verdict::Keep }
    }

    async fn reset(&self, connection: &mut MultiplexedConnection) -> Result<(), RedisError> {
        // An error where no transaction is open, which is the usual case. It gives up watched keys too.
        match cmd("DISCARD").query_async::<()>(connection).await {
            Err(error) if error.is_io_error() => return Err(error),
            _ => {}
        }
        cmd("UNWATCH").query_async::<()>(connection).await
    }

    fn is_permanent(&self, error: &RedisError) -> bool {
        matches!(error.kind(), ErrorKind::AuthenticationFailed | ErrorKind::InvalidClientConfig)
    }
}
