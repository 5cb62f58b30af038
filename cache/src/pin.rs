//! A guard for many lookups: one pin, values by reference.

use std::fmt;
use std::hash::{BuildHasher, Hash};

use equivalent::Equivalent;

use crate::core::Core;
use crate::reclaim::{self, Pinned};

/// Borrows values from the cache; see [`Cache::pin`](crate::Cache::pin).
pub struct PinGuard<'c, K, V, S> {
    core: &'c Core<K, V, S>,
    pinned: Pinned,
}

impl<'c, K, V, S> PinGuard<'c, K, V, S> {
    #[inline]
    pub(crate) fn new(core: &'c Core<K, V, S>) -> Self {
        Self { core, pinned: reclaim::pin() }
    }

    /// The value of a key. Counts as a use. Stays valid while the guard lives, whatever happens to the entry meanwhile.
    #[inline]
    pub fn get<Q>(&self, key: &Q) -> Option<&V>
    where
        Q: Hash + Equivalent<K> + ?Sized,
        S: BuildHasher,
    {
        self.core.get(&self.pinned, key)
    }
}

impl<K, V, S> fmt::Debug for PinGuard<'_, K, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PinGuard").finish_non_exhaustive()
    }
}
