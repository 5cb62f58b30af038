//! What write-behind needs of a journal. The journal itself is behind a feature, and knows how to serialize; the rest need not.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::journal_error::JournalError;
use super::queue::Departed;

/// Comes back when a write is as safe as the journal was told to make it.
#[derive(Debug)]
pub(crate) struct Receipt(pub(crate) oneshot::Receiver<Result<(), Arc<JournalError>>>);

impl Receipt {
    pub(crate) async fn wait(self) -> Result<(), Arc<JournalError>> {
        self.0.await.unwrap_or_else(|_| Err(Arc::new(JournalError::Stopped)))
    }
}

/// Figures for `StoreStats`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LogFigures {
    pub(crate) bytes: u64,
    pub(crate) syncs: u64,
    pub(crate) blocks: u64,
    pub(crate) compactions: u64,
}

/// A journal of accepted writes. Numbers are those of the queue.
pub(crate) trait Log<K, V>: Send + Sync {
    /// Whether there is room for more.
    fn admit(&self) -> Result<(), JournalError>;
    /// Runs the user's serializer, so not under a lock.
    fn encode(&self, key: &K, value: Option<&V>) -> Result<Vec<u8>, JournalError>;
    /// Called in the order of the numbers, under the queue's lock: only hands over.
    fn append(&self, number: u64, record: Vec<u8>) -> Receipt;
    /// Whether it would rather have all that is not resolved once more, which is so many writes, and forget the rest.
    fn wants_live(&self, length: usize) -> bool;
    /// The newest write of each key that has one which is not resolved, as of this number, the last that was appended. Called under the
    /// queue's lock: only hands over.
    fn keep_live(&self, number: u64, live: Vec<Departed<K, V>>);
    /// Comes back when all that was appended before is on the disk, whatever the mode; `None` if it is.
    fn barrier(&self) -> Option<Receipt>;
    /// Writes up to this number came from the journal.
    fn begin(&self, restored: u64);
    /// Writes up to this number are in the store or reported: they need not be kept.
    fn resolved(&self, number: u64);
    /// Keeps from now on all that is not resolved.
    fn freeze(&self);
    /// Whether it holds all that is not resolved.
    fn is_whole(&self) -> bool;
    /// Comes back when all is on the disk and the directory is free for others.
    fn close(&self) -> Option<Receipt>;
    fn figures(&self) -> LogFigures;
}

/// An open journal and what was in it, in the order in which it was accepted.
pub(crate) struct Opened<K, V> {
    pub(crate) log: Arc<dyn Log<K, V>>,
    pub(crate) replay: Vec<(K, Option<V>)>,
}
