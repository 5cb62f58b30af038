//! The builder: every setting, its unit and its default; cross-field rules are checked once, in `build`.

use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::cache::Cache;
use crate::clock::{Clock, Ticks, nanos};
use crate::core::budget::Budget;
use crate::core::clear::Waiting;
use crate::core::expire::{OFF, idle_left};
use crate::core::flights::Flights;
use crate::core::janitors::Janitors;
use crate::core::resize::share;
use crate::core::{Core, Weigher};
use crate::counters::Counters;
use crate::error::BuildError;
use crate::eviction::{Admission, EvictionPolicy};
use crate::expiry::Expiry;
use crate::freshness::Freshness;
use crate::listener::Listener;
use crate::metrics::Published;
use crate::notifications::{self, Notifications, Outbox, WhenFull};
use crate::policy::{Kind, Marks};
use crate::removal::RemovalCause;
use crate::shard_count::default_shards;
use crate::store::shard::Shard;
use crate::store::shards::Shards;

/// Configures a [`Cache`].
///
/// ```
/// use millpond_cache::Cache;
/// use std::time::Duration;
/// let cache: Cache<String, String> = Cache::builder()
///     .max_weight(64 * 1024 * 1024)
///     .weigher(|key: &String, value: &String| (key.len() + value.len()) as u32)
///     .time_to_live(Duration::from_secs(600))
///     .build()?;
/// # Ok::<(), millpond_cache::BuildError>(())
/// ```
#[must_use = "a builder does nothing before `build`"]
pub struct CacheBuilder<K, V, S = ahash::RandomState> {
    max_capacity: Option<u64>,
    max_weight: Option<u64>,
    weigher: Option<Weigher<K, V>>,
    eviction_policy: EvictionPolicy,
    admission: Admission,
    time_to_live: Option<Duration>,
    time_to_idle: Option<Duration>,
    jitter: Option<f64>,
    expiry: Option<Box<dyn Expiry<K, V>>>,
    pub(crate) freshness: Freshness<K, V>,
    listener: Option<Listener<K, V>>,
    outbox: Option<Box<dyn Outbox<K, V>>>,
    clock: Option<Box<dyn Clock>>,
    clock_thread: bool,
    record_stats: bool,
    shards: Option<usize>,
    expected_entries: Option<u64>,
    name: Option<Box<str>>,
    seed: Option<u64>,
    hasher: S,
}

impl<K, V> Default for CacheBuilder<K, V> {
    fn default() -> Self {
        Self {
            max_capacity: None,
            max_weight: None,
            weigher: None,
            eviction_policy: EvictionPolicy::default(),
            admission: Admission::default(),
            time_to_live: None,
            time_to_idle: None,
            jitter: None,
            expiry: None,
            freshness: Freshness::default(),
            listener: None,
            outbox: None,
            clock: None,
            clock_thread: false,
            record_stats: false,
            shards: None,
            expected_entries: None,
            name: None,
            seed: None,
            hasher: ahash::RandomState::new(),
        }
    }
}

impl<K, V, S> CacheBuilder<K, V, S> {
    /// The most entries the cache holds, at any instant. Default: no bound. 0 keeps nothing.
    pub fn max_capacity(mut self, entries: u64) -> Self {
        self.max_capacity = Some(entries);
        self
    }

    /// The most weight the cache holds, at any instant, in the unit of the [`weigher`](Self::weigher). Default: no bound.
    pub fn max_weight(mut self, weight: u64) -> Self {
        self.max_weight = Some(weight);
        self
    }

    /// Says what an entry weighs, for [`max_weight`](Self::max_weight). Called once for each write, outside locks.
    ///
    /// An entry of weight 0 is pinned: it is never evicted for size, and takes no room. One heavier than `max_weight` is not
    /// kept: it is reported to the listener as evicted, and the key's old value is removed;
    /// [`try_insert`](Cache::try_insert) hands it back instead. If the weigher panics, the write did not happen.
    /// [`weighers`](crate::weighers) has some for common types.
    pub fn weigher(mut self, weigher: impl Fn(&K, &V) -> u32 + Send + Sync + 'static) -> Self {
        self.weigher = Some(Box::new(weigher));
        self
    }

    /// Which entry leaves a full cache. Default: [`EvictionPolicy::TinyLfu`].
    ///
    /// ```
    /// use millpond_cache::{Cache, EvictionPolicy};
    /// let cache = Cache::builder().max_capacity(2).eviction_policy(EvictionPolicy::Lru).build()?;
    /// cache.insert("a", 1);
    /// cache.insert("b", 2);
    /// cache.get("a");
    /// cache.insert("c", 3);
    /// assert!(cache.contains_key("a") && !cache.contains_key("b"));
    /// # Ok::<(), millpond_cache::BuildError>(())
    /// ```
    pub fn eviction_policy(mut self, policy: EvictionPolicy) -> Self {
        self.eviction_policy = policy;
        self
    }

    /// Who may come into a full cache. Default: [`Admission::Frequency`].
    ///
    /// [`Admission::SizeAware`] is for caches whose entries differ much in weight: it keeps heavy entries from pushing out many
    /// light ones that are wanted more often together. Where it helps and where it does not: docs/hit-ratio.md. Cost: an
    /// eviction looks at up to 64 entries, in the usual case at those that the new one would push out.
    ///
    /// ```
    /// use millpond_cache::{Admission, Cache, weighers};
    /// let cache: Cache<u64, Vec<u8>> = Cache::builder()
    ///     .max_weight(64 << 20)
    ///     .weigher(weighers::bytes)
    ///     .admission(Admission::SizeAware)
    ///     .build()?;
    /// # Ok::<(), millpond_cache::BuildError>(())
    /// ```
    pub fn admission(mut self, admission: Admission) -> Self {
        self.admission = admission;
        self
    }

    /// How long an entry lives after it was written. Default: for ever. With `Duration::ZERO` it is dead at once.
    ///
    /// A hit looks at the clock, see [`clock_thread`](Self::clock_thread) for what that costs.
    pub fn time_to_live(mut self, duration: Duration) -> Self {
        self.time_to_live = Some(duration);
        self
    }

    /// How long an entry lives after it was last read or written. Default: for ever. With `Duration::ZERO` it is dead at once.
    ///
    /// Reads move the end only by steps of 1/64 of the duration, so that a hot entry is not written by each of them.
    pub fn time_to_idle(mut self, duration: Duration) -> Self {
        self.time_to_idle = Some(duration);
        self
    }

    /// Shortens each entry's time to live by a random part of up to this fraction of it, drawn once per write, so that
    /// what was written together does not end together. From 0 to 1. Default: 0.
    ///
    /// With 0.1 and a time to live of 600 s, entries live between 540 and 600 s. Lives given with a write
    /// ([`Cache::insert_with_ttl`]) are left as they are.
    ///
    /// ```
    /// use millpond_cache::Cache;
    /// use std::time::Duration;
    /// let cache: Cache<u32, u32> =
    ///     Cache::builder().time_to_live(Duration::from_secs(600)).time_to_live_jitter(0.1).build()?;
    /// cache.insert(1, 1);
    /// assert!(cache.expires_after(&1) <= Some(Duration::from_secs(600)));
    /// assert!(cache.expires_after(&1) > Some(Duration::from_secs(530)));
    /// # Ok::<(), millpond_cache::BuildError>(())
    /// ```
    pub fn time_to_live_jitter(mut self, fraction: f64) -> Self {
        self.jitter = Some(fraction);
        self
    }

    /// Lets a rule decide for each entry how long it lives, when it is created, read and updated. Default: none.
    ///
    /// In the place of a time to live; a time to idle still applies, whichever ends first. See [`Expiry`] for an example.
    /// Cost: hits look at the clock and call the rule.
    pub fn expire_after(mut self, expiry: impl Expiry<K, V> + 'static) -> Self {
        self.expiry = Some(Box::new(expiry));
        self
    }

    /// Is told of each value that leaves the cache, with the cause. Default: nobody is.
    ///
    /// Runs on the thread whose call removed the entry, after that call has let go of its lock and of the key: it may use the
    /// cache, and ask for that key. One that inserts for each eviction into the very cache that is full calls itself without end. A
    /// panic in it is caught and counted ([`Stats::listener_panics`](crate::Stats::listener_panics)).
    pub fn eviction_listener(
        mut self,
        listener: impl Fn(&K, &V, RemovalCause) + Send + Sync + 'static,
    ) -> Self {
        self.listener = Some(Listener::new(listener));
        self
    }

    /// Sends each removal to a receiver on another thread or in a task, by a queue of `capacity` events (at least 1). Default:
    /// none.
    ///
    /// The call that removes an entry clones key and value, outside locks. A second call of this ends the first receiver's
    /// events. See [`Notifications`] for an example and for what is promised.
    pub fn notifications(mut self, capacity: usize, when_full: WhenFull) -> (Self, Notifications<K, V>)
    where
        K: Clone + Send + 'static,
        V: Clone + Send + 'static,
    {
        let (outbox, receiver) = notifications::queue(capacity, when_full);
        self.outbox = Some(outbox);
        (self, receiver)
    }

    /// Counts hits, misses, loads and removals; see [`Cache::stats`]. Default: off, and then it costs nothing.
    pub fn record_stats(mut self) -> Self {
        self.record_stats = true;
        self
    }

    /// A name for logs and metrics. Default: none.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into().into_boxed_str());
        self
    }

    /// The clock for expiry. Default: the system's coarse monotonic clock, which on Linux has a resolution of 1 to 10 ms
    /// (a tick of the kernel) and stands still while the machine sleeps.
    ///
    /// A lookup never returns a value whose end had come, by this clock, when the call began.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Some(Box::new(clock));
        self
    }

    /// Has a thread keep the system's time, so that a hit on an entry that ends loads one word and does not ask the clock. Default:
    /// off.
    ///
    /// A hit that looks at the time then costs about a fifth more than one that does not, in place of about twice as much
    /// (docs/design.md). One thread serves all caches of the process; it wakes 250 times a second, starts with the first
    /// such cache and ends with the last. The price: where the system does not let the thread run for longer than 16 ms, as in a
    /// process that was stopped and goes on or was forked, up to 255 calls of each thread may return a value after its end by
    /// as much, until one of them looks at the clock itself. Hits ask the clock all the same in the last 17 to 34 ms of a life, with
    /// [`expire_after`](Self::expire_after), where no thread can be started, and on a machine that has run for 2.3 years.
    ///
    /// ```
    /// use millpond_cache::Cache;
    /// use std::time::Duration;
    /// let cache: Cache<u32, u32> =
    ///     Cache::builder().time_to_live(Duration::from_secs(600)).clock_thread().build()?;
    /// cache.insert(1, 10);
    /// assert_eq!(cache.get(&1), Some(10));
    /// # Ok::<(), millpond_cache::BuildError>(())
    /// ```
    pub fn clock_thread(mut self) -> Self {
        self.clock_thread = true;
        self
    }

    /// How many entries to expect. Where the cache has a bound in weight or none, its number of shards follows from this: no more
    /// than leaves 1,024 of them to each. Default: with a [`weigher`](Self::weigher), as many as the bound holds of weight 4,096.
    ///
    /// Say it where entries weigh much less or much more, and the cache is not large: shards of few entries cost hits (up to 8 points
    /// were measured), and few shards have writers wait for each other. A guess within a factor of four is good enough. It reserves
    /// no memory, and bounds nothing.
    ///
    /// ```
    /// use millpond_cache::{Cache, weighers};
    /// // 16 MiB of texts of about 200 bytes.
    /// let cache: Cache<u64, String> = Cache::builder()
    ///     .max_weight(16 << 20)
    ///     .weigher(weighers::value_len)
    ///     .expected_entries(80_000)
    ///     .build()?;
    /// # Ok::<(), millpond_cache::BuildError>(())
    /// ```
    pub fn expected_entries(mut self, entries: u64) -> Self {
        self.expected_entries = Some(entries);
        self
    }

    /// The number of shards, a power of two: writers of different shards do not wait for each other. Default: four for
    /// each core, but no more than leaves 1,024 entries to each; see [`expected_entries`](Self::expected_entries).
    ///
    /// The bound of the cache is one for all shards, however many there are.
    pub fn shards(mut self, shards: usize) -> Self {
        self.shards = Some(shards);
        self
    }

    /// Seeds the policy's random choices and hashes, for repeatable simulations. Default: random for each cache.
    ///
    /// The key hasher has its own seed: see [`hasher`](Self::hasher).
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// The hasher for keys. Default: `ahash` with random keys, which resists crafted collisions.
    pub fn hasher<T>(self, hasher: T) -> CacheBuilder<K, V, T> {
        CacheBuilder {
            max_capacity: self.max_capacity,
            max_weight: self.max_weight,
            weigher: self.weigher,
            eviction_policy: self.eviction_policy,
            admission: self.admission,
            time_to_live: self.time_to_live,
            time_to_idle: self.time_to_idle,
            jitter: self.jitter,
            expiry: self.expiry,
            freshness: self.freshness,
            listener: self.listener,
            outbox: self.outbox,
            clock: self.clock,
            clock_thread: self.clock_thread,
            record_stats: self.record_stats,
            shards: self.shards,
            expected_entries: self.expected_entries,
            name: self.name,
            seed: self.seed,
            hasher,
        }
    }

    /// Builds the cache.
    ///
    /// # Errors
    /// [`BuildError`] names the setting that can't be honoured.
    pub fn build(self) -> Result<Cache<K, V, S>, BuildError>
    where
        K: Hash + Eq,
        S: BuildHasher,
    {
        let weighted = self.weigher.is_some();
        let max = match (self.max_capacity, self.max_weight) {
            (Some(_), Some(_)) => return Err(BuildError::TwoBounds),
            (_, Some(_)) if !weighted => return Err(BuildError::NoWeigher),
            (Some(_), None) if weighted => return Err(BuildError::NoMaxWeight),
            (None, None) if weighted => return Err(BuildError::NoMaxWeight),
            (capacity, weight) => capacity.or(weight).unwrap_or(u64::MAX),
        };
        let kind = match (self.eviction_policy, self.admission) {
            (EvictionPolicy::TinyLfu, Admission::Frequency) => Kind::TinyLfu,
            (EvictionPolicy::Lru, Admission::Frequency) => Kind::Lru,
            (EvictionPolicy::Lru, _) => return Err(BuildError::AdmissionUnderLru),
            (_, Admission::SizeAware) if weighted => Kind::SizeAware,
            (_, Admission::SizeAware) => return Err(BuildError::AdmissionNeedsWeigher),
        };
        let shards = match self.shards {
            None => default_shards(max, weighted, self.expected_entries),
            Some(shards) if shards.is_power_of_two() && shards <= 1 << 16 => shards,
            Some(shards) => return Err(BuildError::Shards(shards)),
        };
        if self.expiry.is_some() && self.time_to_live.is_some() {
            return Err(BuildError::TwoLifetimes);
        }
        match self.jitter {
            Some(fraction) if !(0.0..=1.0).contains(&fraction) => return Err(BuildError::Jitter),
            Some(_) if self.time_to_live.is_none() => return Err(BuildError::NoTimeToLive),
            _ => {}
        }
        if self.clock.is_some() && self.clock_thread {
            return Err(BuildError::TwoClocks);
        }
        let seeds = ahash::RandomState::new();
        let seed_of = |shard: u64| match self.seed {
            Some(seed) => seed.wrapping_add(shard.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            None => seeds.hash_one(shard),
        };
        self.freshness.check(self.time_to_live)?;
        let (grace, renews) = (self.freshness.grace, self.freshness.refresh.is_some());
        let timed = self.time_to_live.is_some()
            || self.time_to_idle.is_some()
            || self.expiry.is_some()
            || !self.freshness.is_off();
        let dated = timed || self.clock_thread;
        let make = |shard| {
            Shard::new(share(shard, shards, max), weighted, dated, seed_of(shard as u64), kind)
                .lingering(grace)
                .renewing(renews)
        };
        let plain = self.weigher.is_none()
            && self.listener.is_none()
            && self.outbox.is_none()
            && !self.record_stats
            && kind == Kind::TinyLfu
            && !timed;
        let time_to_idle = self.time_to_idle.map_or(OFF, nanos);
        let ticks = match self.clock {
            Some(clock) => Ticks::Custom(clock),
            None if self.clock_thread => Ticks::kept(),
            None => Ticks::Coarse,
        };
        let glanced = matches!(ticks, Ticks::Kept(_)) && self.expiry.is_none();
        let core = Core {
            plain,
            hasher: self.hasher,
            shards: Shards::new((0..shards).map(make)),
            flights: (0..shards).map(|_| Flights::new()).collect(),
            budget: Budget::new(max),
            waiting: Waiting::default(),
            weigher: self.weigher,
            listener: self.listener,
            outbox: self.outbox,
            counters: self.record_stats.then(Counters::new),
            published: Published::new(),
            ticks,
            time_to_live: self.time_to_live.map_or(OFF, nanos),
            time_to_idle,
            idle_left: idle_left(time_to_idle),
            marks: Marks::new(self.record_stats, glanced),
            jitter: self.jitter.unwrap_or(0.0),
            expiry: self.expiry,
            freshness: self.freshness,
            shortened: AtomicBool::new(false),
            name: self.name,
            janitors: Janitors::default(),
        };
        Ok(Cache { core: Arc::new(core) })
    }
}

impl<K: Hash + Eq, V> Cache<K, V> {
    /// A cache of at most `max_capacity` entries, with all other settings at their defaults.
    ///
    /// ```
    /// let cache = millpond_cache::Cache::new(10_000);
    /// cache.insert("KJFK", 13);
    /// assert_eq!(cache.get("KJFK"), Some(13));
    /// ```
    #[must_use]
    pub fn new(max_capacity: u64) -> Self {
        match Self::builder().max_capacity(max_capacity).build() {
            Ok(cache) => cache,
            Err(error) => unreachable!("a capacity alone is always valid: {error}"),
        }
    }

    /// Starts the configuration of a cache.
    pub fn builder() -> CacheBuilder<K, V> {
        CacheBuilder::default()
    }
}

impl<K, V, S> fmt::Debug for CacheBuilder<K, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheBuilder")
            .field("max_capacity", &self.max_capacity)
            .field("max_weight", &self.max_weight)
            .field("weigher", &self.weigher.is_some())
            .field("eviction_policy", &self.eviction_policy)
            .field("admission", &self.admission)
            .field("time_to_live", &self.time_to_live)
            .field("time_to_idle", &self.time_to_idle)
            .field("time_to_live_jitter", &self.jitter)
            .field("expire_after", &self.expiry.is_some())
            .field("eviction_listener", &self.listener.is_some())
            .field("clock_thread", &self.clock_thread)
            .field("record_stats", &self.record_stats)
            .field("shards", &self.shards)
            .field("expected_entries", &self.expected_entries)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
