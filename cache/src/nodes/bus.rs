//! What carries messages between nodes.

/// The bus failed.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BusError(Box<dyn std::error::Error + Send + Sync>);

impl BusError {
    /// An error of any kind.
    pub fn new(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self(error.into())
    }
}

/// Carries short texts to all nodes, the sender included, in one order, to those who are connected.
///
/// [`RedisBus`](super::RedisBus) and [`PostgresBus`](super::PostgresBus) are there; another is a dozen lines. It may lose
/// messages only by ending the subscription that misses them.
pub trait Bus: Send + Sync + 'static {
    /// A connection on which messages arrive.
    type Subscription: Subscription;

    /// The longest text that it carries, in bytes. Default: any.
    fn longest(&self) -> usize {
        usize::MAX
    }

    /// Connects anew, and hears all that is sent after this has returned.
    ///
    /// # Errors
    /// If the bus can't be reached.
    ///
    /// # Cancellation
    /// May be dropped at any time.
    fn subscribe(&self) -> impl Future<Output = Result<Self::Subscription, BusError>> + Send;

    /// Sends to all who are subscribed. Comes back when the bus has it.
    ///
    /// # Errors
    /// If the bus may not have it.
    ///
    /// # Cancellation
    /// May be dropped at any time.
    fn publish(&self, text: String) -> impl Future<Output = Result<(), BusError>> + Send;
}

/// A connection on which messages arrive.
pub trait Subscription: Send + 'static {
    /// The next message.
    ///
    /// # Errors
    /// If some may have been missed: the connection has ended. It is not asked again.
    ///
    /// # Cancellation
    /// Nothing is lost.
    fn next(&mut self) -> impl Future<Output = Result<String, BusError>> + Send;
}
