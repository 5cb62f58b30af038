//! The bound, as callers see it: entries that can't fit.

use std::hash::{BuildHasher, Hash};

use crate::cache::Cache;
use crate::core::write::Life;
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
