//! A guard for many lookups: one pin, values by reference.

use std::cell::Cell;
use std::fmt;
use std::hash::{BuildHasher, Hash};

use equivalent::Equivalent;

use crate::clock::kept;
use crate::core::Core;
use crate::reclaim::{self, Pinned};

/// Borrows values from the cache; see [`Cache::pin`](crate::Cache::pin).
pub struct PinGuard<'c, K, V, S> {
    core: &'c Core<K, V, S>,
    pinned: Pinned,
    /// Lookups, up to the next look at the clock: the end of the pin, which sees to that for others, may be far.
    lookups: Cell<u8>,
}

impl<'c, K, V, S> PinGuard<'c, K, V, S> {
    #[inline]
    pub(crate) fn new(core: &'c Core<K, V, S>) -> Self {
        Self { core, pinned: reclaim::pin(), lookups: Cell::new(0) }
    }

    /// The value of a key. Counts as a use. Stays valid while the guard lives, whatever happens to the entry meanwhile.
    #[inline]
    pub fn get<Q>(&self, key: &Q) -> Option<&V>
    where
        Q: Hash + Equivalent<K> + ?Sized,
        S: BuildHasher,
    {
        let lookups = self.lookups.get().wrapping_add(1);
        self.lookups.set(lookups);
        if lookups == 0 {
            kept::see_to_it();
        }
        self.core.get(&self.pinned, key)
    }
}

impl<K, V, S> fmt::Debug for PinGuard<'_, K, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PinGuard").finish_non_exhaustive()
    }
}

#[cfg(all(test, not(any(millpond_loom, millpond_shuttle))))]
mod tests {
    use std::time::Duration;

    use crate::Cache;
    use crate::clock::kept;

    /// So that hits by the kept time end under a guard that lives long, although the thread that keeps it does not run.
    #[test]
    fn who_reads_by_one_guard_looks_at_the_clock_once_in_256_lookups() {
        let cache: Cache<u32, u32> =
            Cache::builder().time_to_live(Duration::from_secs(3600)).build().unwrap();
        cache.insert(1, 10);
        let guard = cache.pin();
        kept::tests::until_it_moves_without_its_thread(|| {
            for _ in 0..256 {
                assert_eq!(guard.get(&1), Some(&10));
            }
        });
    }
}
