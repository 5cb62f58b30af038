//! Writes that did not reach the store, as they are handed back.

use std::fmt;
use std::sync::Arc;

/// A write that was accepted and will not be done; handed to the callback of [`WriteBehind`](super::WriteBehind::new), once.
#[derive(Debug)]
pub struct DeadLetter<K, V, E> {
    pub(super) key: Arc<K>,
    pub(super) value: Option<Arc<V>>,
    pub(super) attempts: u32,
    pub(super) cause: DeadCause<E>,
}

impl<K, V, E> DeadLetter<K, V, E> {
    /// The key.
    #[must_use]
    pub fn key(&self) -> &K {
        &self.key
    }

    /// The value that was to be stored; `None`: the key was to be deleted.
    #[must_use]
    pub fn value(&self) -> Option<&V> {
        self.value.as_deref()
    }

    /// How often the store was asked.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Why it will not be done.
    #[must_use]
    pub fn cause(&self) -> &DeadCause<E> {
        &self.cause
    }
}

/// Why a write was given up.
#[derive(Debug)]
#[non_exhaustive]
pub enum DeadCause<E> {
    /// The store's last error: a permanent one, or as many transient ones as
    /// [`max_attempts`](super::WriteBehind::max_attempts) allows.
    Store(Arc<E>),
    /// [`write_timeout`](super::WriteBehind::write_timeout) passed, as often as
    /// [`max_attempts`](super::WriteBehind::max_attempts) allows.
    TimedOut,
    /// The store panicked three times when this write was alone in its batch.
    Panicked,
    /// [`close`](super::StoreCache::close) reached its deadline, or the runtime and the last handle to the cache are gone. The
    /// store may have it if it was on its way.
    Unfinished,
}

impl<E> Clone for DeadCause<E> {
    fn clone(&self) -> Self {
        match self {
            Self::Store(error) => Self::Store(Arc::clone(error)),
            Self::TimedOut => Self::TimedOut,
            Self::Panicked => Self::Panicked,
            Self::Unfinished => Self::Unfinished,
        }
    }
}

impl<E: fmt::Display> fmt::Display for DeadCause<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(error) => write!(f, "the store failed: {error}"),
            Self::TimedOut => f.write_str("the store did not answer in time"),
            Self::Panicked => f.write_str("the store panicked"),
            Self::Unfinished => f.write_str("not written before the end"),
        }
    }
}
