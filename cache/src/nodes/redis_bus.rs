//! Redis or Valkey as a bus: publish and subscribe.
//!
//! Not client tracking, because that tells of keys that change in Redis. Here the store changes, with a tier in Redis or without
//! one, and the message must come when the store has it. Over RESP3, one connection does both. A node that only writes has one to send.

use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, ProtocolVersion, PushInfo, PushKind, RedisError, RedisResult,
    from_redis_value_ref,
};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::watch;

use super::bus::{Bus, BusError, Subscription};
use super::replication::{self, Replication};

/// A channel of Redis or Valkey, from version 6 on. Needs the feature `redis`.
///
/// The messages of a Redis Cluster come in no single order; take one server, a primary. What is sent to a replica, others do not
/// hear: with each message the server is asked whether it still is a primary, and was one all the time (`INFO replication`). If not,
/// the message counts as not sent and the connection as cut. An account that may not ask does without that.
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
    connection: Mutex<Option<Sender>>,
    /// What the server told when it was heard last, since when nothing must have been missed.
    heard: Mutex<Option<Replication>>,
    /// Changes when the server is found to be a primary no more.
    demoted: watch::Sender<()>,
}

/// A connection to send on, and what the server told when it was made.
#[derive(Clone, Debug)]
struct Sender {
    connection: MultiplexedConnection,
    then: Replication,
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
        Ok(Self {
            client,
            channel: channel.into(),
            connection: Mutex::new(None),
            heard: Mutex::new(None),
            demoted: watch::Sender::new(()),
        })
    }
}

/// Messages of a [`RedisBus`].
#[derive(Debug)]
pub struct RedisSubscription {
    pushed: UnboundedReceiver<PushInfo>,
    demoted: watch::Receiver<()>,
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
        connection.subscribe(&self.channel).await.map_err(BusError::new)?;
        // Asked afterwards: from here on it is asked with each message.
        let then = Replication::of(&mut connection).await;
        then.is_primary().map_err(BusError::new)?;
        self.compare(&then);
        *self.heard.lock() = Some(then.clone());
        let demoted = self.demoted.subscribe();
        *self.connection.lock() = Some(Sender { connection: connection.clone(), then });
        Ok(RedisSubscription { pushed, demoted, _connection: connection })
    }

    async fn publish(&self, text: String) -> Result<(), BusError> {
        let mut doubt = Doubt { bus: self, is_justified: true };
        let mut sender = self.sender().await.map_err(BusError::new)?;
        let mut message = redis::pipe();
        message.cmd("PUBLISH").arg(&self.channel).arg(text).add_command(replication::question());
        message.ignore_errors();
        let (sent, info): (RedisResult<i64>, RedisResult<String>) =
            message.query_async(&mut sender.connection).await.map_err(BusError::new)?;
        sent.map_err(BusError::new)?;
        let now = info.map_or_else(|_| Replication::default(), |info| Replication::read(&info));
        if let Err(error) = now.is_primary_since(&sender.then) {
            // Whoever hears on this server may have missed something.
            self.demoted.send_replace(());
            return Err(BusError::new(error));
        }
        doubt.is_justified = false;
        Ok(())
    }
}

impl RedisBus {
    /// On a new connection: whoever hears on an older one may have missed something.
    fn compare(&self, now: &Replication) {
        let missed = self.heard.lock().as_ref().is_some_and(|then| now.is_primary_since(then).is_err());
        if missed {
            self.demoted.send_replace(());
        }
    }

    /// The connection that hears, or one only to send.
    async fn sender(&self) -> Result<Sender, RedisError> {
        if let Some(sender) = &*self.connection.lock() {
            return Ok(sender.clone());
        }
        let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        let mut connection = self.client.get_multiplexed_async_connection_with_config(&config).await?;
        let then = Replication::of(&mut connection).await;
        self.compare(&then);
        then.is_primary()?;
        Ok(self.connection.lock().get_or_insert(Sender { connection, then }).clone())
    }
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
            let pushed = tokio::select! {
                biased;
                Ok(()) = self.demoted.changed() => None,
                pushed = self.pushed.recv() => pushed,
            };
            let pushed = pushed.ok_or_else(|| BusError::new("the connection has ended"))?;
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
