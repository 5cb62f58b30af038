//! The face of a cache with a store: documentation and delegation.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use equivalent::Equivalent;

use super::error::{CloseError, StoreCacheError};
use super::inner::{Inner, Mode};
use super::many::PutManyError;
use super::stats::StoreStats;
use super::store::{Store, StoreError};
use crate::compute::Op;
use crate::stats::Stats;

/// A cache with a store behind it. A handle: cloning it is cheap and gives the same cache.
///
/// See [`backing`](super) for an example, and [`StoreCacheBuilder`](super::StoreCacheBuilder) for what each way of writing
/// promises. Reads and writes must be polled in a tokio runtime.
///
/// # The end
/// Call [`close`](Self::close) before the runtime shuts down. If the last handle of a write-behind cache is dropped without
/// it, the queue is still written while the runtime lives; what is left when that ends too goes to the dead-letter callback.
/// Nothing can be done about a process that is killed.
pub struct StoreCache<K, V, St: Store<K, V>>
where
    K: Sync,
    V: Send,
{
    pub(crate) inner: Arc<Inner<K, V, St>>,
}

impl<K, V, St> StoreCache<K, V, St>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    St: Store<K, V>,
{
    /// The value of a key, from the cache or else from the store; `None` if the store has none. Both answers are cached.
    ///
    /// Of all who ask for a missing key at once, one asks the store. A write that was accepted before the call is seen, also
    /// one that the store does not have yet. A hit costs no more than [`Cache::get`](crate::Cache::get). With
    /// [`refresh_after`](crate::CacheBuilder::refresh_after), a hit on a value that is due has it loaded again by a task, and
    /// costs a clone of the key and a second lookup.
    ///
    /// # Errors
    /// What the load failed with, shared by all who waited for it; unless there is an expired value that may be used
    /// ([`stale_if_error`](crate::CacheBuilder::stale_if_error)).
    ///
    /// # Panics
    /// If the store does, or asks for the same key while it loads it.
    ///
    /// # Cancellation
    /// Dropping the future drops the load; then one of those who wait loads.
    pub async fn get<Q>(&self, key: &Q) -> Result<Option<V>, StoreCacheError<St::Error>>
    where
        Q: Hash + Equivalent<K> + ToOwned<Owned = K> + ?Sized,
    {
        if let Some(value) = self.inner.cache.get(key) {
            if self.inner.cache.core.freshness.refresh.is_some() {
                self.inner.refresh_if_due(&key.to_owned());
            }
            return Ok(value);
        }
        let key = key.to_owned();
        let loading = async { self.inner.load_with_life(&key).await };
        // As `try_get_or_insert_with_async` does, which looks once more.
        let loaded = self.inner.cache.drive_async(key.clone(), false, &[], loading).await;
        loaded.map_err(|error| StoreCacheError::clone(&error))
    }

    /// The values of many keys; what is missing is asked for with one [`load_many`](Store::load_many). Keys without a value are not
    /// in the result.
    ///
    /// Keys that another caller is loading are waited for, see [`Cache::get_many_with`](crate::Cache::get_many_with).
    ///
    /// # Errors
    /// As for [`get`](Self::get), if one of the keys can't be answered.
    ///
    /// # Panics
    /// As for [`get`](Self::get).
    ///
    /// # Cancellation
    /// As for [`get`](Self::get).
    pub async fn get_many(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<HashMap<K, V>, StoreCacheError<St::Error>> {
        let keys: Vec<K> = keys.into_iter().collect();
        let inner = &self.inner;
        if let Some(behind) = inner.behind() {
            // What waits to be written needs no store, which may be down.
            for key in keys.iter().filter(|key| behind.pending(key).is_some()) {
                inner.publish(key);
            }
        }
        let loaded = inner.cache.try_get_many_with_async(keys, |missing| inner.load_many(missing)).await;
        let values = loaded.map_err(|error| StoreCacheError::clone(&error))?;
        Ok(values.into_iter().filter_map(|(key, value)| Some((key, value?))).collect())
    }

    /// Stores a value under a key.
    ///
    /// With write-through it is in the store when this returns; with write-behind it is in the queue, and will be.
    ///
    /// # Errors
    /// [`ReadOnly`](StoreCacheError::ReadOnly), [`Closed`](StoreCacheError::Closed): nothing was done.
    /// - Write-through: the store's error, then the store may have the old value or the new one, and the cache holds neither;
    ///   [`Unavailable`](StoreCacheError::Unavailable), nothing was done; [`Interrupted`](StoreCacheError::Interrupted).
    /// - Write-behind: [`QueueFull`](StoreCacheError::QueueFull), nothing was done;
    ///   [`Journal`](StoreCacheError::Journal), which says what was.
    ///
    /// # Panics
    /// If the store does, with write-through. If the clone of the value, the weigher or a rule of expiry does; with write-behind
    /// the write may have been accepted then.
    ///
    /// # Cancellation
    /// - Write-through: dropped while it waits for its turn, it did nothing; later, the write goes on to its end without the
    ///   caller, and the cache agrees with the store.
    /// - Write-behind: dropped while it waits for room, it did nothing; while it waits for the journal, it is accepted.
    pub async fn put(&self, key: K, value: V) -> Result<(), StoreCacheError<St::Error>> {
        self.write(key, Some(value)).await
    }

    /// Stores many values, each as [`put`](Self::put) does. Of a key that is there twice the last value counts.
    ///
    /// - Write-through: by one [`write`](Store::write) of the store (more only for keys whose hashes are equal), under the turns of all
    ///   keys. Split what is more than the store takes in a statement.
    /// - Write-behind: into the queue, in this order; then the journal is waited for once, so that all share its syncs.
    ///
    /// # Errors
    /// [`PutManyError`] has the keys that failed, each with the error that `put` would have returned. The others are done.
    ///
    /// # Panics
    /// As for [`put`](Self::put).
    ///
    /// # Cancellation
    /// As for [`put`](Self::put); with write-behind, those that were accepted by then are written, and the others are not.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use millpond_cache::Cache;
    /// # use millpond_cache::backing::{Store, StoreError, Write, Written};
    /// # struct Table;
    /// # impl Store<u32, String> for Table {
    /// #     type Error = String;
    /// #     async fn load(&self, _: &u32) -> Result<Option<String>, StoreError<String>> { Ok(None) }
    /// #     async fn write(&self, batch: &[Write<u32, String>]) -> Result<Written<String>, StoreError<String>> {
    /// #         assert_eq!(batch.len(), 3);
    /// #         Ok(Written::all())
    /// #     }
    /// # }
    /// let cache = Cache::builder().max_capacity(100).read_through(Table).write_through().build()?;
    /// cache.put_many((1..=3).map(|n| (n, format!("value {n}")))).await?;
    /// assert_eq!(cache.get(&2).await?.as_deref(), Some("value 2"));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn put_many(
        &self,
        writes: impl IntoIterator<Item = (K, V)>,
    ) -> Result<(), PutManyError<K, St::Error>> {
        self.inner.put_many(writes).await
    }

    /// Deletes a key from the store, as [`put`](Self::put) stores one.
    ///
    /// With write-behind it takes the place of a put that waits.
    ///
    /// # Errors
    /// As for [`put`](Self::put).
    ///
    /// # Panics
    /// As for [`put`](Self::put).
    ///
    /// # Cancellation
    /// As for [`put`](Self::put).
    pub async fn delete<Q>(&self, key: &Q) -> Result<(), StoreCacheError<St::Error>>
    where
        Q: ToOwned<Owned = K> + ?Sized,
    {
        self.write(key.to_owned(), None).await
    }

    async fn write(&self, key: K, value: Option<V>) -> Result<(), StoreCacheError<St::Error>> {
        match &self.inner.mode {
            Mode::ReadOnly => Err(StoreCacheError::ReadOnly),
            Mode::Through(through) => self.inner.write_through(through, key, value).await,
            Mode::Behind(behind) => self.inner.write_behind(behind, key, value).await,
        }
    }

    /// Changes a key in a way that only the store can compute, such as a counter or a conditional update, and caches what the
    /// store has then.
    ///
    /// `change` does it, and returns what the store has for the key afterwards, and an answer for the caller. To the cache it is a
    /// write like [`put`](Self::put) with [`write_through`](super::StoreCacheBuilder::write_through): the cached value is forgotten
    /// first, writers of the key take turns, readers who miss meanwhile wait, and nothing is cached after an error or a panic.
    ///
    /// # Errors
    /// As for [`put`](Self::put) with write-through, and [`NotWriteThrough`](StoreCacheError::NotWriteThrough), nothing was done.
    ///
    /// # Panics
    /// If `change` does, also by asking this cache for the key. If the clone of the value, the weigher or a rule of expiry does.
    ///
    /// # Cancellation
    /// As for [`put`](Self::put) with write-through: `change` runs to its end once it has begun.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use millpond_cache::Cache;
    /// use millpond_cache::backing::{Store, StoreError, Write, Written};
    /// use std::sync::Arc;
    /// use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
    ///
    /// struct Shelf(AtomicU64);
    ///
    /// impl Store<String, u64> for Shelf {
    ///     type Error = String;
    ///
    ///     async fn load(&self, _: &String) -> Result<Option<u64>, StoreError<String>> {
    ///         Ok(Some(self.0.load(Relaxed)))
    ///     }
    ///
    ///     async fn write(&self, batch: &[Write<String, u64>]) -> Result<Written<String>, StoreError<String>> {
    ///         self.0.store(batch[0].value().copied().unwrap_or(0), Relaxed);
    ///         Ok(Written::all())
    ///     }
    /// }
    ///
    /// let shelf = Arc::new(Shelf(AtomicU64::new(3)));
    /// let stock = Cache::builder().max_capacity(100).read_through(Arc::clone(&shelf)).write_through().build()?;
    /// let take = |units: u64| {
    ///     let shelf = Arc::clone(&shelf);
    ///     async move {
    ///         let taken = shelf.0.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(units)).is_ok();
    ///         Ok((Some(shelf.0.load(Relaxed)), taken))
    ///     }
    /// };
    /// assert!(stock.update("tea".into(), take(2)).await?);
    /// assert!(!stock.update("tea".into(), take(2)).await?, "one is left");
    /// assert_eq!(stock.get("tea").await?, Some(1));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn update<R: Send + 'static>(
        &self,
        key: K,
        change: impl Future<Output = Result<(Option<V>, R), StoreError<St::Error>>> + Send + 'static,
    ) -> Result<R, StoreCacheError<St::Error>> {
        match &self.inner.mode {
            Mode::Through(through) => self.inner.change_through(through, Arc::new(key), change).await,
            Mode::ReadOnly | Mode::Behind(_) => Err(StoreCacheError::NotWriteThrough),
        }
    }

    /// Asks the store again for a key, and returns what it has now. Meanwhile readers get the old value, and a write wins.
    ///
    /// A key with a write in the queue gets that one's value.
    ///
    /// # Errors
    /// What the load failed with; the cached value stays.
    ///
    /// # Panics
    /// As for [`get`](Self::get).
    ///
    /// # Cancellation
    /// Dropping the future drops the load; the cached value stays.
    pub async fn refresh<Q>(&self, key: &Q) -> Result<Option<V>, StoreCacheError<St::Error>>
    where
        Q: ToOwned<Owned = K> + ?Sized,
    {
        let key = key.to_owned();
        let inner = &self.inner;
        let entry = inner.cache.entry(key.clone());
        let loaded =
            entry.and_try_compute_with_async(|_| async { inner.load(&key).await.map(Op::Put) }).await?;
        Ok(loaded.into_entry().and_then(|entry| entry.into_value()))
    }

    /// Forgets the cached value of a key, so that the next read asks the store. A write in the queue is not touched.
    ///
    /// For changes that were made to the store by others.
    pub fn invalidate<Q>(&self, key: &Q)
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.inner.cache.invalidate(key);
    }

    /// Forgets all cached values. Writes in the queue are not touched.
    pub fn invalidate_all(&self) {
        self.inner.cache.invalidate_all();
    }

    /// Waits until all writes that were accepted before the call are in the store, or were reported to the dead-letter callback.
    /// They are written without further delay.
    ///
    /// Returns at once without write-behind. While the store is down it waits, unless
    /// [`max_attempts`](super::WriteBehind::max_attempts) is set: put it into a timeout if that is too long.
    ///
    /// # Cancellation
    /// Nothing is lost; the writes are still made without delay.
    pub async fn flush(&self) {
        if let Mode::Behind(behind) = &self.inner.mode {
            self.inner.flush(behind).await;
        }
    }

    /// Refuses further writes and waits until all are done, at most for `deadline`. Reads go on to work.
    ///
    /// With write-behind, what was not written by then is handed to the dead-letter callback, also what is on its way to
    /// the store; with a journal it stays there for the next start, unless the journal has failed. Call it once more to wait longer for writes of write-through, which go on.
    ///
    /// # Errors
    /// [`CloseError`] says how many writes were not done in time.
    ///
    /// # Cancellation
    /// The cache stays closed, and its queue is written.
    pub async fn close(&self, deadline: Duration) -> Result<(), CloseError> {
        match &self.inner.mode {
            Mode::ReadOnly => Ok(()),
            Mode::Through(through) => match tokio::time::timeout(deadline, through.close()).await {
                Ok(()) => Ok(()),
                Err(_) => match *through.writing.lock() {
                    0 => Ok(()),
                    unwritten => Err(CloseError { unwritten }),
                },
            },
            Mode::Behind(behind) => self.inner.close_behind(behind, deadline).await,
        }
    }

    /// Removes expired entries from the cache ([`Cache::run_pending_tasks`](crate::Cache::run_pending_tasks)), and has the queue looked at.
    ///
    /// Needed after moving a [`ManualClock`](crate::ManualClock): the queue sleeps by the runtime's time.
    pub fn run_pending_tasks(&self) {
        self.inner.cache.run_pending_tasks();
        if let Mode::Behind(behind) = &self.inner.mode {
            behind.driven.ring();
        }
    }

    /// Figures of the queue and the store. Takes the queue's lock.
    #[must_use]
    pub fn stats(&self) -> StoreStats {
        let inner = &self.inner;
        let mut stats = StoreStats { is_store_down: inner.breaker.is_open(), ..StoreStats::default() };
        if let Mode::Behind(behind) = &inner.mode {
            let queue = behind.driven.lock();
            let counts = queue.counts;
            stats.queue_length = queue.length();
            stats.queue_bytes = queue.bytes();
            stats.in_flight = queue.flying();
            stats.oldest_age = queue.oldest_age(inner.now()).map(Duration::from_nanos);
            stats.accepted = counts.accepted;
            stats.coalesced = counts.coalesced;
            stats.written = counts.written;
            stats.retried = counts.retried;
            stats.dead = counts.dead;
            stats.batches = counts.batches;
            stats.is_store_down |= queue.is_store_down();
            drop(queue);
            stats.callback_panics = behind.callback_panics();
            if let Some(log) = &behind.journal {
                let figures = log.figures();
                stats.journal_bytes = figures.bytes;
                stats.journal_syncs = figures.syncs;
                stats.journal_blocks = figures.blocks;
                stats.journal_compactions = figures.compactions;
            }
        }
        stats
    }

    /// Figures of the cache; all zero unless [`record_stats`](crate::CacheBuilder::record_stats) is on.
    #[must_use]
    pub fn cache_stats(&self) -> Stats {
        self.inner.cache.stats()
    }

    /// Entries in the cache, those that say "there is none" included.
    #[must_use]
    pub fn entry_count(&self) -> u64 {
        self.inner.cache.entry_count()
    }

    #[cfg(feature = "nodes")]
    pub(crate) fn cache(&self) -> &crate::cache::Cache<K, Option<V>> {
        &self.inner.cache
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &St {
        &self.inner.store
    }

    /// Panics unless all inner structures agree. For tests.
    #[doc(hidden)]
    pub fn check_invariants(&self) {
        self.inner.cache.check_invariants();
        if let Mode::Behind(behind) = &self.inner.mode {
            behind.driven.lock().check_invariants();
        }
    }
}

impl<K, V, St> Clone for StoreCache<K, V, St>
where
    K: Sync,
    V: Send,
    St: Store<K, V>,
{
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<K, V, St> fmt::Debug for StoreCache<K, V, St>
where
    K: Sync,
    V: Send,
    St: Store<K, V>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = match &self.inner.mode {
            Mode::ReadOnly => "read-through",
            Mode::Through(_) => "write-through",
            Mode::Behind(_) => "write-behind",
        };
        f.debug_struct("StoreCache")
            .field("cache", &self.inner.cache)
            .field("mode", &mode)
            .finish_non_exhaustive()
    }
}
