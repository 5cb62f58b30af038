//! The builder's settings for values that are past their time, or about to be.

use std::time::Duration;

use crate::builder::{CacheBuilder, at_least_one_tick};
use crate::clock::nanos;
use crate::freshness::Negative;

impl<K, V, S> CacheBuilder<K, V, S> {
    /// Keeps expired entries this much longer, for loads that fail: they then return the old value instead of the error.
    /// Default: off, an entry that has expired is gone.
    ///
    /// The meaning is that of `stale-if-error` in HTTP (M. Nottingham, RFC 5861, 2010). Only calls whose loader can fail see such an
    /// entry, after their loader has failed: `try_get_or_insert_with`, its twins, and bulk loads, for each key by itself. To
    /// all other calls it is gone, and a new value, a removal, an invalidation, or a loader that finds nothing removes it. It
    /// counts against the bound and may be evicted. Each failed load is counted
    /// ([`Stats::load_failures`](crate::Stats::load_failures)), and each answer with an old value too
    /// ([`Stats::stale_served`](crate::Stats::stale_served)). Each call tries to load again. A panic is no failure.
    ///
    /// The listener is told of the expiry when the entry is removed, after the time that is set here.
    ///
    /// ```
    /// use millpond_cache::{Cache, ManualClock};
    /// use std::{sync::Arc, time::Duration};
    /// let clock = Arc::new(ManualClock::new());
    /// let cache: Cache<u32, u32> = Cache::builder()
    ///     .time_to_live(Duration::from_secs(60))
    ///     .stale_if_error(Duration::from_secs(3600))
    ///     .clock(clock.clone())
    ///     .record_stats()
    ///     .build()?;
    /// cache.insert(1, 10);
    /// clock.advance(Duration::from_secs(60));
    /// assert_eq!(cache.get(&1), None);
    /// assert_eq!(cache.try_get_or_insert_with(1, || Err("the database is down")), Ok(10));
    /// assert_eq!(cache.stats().stale_served(), 1);
    /// clock.advance(Duration::from_secs(3600));
    /// assert!(cache.try_get_or_insert_with(1, || Err("the database is down")).is_err());
    /// # Ok::<(), millpond_cache::BuildError>(())
    /// ```
    pub fn stale_if_error(mut self, duration: Duration) -> Self {
        self.freshness.grace = nanos(duration);
        self
    }

    /// Lets values that say "there is no such thing" live for a time of their own, usually a short one. Default: they live as
    /// all others.
    ///
    /// `is_negative` is asked about each value that is written without a life of its own, outside locks. For a cache of
    /// `Option<T>` it is `Option::is_none`, for one of `Result<T, E>` it may be `Result::is_err`. Negative entries are
    /// entries: they count against the bound, and a flood of them evicts what is used least, so a scan of keys that do not
    /// exist can't fill the memory. Wins over [`time_to_live`](Self::time_to_live) and
    /// [`expire_after`](Self::expire_after).
    ///
    /// ```
    /// use millpond_cache::{Cache, ManualClock};
    /// use std::{sync::Arc, time::Duration};
    /// let clock = Arc::new(ManualClock::new());
    /// let cache: Cache<u32, Option<&str>> = Cache::builder()
    ///     .max_capacity(1_000)
    ///     .time_to_live(Duration::from_secs(600))
    ///     .negative_time_to_live(Duration::from_secs(5), Option::is_none)
    ///     .clock(clock.clone())
    ///     .build()?;
    /// assert_eq!(cache.get_or_insert_with(1, || Some("one")), Some("one"));
    /// assert_eq!(cache.get_or_insert_with(2, || None), None);
    /// clock.advance(Duration::from_secs(4));
    /// assert_eq!(cache.get_or_insert_with(2, || unreachable!()), None);
    /// clock.advance(Duration::from_secs(1));
    /// assert_eq!(cache.get_or_insert_with(2, || Some("two")), Some("two"));
    /// assert_eq!(cache.get(&1), Some(Some("one")));
    /// # Ok::<(), millpond_cache::BuildError>(())
    /// ```
    pub fn negative_time_to_live(
        mut self,
        duration: Duration,
        is_negative: impl Fn(&V) -> bool + Send + Sync + 'static,
    ) -> Self {
        let life = at_least_one_tick(duration);
        self.freshness.negative = Some(Negative { life, is_negative: Box::new(is_negative) });
        self
    }
}
