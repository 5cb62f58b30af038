//! What a [`StoreCache`](super::StoreCache) answers when it can't do what it was asked.

use std::fmt;
use std::sync::Arc;

use super::journal_error::JournalError;
use super::store::StoreError;

/// Why a call of a [`StoreCache`](super::StoreCache) failed. `E` is the store's own error. Cloning it is cheap.
#[derive(Debug)]
#[non_exhaustive]
pub enum StoreCacheError<E> {
    /// The store's error, shared by all who waited for the same load.
    Store(Arc<StoreError<E>>),
    /// The circuit breaker is open: the store failed too often a moment ago and was not asked.
    Unavailable,
    /// The load took longer than [`load_timeout`](super::StoreCacheBuilder::load_timeout).
    TimedOut,
    /// A write to a cache that is neither `write_through` nor `write_behind`.
    ReadOnly,
    /// An [`update`](super::StoreCache::update) of a cache that is not `write_through`.
    NotWriteThrough,
    /// A write after [`close`](super::StoreCache::close).
    Closed,
    /// The queue of writes is full, and [`WhenFull::Error`](super::WhenFull::Error) was chosen.
    QueueFull,
    /// The journal of write-behind did not take the write.
    ///
    /// [`Full`](JournalError::Full) and [`Encode`](JournalError::Encode): nothing was done. Else it is in the queue and will be
    /// written, but a crash before that loses it. Writing it again does no harm.
    Journal(Arc<JournalError>),
    /// The runtime shut down while the write was on its way: nobody knows whether the store has it.
    Interrupted,
}

impl<E> Clone for StoreCacheError<E> {
    fn clone(&self) -> Self {
        match self {
            Self::Store(error) => Self::Store(Arc::clone(error)),
            Self::Unavailable => Self::Unavailable,
            Self::TimedOut => Self::TimedOut,
            Self::ReadOnly => Self::ReadOnly,
            Self::NotWriteThrough => Self::NotWriteThrough,
            Self::Closed => Self::Closed,
            Self::QueueFull => Self::QueueFull,
            Self::Journal(error) => Self::Journal(Arc::clone(error)),
            Self::Interrupted => Self::Interrupted,
        }
    }
}

impl<E> From<StoreError<E>> for StoreCacheError<E> {
    fn from(error: StoreError<E>) -> Self {
        Self::Store(Arc::new(error))
    }
}

impl<E: fmt::Display> fmt::Display for StoreCacheError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(error) => write!(f, "the store failed: {error}"),
            Self::Unavailable => f.write_str("the store failed a moment ago and was not asked again"),
            Self::TimedOut => f.write_str("the store did not answer in time"),
            Self::ReadOnly => f.write_str("the cache was built without write_through or write_behind"),
            Self::NotWriteThrough => f.write_str("the cache was built without write_through"),
            Self::Closed => f.write_str("the cache was closed for writes"),
            Self::QueueFull => f.write_str("the queue of writes is full"),
            Self::Journal(error) => write!(f, "the journal failed: {error}"),
            Self::Interrupted => f.write_str("the runtime shut down during the write"),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> std::error::Error for StoreCacheError<E> {}

/// [`close`](super::StoreCache::close) reached its deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("closed with {unwritten} writes that did not reach the store")]
pub struct CloseError {
    pub(super) unwritten: usize,
}

impl CloseError {
    /// Writes that had not ended: with write-behind each was handed to the dead-letter callback; with write-through their
    /// callers still wait for them. The store may have those that were on their way.
    #[must_use]
    pub fn unwritten(&self) -> usize {
        self.unwritten
    }
}
