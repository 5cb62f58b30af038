//! Redis and Valkey connections of the redis crate.

use std::fmt;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{Client, Cmd, ErrorKind, Pipeline, RedisError, RedisFuture, RedisResult, Value, cmd};

use crate::manager::{Manager, Verdict};

/// Opens [`RedisConnection`]s: multiplexed connections that remember whether they broke.
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
    type Connection = RedisConnection;
    type Error = RedisError;

    async fn connect(&self) -> Result<RedisConnection, RedisError> {
        let inner = self.client.get_multiplexed_async_connection().await?;
        Ok(RedisConnection { inner, broken: false })
    }

    async fn validate(&self, connection: &mut RedisConnection) -> Result<(), RedisError> {
        cmd("PING").query_async::<()>(connection).await
    }

    fn probe(&self, connection: &mut RedisConnection) -> bool {
        !connection.broken
    }

    fn on_return(&self, connection: &mut RedisConnection) -> Verdict {
        if connection.broken {
            Verdict::Broken
        } else if self.clean {
            Verdict::Reset
        } else {
            Verdict::Keep
        }
    }

    async fn reset(&self, connection: &mut RedisConnection) -> Result<(), RedisError> {
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

/// A multiplexed connection that remembers whether a command failed because it broke. Commands take it as they take any
/// connection: `cmd.query_async(&mut *guard)`.
pub struct RedisConnection {
    inner: MultiplexedConnection,
    broken: bool,
}

impl RedisConnection {
    /// The connection alone. A clone of it: what happens to that is not noticed here.
    #[must_use]
    pub fn inner(&self) -> MultiplexedConnection {
        self.inner.clone()
    }

    fn note<T>(broken: &mut bool, result: RedisResult<T>) -> RedisResult<T> {
        if let Err(error) = &result {
            *broken |= error.is_unrecoverable_error() || error.is_connection_dropped();
        }
        result
    }
}

impl ConnectionLike for RedisConnection {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        Box::pin(async move { Self::note(&mut self.broken, self.inner.req_packed_command(cmd).await) })
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        cmd: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        Box::pin(async move {
            let answers = self.inner.req_packed_commands(cmd, offset, count).await;
            Self::note(&mut self.broken, answers)
        })
    }

    fn get_db(&self) -> i64 {
        self.inner.get_db()
    }
}

impl fmt::Debug for RedisConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisConnection").field("broken", &self.broken).finish_non_exhaustive()
    }
}
