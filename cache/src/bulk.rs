//! Many keys at once: lookups under one pin, and one load for all that is missing.
//!
//! A bulk load leads one flight for each key that nobody loads yet, so it is single flight per key, beside single loads and
//! other bulk loads. It ends all its own flights before it waits for one of another caller: two that overlap, in whatever
//! order, never wait for each other in a circle.

use std::any::Any;
use std::collections::HashMap;
use std::convert::Infallible;
use std::future::poll_fn;
use std::hash::{BuildHasher, Hash};
use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;

use equivalent::Equivalent;

use crate::cache::Cache;
use crate::core::later::Later;
use crate::core::load::{Boarding, Leader};
use crate::core::write::Life;
use crate::counter::Counter;
use crate::flight::{Flight, Inside, Outcome};
use crate::loading::forbid_recursion;
use crate::reclaim;
use crate::span::LoadSpan;

impl<K, V, S> Cache<K, V, S>
where
    K: Hash + Eq,
    V: Clone,
    S: BuildHasher,
{
    /// The values of many keys, in the order of the keys, from the cache alone. Each counts as a lookup and as a use.
    ///
    /// Takes no lock, and is cheaper than single calls of [`get`](Self::get). Removed values of every cache wait to be
    /// dropped until it returns. Not a snapshot: a write may come between two of the lookups.
    ///
    /// ```
    /// let cache = millpond_cache::Cache::new(100);
    /// cache.extend([("a", 1), ("b", 2)]);
    /// assert_eq!(cache.get_all(["a", "c", "b"].iter()), [Some(1), None, Some(2)]);
    /// ```
    pub fn get_all<'q, Q>(&self, keys: impl IntoIterator<Item = &'q Q>) -> Vec<Option<V>>
    where
        Q: Hash + Equivalent<K> + ?Sized + 'q,
    {
        let pin = reclaim::pin();
        keys.into_iter().map(|key| self.core.get(&pin, key).cloned()).collect()
    }

    /// The values of many keys; one call of `load` brings what is missing. What it has no value for is not in the result.
    ///
    /// `load` gets the missing keys, each once, without those that another caller is loading: their values are waited for.
    /// Others who ask meanwhile for one of the keys wait for this load. It is called again only for keys whose load was
    /// given up by the other caller, or failed there with an error of another type, and never if nothing is missing.
    ///
    /// For each key, a write or invalidation while `load` runs wins: the loaded value is returned and not stored. What `load`
    /// returns for keys that it was not asked for is dropped: nobody could tell whether a write of them came in between. If it
    /// returns a key twice, the first counts. An absence is not cached, unless it is a value:
    /// [`negative_time_to_live`](crate::CacheBuilder::negative_time_to_live).
    ///
    /// In the statistics it is one lookup for each key and one load for each call of `load`.
    ///
    /// Listeners are told of what the load replaced when all its keys have ended.
    ///
    /// Cost: for each missing key an allocation, three clones of it, and two short critical sections.
    ///
    /// ```
    /// let cache = millpond_cache::Cache::new(100);
    /// cache.insert(1, "one");
    /// let values = cache.get_many_with([1, 2, 3], |missing| {
    ///     assert_eq!(missing, [2, 3]);
    ///     [(2, "two")]
    /// });
    /// assert_eq!(values.len(), 2);
    /// assert_eq!((values[&1], cache.get(&2)), ("one", Some("two")));
    /// ```
    ///
    /// # Panics
    /// If `load` asks this cache to load one of its own keys. A panic of `load` goes to the caller; those who wait for one
    /// of the keys load it themselves.
    pub fn get_many_with<I>(
        &self,
        keys: impl IntoIterator<Item = K>,
        mut load: impl FnMut(Vec<K>) -> I,
    ) -> HashMap<K, V>
    where
        K: Clone,
        I: IntoIterator<Item = (K, V)>,
    {
        match self.try_get_many_with(keys, |keys| Ok::<_, Infallible>(load(keys))) {
            Ok(values) => values,
            Err(never) => match *never {},
        }
    }

    /// As [`get_many_with`](Self::get_many_with), for a load that can fail; then nothing of it is stored.
    ///
    /// # Errors
    /// The error of `load`, shared by all who waited for one of its keys; or that of another caller who was loading one of
    /// ours, if it is of the same type.
    ///
    /// # Panics
    /// As for [`get_many_with`](Self::get_many_with).
    pub fn try_get_many_with<I, E>(
        &self,
        keys: impl IntoIterator<Item = K>,
        mut load: impl FnMut(Vec<K>) -> Result<I, E>,
    ) -> Result<HashMap<K, V>, Arc<E>>
    where
        K: Clone,
        I: IntoIterator<Item = (K, V)>,
        E: Send + Sync + 'static,
    {
        let mut found = Vec::new();
        let mut keys: Vec<K> = keys.into_iter().collect();
        while !keys.is_empty() {
            let (mut convoy, awaited) = self.set_out(keys, &mut found);
            if !convoy.is_empty() {
                let asked = convoy.keys();
                let inside = convoy.enter();
                let loaded = load(asked).map(collect);
                drop(inside);
                convoy.arrive(loaded, &mut found)?;
            }
            keys = Vec::new();
            for (flight, key) in awaited {
                keys.extend(take(flight.wait(), key, &mut found)?);
            }
        }
        Ok(found.into_iter().collect())
    }

    /// As [`get_many_with`](Self::get_many_with), with a future. Works in any runtime, and together with blocking callers.
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// let cache = millpond_cache::Cache::new(100);
    /// let squares = cache.get_many_with_async([2, 3], async |missing| missing.into_iter().map(|n| (n, n * n)));
    /// assert_eq!(squares.await[&3], 9);
    /// # });
    /// ```
    ///
    /// # Panics
    /// As for [`get_many_with`](Self::get_many_with). A task that `load` spawns and waits for must not ask for one of its
    /// keys either, which can't be detected: it would wait for ever.
    ///
    /// # Cancellation
    /// Dropping the returned future drops that of `load`; then those who wait for one of its keys load for themselves. A
    /// future that is kept but no longer polled holds up the others.
    pub async fn get_many_with_async<I, F>(
        &self,
        keys: impl IntoIterator<Item = K>,
        mut load: impl FnMut(Vec<K>) -> F,
    ) -> HashMap<K, V>
    where
        K: Clone,
        I: IntoIterator<Item = (K, V)>,
        F: Future<Output = I>,
    {
        let load = |keys| {
            let loading = load(keys);
            async { Ok::<_, Infallible>(loading.await) }
        };
        match self.try_get_many_with_async(keys, load).await {
            Ok(values) => values,
            Err(never) => match *never {},
        }
    }

    /// As [`try_get_many_with`](Self::try_get_many_with), with a future.
    ///
    /// # Errors
    /// As for [`try_get_many_with`](Self::try_get_many_with).
    ///
    /// # Panics
    /// As for [`get_many_with_async`](Self::get_many_with_async).
    ///
    /// # Cancellation
    /// As for [`get_many_with_async`](Self::get_many_with_async).
    pub async fn try_get_many_with_async<I, E, F>(
        &self,
        keys: impl IntoIterator<Item = K>,
        mut load: impl FnMut(Vec<K>) -> F,
    ) -> Result<HashMap<K, V>, Arc<E>>
    where
        K: Clone,
        I: IntoIterator<Item = (K, V)>,
        E: Send + Sync + 'static,
        F: Future<Output = Result<I, E>>,
    {
        let mut found = Vec::new();
        let mut keys: Vec<K> = keys.into_iter().collect();
        while !keys.is_empty() {
            let (mut convoy, awaited) = self.set_out(keys, &mut found);
            if !convoy.is_empty() {
                let asked = convoy.keys();
                let inside = convoy.enter();
                let loading = load(asked);
                drop(inside);
                let (convoy, loaded) = convoy.load(loading).await;
                convoy.arrive(loaded, &mut found)?;
            }
            keys = Vec::new();
            for (flight, key) in awaited {
                keys.extend(take(flight.waiting().await, key, &mut found)?);
            }
        }
        Ok(found.into_iter().collect())
    }

    /// Finds what is there, leads what nobody loads, and says whom to wait for. The keys are no lazy iterator: one that uses
    /// the cache would run while flights are led.
    fn set_out(&self, keys: Vec<K>, found: &mut Vec<(K, V)>) -> (Convoy<'_, K, V, S>, Awaited<K, V>)
    where
        K: Clone,
    {
        let mut convoy = Convoy::new(self);
        let mut awaited = Vec::new();
        for key in keys {
            if convoy.leaders.contains_key(&key) {
                continue;
            }
            if let Some(value) = self.get(&key) {
                found.push((key, value));
                continue;
            }
            match self.core.board(key.clone()) {
                Boarding::Hit(value) => found.push((key, value)),
                Boarding::Wait(flight, _) => {
                    forbid_recursion(&flight);
                    awaited.push((flight, key));
                }
                Boarding::Lead(leader) => convoy.add(key, leader),
            }
        }
        (convoy, awaited)
    }
}

/// Flights of others, with their keys.
type Awaited<K, V> = Vec<(Arc<Flight<V>>, K)>;

/// The flights of one bulk load. Dropping it hands all that have not ended to those who wait.
pub(crate) struct Convoy<'c, K: Hash + Eq, V, S: BuildHasher> {
    cache: &'c Cache<K, V, S>,
    leaders: HashMap<K, Leader<'c, K, V, S>>,
    /// In the order in which they were asked for.
    keys: Vec<K>,
    began: Option<Instant>,
    span: LoadSpan,
}

impl<'c, K, V, S> Convoy<'c, K, V, S>
where
    K: Hash + Eq + Clone,
    V: Clone,
    S: BuildHasher,
{
    pub(crate) fn new(cache: &'c Cache<K, V, S>) -> Self {
        Self {
            cache,
            leaders: HashMap::new(),
            keys: Vec::new(),
            began: cache.core.begin(),
            span: LoadSpan::default(),
        }
    }

    pub(crate) fn add(&mut self, key: K, leader: Leader<'c, K, V, S>) {
        self.keys.push(key.clone());
        self.leaders.insert(key, leader.uncounted());
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.leaders.is_empty()
    }

    /// Takes the keys, for the loader.
    pub(crate) fn keys(&mut self) -> Vec<K> {
        std::mem::take(&mut self.keys)
    }

    /// To be held while the loader runs or is polled.
    pub(crate) fn enter(&self) -> impl Sized + '_ {
        let inside: Vec<Inside> = self.leaders.values().map(|leader| leader.flight().enter()).collect();
        (inside, self.span.enter(self.cache.core.name.as_deref()))
    }

    /// Drives a loader.
    pub(crate) async fn load<I, E>(
        self,
        loading: impl Future<Output = Result<I, E>>,
    ) -> (Self, Result<Vec<(K, V)>, E>)
    where
        I: IntoIterator<Item = (K, V)>,
    {
        let mut loading = pin!(loading);
        // Dropped before the loader, whose drop may load a key.
        let convoy = self;
        let loaded = poll_fn(|context| {
            let _inside = convoy.enter();
            // Collected inside, too: it may be lazy.
            loading.as_mut().poll(context).map(|loaded| loaded.map(collect))
        })
        .await;
        (convoy, loaded)
    }

    /// Ends all flights with what the loader returned.
    pub(crate) fn arrive<E>(
        self,
        loaded: Result<Vec<(K, V)>, E>,
        found: &mut Vec<(K, V)>,
    ) -> Result<(), Arc<E>>
    where
        E: Send + Sync + 'static,
    {
        match loaded {
            Ok(loaded) => {
                // Nothing of the user's is dropped here before the leaders are gone, however this ends: drops may load the keys.
                let (mut extra, mut landings) = (Vec::new(), Vec::new());
                let mut loaded = loaded.into_iter();
                let mut next;
                let mut convoy = self;
                convoy.cache.core.count_load(Counter::LoadSuccesses, convoy.began);
                loop {
                    next = loaded.next();
                    let Some((key, _)) = &next else { break };
                    let led = convoy.leaders.remove_entry(key);
                    let Some((key, value)) = next.take() else { break };
                    let Some((own_key, leader)) = led else {
                        extra.push((key, Some(value)));
                        continue;
                    };
                    extra.push((key, None));
                    let (value, landing, beside) = leader.land(value, Life::Configured, (convoy, own_key));
                    let own_key;
                    (convoy, own_key) = beside;
                    found.push((own_key, value));
                    landings.push(landing);
                }
                for (_, leader) in convoy.leaders.drain() {
                    landings.push(leader.absent());
                }
                landings.into_iter().for_each(Later::conclude);
                Ok(())
            }
            Err(error) => {
                let error = Arc::new(error);
                let mut convoy = self;
                convoy.cache.core.count_load(Counter::LoadFailures, convoy.began);
                let mut all_fell_back = true;
                for (key, leader) in convoy.leaders.drain() {
                    match leader.fall_back() {
                        Ok(value) => found.push((key, value)),
                        Err(leader) => {
                            all_fell_back = false;
                            leader.failed(Arc::clone(&error) as Arc<dyn Any + Send + Sync>);
                        }
                    }
                }
                if all_fell_back { Ok(()) } else { Err(error) }
            }
        }
    }
}

fn collect<K, V>(loaded: impl IntoIterator<Item = (K, V)>) -> Vec<(K, V)> {
    loaded.into_iter().collect()
}

/// Takes what another caller's load brought for a key; the key comes back if we must look again.
fn take<K, V, E>(outcome: &Outcome<V>, key: K, found: &mut Vec<(K, V)>) -> Result<Option<K>, Arc<E>>
where
    K: Hash + Eq,
    V: Clone,
    E: Send + Sync + 'static,
{
    match outcome {
        Outcome::Loaded(value) => {
            found.push((key, value.clone()));
            Ok(None)
        }
        Outcome::Absent => Ok(None),
        Outcome::Failed(error) => match Arc::clone(error).downcast::<E>() {
            Ok(error) => Err(error),
            // Another caller's error of another type can't be ours: load for ourselves.
            Err(_) => Ok(Some(key)),
        },
        Outcome::Abandoned => Ok(Some(key)),
    }
}
