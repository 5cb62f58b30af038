//! Refreshing: the right to refresh one entry, and who takes it: plain reads, loading calls, the caller.

use std::any::Any;
use std::fmt;
use std::future::poll_fn;
use std::hash::{BuildHasher, Hash};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;

use equivalent::Equivalent;

use crate::builder::CacheBuilder;
use crate::cache::Cache;
use crate::contain::contain;
use crate::core::Core;
use crate::core::load::Leader;
use crate::core::write::Life;
use crate::error::BuildError;
use crate::freshness::Trigger;
use crate::reclaim;

/// The right to refresh one entry, which nobody else has meanwhile; from [`Cache::claim_refresh`].
///
/// It may be sent to another thread or task and outlive the handle that it came from; it keeps the cache alive. Dropping it
/// counts as a failure.
///
/// ```
/// use millpond_cache::{Cache, ManualClock};
/// use std::{sync::Arc, time::Duration};
/// let clock = Arc::new(ManualClock::new());
/// let cache: Cache<u32, &str> =
///     Cache::builder().refresh_after(Duration::from_secs(60)).clock(clock.clone()).build()?;
/// cache.insert(1, "old");
/// assert!(cache.claim_refresh(&1).is_none(), "it is not due");
/// clock.advance(Duration::from_secs(60));
/// let refresh = cache.claim_refresh(&1).expect("it is due");
/// assert!(cache.claim_refresh(&1).is_none() && cache.is_refreshing(&1));
/// assert_eq!(cache.get(&1), Some("old"));
/// assert!(refresh.complete("new"));
/// assert_eq!(cache.get(&1), Some("new"));
/// # Ok::<(), millpond_cache::BuildError>(())
/// ```
#[must_use = "a refresh that is dropped has failed"]
pub struct Refresh<K: Hash + Eq + 'static, V: 'static, S: BuildHasher + 'static = ahash::RandomState> {
    leader: Leader<'static, K, V, S>,
}

impl<K, V, S> Refresh<K, V, S>
where
    K: Hash + Eq,
    V: Clone,
    S: BuildHasher,
{
    /// The key whose value is to be loaded.
    #[must_use]
    pub fn key(&self) -> &K {
        self.leader.key()
    }

    /// Puts the new value in the place of the old; false if the entry was written, removed or evicted since the claim, and
    /// the value is thrown away.
    ///
    /// If the old value has ended meanwhile, the new one is for those who wait for a load, if there are any.
    pub fn complete(self, value: V) -> bool {
        self.leader.renewed(value)
    }

    /// Leaves the old value, for a while: see [`refresh_backoff`](CacheBuilder::refresh_backoff). The error goes to those who
    /// wait for a load because the old value has ended meanwhile, as that of any loader would.
    pub fn fail<E: Send + Sync + 'static>(self, error: E) {
        self.leader.not_renewed(Arc::new(error) as Arc<dyn Any + Send + Sync>);
    }

    /// Loads on this thread. A panic of the loader is caught and counts as a failure. False if nothing was stored.
    pub fn run<E: Send + Sync + 'static>(self, load: impl FnOnce(&K) -> Result<V, E>) -> bool {
        let loaded = contain(|| {
            let _inside = self.leader.enter();
            load(self.key())
        });
        self.end(loaded)
    }

    /// As [`run`](Self::run), with a future.
    ///
    /// # Cancellation
    /// Dropping the returned future counts as a failure.
    pub async fn run_async<E: Send + Sync + 'static>(self, load: impl Future<Output = Result<V, E>>) -> bool {
        let mut load = pin!(load);
        // Dropped before the loader, whose drop may load the key.
        let refresh = self;
        let loaded = poll_fn(|context| {
            let polled = contain(|| {
                let _inside = refresh.leader.enter();
                load.as_mut().poll(context)
            });
            polled.map_or(Poll::Ready(None), |polled| polled.map(Some))
        });
        let loaded = loaded.await;
        refresh.end(loaded)
    }

    /// `loaded`: none if the loader panicked.
    fn end<E: Send + Sync + 'static>(self, loaded: Option<Result<V, E>>) -> bool {
        let ended = contain(|| match loaded {
            Some(Ok(value)) => self.complete(value),
            Some(Err(error)) => {
                self.fail(error);
                false
            }
            None => false,
        });
        ended.unwrap_or(false)
    }
}

impl<K, V, S> Cache<K, V, S>
where
    K: Hash + Eq + Clone,
    V: Clone,
    S: BuildHasher,
{
    /// Takes the right to refresh an entry, if it is due ([`refresh_after`](CacheBuilder::refresh_after)) and nobody loads,
    /// computes or refreshes it. Does not count as a use. See [`Refresh`] for an example.
    ///
    /// Cost: that of a lookup while the entry is not due; else the shard's lock, a clone of the key, and two allocations.
    pub fn claim_refresh(&self, key: &K) -> Option<Refresh<K, V, S>> {
        let due = self.core.due(&reclaim::pin(), key)?;
        Core::claim(&self.core, key.clone(), due).map(|leader| Refresh { leader })
    }

    /// As [`try_get_or_insert_with`](Self::try_get_or_insert_with), but a value that is due is served as it is, while `load`
    /// runs in the background ([`refresh_executor`](CacheBuilder::refresh_executor)) to take its place.
    ///
    /// ```
    /// use millpond_cache::{Cache, ManualClock};
    /// use std::{sync::Arc, time::Duration};
    /// let clock = Arc::new(ManualClock::new());
    /// let cache: Cache<u32, &str> =
    ///     Cache::builder().refresh_after(Duration::from_secs(60)).clock(clock.clone()).build()?;
    /// let load = |value| move || Ok::<_, std::io::Error>(value);
    /// assert_eq!(cache.try_get_or_refresh_with(1, load("first")).unwrap(), "first");
    /// clock.advance(Duration::from_secs(60));
    /// assert_eq!(cache.try_get_or_refresh_with(1, load("second")).unwrap(), "first");
    /// while cache.get(&1) != Some("second") {
    ///     std::thread::yield_now();
    /// }
    /// # Ok::<(), millpond_cache::BuildError>(())
    /// ```
    ///
    /// # Errors
    /// The loader's error if there was no value, shared by all who waited for this load. One of a refresh is only counted.
    ///
    /// # Panics
    /// If there is no value and `load` panics, or asks this cache for the same key again.
    pub fn try_get_or_refresh_with<E>(
        &self,
        key: K,
        load: impl FnOnce() -> Result<V, E> + Send + 'static,
    ) -> Result<V, Arc<E>>
    where
        K: Send + Sync + 'static,
        V: Send + Sync + 'static,
        S: Send + Sync + 'static,
        E: Send + Sync + 'static,
    {
        let Some((value, due)) = self.get_and_due(&key) else {
            return self.drive_blocking(key, true, &[], || Ok((load()?, Life::Configured)));
        };
        if let (Some(refreshing), Some(due)) = (&self.core.freshness.refresh, due) {
            if let Some(leader) = Core::claim(&self.core, key, due) {
                let refresh = Refresh { leader };
                refreshing.refresher.run(Box::new(move || {
                    refresh.run(|_| load());
                }));
            }
        }
        Ok(value)
    }

    /// As [`try_get_or_refresh_with`](Self::try_get_or_refresh_with), with a future, which runs as a task of the tokio
    /// runtime that the caller is in if the value is due, and as part of this call if there is none. Needs the feature
    /// `tokio`.
    ///
    /// # Errors
    /// As for [`try_get_or_refresh_with`](Self::try_get_or_refresh_with).
    ///
    /// # Panics
    /// As for [`try_get_or_refresh_with`](Self::try_get_or_refresh_with). Outside a tokio runtime, if the value is due.
    ///
    /// # Cancellation
    /// A refresh goes on; otherwise as for [`get_or_insert_with_async`](Self::get_or_insert_with_async).
    #[cfg(feature = "tokio")]
    pub async fn try_get_or_refresh_with_async<E>(
        &self,
        key: K,
        load: impl Future<Output = Result<V, E>> + Send + 'static,
    ) -> Result<V, Arc<E>>
    where
        K: Send + Sync + 'static,
        V: Send + Sync + 'static,
        S: Send + Sync + 'static,
        E: Send + Sync + 'static,
    {
        let Some((value, due)) = self.get_and_due(&key) else {
            return self.drive_async(key, true, &[], async { Ok((load.await?, Life::Configured)) }).await;
        };
        if let Some(leader) = due.and_then(|due| Core::claim(&self.core, key, due)) {
            tokio::spawn(Refresh { leader }.run_async(load));
        }
        Ok(value)
    }
}

impl<K, V, S> Cache<K, V, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    fn get_and_due(&self, key: &K) -> Option<(V, Option<u64>)>
    where
        V: Clone,
    {
        let pin = reclaim::pin();
        self.core.get_and_due(&pin, key).map(|(value, due)| (value.clone(), due))
    }

    /// Whether the value of a key is being refreshed. False once a write or removal has made that pointless.
    pub fn is_refreshing<Q>(&self, key: &Q) -> bool
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.core.is_refreshing(key)
    }
}

impl<K, V, S> Cache<K, V, S> {
    /// Refreshes that have begun and not ended, those included that wait for the executor.
    #[must_use]
    pub fn refreshes_in_flight(&self) -> usize {
        let refresh = self.core.freshness.refresh.as_ref();
        refresh.map_or(0, |refresh| refresh.in_flight.load(Ordering::Relaxed))
    }
}

impl<K, V, S> CacheBuilder<K, V, S>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
{
    /// Builds a cache whose reads begin refreshes by themselves, by this loader: `get`, `read`, `pin().get`, and all that
    /// load. Needs [`refresh_after`](Self::refresh_after); see [`refresh_executor`](Self::refresh_executor) for an example.
    ///
    /// Misses are not loaded by it: say what to load with the call.
    ///
    /// # Errors
    /// [`BuildError`] names the setting that can't be honoured.
    pub fn build_with_refresh<E: Send + Sync + 'static>(
        self,
        load: impl Fn(&K) -> Result<V, E> + Send + Sync + 'static,
    ) -> Result<Cache<K, V, S>, BuildError> {
        let load = Arc::new(load);
        self.build_triggered(move |core, refresh| {
            let load = Arc::clone(&load);
            let job = Box::new(move || {
                refresh.run(|key| load(key));
            });
            if let Some(refreshing) = &core.freshness.refresh {
                refreshing.refresher.run(job);
            }
        })
    }

    /// As [`build_with_refresh`](Self::build_with_refresh), with a loader that makes futures, which run as tasks of the tokio
    /// runtime that this is called in, whoever reads. Needs the feature `tokio`.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// use millpond_cache::{Cache, ManualClock};
    /// use std::{sync::Arc, time::Duration};
    /// let clock = Arc::new(ManualClock::new());
    /// let cache: Cache<u32, u32> = Cache::builder()
    ///     .refresh_after(Duration::from_secs(60))
    ///     .clock(clock.clone())
    ///     .build_with_refresh_async(async |key: u32| Ok::<_, std::io::Error>(key * 10))
    ///     .unwrap();
    /// cache.insert(1, 1);
    /// clock.advance(Duration::from_secs(60));
    /// assert_eq!(cache.get(&1), Some(1));
    /// while cache.get(&1) != Some(10) {
    ///     tokio::task::yield_now().await;
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`BuildError`] names the setting that can't be honoured.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[cfg(feature = "tokio")]
    pub fn build_with_refresh_async<E, F>(
        self,
        load: impl Fn(K) -> F + Send + Sync + 'static,
    ) -> Result<Cache<K, V, S>, BuildError>
    where
        E: Send + Sync + 'static,
        F: Future<Output = Result<V, E>> + Send + 'static,
    {
        let runtime = tokio::runtime::Handle::current();
        let load = Arc::new(load);
        self.build_triggered(move |_, refresh| {
            let (load, key) = (Arc::clone(&load), refresh.key().clone());
            // The loader's first step runs in the task, too.
            runtime.spawn(refresh.run_async(async move { load(key).await }));
        })
    }

    fn build_triggered(
        self,
        begin: impl Fn(&Core<K, V, S>, Refresh<K, V, S>) + Send + Sync + 'static,
    ) -> Result<Cache<K, V, S>, BuildError> {
        let cache = self.build()?;
        let Some(refreshing) = &cache.core.freshness.refresh else { return Err(BuildError::NoRefresh) };
        let core = Arc::downgrade(&cache.core);
        let trigger: Trigger<K> = Box::new(move |key, due| {
            let Some(core) = core.upgrade() else { return };
            // A read must not fail because a key can't be cloned or compared.
            let _panicked = contain(|| {
                if let Some(leader) = Core::claim(&core, key.clone(), due) {
                    begin(&core, Refresh { leader });
                }
            });
        });
        let Ok(()) = refreshing.trigger.set(trigger) else { unreachable!("it was just built") };
        Ok(cache)
    }
}

impl<K, V, S> fmt::Debug for Refresh<K, V, S>
where
    K: Hash + Eq + fmt::Debug,
    V: Clone,
    S: BuildHasher,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refresh").field("key", self.key()).finish_non_exhaustive()
    }
}
