//! What was counted, as a value.

use std::fmt;
use std::ops::Sub;
use std::time::Duration;

use crate::counter::{COUNTERS, Counter};
use crate::load_times::LoadTimes;

/// Counts since the cache was built or its statistics were [reset](crate::Cache::reset_stats); all zero unless
/// [`CacheBuilder::record_stats`](crate::CacheBuilder::record_stats) is on.
///
/// Exact when no call is in progress; while calls run, each figure is a recent one, and figures of one snapshot may differ
/// by the calls that ran meanwhile.
///
/// What happened between two snapshots is their difference:
///
/// ```
/// let cache = millpond_cache::Cache::builder().record_stats().build()?;
/// cache.insert(1, 1);
/// cache.get(&1);
/// let before = cache.stats();
/// cache.get(&1);
/// cache.get(&2);
/// let since = cache.stats() - &before;
/// assert_eq!((since.hits(), since.misses(), since.hit_ratio()), (1, 1, 0.5));
/// # Ok::<(), millpond_cache::BuildError>(())
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Stats {
    counts: [u64; COUNTERS],
    load_times: LoadTimes,
}

impl Sub<&Self> for Stats {
    type Output = Self;

    /// What was counted since `earlier`, a snapshot of the same cache. Counts are never below 0.
    fn sub(mut self, earlier: &Self) -> Self {
        for (count, earlier) in self.counts.iter_mut().zip(earlier.counts) {
            *count = count.saturating_sub(earlier);
        }
        self.load_times.subtract(&earlier.load_times);
        self
    }
}

impl Stats {
    pub(crate) fn new(counts: [u64; COUNTERS], load_times: LoadTimes) -> Self {
        Self { counts, load_times }
    }

    fn of(&self, counter: Counter) -> u64 {
        self.counts[counter as usize]
    }

    /// Lookups that found a live entry.
    #[must_use]
    pub fn hits(&self) -> u64 {
        self.of(Counter::Hits)
    }

    /// Lookups that found none, the first look of a loading call included.
    #[must_use]
    pub fn misses(&self) -> u64 {
        self.of(Counter::Misses)
    }

    /// Hits and misses.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.hits() + self.misses()
    }

    /// Hits per lookup, from 0 to 1; 1 if there was no lookup.
    #[must_use]
    pub fn hit_ratio(&self) -> f64 {
        if self.requests() == 0 { 1.0 } else { self.hits() as f64 / self.requests() as f64 }
    }

    /// Loads that ended without an error, those that found nothing included.
    #[must_use]
    pub fn load_successes(&self) -> u64 {
        self.of(Counter::LoadSuccesses)
    }

    /// Loaders that returned an error.
    #[must_use]
    pub fn load_failures(&self) -> u64 {
        self.of(Counter::LoadFailures)
    }

    /// Loads that ended, well or not.
    #[must_use]
    pub fn loads(&self) -> u64 {
        self.load_successes() + self.load_failures()
    }

    /// Time spent in loaders that ended, in sum.
    #[must_use]
    pub fn load_time(&self) -> Duration {
        Duration::from_nanos(self.of(Counter::LoadNanos))
    }

    /// How long loads took that ended, well or not, one by one.
    #[must_use]
    pub fn load_times(&self) -> &LoadTimes {
        &self.load_times
    }

    /// Entries removed by the caller ([`RemovalCause::Explicit`](crate::RemovalCause::Explicit)).
    #[must_use]
    pub fn removed(&self) -> u64 {
        self.of(Counter::RemovedExplicitly)
    }

    /// Values replaced by a write ([`RemovalCause::Replaced`](crate::RemovalCause::Replaced)).
    #[must_use]
    pub fn replaced(&self) -> u64 {
        self.of(Counter::Replaced)
    }

    /// Entries whose time was over ([`RemovalCause::Expired`](crate::RemovalCause::Expired)), counted when they are removed.
    #[must_use]
    pub fn expired(&self) -> u64 {
        self.of(Counter::Expired)
    }

    /// Entries evicted because the cache was full ([`RemovalCause::Size`](crate::RemovalCause::Size)).
    #[must_use]
    pub fn evictions(&self) -> u64 {
        self.of(Counter::Evicted)
    }

    /// The weight of the entries in [`evictions`](Self::evictions) that were in the cache, as the
    /// [`weigher`](crate::CacheBuilder::weigher) said; their number where there is none.
    #[must_use]
    pub fn evicted_weight(&self) -> u64 {
        self.of(Counter::EvictedWeight)
    }

    /// The weight of the entries in [`expired`](Self::expired), as the [`weigher`](crate::CacheBuilder::weigher) said; their number
    /// where there is none.
    #[must_use]
    pub fn expired_weight(&self) -> u64 {
        self.of(Counter::ExpiredWeight)
    }

    /// Values that were heavier than the whole cache and never got in. Among the [`evictions`](Self::evictions).
    #[must_use]
    pub fn rejected(&self) -> u64 {
        self.of(Counter::Rejected)
    }

    /// Entries that left with all others ([`RemovalCause::Cleared`](crate::RemovalCause::Cleared)), counted when they are taken out.
    #[must_use]
    pub fn cleared(&self) -> u64 {
        self.of(Counter::Cleared)
    }

    /// Failed loads that were answered with an expired value
    /// ([`CacheBuilder::stale_if_error`](crate::CacheBuilder::stale_if_error)), counted for each key.
    #[must_use]
    pub fn stale_served(&self) -> u64 {
        self.of(Counter::StaleServed)
    }

    /// Refreshes whose value was stored. They count as loads, too.
    #[must_use]
    pub fn refreshes(&self) -> u64 {
        self.of(Counter::Refreshes)
    }

    /// Refreshes that failed, panicked or were dropped before they ended. The first of these count as failed loads, too.
    #[must_use]
    pub fn refresh_failures(&self) -> u64 {
        self.of(Counter::RefreshFailures)
    }

    /// Refreshes whose value was not stored, because the entry was written or removed meanwhile. They count as loads, too.
    #[must_use]
    pub fn refreshes_discarded(&self) -> u64 {
        self.of(Counter::RefreshesDiscarded)
    }

    /// Calls of the eviction listener that panicked.
    #[must_use]
    pub fn listener_panics(&self) -> u64 {
        self.of(Counter::ListenerPanics)
    }
}

impl fmt::Debug for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stats")
            .field("hits", &self.hits())
            .field("misses", &self.misses())
            .field("load_successes", &self.load_successes())
            .field("load_failures", &self.load_failures())
            .field("load_times", &self.load_times)
            .field("removed", &self.removed())
            .field("replaced", &self.replaced())
            .field("expired", &self.expired())
            .field("expired_weight", &self.expired_weight())
            .field("evictions", &self.evictions())
            .field("evicted_weight", &self.evicted_weight())
            .field("rejected", &self.rejected())
            .field("stale_served", &self.stale_served())
            .field("refreshes", &self.refreshes())
            .field("refresh_failures", &self.refresh_failures())
            .field("refreshes_discarded", &self.refreshes_discarded())
            .field("listener_panics", &self.listener_panics())
            .finish()
    }
}
