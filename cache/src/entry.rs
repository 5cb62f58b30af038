//! One key's entry: read, decide, write as one step. The drivers, blocking and async, over `core::compute`.

use std::convert::Infallible;
use std::fmt;
use std::future::poll_fn;
use std::hash::{BuildHasher, Hash};
use std::pin::pin;
use std::sync::Arc;

use crate::cache::Cache;
use crate::compute::{CompResult, Entry, Op};
use crate::core::load::Leader;
use crate::core::write::Life;
use crate::loading::forbid_recursion;

/// One key of a cache, to be computed or filled; from [`Cache::entry`].
///
/// # Atomicity
/// A compute is linearizable: its value follows the very value that its closure saw, whatever other calls do meanwhile. No
/// lock is held while the closure runs. Loads and other computes of the same key wait for it; plain writes and removals do
/// not. If one of them, an eviction or expiry changes the entry meanwhile, the closure is **called again** with what is
/// there then, and its first answer is dropped. That is why closures are `FnMut` (moka's are `FnOnce` and ordered
/// among each other only).
///
/// Side effects of a closure may thus happen more than once. A compute that takes long on a key that is written all the
/// time may run often before it is stored.
///
/// # Statistics
/// Each call of a closure counts as one lookup, and as a use of the entry. Computes do not count as loads.
///
/// # Cost
/// Two short critical sections, an allocation for the key, and three clones of the value at most.
///
/// # Panics
/// All methods panic if their closure asks this cache to load or compute the same key, and computes also if it writes or
/// removes the key: neither could ever be answered. A panic of the closure goes to the caller, nothing is stored, and those
/// who wait go on.
///
/// # Cancellation
/// Dropping a future of the `_async` methods drops the closure's future; nothing is stored, and those who wait go on. A
/// future that is kept but no longer polled holds up the others.
#[must_use = "a selector does nothing by itself"]
pub struct EntrySelector<'c, K, V, S = ahash::RandomState> {
    cache: &'c Cache<K, V, S>,
    key: K,
}

impl<K, V, S> Cache<K, V, S>
where
    K: Hash + Eq,
    V: Clone,
    S: BuildHasher,
{
    /// Selects the entry of a key, to compute or to fill it.
    ///
    /// ```
    /// let cache = millpond_cache::Cache::new(100);
    /// for word in ["a", "b", "a"] {
    ///     cache.entry(word).and_upsert_with(|old| old.map_or(0, |old| old.into_value()) + 1);
    /// }
    /// assert_eq!((cache.get("a"), cache.get("b")), (Some(2), Some(1)));
    /// ```
    pub fn entry(&self, key: K) -> EntrySelector<'_, K, V, S> {
        EntrySelector { cache: self, key }
    }
}

impl<K, V, S> EntrySelector<'_, K, V, S>
where
    K: Hash + Eq,
    V: Clone,
    S: BuildHasher,
{
    /// Inserts, replaces, removes or leaves the entry, as `f` decides from its value.
    ///
    /// ```
    /// use millpond_cache::compute::{CompResult, Op};
    /// let cache = millpond_cache::Cache::new(100);
    /// cache.insert("stock", 1);
    /// let take_one = |cache: &millpond_cache::Cache<&'static str, u32>| {
    ///     cache.entry("stock").and_compute_with(|entry| match entry.map(|entry| entry.into_value()) {
    ///         None => Op::Nop,
    ///         Some(1) => Op::Remove,
    ///         Some(n) => Op::Put(n - 1),
    ///     })
    /// };
    /// assert!(matches!(take_one(&cache), CompResult::Removed(_)));
    /// assert!(matches!(take_one(&cache), CompResult::StillNone));
    /// ```
    ///
    /// # Panics
    /// See [`EntrySelector`].
    pub fn and_compute_with(self, mut f: impl FnMut(Option<Entry<V>>) -> Op<V>) -> CompResult<V> {
        match self.and_try_compute_with(|entry| Ok::<_, Infallible>(f(entry))) {
            Ok(result) => result,
            Err(never) => match never {},
        }
    }

    /// As [`and_compute_with`](Self::and_compute_with), for a closure that can fail; then nothing changes.
    ///
    /// ```
    /// use millpond_cache::compute::Op;
    /// let cache = millpond_cache::Cache::new(100);
    /// let result = cache.entry("a").and_try_compute_with(|_| "x".parse::<i32>().map(Op::Put));
    /// assert!(result.is_err());
    /// assert_eq!(cache.get("a"), None);
    /// ```
    ///
    /// # Errors
    /// The closure's error.
    ///
    /// # Panics
    /// See [`EntrySelector`].
    pub fn and_try_compute_with<E>(
        self,
        mut f: impl FnMut(Option<Entry<V>>) -> Result<Op<V>, E>,
    ) -> Result<CompResult<V>, E> {
        let Self { cache, mut key } = self;
        loop {
            // Dropped after the leader, whatever happens: its drop may compute the key.
            let seen;
            let leader = cache.lead_blocking(key);
            // Clones are user code, too.
            let inside = leader.flight().enter();
            seen = leader.look();
            let entry = seen.clone().map(Entry::found);
            let op = f(entry);
            drop(inside);
            let op = op?;
            match conclude(seen, op, leader) {
                Ok(result) => return Ok(result),
                Err(handed_back) => key = handed_back,
            }
        }
    }

    /// Inserts or replaces the value by what `f` makes of the old one.
    ///
    /// ```
    /// let cache = millpond_cache::Cache::new(100);
    /// let entry = cache.entry(1).and_upsert_with(|old| old.map_or(10, |old| old.into_value() + 1));
    /// assert_eq!((*entry.value(), entry.is_old_value_replaced()), (10, false));
    /// let entry = cache.entry(1).and_upsert_with(|old| old.map_or(10, |old| old.into_value() + 1));
    /// assert_eq!((*entry.value(), entry.is_old_value_replaced()), (11, true));
    /// ```
    ///
    /// # Panics
    /// See [`EntrySelector`].
    pub fn and_upsert_with(self, mut f: impl FnMut(Option<Entry<V>>) -> V) -> Entry<V> {
        self.and_compute_with(|entry| Op::Put(f(entry))).unwrap()
    }

    /// The value, or `default` if there is none, which is then inserted.
    ///
    /// ```
    /// let cache = millpond_cache::Cache::new(100);
    /// assert!(cache.entry(1).or_insert("one").is_fresh());
    /// assert_eq!(cache.entry(1).or_insert("two").into_value(), "one");
    /// ```
    pub fn or_insert(self, default: V) -> Entry<V> {
        self.or_insert_with(|| default)
    }

    /// The value, or the default of its type if there is none, which is then inserted.
    ///
    /// ```
    /// let cache: millpond_cache::Cache<u32, String> = millpond_cache::Cache::new(100);
    /// assert_eq!(cache.entry(1).or_default().into_value(), "");
    /// ```
    ///
    /// # Panics
    /// See [`EntrySelector`].
    pub fn or_default(self) -> Entry<V>
    where
        V: Default,
    {
        self.or_insert_with(V::default)
    }

    /// The value, or what `init` makes if there is none: [`Cache::get_or_insert_with`], which also tells whether it ran.
    ///
    /// ```
    /// let cache = millpond_cache::Cache::new(100);
    /// let entry = cache.entry(1).or_insert_with(|| "one");
    /// assert_eq!((*entry.value(), entry.is_fresh()), ("one", true));
    /// ```
    ///
    /// # Panics
    /// If `init` asks this cache for the same key again.
    pub fn or_insert_with(self, init: impl FnOnce() -> V) -> Entry<V> {
        let mut fresh = false;
        let value = self.cache.get_or_insert_with(self.key, || {
            fresh = true;
            init()
        });
        if fresh { Entry::made(value, false) } else { Entry::found(value) }
    }

    /// As [`or_insert_with`](Self::or_insert_with), for a loader that can fail. Errors are not cached.
    ///
    /// # Errors
    /// The loader's error, shared by all who waited for this load.
    ///
    /// # Panics
    /// If `init` asks this cache for the same key again.
    pub fn or_try_insert_with<E>(self, init: impl FnOnce() -> Result<V, E>) -> Result<Entry<V>, Arc<E>>
    where
        E: Send + Sync + 'static,
    {
        let mut fresh = false;
        let value = self.cache.try_get_or_insert_with(self.key, || {
            // A load that fails may be answered with an old value.
            let loaded = init();
            fresh = loaded.is_ok();
            loaded
        })?;
        Ok(if fresh { Entry::made(value, false) } else { Entry::found(value) })
    }

    /// The value, or what `init` makes if there is none or `replace_if` says so of the one that is there.
    ///
    /// It is a load: a write or invalidation of the key while `init` runs wins, and then what `init` made is returned and
    /// not stored.
    ///
    /// ```
    /// let cache = millpond_cache::Cache::new(100);
    /// cache.insert(1, 5);
    /// let entry = cache.entry(1).or_insert_with_if(|| 50, |&old| old < 10);
    /// assert_eq!((*entry.value(), entry.is_old_value_replaced()), (50, true));
    /// assert_eq!(cache.entry(1).or_insert_with_if(|| 90, |&old| old < 10).into_value(), 50);
    /// ```
    ///
    /// # Panics
    /// See [`EntrySelector`].
    pub fn or_insert_with_if(
        self,
        init: impl FnOnce() -> V,
        mut replace_if: impl FnMut(&V) -> bool,
    ) -> Entry<V> {
        let Self { cache, key } = self;
        if let Some(value) = cache.get(&key).filter(|value| !replace_if(value)) {
            return Entry::found(value);
        }
        // Dropped after the leader, as in a compute.
        let mut seen;
        let leader = cache.lead_blocking(key);
        let inside = leader.flight().enter();
        seen = leader.look();
        let replaced = seen.is_some();
        if let Some(value) = seen.take_if(|value| !replace_if(value)) {
            return Entry::found(value);
        }
        let value = init();
        drop(inside);
        Entry::made(leader.loaded(value, Life::Configured), replaced)
    }
}

/// The async twins. They work in any runtime, and together with blocking callers.
impl<K, V, S> EntrySelector<'_, K, V, S>
where
    K: Hash + Eq,
    V: Clone,
    S: BuildHasher,
{
    /// As [`and_compute_with`](Self::and_compute_with), with a future for the decision.
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// use millpond_cache::compute::Op;
    /// let cache = millpond_cache::Cache::new(100);
    /// let add = |entry: Option<millpond_cache::compute::Entry<u32>>| async move {
    ///     Op::Put(entry.map_or(0, |entry| entry.into_value()) + 1)
    /// };
    /// cache.entry("a").and_compute_with_async(add).await;
    /// cache.entry("a").and_compute_with_async(add).await;
    /// assert_eq!(cache.get("a"), Some(2));
    /// # });
    /// ```
    ///
    /// # Panics
    /// See [`EntrySelector`]. Recursion by way of another task that the future waits for can't be detected: it would wait
    /// for ever.
    ///
    /// # Cancellation
    /// See [`EntrySelector`].
    pub async fn and_compute_with_async<F>(self, mut f: impl FnMut(Option<Entry<V>>) -> F) -> CompResult<V>
    where
        F: Future<Output = Op<V>>,
    {
        let f = |entry| {
            let op = f(entry);
            async { Ok::<_, Infallible>(op.await) }
        };
        match self.and_try_compute_with_async(f).await {
            Ok(result) => result,
            Err(never) => match never {},
        }
    }

    /// As [`and_compute_with_async`](Self::and_compute_with_async), for a future that can fail; then nothing changes.
    ///
    /// # Errors
    /// The future's error.
    ///
    /// # Panics
    /// As for [`and_compute_with_async`](Self::and_compute_with_async).
    ///
    /// # Cancellation
    /// See [`EntrySelector`].
    pub async fn and_try_compute_with_async<E, F>(
        self,
        mut f: impl FnMut(Option<Entry<V>>) -> F,
    ) -> Result<CompResult<V>, E>
    where
        F: Future<Output = Result<Op<V>, E>>,
    {
        let Self { cache, mut key } = self;
        loop {
            // Both dropped after the leader, whatever happens: their drops may compute the key.
            let seen;
            let mut deciding = pin!(None);
            let leader = cache.lead_async(key).await;
            // Clones are user code, too.
            let inside = leader.flight().enter();
            seen = leader.look();
            let entry = seen.clone().map(Entry::found);
            deciding.set(Some(f(entry)));
            drop(inside);
            let op = poll_fn(|context| {
                let _inside = leader.flight().enter();
                deciding.as_mut().as_pin_mut().expect("set above").poll(context)
            });
            let op = op.await?;
            match conclude(seen, op, leader) {
                Ok(result) => return Ok(result),
                Err(handed_back) => key = handed_back,
            }
        }
    }

    /// As [`and_upsert_with`](Self::and_upsert_with), with a future for the new value.
    ///
    /// # Panics
    /// As for [`and_compute_with_async`](Self::and_compute_with_async).
    ///
    /// # Cancellation
    /// See [`EntrySelector`].
    pub async fn and_upsert_with_async<F>(self, mut f: impl FnMut(Option<Entry<V>>) -> F) -> Entry<V>
    where
        F: Future<Output = V>,
    {
        let f = |entry| {
            let value = f(entry);
            async { Op::Put(value.await) }
        };
        self.and_compute_with_async(f).await.unwrap()
    }

    /// As [`or_insert_with`](Self::or_insert_with), with a future.
    ///
    /// # Panics
    /// As for [`Cache::get_or_insert_with_async`].
    ///
    /// # Cancellation
    /// As for [`Cache::get_or_insert_with_async`].
    pub async fn or_insert_with_async(self, init: impl Future<Output = V>) -> Entry<V> {
        let mut fresh = false;
        let init = async {
            fresh = true;
            init.await
        };
        let value = self.cache.get_or_insert_with_async(self.key, init).await;
        if fresh { Entry::made(value, false) } else { Entry::found(value) }
    }

    /// As [`or_try_insert_with`](Self::or_try_insert_with), with a future.
    ///
    /// # Errors
    /// The loader's error, shared by all who waited for this load.
    ///
    /// # Panics
    /// As for [`Cache::get_or_insert_with_async`].
    ///
    /// # Cancellation
    /// As for [`Cache::get_or_insert_with_async`].
    pub async fn or_try_insert_with_async<E>(
        self,
        init: impl Future<Output = Result<V, E>>,
    ) -> Result<Entry<V>, Arc<E>>
    where
        E: Send + Sync + 'static,
    {
        let mut fresh = false;
        let init = async {
            let loaded = init.await;
            fresh = loaded.is_ok();
            loaded
        };
        let value = self.cache.try_get_or_insert_with_async(self.key, init).await?;
        Ok(if fresh { Entry::made(value, false) } else { Entry::found(value) })
    }

    /// As [`or_insert_with_if`](Self::or_insert_with_if), with a future.
    ///
    /// # Panics
    /// As for [`and_compute_with_async`](Self::and_compute_with_async).
    ///
    /// # Cancellation
    /// See [`EntrySelector`].
    pub async fn or_insert_with_if_async(
        self,
        init: impl Future<Output = V>,
        mut replace_if: impl FnMut(&V) -> bool,
    ) -> Entry<V> {
        let Self { cache, key } = self;
        if let Some(value) = cache.get(&key).filter(|value| !replace_if(value)) {
            return Entry::found(value);
        }
        // Both dropped after the leader, as in a compute.
        let mut seen;
        let mut init = pin!(init);
        let leader = cache.lead_async(key).await;
        let inside = leader.flight().enter();
        seen = leader.look();
        let replaced = seen.is_some();
        let kept = seen.take_if(|value| !replace_if(value));
        drop(inside);
        if let Some(value) = kept {
            return Entry::found(value);
        }
        let value = poll_fn(|context| {
            let _inside = leader.flight().enter();
            init.as_mut().poll(context)
        });
        let value = value.await;
        Entry::made(leader.loaded(value, Life::Configured), replaced)
    }
}

impl<K, V, S> Cache<K, V, S>
where
    K: Hash + Eq,
    V: Clone,
    S: BuildHasher,
{
    /// Waits for the right to compute a key.
    fn lead_blocking(&self, mut key: K) -> Leader<'_, K, V, S> {
        loop {
            match self.core.board_any(key) {
                Ok(leader) => return leader,
                Err((flight, handed_back)) => {
                    forbid_recursion(&flight);
                    flight.wait();
                    key = handed_back;
                }
            }
        }
    }

    /// Waits for the right to compute a key, as a task.
    async fn lead_async(&self, mut key: K) -> Leader<'_, K, V, S> {
        loop {
            match self.core.board_any(key) {
                Ok(leader) => return leader,
                Err((flight, handed_back)) => {
                    forbid_recursion(&flight);
                    flight.waiting().await;
                    key = handed_back;
                }
            }
        }
    }
}

/// Does what the closure said. `Err`: what it saw is no longer there. The leader comes last, so that it is dropped first.
fn conclude<K, V, S>(seen: Option<V>, op: Op<V>, leader: Leader<'_, K, V, S>) -> Result<CompResult<V>, K>
where
    K: Hash + Eq,
    V: Clone,
    S: BuildHasher,
{
    match (op, seen) {
        (Op::Put(value), seen) => {
            let leader = leader;
            let replaced = seen.is_some();
            let inside = leader.flight().enter();
            let entry = Entry::made(value.clone(), replaced);
            drop(inside);
            leader.put(replaced, value)?;
            Ok(if replaced { CompResult::ReplacedWith(entry) } else { CompResult::Inserted(entry) })
        }
        (Op::Remove, Some(value)) => {
            leader.take_away()?;
            Ok(CompResult::Removed(Entry::found(value)))
        }
        // Nothing changes: the step happened when the closure's value was read.
        (Op::Nop, Some(value)) => Ok(CompResult::Unchanged(Entry::found(value))),
        (Op::Nop | Op::Remove, None) => Ok(CompResult::StillNone),
    }
}

impl<K, V, S> fmt::Debug for EntrySelector<'_, K, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EntrySelector").field("cache", self.cache).finish_non_exhaustive()
    }
}
