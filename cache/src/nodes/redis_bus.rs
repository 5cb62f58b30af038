//! Redis or Valkey as a bus: publish and subscribe.
//!
//! Not client tracking, because that tells of keys that change in Redis. Here the store changes, with a tier in Redis or without
//! one, and the message must come when the store has it. Over RESP3, one connection does both. A node that only writes has one to send.

use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, ProtocolVersion, PushInfo, PushKind, RedisError, from_redis_value_ref,
};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::bus::{Bus, BusError, Subscription};

/// A channel of Redis or Valkey, from version 6 on. Needs the feature `redis`.
///
/// The messages of a Redis Cluster come in no single order; take one server. One that is a replica when this connects is refused: what
/// is sent there, others do not hear.
///
/// ```
/// use millpond_cache::nodes::{Coherence, Invalidations, RedisBus};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let bus = RedisBus::new(&redis::Client::open("redis://127.0.0.1/")?, "airports")?;
/// let changes = Invalidations::new(bus, Coherence::new());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct RedisBus {
    client: Client,
    channel: String,
    connection: Mutex<Option<MultiplexedConnection>>,
}

impl RedisBus {
    /// A channel, of one cache: all nodes use the same, and no other cache does.
    ///
    /// # Errors
    /// None that anybody knows of: the client's address was valid already.
    pub fn new(client: &Client, channel: impl Into<String>) -> Result<Self, BusError> {
        let info = client.get_connection_info().clone();
        let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        let client = Client::open(info.set_redis_settings(settings)).map_err(BusError::new)?;
        Ok(Self { client, channel: channel.into(), connection: Mutex::new(None) })
    }
}

/// Messages of a [`RedisBus`].
#[derive(Debug)]
pub struct RedisSubscription {
    pushed: UnboundedReceiver<PushInfo>,
    /// Keeps it open.
    _connection: MultiplexedConnection,
}

impl Bus for RedisBus {
    type Subscription = RedisSubscription;

    async fn subscribe(&self) -> Result<RedisSubscription, BusError> {
        let (sender, pushed) = unbounded_channel();
        // Who waits for an answer has a limit of his own.
        let config = AsyncConnectionConfig::new()
            .set_push_sender(sender)
            .set_connection_timeout(None)
            .set_response_timeout(None);
        let connecting = self.client.get_multiplexed_async_connection_with_config(&config);
        let mut connection = connecting.await.map_err(BusError::new)?;
        if is_replica(&mut connection).await {
            return Err(BusError::new("this Redis is a replica: what is sent there, others do not hear"));
        }
        connection.subscribe(&self.channel).await.map_err(BusError::new)?;
        *self.connection.lock() = Some(connection.clone());
        Ok(RedisSubscription { pushed, _connection: connection })
    }

    async fn publish(&self, text: String) -> Result<(), BusError> {
        let mut doubt = Doubt { bus: self, is_justified: true };
        let mut connection = self.sender().await.map_err(BusError::new)?;
        let sent: Result<i64, RedisError> =
            redis::cmd("PUBLISH").arg(&self.channel).arg(text).query_async(&mut connection).await;
        doubt.is_justified = sent.is_err();
        sent.map(|_| ()).map_err(BusError::new)
    }
}

impl RedisBus {
    /// The connection that hears, or one only to send.
    async fn sender(&self) -> Result<MultiplexedConnection, RedisError> {
        if let Some(connection) = &*self.connection.lock() {
            return Ok(connection.clone());
        }
        let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        let mut made = self.client.get_multiplexed_async_connection_with_config(&config).await?;
        if is_replica(&mut made).await {
            return Err(RedisError::from((redis::ErrorKind::Io, "this Redis is a replica")));
        }
        Ok(self.connection.lock().get_or_insert(made).clone())
    }
}

/// Whether the server is known to be a replica. It takes messages, and tells nobody but its own subscribers.
async fn is_replica(connection: &mut MultiplexedConnection) -> bool {
    let info: Result<String, RedisError> =
        redis::cmd("INFO").arg("replication").query_async(connection).await;
    // An account may not be allowed to ask.
    info.is_ok_and(|info| info.lines().any(|line| line.trim() == "role:slave"))
}

/// A connection on which something failed, or was given up, is not used again to send.
struct Doubt<'b> {
    bus: &'b RedisBus,
    is_justified: bool,
}

impl Drop for Doubt<'_> {
    fn drop(&mut self) {
        if self.is_justified {
            *self.bus.connection.lock() = None;
        }
    }
}

impl Subscription for RedisSubscription {
    async fn next(&mut self) -> Result<String, BusError> {
        loop {
            let pushed = self.pushed.recv().await.ok_or_else(|| BusError::new("the connection has ended"))?;
            match (pushed.kind, pushed.data.get(1)) {
                (PushKind::Message, Some(text)) => {
                    // What is no text is no message, and is told apart there.
                    let bytes: Vec<u8> = from_redis_value_ref(text).map_err(BusError::new)?;
                    return Ok(String::from_utf8_lossy(&bytes).into_owned());
                }
                (PushKind::Disconnection | PushKind::Unsubscribe, _) => {
                    return Err(BusError::new("the connection has ended"));
                }
                _ => {}
            }
        }
    }
}
