//! Who is told that an entry left. Called after the unlock, never under it.

use crate::contain::contain;
use crate::counter::Counter;
use crate::counters::Counters;
use crate::removal::RemovalCause;

type Callback<K, V> = Box<dyn Fn(&K, &V, RemovalCause) + Send + Sync>;

/// The user's listener, contained: a panic in it is counted and goes no further.
pub(crate) struct Listener<K, V>(Callback<K, V>);

impl<K, V> Listener<K, V> {
    pub(crate) fn new(callback: impl Fn(&K, &V, RemovalCause) + Send + Sync + 'static) -> Self {
        Self(Box::new(callback))
    }

    /// Never called under a lock.
    pub(crate) fn call(&self, key: &K, value: &V, cause: RemovalCause, counters: Option<&Counters>) {
        let called = contain(|| (self.0)(key, value, cause));
        if let (None, Some(counters)) = (called, counters) {
            counters.count(Counter::ListenerPanics, 1);
        }
    }
}
