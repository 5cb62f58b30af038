//! The policy as callers may see it: what is hot, what is cold, how the room is divided.

use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::time::Duration;

use equivalent::Equivalent;

use crate::cache::Cache;
use crate::core::Core;
use crate::eviction::{Admission, EvictionPolicy};
use crate::policy::{Held, Kind};
use crate::reclaim;

/// A look at the eviction policy; see [`Cache::policy`]. Nothing here counts as a use of an entry, nor in the statistics.
pub struct PolicyView<'c, K, V, S = ahash::RandomState> {
    core: &'c Core<K, V, S>,
}

/// Entries in a part of the policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Region {
    /// How many there are.
    pub entries: u64,
    /// What they weigh together; their number where there is no weigher.
    pub weight: u64,
}

/// How the policy has divided the entries, as sums over all shards. An LRU cache is all window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Regions {
    /// The admission window, where each entry starts.
    pub window: Region,
    /// The room that the window has now, in weight or entries. It adapts to the workload.
    pub window_max: u64,
    /// Entries that passed the window and were not used since: the next victims.
    pub probation: Region,
    /// Entries that were used while on probation.
    pub protected: Region,
    /// Entries of weight 0, which are never evicted.
    pub pinned: Region,
}

impl<K, V, S> Cache<K, V, S> {
    /// A look at the eviction policy: hot and cold entries, weights, ages, and how the room is divided.
    ///
    /// ```
    /// let cache = millpond_cache::Cache::new(100);
    /// cache.extend((0..100).map(|n| (n, n * n)));
    /// let policy = cache.policy();
    /// assert_eq!(policy.coldest(3).len(), 3);
    /// assert_eq!(policy.max_capacity(), Some(100));
    /// let regions = policy.regions();
    /// assert_eq!(regions.window.entries + regions.probation.entries + regions.protected.entries, 100);
    /// ```
    #[must_use]
    pub fn policy(&self) -> PolicyView<'_, K, V, S> {
        PolicyView { core: &self.core }
    }
}

impl<K, V, S> PolicyView<'_, K, V, S> {
    /// Clones of up to `n` entries that are furthest from eviction, hottest first; pinned ones before all others.
    ///
    /// An estimate: uses since the eviction hand last passed an entry are not seen. Shards have an order each, and are merged by
    /// the entries' places in it. Cost: each shard is locked for a walk over up to `n` of its entries; clones are made after.
    #[must_use]
    pub fn hottest(&self, n: usize) -> Vec<(K, V)>
    where
        K: Clone,
        V: Clone,
    {
        self.core.ranked(true, n)
    }

    /// Clones of up to `n` entries that are nearest to eviction, coldest first; pinned ones after all others. In an LRU cache
    /// with one shard that is the order of use. As for estimate and cost, see [`hottest`](Self::hottest).
    #[must_use]
    pub fn coldest(&self, n: usize) -> Vec<(K, V)>
    where
        K: Clone,
        V: Clone,
    {
        self.core.ranked(false, n)
    }

    /// How the entries are divided now. Locks one shard after the other for an instant.
    #[must_use]
    pub fn regions(&self) -> Regions {
        let region = |held: Held| Region { entries: held.entries, weight: held.weight };
        let parts = self.core.parts();
        Regions {
            window: region(parts.window),
            window_max: parts.window_max,
            probation: region(parts.probation),
            protected: region(parts.protected),
            pinned: region(parts.pinned),
        }
    }

    /// The bound in entries or weight, as it was set last; `None` where there is none.
    #[must_use]
    pub fn max_capacity(&self) -> Option<u64> {
        Some(self.core.budget.target()).filter(|&max| max != u64::MAX)
    }

    /// Whether the bound is one of weight.
    #[must_use]
    pub fn is_weighted(&self) -> bool {
        self.core.weigher.is_some()
    }

    /// Which entry leaves a full cache.
    #[must_use]
    pub fn eviction_policy(&self) -> EvictionPolicy {
        match self.core.kind() {
            Kind::TinyLfu | Kind::SizeAware => EvictionPolicy::TinyLfu,
            Kind::Lru => EvictionPolicy::Lru,
        }
    }

    /// Who may come into a full cache.
    #[must_use]
    pub fn admission(&self) -> Admission {
        match self.core.kind() {
            Kind::TinyLfu | Kind::Lru => Admission::Frequency,
            Kind::SizeAware => Admission::SizeAware,
        }
    }
}

impl<K, V, S> PolicyView<'_, K, V, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    /// What an entry weighs, as the weigher said when it was written; 1 without a weigher. `None` if there is no live entry.
    /// Locks its shard.
    ///
    /// ```
    /// use millpond_cache::{Cache, weighers};
    /// let cache: Cache<u32, String> = Cache::builder().max_weight(100).weigher(weighers::value_len).build()?;
    /// cache.insert(1, "seven".into());
    /// assert_eq!((cache.policy().weight_of(&1), cache.policy().weight_of(&2)), (Some(5), None));
    /// # Ok::<(), millpond_cache::BuildError>(())
    /// ```
    #[must_use]
    pub fn weight_of<Q>(&self, key: &Q) -> Option<u32>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.core.weight_of(key)
    }

    /// What is left of an entry's life; the same as [`Cache::expires_after`].
    #[must_use]
    pub fn expires_after<Q>(&self, key: &Q) -> Option<Duration>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let pin = reclaim::pin();
        self.core.expires_after(&pin, key)
    }

    /// How long ago the value of an entry was written, by an insert, a load, a refresh or a compute; one from a snapshot when it was
    /// put back. Locks the entry's shard.
    ///
    /// `None` if there is no live entry, or if the cache has neither
    /// [`time_to_live`](crate::CacheBuilder::time_to_live) nor [`expire_after`](crate::CacheBuilder::expire_after) nor
    /// [`refresh_after`](crate::CacheBuilder::refresh_after), because others keep no track of it. Where all entries live for the time to
    /// live it costs nothing to know; else 8 bytes for each entry.
    ///
    /// ```
    /// use millpond_cache::{Cache, ManualClock};
    /// use std::sync::Arc;
    /// use std::time::Duration;
    /// let clock = Arc::new(ManualClock::new());
    /// let cache: Cache<u32, u32> =
    ///     Cache::builder().time_to_live(Duration::from_secs(60)).clock(Arc::clone(&clock)).build()?;
    /// cache.insert(1, 1);
    /// clock.advance(Duration::from_secs(5));
    /// assert_eq!(cache.get(&1), Some(1));
    /// assert_eq!(cache.policy().age_of(&1), Some(Duration::from_secs(5)));
    /// # Ok::<(), millpond_cache::BuildError>(())
    /// ```
    #[must_use]
    pub fn age_of<Q>(&self, key: &Q) -> Option<Duration>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.core.age_of(key)
    }

    /// How long ago an entry was last read or written. `None` if there is no live entry, or if the cache has no
    /// [`time_to_idle`](crate::CacheBuilder::time_to_idle), because others keep no track of it. Takes no lock.
    ///
    /// May be too long by 1/64 of the time to idle, and by the resolution of the clock.
    ///
    /// ```
    /// use millpond_cache::{Cache, ManualClock};
    /// use std::sync::Arc;
    /// use std::time::Duration;
    /// let clock = Arc::new(ManualClock::new());
    /// let cache: Cache<u32, u32> =
    ///     Cache::builder().time_to_idle(Duration::from_secs(60)).clock(Arc::clone(&clock)).build()?;
    /// cache.insert(1, 1);
    /// clock.advance(Duration::from_secs(5));
    /// assert_eq!(cache.policy().idle_for(&1), Some(Duration::from_secs(5)));
    /// # Ok::<(), millpond_cache::BuildError>(())
    /// ```
    #[must_use]
    pub fn idle_for<Q>(&self, key: &Q) -> Option<Duration>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.core.idle_for(key)
    }
}

impl<K, V, S> Clone for PolicyView<'_, K, V, S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, V, S> Copy for PolicyView<'_, K, V, S> {}

impl<K, V, S> fmt::Debug for PolicyView<'_, K, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PolicyView")
            .field("eviction_policy", &self.eviction_policy())
            .field("max_capacity", &self.max_capacity())
            .field("regions", &self.regions())
            .finish_non_exhaustive()
    }
}
