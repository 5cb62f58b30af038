//! The cache's face: documentation and delegation.

use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::time::Duration;

use equivalent::Equivalent;

use crate::clock::nanos;
use crate::core::Core;
use crate::core::write::Life;
use crate::counters::Counters;
use crate::iter::Iter;
use crate::pin::PinGuard;
use crate::reclaim;
use crate::removal::RemovalCause;
use crate::stats::Stats;

/// A concurrent in-process cache with W-TinyLFU eviction, expiry and single-flight loading.
///
/// A `Cache` is a handle: cloning it is cheap and gives the same cache. All methods take `&self`, from any thread, inside
/// or outside an async runtime.
///
/// # Locking behavior
/// Lookups take no lock and write nothing shared, except the first hit on an entry since the eviction hand passed it. A
/// write locks one shard for a short, bounded time. Hashers, weighers, loaders, listeners and drops of keys and values run
/// outside the locks and may use the cache; only `K: Eq` runs under one, and must not.
///
/// # When values are dropped
/// A removed value may still be borrowed by a reader. It is dropped by a later write to its shard, or at the latest by
/// [`run_pending_tasks`](Cache::run_pending_tasks) when no [`pin`](Cache::pin) is alive, or with the cache. There is no
/// background thread unless you start one ([`spawn_janitor`](Cache::spawn_janitor)).
///
/// # Unwind safety
/// A panic in user code leaves the cache consistent and usable.
pub struct Cache<K, V, S = ahash::RandomState> {
    pub(crate) core: Arc<Core<K, V, S>>,
}

// The boxed callbacks hide it from the compiler: no panic of theirs, nor of `K` and `V`, happens while an invariant is
// broken.
impl<K: RefUnwindSafe, V: RefUnwindSafe, S: RefUnwindSafe> UnwindSafe for Cache<K, V, S> {}
impl<K: RefUnwindSafe, V: RefUnwindSafe, S: RefUnwindSafe> RefUnwindSafe for Cache<K, V, S> {}

impl<K, V, S> Clone for Cache<K, V, S> {
    fn clone(&self) -> Self {
        Self { core: Arc::clone(&self.core) }
    }
}

impl<K, V, S> Cache<K, V, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    /// The value of a key, cloned. Counts as a use.
    ///
    /// Takes no lock. Use [`read`](Self::read) or [`pin`](Self::pin) where cloning is dear.
    ///
    /// ```
    /// let cache = millpond_cache::Cache::new(100);
    /// cache.insert(String::from("a"), 1);
    /// assert_eq!(cache.get("a"), Some(1));
    /// assert_eq!(cache.get("b"), None);
    /// ```
    #[inline]
    pub fn get<Q>(&self, key: &Q) -> Option<V>
    where
        Q: Hash + Equivalent<K> + ?Sized,
        V: Clone,
    {
        let pin = reclaim::pin();
        self.core.get(&pin, key).cloned()
    }

    /// What `f` makes of the value of a key, without a clone. Counts as a use.
    ///
    /// Removed values of every cache wait for `f`, so it should be short.
    ///
    /// ```
    /// let cache = millpond_cache::Cache::new(100);
    /// cache.insert(1, vec![1, 2, 3]);
    /// assert_eq!(cache.read(&1, |v| v.len()), Some(3));
    /// ```
    #[inline]
    pub fn read<Q, R>(&self, key: &Q, f: impl FnOnce(&V) -> R) -> Option<R>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let pin = reclaim::pin();
        self.core.get(&pin, key).map(f)
    }

    /// A guard under which many lookups borrow values without a clone.
    ///
    /// Cheaper than single calls of [`read`](Self::read) from the second lookup on. While a guard is alive, removed values
    /// of every cache in the process wait to be dropped: keep it short, and never across an `await` (it is not `Send`).
    ///
    /// ```
    /// let cache = millpond_cache::Cache::new(100);
    /// cache.insert(1, String::from("one"));
    /// let pin = cache.pin();
    /// let one: Option<&String> = pin.get(&1);
    /// assert_eq!(one.map(String::as_str), Some("one"));
    /// ```
    #[must_use]
    #[inline]
    pub fn pin(&self) -> PinGuard<'_, K, V, S> {
        PinGuard::new(&self.core)
    }

    /// Whether the cache holds a live entry for a key. Does not count as a use, nor in the statistics.
    pub fn contains_key<Q>(&self, key: &Q) -> bool
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let pin = reclaim::pin();
        self.core.contains(&pin, key)
    }

    /// Inserts an entry or replaces its value; it is visible to every thread when the call returns.
    ///
    /// If the cache is full, the policy evicts before this returns, and may choose the new entry itself. One heavier than the
    /// whole cache is evicted at once, and the key's old value with it; [`try_insert`](Self::try_insert) hands it back
    /// instead. A load of the same key that is in flight will not overwrite it.
    pub fn insert(&self, key: K, value: V) {
        self.core.insert(key, value, Life::Configured);
    }

    /// Inserts an entry that lives for `ttl` instead of the cache's time to live. The time to idle still applies.
    ///
    /// `Duration::ZERO` inserts an entry that is dead at once; `Duration::MAX` one that lives for ever.
    ///
    /// ```
    /// use std::time::Duration;
    /// let cache = millpond_cache::Cache::new(100);
    /// cache.insert_with_ttl("a", 1, Duration::from_secs(5));
    /// cache.insert_with_ttl("b", 2, Duration::ZERO);
    /// assert_eq!((cache.get("a"), cache.get("b")), (Some(1), None));
    /// ```
    pub fn insert_with_ttl(&self, key: K, value: V, ttl: Duration) {
        self.core.insert(key, value, Life::Ticks(nanos(ttl)));
    }

    /// What is left of an entry's life: until its deadline or until it was idle for too long, whichever comes first. `None`
    /// if there is no entry, or if it never ends. Does not count as a use.
    ///
    /// See [`set_expires_after`](Self::set_expires_after) for an example. Takes no lock.
    pub fn expires_after<Q>(&self, key: &Q) -> Option<Duration>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let pin = reclaim::pin();
        self.core.expires_after(&pin, key)
    }

    /// Lets an entry live for `duration` from now on, whatever its life was; false if there is no live entry. Does not count
    /// as a use. The time to idle still applies.
    ///
    /// `Duration::ZERO` ends it at once; `Duration::MAX` lets it live for ever. Once this has returned, no read returns the
    /// value past its new end. Works on any cache; takes the shard's lock.
    ///
    /// ```
    /// use std::time::Duration;
    /// let cache = millpond_cache::Cache::new(100);
    /// cache.insert("a", 1);
    /// assert_eq!(cache.expires_after("a"), None);
    /// assert!(cache.set_expires_after("a", Duration::from_secs(60)));
    /// assert!(cache.expires_after("a") <= Some(Duration::from_secs(60)));
    /// assert!(cache.set_expires_after("a", Duration::ZERO));
    /// assert_eq!(cache.get("a"), None);
    /// assert!(!cache.set_expires_after("a", Duration::MAX));
    /// ```
    pub fn set_expires_after<Q>(&self, key: &Q, duration: Duration) -> bool
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.core.set_expires_after(key, nanos(duration))
    }

    /// Removes an entry and returns a clone of its value.
    pub fn remove<Q>(&self, key: &Q) -> Option<V>
    where
        Q: Hash + Equivalent<K> + ?Sized,
        V: Clone,
    {
        self.core.remove(key, RemovalCause::Explicit, |_, value| value.clone())
    }

    /// Removes an entry. A load of the key that is in flight will not store its result.
    pub fn invalidate<Q>(&self, key: &Q)
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.core.remove(key, RemovalCause::Explicit, |_, _| ());
    }

    /// Removes all entries that were there when the call began: once it has returned, no lookup, load, compute or iteration
    /// shows one of them. Loads in flight will not store their results.
    ///
    /// An insert that runs at the same time comes before it or after it, for each key on its own.
    ///
    /// Cost: the same for any number of entries. The entries are hidden, shard by shard; up to 64 of each shard are taken
    /// out by this call, the others a few at a time by later writes, which take their room before they evict anything, or
    /// all of them by [`run_pending_tasks`](Self::run_pending_tasks). That is when their values are dropped and listeners
    /// are told ([`RemovalCause::Cleared`], or `Expired` for what was dead already).
    ///
    /// ```
    /// let cache = millpond_cache::Cache::new(1_000);
    /// cache.extend((0..1_000).map(|n| (n, n)));
    /// cache.invalidate_all();
    /// assert_eq!((cache.get(&1), cache.entry_count()), (None, 0));
    /// ```
    pub fn invalidate_all(&self) {
        self.core.clear();
    }

    /// Removes an entry and returns clones of its key and value.
    ///
    /// ```
    /// let cache = millpond_cache::Cache::new(100);
    /// cache.insert(String::from("a"), 1);
    /// assert_eq!(cache.remove_entry("a"), Some((String::from("a"), 1)));
    /// assert_eq!(cache.remove_entry("a"), None);
    /// ```
    pub fn remove_entry<Q>(&self, key: &Q) -> Option<(K, V)>
    where
        Q: Hash + Equivalent<K> + ?Sized,
        K: Clone,
        V: Clone,
    {
        self.core.remove(key, RemovalCause::Explicit, |key, value| (key.clone(), value.clone()))
    }

    /// Removes the entries for which `predicate` is true, before it returns, and tells how many.
    ///
    /// The predicate runs on this thread outside all locks, once for each live entry, and may use the cache. An entry that is
    /// written after it was asked about stays. Loads in flight are not asked about and are stored when they end. Does not
    /// count as a use.
    ///
    /// Removed values of every cache wait while the entries of a shard are asked about, so the predicate should be short.
    /// Cost: proportional to the number of entries; no lock is held for more than 64 removals.
    ///
    /// ```
    /// let cache = millpond_cache::Cache::new(100);
    /// cache.extend((0..10).map(|n| (n, n)));
    /// assert_eq!(cache.invalidate_if(|_, &value| value % 2 == 0), 5);
    /// assert!(!cache.contains_key(&4) && cache.contains_key(&5));
    /// ```
    ///
    /// # Panics
    /// If the predicate does; then the entries of its shard stay.
    pub fn invalidate_if(&self, predicate: impl FnMut(&K, &V) -> bool) -> u64 {
        self.core.remove_if(predicate)
    }

    /// Keeps the entries for which `keep` is true and removes the others: [`invalidate_if`](Self::invalidate_if) the other
    /// way round.
    ///
    /// ```
    /// let cache = millpond_cache::Cache::new(100);
    /// cache.insert("a", 1);
    /// cache.insert("b", 2);
    /// cache.retain(|_, &value| value > 1);
    /// assert_eq!((cache.get("a"), cache.get("b")), (None, Some(2)));
    /// ```
    ///
    /// # Panics
    /// If `keep` does; then the entries of its shard stay.
    pub fn retain(&self, mut keep: impl FnMut(&K, &V) -> bool) {
        self.core.remove_if(|key, value| !keep(key, value));
    }

    /// Inserts all entries, one after the other. Other threads may see some of them before the rest.
    ///
    /// ```
    /// let cache = millpond_cache::Cache::new(100);
    /// cache.extend([("a", 1), ("b", 2)]);
    /// assert_eq!(cache.get("b"), Some(2));
    /// ```
    pub fn extend(&self, entries: impl IntoIterator<Item = (K, V)>) {
        for (key, value) in entries {
            self.insert(key, value);
        }
    }

    /// A snapshot of the live entries, shard by shard, cloned. Does not count as a use.
    /// `for (key, value) in &cache` does the same.
    ///
    /// Weakly consistent: it never shows an entry twice under one key that was not written meanwhile, and may miss what is
    /// inserted while it runs.
    #[must_use]
    pub fn iter(&self) -> Iter<'_, K, V, S>
    where
        K: Clone,
        V: Clone,
    {
        Iter::new(&self.core)
    }

    /// Removes expired entries and takes out those that [`invalidate_all`](Self::invalidate_all) hid, and drops removed ones
    /// that no pin protects. Ends the growth of tables that writes left in the middle, which makes reads slower.
    ///
    /// Never needed for correctness: the bound always holds, and an expired entry is never returned. Call it to have
    /// listeners told of expiry and values dropped while nobody writes.
    pub fn run_pending_tasks(&self) {
        self.core.run_pending_tasks();
    }

    /// Panics unless the cache's inner structures agree with each other. For tests; call it while nobody writes.
    ///
    /// # Panics
    /// If an invariant does not hold, which is a bug in this crate.
    #[doc(hidden)]
    pub fn check_invariants(&self) {
        self.core.check_invariants();
    }
}

impl<K, V, S> Cache<K, V, S> {
    /// Entries in the cache, expired ones that were not removed yet included, but not those that
    /// [`invalidate_all`](Self::invalidate_all) hid. Never above `max_capacity`.
    #[must_use]
    pub fn entry_count(&self) -> u64 {
        self.core.entry_count()
    }

    /// The weight of the entries of [`entry_count`](Self::entry_count); their number where there is no weigher. Never above
    /// the bound, which holds for what was hidden and not taken out yet as well.
    #[must_use]
    pub fn weighted_size(&self) -> u64 {
        self.core.weighted_size()
    }

    /// What was counted since the cache was built or [`reset_stats`](Self::reset_stats) was called; all zero unless
    /// [`record_stats`](crate::CacheBuilder::record_stats) is on. Cost: a few microseconds.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.core.counters.as_ref().map(Counters::snapshot).unwrap_or_default()
    }

    /// What was counted, and begins anew. Of calls that reset one after the other, each event is in the result of one.
    ///
    /// For who asks at intervals and is the only one. Others keep a snapshot and subtract it: [`Stats`] shows how.
    ///
    /// ```
    /// let cache = millpond_cache::Cache::builder().record_stats().build()?;
    /// cache.insert(1, 1);
    /// cache.get(&1);
    /// assert_eq!(cache.reset_stats().hits(), 1);
    /// assert_eq!(cache.stats().hits(), 0);
    /// # Ok::<(), millpond_cache::BuildError>(())
    /// ```
    pub fn reset_stats(&self) -> Stats {
        self.core.counters.as_ref().map(Counters::reset).unwrap_or_default()
    }

    /// The bound in entries or weight, as it was set last; `None` where there is none.
    #[must_use]
    pub fn max_capacity(&self) -> Option<u64> {
        Some(self.core.budget.target()).filter(|&max| max != u64::MAX)
    }

    /// Loads and computes in flight now.
    #[must_use]
    pub fn loads_in_flight(&self) -> usize {
        self.core.flights.iter().map(crate::core::flights::Flights::len).sum()
    }

    /// The name given at build.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.core.name.as_deref()
    }
}

/// As [`Cache::extend`], for code that is generic over [`Extend`].
impl<K, V, S> Extend<(K, V)> for Cache<K, V, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    fn extend<T: IntoIterator<Item = (K, V)>>(&mut self, entries: T) {
        Self::extend(self, entries);
    }
}

/// An unbounded cache with all settings at their defaults. For a bounded one, build it and [`extend`](Cache::extend) it.
///
/// ```
/// let cache: millpond_cache::Cache<_, _> = [("a", 1), ("b", 2)].into_iter().collect();
/// assert_eq!((cache.get("a"), cache.max_capacity()), (Some(1), None));
/// ```
impl<K: Hash + Eq, V> FromIterator<(K, V)> for Cache<K, V> {
    fn from_iter<T: IntoIterator<Item = (K, V)>>(entries: T) -> Self {
        let cache = Self::new(u64::MAX);
        cache.extend(entries);
        cache
    }
}

impl<K, V, S> fmt::Debug for Cache<K, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache")
            .field("name", &self.name())
            .field("entries", &self.entry_count())
            .field("weight", &self.weighted_size())
            .field("max", &self.max_capacity())
            .finish_non_exhaustive()
    }
}
