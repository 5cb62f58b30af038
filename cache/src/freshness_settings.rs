//! The builder's settings for values that are past their time, or about to be.

use std::time::Duration;

use crate::builder::CacheBuilder;
use crate::clock::nanos;
use crate::freshness::Negative;
use crate::refresher::{RefreshJob, Refresher};

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
        let life = nanos(duration);
        self.freshness.negative = Some(Negative { life, is_negative: Box::new(is_negative) });
        self
    }

    /// Has values loaded again when they are this old, while the old ones are served. Default: off.
    ///
    /// Counted from the write of the value; must be shorter than the [`time_to_live`](Self::time_to_live). The first use after that
    /// time begins the refresh; an entry that nobody uses is not refreshed and ends as usual. There is one refresh per key at a
    /// time, and none while the key is loaded or computed; loads and computes of a key wait for its refresh if they need it. If
    /// the entry is written, removed or evicted meanwhile, the new value is thrown away. If the refresh fails or panics, the
    /// old value stays, and the next one waits: see [`refresh_backoff`](Self::refresh_backoff).
    ///
    /// What is loaded, and where, is for one of these to say:
    /// - a loader given at build, which plain reads begin, too: [`build_with_refresh`](Self::build_with_refresh), or with the
    ///   feature `tokio` `build_with_refresh_async`;
    /// - a loader given with a call: [`Cache::try_get_or_refresh_with`](crate::Cache::try_get_or_refresh_with), or with the
    ///   feature `tokio` `try_get_or_refresh_with_async`;
    /// - the caller, by any means it likes: [`Cache::claim_refresh`](crate::Cache::claim_refresh).
    ///
    /// Cost: hits look at the clock, and the one that begins a refresh takes the shard's lock; 16 bytes for each entry.
    pub fn refresh_after(mut self, duration: Duration) -> Self {
        self.freshness.refreshing().after = at_least_one_tick(duration);
        self
    }

    /// How long the next refresh of an entry waits after one that failed: `first`, then twice as long after each further
    /// failure, `longest` at most. Default: a sixteenth of [`refresh_after`](Self::refresh_after), and all of it.
    pub fn refresh_backoff(mut self, first: Duration, longest: Duration) -> Self {
        self.freshness.refreshing().backoff = Some((at_least_one_tick(first), at_least_one_tick(longest)));
        self
    }

    /// Refreshes some values early, by chance: the nearer they are to [`refresh_after`](Self::refresh_after), and the longer they
    /// take to load, the likelier, so that what was written together is not loaded together. Default: 0, none is early.
    ///
    /// This is XFetch, of A. Vattani, F. Chierichetti and K. Lowenstein, "Optimal Probabilistic Cache Stampede Prevention" (VLDB
    /// 2015), which shows that a `beta` of 1 is best where the time to load is all that is known; more is more eager. The
    /// time is that of the last load of the value. One that was inserted is not early, since no load of it was measured.
    pub fn refresh_early(mut self, beta: f64) -> Self {
        self.freshness.refreshing().beta = beta;
        self
    }

    /// Runs the refreshes of blocking loaders. Default: one thread of the cache's own, started with the first refresh, and up
    /// to 1,024 that wait for it; beyond that a refresh counts as failed.
    ///
    /// Called by the read that begins the refresh, so it should hand the job on and return. If it drops the job, the
    /// refresh has failed. A panic in it is caught.
    ///
    /// ```
    /// use millpond_cache::{Cache, ManualClock};
    /// use std::{sync::Arc, time::Duration};
    /// let clock = Arc::new(ManualClock::new());
    /// let cache: Cache<u32, u32> = Cache::builder()
    ///     .refresh_after(Duration::from_secs(60))
    ///     .refresh_executor(|job| { std::thread::spawn(job); })
    ///     .clock(clock.clone())
    ///     .build_with_refresh(|&key: &u32| Ok::<_, std::io::Error>(key * 10))?;
    /// cache.insert(1, 1);
    /// clock.advance(Duration::from_secs(60));
    /// assert_eq!(cache.get(&1), Some(1), "the old value, while a thread loads");
    /// while cache.get(&1) != Some(10) {
    ///     std::thread::yield_now();
    /// }
    /// # Ok::<(), millpond_cache::BuildError>(())
    /// ```
    pub fn refresh_executor(mut self, executor: impl Fn(RefreshJob) + Send + Sync + 'static) -> Self {
        self.freshness.refreshing().refresher = Refresher::Given(Box::new(executor));
        self
    }
}

/// 0 means "off" inside: a duration of zero is the shortest there is instead.
fn at_least_one_tick(duration: Duration) -> u64 {
    nanos(duration).max(1)
}
