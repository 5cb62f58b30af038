//! Many single misses as one bulk load: the pattern that GraphQL servers call a data loader.
//!
//! Who misses leads the flight of its key and puts it into a queue. A dispatcher task, which lives while the queue is not
//! empty, takes the oldest keys when enough are there or the oldest has waited long enough, and a task of its own loads them
//! as `bulk` does. Callers only wait for flights: whichever of them leaves, the others lose nothing.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::bulk::Convoy;
use crate::cache::Cache;
use crate::core::load::{Boarding, Leader};
use crate::flight::{Flight, Outcome};
use crate::loading::forbid_recursion;

/// How often a caller asks again after its runtime has dropped the task that was to load for it.
const ATTEMPTS: u32 = 8;

type Loading<K, V, E> = Pin<Box<dyn Future<Output = Result<Vec<(K, V)>, E>> + Send>>;
type Load<K, V, E> = Box<dyn Fn(Vec<K>) -> Loading<K, V, E> + Send + Sync>;

/// Gathers single misses into bulk loads; from [`Cache::batch_loader`]. A handle: cloning it is cheap and gives the same
/// loader.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// use millpond_cache::Cache;
/// use std::time::Duration;
///
/// let cache: Cache<u32, String> = Cache::new(100);
/// // In the place of one query for each airport, one for all that are asked for within a millisecond:
/// let names = cache.batch_loader(
///     async |ids: Vec<u32>| Ok::<_, std::io::Error>(ids.into_iter().map(|id| (id, format!("airport {id}")))),
///     Duration::from_millis(1),
///     500,
/// );
/// let (one, two) = tokio::join!(names.get(1), names.get(2));
/// assert_eq!(one.unwrap().as_deref(), Some("airport 1"));
/// assert_eq!(two.unwrap().as_deref(), Some("airport 2"));
/// # }
/// ```
///
/// # Bounds
/// A load gets `max_batch` keys at most, no key twice. Those who wait are the callers' own futures; the queue forgets keys
/// whose callers are gone, so it never holds more than twice the keys that are waited for, and one batch. Any number of loads
/// may run at once, unless [`max_in_flight`](Self::max_in_flight) says otherwise.
pub struct BatchLoader<K: Hash + Eq + 'static, V: 'static, E, S: BuildHasher + 'static = ahash::RandomState> {
    shared: Arc<Shared<K, V, E, S>>,
}

struct Shared<K: Hash + Eq + 'static, V: 'static, E, S: BuildHasher + 'static> {
    cache: Cache<K, V, S>,
    load: Load<K, V, E>,
    max_delay: Duration,
    max_batch: usize,
    permits: OnceLock<Arc<Semaphore>>,
    queue: Mutex<Queue<K, V, S>>,
    /// Rings when a batch is full.
    full: Notify,
}

struct Queue<K: Hash + Eq + 'static, V: 'static, S: BuildHasher + 'static> {
    asked: VecDeque<Asked<K, V, S>>,
    is_dispatched: bool,
    /// Length at which keys that nobody waits for are sought.
    purge_at: usize,
}

/// A key in the queue.
struct Asked<K: Hash + Eq + 'static, V: 'static, S: BuildHasher + 'static> {
    key: K,
    leader: Leader<'static, K, V, S>,
    since: Instant,
    /// Whether the loader panicked; the caller that began the flight has the other handle.
    has_panicked: Arc<AtomicBool>,
}

/// A key that a caller waits for.
struct Awaited<K, V> {
    key: K,
    flight: Arc<Flight<V>>,
    /// As of the [`Asked`], if this caller put it into the queue.
    has_panicked: Option<Arc<AtomicBool>>,
}

impl<K, V: Clone> Awaited<K, V> {
    fn is_asked(&self) -> bool {
        self.has_panicked.is_some()
    }

    /// What an ended flight means; none: look again.
    fn answer<E: Send + Sync + 'static>(&self, outcome: &Outcome<V>) -> Option<Result<Option<V>, Arc<E>>> {
        match outcome {
            Outcome::Loaded(value) => Some(Ok(Some(value.clone()))),
            Outcome::Absent => Some(Ok(None)),
            Outcome::Failed(error) => Arc::clone(error).downcast::<E>().ok().map(Err),
            Outcome::Abandoned => {
                let has_panicked =
                    self.has_panicked.as_ref().is_some_and(|flag| flag.load(Ordering::Acquire));
                assert!(!has_panicked, "the loader of the batch panicked");
                None
            }
        }
    }
}

impl<K: Hash + Eq, V, S: BuildHasher> Asked<K, V, S> {
    fn is_awaited(&self) -> bool {
        // Who is about to wait without being in the queue of the flight looks again.
        Arc::strong_count(&self.has_panicked) > 1 || self.leader.flight().is_awaited()
    }
}

impl<K, V, S> Cache<K, V, S>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
{
    /// A loader that gathers single misses: `load` gets up to `max_batch` keys at once (at least one), when so many are asked for, or
    /// `max_delay` after the first of them. See [`BatchLoader`] for an example.
    ///
    /// With `Duration::ZERO`, what other tasks ask for before the runtime has polled each of them once is gathered, and no
    /// timer is needed. What `load` returns is treated as [`get_many_with`](Self::get_many_with) does. The loader keeps
    /// the cache alive. Needs the feature `tokio`.
    pub fn batch_loader<I, E, F>(
        &self,
        load: impl Fn(Vec<K>) -> F + Send + Sync + 'static,
        max_delay: Duration,
        max_batch: usize,
    ) -> BatchLoader<K, V, E, S>
    where
        I: IntoIterator<Item = (K, V)>,
        E: Send + Sync + 'static,
        F: Future<Output = Result<I, E>> + Send + 'static,
    {
        let load: Load<K, V, E> = Box::new(move |keys| {
            let loading = load(keys);
            Box::pin(async { Ok(loading.await?.into_iter().collect()) })
        });
        BatchLoader {
            shared: Arc::new(Shared {
                cache: self.clone(),
                load,
                max_delay,
                max_batch: max_batch.max(1),
                permits: OnceLock::new(),
                queue: Mutex::new(Queue { asked: VecDeque::new(), is_dispatched: false, purge_at: 0 }),
                full: Notify::new(),
            }),
        }
    }
}

impl<K, V, E, S> BatchLoader<K, V, E, S>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    E: Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
{
    /// Lets no more than so many loads run at once; the keys of the next ones wait. Default: any number.
    ///
    /// The limit is one for the loader and its clones. Only the first call counts. With a limit, `load` must not wait for its own loader.
    #[must_use]
    pub fn max_in_flight(self, loads: NonZeroUsize) -> Self {
        let permits = Semaphore::new(loads.get().min(Semaphore::MAX_PERMITS));
        let _another = self.shared.permits.set(Arc::new(permits));
        self
    }

    /// The value of a key, from the cache or with the next batch; `None` if `load` has none for it.
    ///
    /// A key that is being loaded, by this loader or by any other call, is waited for. An absence is not cached. A write or
    /// invalidation of the key meanwhile wins, as for all loads.
    ///
    /// # Errors
    /// The loader's error, shared by all whose keys were in the batch.
    ///
    /// # Panics
    /// Outside a tokio runtime, or in one without timers, on a miss. If `load` panics, or asks for a key of its own batch. If
    /// the runtime shuts down again and again before it loads.
    ///
    /// # Cancellation
    /// Dropping the future takes the key out of its batch unless somebody else waits for it or the load has begun. The other
    /// callers are not touched.
    pub async fn get(&self, mut key: K) -> Result<Option<V>, Arc<E>> {
        let mut attempts = 0;
        loop {
            let awaited = match self.look(key, attempts) {
                Ok((_, value)) => return Ok(Some(value)),
                Err(awaited) => awaited,
            };
            attempts += u32::from(awaited.is_asked());
            if let Some(answer) = awaited.answer(awaited.flight.waiting().await) {
                return answer;
            }
            key = awaited.key;
        }
    }

    /// The values of many keys, from the cache or with the next batches, of up to `max_batch` keys each; what `load` has no value for
    /// is not in the result. Otherwise as [`get`](Self::get) for each of them.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// use std::time::Duration;
    /// let cache = millpond_cache::Cache::new(100);
    /// let load = async |keys: Vec<u32>| Ok::<_, std::io::Error>(keys.into_iter().map(|key| (key, key * key)));
    /// let squares = cache.batch_loader(load, Duration::from_millis(1), 500);
    /// let (two, more) = tokio::join!(squares.get(2), squares.get_many([2, 3, 4]));
    /// assert_eq!(two.unwrap(), Some(4));
    /// assert_eq!(more.unwrap()[&4], 16);
    /// # }
    /// ```
    ///
    /// # Errors
    /// The first error that is met. What other batches bring is stored if somebody waits for it or their loads have begun.
    ///
    /// # Panics
    /// As for [`get`](Self::get).
    ///
    /// # Cancellation
    /// As for [`get`](Self::get), for each key.
    pub async fn get_many(&self, keys: impl IntoIterator<Item = K>) -> Result<HashMap<K, V>, Arc<E>> {
        let mut found = HashMap::new();
        let mut attempts = 0;
        // All at once: an iterator that uses the cache would run while keys are asked for.
        let mut keys: Vec<K> = keys.into_iter().collect();
        while !keys.is_empty() {
            let mut waiting = Vec::new();
            for key in keys {
                match self.look(key, attempts) {
                    Ok((key, value)) => drop(found.insert(key, value)),
                    Err(awaited) => waiting.push(awaited),
                }
            }
            attempts += u32::from(waiting.iter().any(Awaited::is_asked));
            keys = Vec::new();
            for awaited in waiting {
                match awaited.answer(awaited.flight.waiting().await) {
                    None => keys.push(awaited.key),
                    Some(answer) => {
                        if let Some(value) = answer? {
                            found.insert(awaited.key, value);
                        }
                    }
                }
            }
        }
        Ok(found)
    }

    /// The value of a key from the cache, or what to wait for, which may be its place in the queue. `attempts`: how often this caller has
    /// put it there before.
    fn look(&self, key: K, attempts: u32) -> Result<(K, V), Awaited<K, V>> {
        let cache = &self.shared.cache;
        if let Some(value) = cache.get(&key) {
            return Ok((key, value));
        }
        match cache.core.board(key.clone()) {
            Boarding::Hit(value) => Ok((key, value)),
            Boarding::Wait(flight, _) => {
                forbid_recursion(&flight);
                Err(Awaited { key, flight, has_panicked: None })
            }
            Boarding::Lead(leader) => {
                assert!(attempts < ATTEMPTS, "the runtime ends before it loads");
                let leader = leader.detach(Arc::clone(&cache.core));
                let flight = leader.flight_handle();
                let has_panicked = Some(self.ask(key.clone(), leader));
                Err(Awaited { key, flight, has_panicked })
            }
        }
    }

    /// Puts a key into the queue.
    fn ask(&self, key: K, leader: Leader<'static, K, V, S>) -> Arc<AtomicBool> {
        let has_panicked = Arc::new(AtomicBool::new(false));
        let asked = Asked { key, leader, since: Instant::now(), has_panicked: Arc::clone(&has_panicked) };
        let mut queue = self.shared.queue.lock();
        queue.asked.push_back(asked);
        let mut forgotten = Vec::new();
        if queue.asked.len() > queue.purge_at {
            let (awaited, unawaited) = queue.asked.drain(..).partition(Asked::is_awaited);
            queue.asked = awaited;
            forgotten = unawaited.into();
            queue.purge_at = self.shared.max_batch.saturating_add(2 * queue.asked.len());
        }
        let is_full = queue.asked.len() >= self.shared.max_batch;
        let is_dispatched = std::mem::replace(&mut queue.is_dispatched, true);
        drop(queue);
        // Keys are dropped and tasks are woken outside the lock.
        drop(forgotten);
        if !is_dispatched {
            let dispatcher = Dispatcher { shared: Arc::clone(&self.shared), is_done: false };
            tokio::spawn(async move { dispatcher.run().await });
        } else if is_full {
            self.shared.full.notify_one();
        }
        has_panicked
    }
}

/// The task that takes keys out of the queue. However it ends, the next caller may start another.
struct Dispatcher<K, V, E, S>
where
    K: Hash + Eq + 'static,
    V: 'static,
    S: BuildHasher + 'static,
{
    shared: Arc<Shared<K, V, E, S>>,
    /// Left the queue empty, and to another.
    is_done: bool,
}

impl<K, V, E, S> Drop for Dispatcher<K, V, E, S>
where
    K: Hash + Eq + 'static,
    V: 'static,
    S: BuildHasher + 'static,
{
    fn drop(&mut self) {
        if !self.is_done {
            let mut queue = self.shared.queue.lock();
            queue.is_dispatched = false;
            let left = std::mem::take(&mut queue.asked);
            drop(queue);
            drop(left);
        }
    }
}

impl<K, V, E, S> Dispatcher<K, V, E, S>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    E: Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
{
    async fn run(mut self) {
        loop {
            self.gather().await;
            let permit = match self.shared.permits.get() {
                Some(permits) => Some(Arc::clone(permits).acquire_owned().await.expect("it is never closed")),
                None => None,
            };
            let (batch, is_last) = self.take();
            if !batch.is_empty() {
                tokio::spawn(load(Arc::clone(&self.shared), batch, permit));
            }
            if is_last {
                return;
            }
        }
    }

    /// Waits until a batch is full, or the oldest key has waited long enough.
    async fn gather(&self) {
        let shared = &*self.shared;
        if shared.max_delay.is_zero() {
            tokio::task::yield_now().await;
            return;
        }
        loop {
            let (length, since) = {
                let queue = shared.queue.lock();
                (queue.asked.len(), queue.asked.front().map(|oldest| oldest.since))
            };
            let Some(since) = since.filter(|_| length < shared.max_batch) else { return };
            // A time to wait that has no end in this world: until the batch is full.
            let Some(until) = since.checked_add(shared.max_delay) else {
                shared.full.notified().await;
                continue;
            };
            if tokio::time::timeout_at(until, shared.full.notified()).await.is_err() {
                return;
            }
        }
    }

    /// The oldest keys that somebody waits for, and whether the queue is empty now: then this dispatcher is done.
    fn take(&mut self) -> (Vec<Asked<K, V, S>>, bool) {
        let (mut batch, mut forgotten) = (Vec::new(), Vec::new());
        let mut queue = self.shared.queue.lock();
        while batch.len() < self.shared.max_batch {
            let Some(asked) = queue.asked.pop_front() else { break };
            if asked.is_awaited() { batch.push(asked) } else { forgotten.push(asked) }
        }
        let is_last = queue.asked.is_empty();
        queue.is_dispatched = !is_last;
        self.is_done = is_last;
        drop(queue);
        drop(forgotten);
        (batch, is_last)
    }
}

/// One bulk load.
async fn load<K, V, E, S>(
    shared: Arc<Shared<K, V, E, S>>,
    batch: Vec<Asked<K, V, S>>,
    _permit: Option<OwnedSemaphorePermit>,
) where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    E: Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
{
    let mut convoy = Convoy::new(&shared.cache);
    // After the convoy, so that its callers know of the panic when their flights end.
    let mut callers = Callers(Vec::new());
    for Asked { key, leader, has_panicked, .. } in batch {
        callers.0.push(has_panicked);
        convoy.add(key, leader);
    }
    let keys = convoy.keys();
    let inside = convoy.enter();
    let loading = (shared.load)(keys);
    drop(inside);
    let (convoy, loaded) = convoy.load(loading).await;
    // Callers take their values from the flights.
    let _shared_by_now = convoy.arrive(loaded, &mut Vec::new());
}

/// Tells the callers of a batch if its loader panics.
struct Callers(Vec<Arc<AtomicBool>>);

impl Drop for Callers {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for has_panicked in &self.0 {
                has_panicked.store(true, Ordering::Release);
            }
        }
    }
}

impl<K: Hash + Eq, V, E, S: BuildHasher> Clone for BatchLoader<K, V, E, S> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<K: Hash + Eq, V, E, S: BuildHasher> fmt::Debug for BatchLoader<K, V, E, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchLoader")
            .field("cache", &self.shared.cache)
            .field("max_delay", &self.shared.max_delay)
            .field("max_batch", &self.shared.max_batch)
            .finish_non_exhaustive()
    }
}
