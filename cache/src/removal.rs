//! Why an entry left, and who is told.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::stats::{Counter, Counters};

/// Why an entry was removed from the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RemovalCause {
    /// The caller removed it: `remove`, `invalidate`, `invalidate_all`.
    Explicit,
    /// A write put a new value in its place.
    Replaced,
    /// Its time to live or time to idle was over. Wins over the other causes when both hold.
    Expired,
    /// The cache was full and the policy chose it, or it was heavier than the whole cache.
    Size,
}

impl RemovalCause {
    /// Whether the cache removed the entry by itself, rather than on the caller's word.
    ///
    /// ```
    /// use millpond_cache::RemovalCause;
    /// assert!(RemovalCause::Size.was_evicted());
    /// assert!(!RemovalCause::Replaced.was_evicted());
    /// ```
    #[must_use]
    pub fn was_evicted(self) -> bool {
        matches!(self, Self::Expired | Self::Size)
    }
}

type Callback<K, V> = Box<dyn Fn(&K, &V, RemovalCause) + Send + Sync>;

/// The user's listener, contained: a panic in it is counted and goes no further.
pub(crate) struct Listener<K, V>(Callback<K, V>);

impl<K, V> Listener<K, V> {
    pub(crate) fn new(callback: impl Fn(&K, &V, RemovalCause) + Send + Sync + 'static) -> Self {
        Self(Box::new(callback))
    }

    /// Never called under a lock.
    pub(crate) fn call(&self, key: &K, value: &V, cause: RemovalCause, counters: Option<&Counters>) {
        let called = catch_unwind(AssertUnwindSafe(|| (self.0)(key, value, cause)));
        if let (Err(_payload), Some(counters)) = (called, counters) {
            counters.add(Counter::ListenerPanics, 1);
        }
    }
}
