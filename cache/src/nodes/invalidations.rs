//! Nodes tell each other what they write.
//!
//! # Why no node stays behind
//! - A write is announced before it begins, and its end when the store has it. Who hears the end forgets the keys. Who has heard the
//!   beginning and not the end forgets them after `write_lease`: by then it is over.
//! - Who does not hear the bus knows it, because its own pings do not come back, and forgets everything `max_staleness` after the last.
//! - A shared cache that was not told of a write may answer with what was before. So who hears an end of a write that is owed there, or
//!   no end in time, first has its own way to the shared cache take the keys out ([`Forget::doubt`]), then forgets them.
//! - Whose end of a write the bus has not taken says so with its next message, and who hears that forgets everything; once more when
//!   nothing is owed to the shared cache any longer. With
//!   [`WhenCut::Refuse`] a write whose beginning the bus has not taken is not made: then the first point holds for every write.

use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::task::AbortHandle;

use super::bus::Bus;
use super::coherence::{Coherence, CoherenceStats, WhenCut, count};
use super::forget::{Forget, WeakCache, WeakStoreCache};
use super::listen::Listener;
use super::message::{Keys, What};
use super::speaker::Speaker;
use crate::backing::{Store, StoreCache};
use crate::cache::Cache;

/// Keeps the caches of several nodes coherent: each tells the others what it writes, and forgets what they write.
///
/// A handle: cloning it is cheap. One cache has one, and a channel of its own: what this node says is not for this node. What it promises, and when, is in docs/guides/several-nodes.md.
///
/// # The end
/// The task that listens ends with the last handle, those in [`Announced`](super::Announced) stores included, or with its cache.
///
/// ```no_run
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use millpond_cache::backing::{Store, StoreError, Write, Written};
/// # struct Table;
/// # impl Store<String, u64> for Table {
/// #     type Error = String;
/// #     async fn load(&self, _: &String) -> Result<Option<u64>, StoreError<String>> { Ok(None) }
/// #     async fn write(&self, _: &[Write<String, u64>]) -> Result<Written<String>, StoreError<String>> { Ok(Written::all()) }
/// # }
/// # #[cfg(feature = "redis")] {
/// use millpond_cache::Cache;
/// use millpond_cache::nodes::{Coherence, Invalidations, RedisBus, RedisTier, Tier};
///
/// let redis = redis::Client::open("redis://127.0.0.1/")?;
/// let changes = Invalidations::new(RedisBus::new(&redis, "views")?, Coherence::new());
/// let shared = RedisTier::new(Table, Tier::new(redis, "views"));
/// let near = Cache::builder()
///     .max_capacity(10_000)
///     .read_through(changes.announce(shared))
///     .write_through()
///     .build()?;
/// changes.attach(&near);
///
/// near.put(String::from("KJFK"), 7).await?; // the other nodes have been told when this returns
/// # }
/// # Ok(())
/// # }
/// ```
pub struct Invalidations<B> {
    inner: Arc<Inner<B>>,
}

struct Inner<B> {
    speaker: Arc<Speaker<B>>,
    tasks: Mutex<Vec<AbortHandle>>,
}

/// The write was refused, and nothing was done: this node can't reach the bus ([`WhenCut::Refuse`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the other nodes can't be told")]
pub struct CutOff;

impl<B: Bus> Invalidations<B> {
    /// Nothing happens before [`attach`](Self::attach), or a write.
    pub fn new(bus: B, settings: Coherence) -> Self {
        let speaker = Arc::new(Speaker::new(bus, settings));
        Self { inner: Arc::new(Inner { speaker, tasks: Mutex::default() }) }
    }

    /// Has a cache forget what other nodes write. Spawns a task.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn attach<K, V, St>(&self, cache: &StoreCache<K, V, St>)
    where
        K: Hash + Eq + Clone + DeserializeOwned + Send + Sync + 'static,
        V: Clone + Send + Sync + 'static,
        St: Store<K, V>,
    {
        self.attach_to(WeakStoreCache::of(cache));
    }

    /// Has a cache without a store forget what other nodes write; its own writes go through [`writing`](Self::writing). Spawns a task.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn attach_cache<K, V, S>(&self, cache: &Cache<K, V, S>)
    where
        K: Hash + Eq + DeserializeOwned + Send + Sync + 'static,
        V: Send + Sync + 'static,
        S: BuildHasher + Send + Sync + 'static,
    {
        self.attach_to(WeakCache(Arc::downgrade(&cache.core)));
    }

    /// Has something of one's own forget. Spawns a task, which drops it at the end. It must not own a handle of this.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn attach_to<K>(&self, target: impl Forget<K> + Sync)
    where
        K: DeserializeOwned + 'static,
    {
        let target = Arc::new(target);
        self.ask(Arc::downgrade(&target), |target| Forget::<K>::is_settled(target));
        let listener = Listener::new(Arc::clone(&self.inner.speaker), target);
        let task = tokio::spawn(listener.run()).abort_handle();
        let mut tasks = self.inner.tasks.lock();
        tasks.retain(|task| !task.is_finished());
        tasks.push(task);
    }

    /// Runs a write of one's own, and tells the other nodes before and after it. This node's caches are the caller's.
    ///
    /// What was announced is told to its end also if the write panics or is dropped.
    ///
    /// # Errors
    /// [`CutOff`] with [`WhenCut::Refuse`]; the write was not begun.
    ///
    /// # Cancellation
    /// The other nodes forget the keys when the time for the write is over, unless the bus can't be reached.
    pub async fn writing<K: Serialize, T>(
        &self,
        keys: &[K],
        write: impl Future<Output = T>,
    ) -> Result<T, CutOff> {
        let speaker = &self.inner.speaker;
        let keys = Keys::of(keys);
        let number = speaker.numbers.fetch_add(1, Ordering::Relaxed);
        let millis = u64::try_from(speaker.settings.write_lease.as_millis()).unwrap_or(u64::MAX);
        let begin = What::Begin { write: number, keys: keys.clone(), millis };
        let is_known = speaker.say(begin).await;
        if !is_known && speaker.settings.when_cut == WhenCut::Refuse {
            count(&speaker.counts.refused);
            return Err(CutOff);
        }
        // A beginning that is known ends by itself; one that is not must not be lost.
        let mut loss = Loss { speaker, counts: !is_known };
        let written = write.await;
        loss.counts = true;
        let owed = !speaker.is_settled();
        loss.counts = !speaker.say(What::End { write: number, keys, owed }).await;
        drop(loss);
        Ok(written)
    }

    /// Has the other nodes told when a shared cache behind this does not know of all writes.
    pub(super) fn ask<T: Send + Sync + 'static>(
        &self,
        target: Weak<T>,
        is_settled: impl Fn(&T) -> bool + Send + Sync + 'static,
    ) {
        self.inner.speaker.ask(target, is_settled);
    }

    /// Figures since it was made.
    #[must_use]
    pub fn stats(&self) -> CoherenceStats {
        self.inner.speaker.counts.read()
    }

    /// What the bus failed with last, for a log: it may be over since.
    #[must_use]
    pub fn last_error(&self) -> Option<Arc<str>> {
        self.inner.speaker.failure.lock().clone()
    }

    /// How long a value may be used after the last sign that the bus is heard.
    #[must_use]
    pub fn max_staleness(&self) -> Duration {
        self.inner.speaker.settings.max_staleness
    }
}

/// Counts a loss when it is dropped, unless the end was told.
struct Loss<'s, B: Bus> {
    speaker: &'s Arc<Speaker<B>>,
    counts: bool,
}

impl<B: Bus> Drop for Loss<'_, B> {
    fn drop(&mut self) {
        if self.counts {
            self.speaker.lose();
        }
    }
}

impl<B> Clone for Invalidations<B> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<B> Drop for Inner<B> {
    fn drop(&mut self) {
        for task in self.tasks.lock().drain(..) {
            task.abort();
        }
    }
}

impl<B: fmt::Debug> fmt::Debug for Invalidations<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Invalidations").field("bus", &self.inner.speaker.bus).finish_non_exhaustive()
    }
}
