//! The bound, as callers see it: entries that can't fit, and another bound at run time.

use std::hash::{BuildHasher, Hash};

use crate::cache::Cache;
use crate::core::write::Life;
use crate::error::ResizeError;
use crate::rejected::Rejected;

impl<K, V, S> Cache<K, V, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    /// As [`insert`](Self::insert), but hands an entry that is heavier than the whole cache back to its caller.
    ///
    /// Then nothing has changed: an older value of the key stays, a load of it goes on, and the listener is not told. An entry
    /// that does fit may still be evicted by the policy before this returns; that is no error.
    ///
    /// ```
    /// use millpond_cache::{Cache, weighers};
    /// let cache: Cache<u32, String> = Cache::builder().max_weight(10).weigher(weighers::value_len).build()?;
    /// assert!(cache.try_insert(1, "short".into()).is_ok());
    /// let rejected = cache.try_insert(1, "much too long".into()).unwrap_err();
    /// assert_eq!((rejected.key, rejected.value.as_str(), rejected.weight), (1, "much too long", 13));
    /// assert_eq!(cache.get(&1).as_deref(), Some("short"));
    /// # Ok::<(), millpond_cache::BuildError>(())
    /// ```
    ///
    /// # Errors
    /// [`Rejected`], with key and value, if the entry weighs more than the bound.
    pub fn try_insert(&self, key: K, value: V) -> Result<(), Rejected<K, V>> {
        self.core.try_insert(key, value, Life::Configured)
    }
}

impl<K, V, S> Cache<K, V, S> {
    /// Changes the most entries the cache holds, while others use it. `u64::MAX` means no bound.
    ///
    /// When this has returned, the cache never holds more again, for any observer, whatever others write. A smaller bound
    /// evicts, and the listener is told ([`RemovalCause::Size`](crate::RemovalCause::Size)); no lock is held for more than 64
    /// entries at once. What the policy knows of keys stays. Of calls at the same time the last to begin wins, and all return
    /// once its bound holds.
    ///
    /// The number of shards stays as it was built: for a cache that will grow far, set [`shards`](crate::CacheBuilder::shards).
    /// Cost: one lock for each shard, and what is evicted.
    ///
    /// ```
    /// let cache = millpond_cache::Cache::new(100);
    /// cache.extend((0..100).map(|n| (n, n)));
    /// cache.set_max_capacity(10)?;
    /// assert_eq!((cache.entry_count(), cache.max_capacity()), (10, Some(10)));
    /// # Ok::<(), millpond_cache::ResizeError>(())
    /// ```
    ///
    /// # Errors
    /// If the cache has a weigher.
    pub fn set_max_capacity(&self, entries: u64) -> Result<(), ResizeError> {
        if self.core.weigher.is_some() {
            return Err(ResizeError::CountsWeight);
        }
        self.core.set_max(entries);
        Ok(())
    }

    /// Changes the most weight the cache holds; otherwise as [`set_max_capacity`](Self::set_max_capacity). Entries that are
    /// heavier than the new bound leave.
    ///
    /// # Errors
    /// If the cache has no weigher.
    pub fn set_max_weight(&self, weight: u64) -> Result<(), ResizeError> {
        if self.core.weigher.is_none() {
            return Err(ResizeError::CountsEntries);
        }
        self.core.set_max(weight);
        Ok(())
    }
}
