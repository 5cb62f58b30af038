//! Loading on a miss: the two drivers, blocking and async, over one state machine (`core::load`, `flight`).

use std::any::Any;
use std::convert::Infallible;
use std::future::poll_fn;
use std::hash::{BuildHasher, Hash};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use crate::cache::Cache;
use crate::clock::nanos;
use crate::core::load::{Boarding, Leader};
use crate::core::write::Life;
use crate::flight::{Flight, Outcome};

impl<K, V, S> Cache<K, V, S>
where
    K: Hash + Eq,
    V: Clone,
    S: BuildHasher,
{
    /// The value of a key, from `init` if it is missing. Of all threads and tasks that ask for one key at once, one runs
    /// its `init`; the others wait for its value.
    ///
    /// A write or invalidation of the key while `init` runs wins: all who wait get the loaded value, and it is not stored.
    /// If `init` panics, the panic goes to its own caller and one of those who wait runs its own.
    ///
    /// `init` may ask for other keys. But two threads whose loaders ask for each other's key wait for each other without end, which is
    /// not detected: let loaders ask in one direction only.
    ///
    /// ```
    /// let cache = millpond_cache::Cache::new(100);
    /// assert_eq!(cache.get_or_insert_with(2, || "two"), "two");
    /// assert_eq!(cache.get_or_insert_with(2, || unreachable!()), "two");
    /// ```
    ///
    /// # Panics
    /// If `init` asks this cache for the same key again, which could never be answered.
    pub fn get_or_insert_with(&self, key: K, init: impl FnOnce() -> V) -> V {
        match self.try_get_or_insert_with(key, || Ok::<V, Infallible>(init())) {
            Ok(value) => value,
            Err(never) => match *never {},
        }
    }

    /// As [`get_or_insert_with`](Self::get_or_insert_with), for a loader that can fail. Errors are not cached.
    ///
    /// ```
    /// let cache = millpond_cache::Cache::new(100);
    /// let parsed = cache.try_get_or_insert_with("7", || "7".parse::<i32>());
    /// assert_eq!(parsed.unwrap(), 7);
    /// assert!(cache.try_get_or_insert_with("x", || "x".parse::<i32>()).is_err());
    /// ```
    ///
    /// # Errors
    /// The loader's error, shared by all who waited for this load.
    ///
    /// # Panics
    /// If `init` asks this cache for the same key again.
    pub fn try_get_or_insert_with<E>(&self, key: K, init: impl FnOnce() -> Result<V, E>) -> Result<V, Arc<E>>
    where
        E: Send + Sync + 'static,
    {
        self.drive_blocking(key, false, &[], || Ok((init()?, Life::Configured)))
    }

    /// As [`try_get_or_insert_with`](Self::try_get_or_insert_with); the loader also says how long its value lives, for
    /// example shorter for "there is no such thing". `None`: as the cache was configured.
    ///
    /// # Errors
    /// The loader's error, shared by all who waited for this load.
    ///
    /// # Panics
    /// If `init` asks this cache for the same key again.
    pub fn try_get_or_insert_with_ttl<E>(
        &self,
        key: K,
        init: impl FnOnce() -> Result<(V, Option<Duration>), E>,
    ) -> Result<V, Arc<E>>
    where
        E: Send + Sync + 'static,
    {
        self.drive_blocking(key, false, &[], || init().map(with_life))
    }

    /// The value of a key, from the future `init` if it is missing; otherwise as
    /// [`get_or_insert_with`](Self::get_or_insert_with). Works in any runtime, and together with blocking callers.
    ///
    /// ```
    /// # futures::executor::block_on(async {
    /// let cache = millpond_cache::Cache::new(100);
    /// assert_eq!(cache.get_or_insert_with_async(2, async { "two" }).await, "two");
    /// # });
    /// ```
    ///
    /// # Panics
    /// If `init`, while it is polled, asks this cache for the same key again. A task that `init` spawns and waits for must
    /// not ask either, which can't be detected: it would wait for ever.
    ///
    /// # Cancellation
    /// Dropping the returned future drops `init` if it was running; then one of those who wait runs its own. A future that
    /// is kept but no longer polled holds up the others: do not park it in a `select!` arm.
    pub async fn get_or_insert_with_async(&self, key: K, init: impl Future<Output = V>) -> V {
        let init = async { Ok::<_, Infallible>((init.await, Life::Configured)) };
        match self.drive_async(key, false, &[], init).await {
            Ok(value) => value,
            Err(never) => match *never {},
        }
    }

    /// As [`get_or_insert_with_async`](Self::get_or_insert_with_async), for a loader that can fail. Errors are not cached.
    ///
    /// # Errors
    /// The loader's error, shared by all who waited for this load.
    ///
    /// # Cancellation
    /// As for [`get_or_insert_with_async`](Self::get_or_insert_with_async).
    pub async fn try_get_or_insert_with_async<E>(
        &self,
        key: K,
        init: impl Future<Output = Result<V, E>>,
    ) -> Result<V, Arc<E>>
    where
        E: Send + Sync + 'static,
    {
        self.drive_async(key, false, &[], async { Ok((init.await?, Life::Configured)) }).await
    }

    /// As [`try_get_or_insert_with_ttl`](Self::try_get_or_insert_with_ttl), with a future.
    ///
    /// # Errors
    /// The loader's error, shared by all who waited for this load.
    ///
    /// # Cancellation
    /// As for [`get_or_insert_with_async`](Self::get_or_insert_with_async).
    pub async fn try_get_or_insert_with_ttl_async<E>(
        &self,
        key: K,
        init: impl Future<Output = Result<(V, Option<Duration>), E>>,
    ) -> Result<V, Arc<E>>
    where
        E: Send + Sync + 'static,
    {
        self.drive_async(key, false, &[], async { init.await.map(with_life) }).await
    }

    pub(crate) fn drive_blocking<E>(
        &self,
        mut key: K,
        mut is_missed: bool,
        tags: &[Arc<str>],
        init: impl FnOnce() -> Result<(V, Life), E>,
    ) -> Result<V, Arc<E>>
    where
        E: Send + Sync + 'static,
    {
        loop {
            // Once for each try in the statistics, also if the caller has looked.
            if !std::mem::take(&mut is_missed) {
                if let Some(value) = self.get(&key) {
                    return Ok(value);
                }
            }
            match self.core.board(key) {
                Boarding::Hit(value) => return Ok(value),
                Boarding::Lead(mut leader) => {
                    leader.claim(tags);
                    let inside = leader.enter();
                    let loaded = init();
                    drop(inside);
                    return end(leader, loaded);
                }
                Boarding::Wait(flight, handed_back) => {
                    forbid_recursion(&flight);
                    if let Some(answer) = answer(flight.wait()) {
                        return answer;
                    }
                    key = handed_back;
                }
            }
        }
    }

    pub(crate) async fn drive_async<E>(
        &self,
        mut key: K,
        mut is_missed: bool,
        tags: &[Arc<str>],
        init: impl Future<Output = Result<(V, Life), E>>,
    ) -> Result<V, Arc<E>>
    where
        E: Send + Sync + 'static,
    {
        // Before any leader, so that it is dropped after it: by then the load is abandoned, and what drops may load the key.
        let mut init = pin!(init);
        loop {
            // Once for each try in the statistics, also if the caller has looked.
            if !std::mem::take(&mut is_missed) {
                if let Some(value) = self.get(&key) {
                    return Ok(value);
                }
            }
            match self.core.board(key) {
                Boarding::Hit(value) => return Ok(value),
                Boarding::Lead(mut leader) => {
                    leader.claim(tags);
                    return run(leader, init.as_mut()).await;
                }
                Boarding::Wait(flight, handed_back) => {
                    forbid_recursion(&flight);
                    if let Some(answer) = answer(flight.waiting().await) {
                        return answer;
                    }
                    key = handed_back;
                }
            }
        }
    }
}

/// Drives a loader and ends its flight.
pub(crate) async fn run<K, V, S, E>(
    leader: Leader<'_, K, V, S>,
    init: impl Future<Output = Result<(V, Life), E>>,
) -> Result<V, Arc<E>>
where
    K: Hash + Eq,
    V: Clone,
    S: BuildHasher,
    E: Send + Sync + 'static,
{
    let mut init = pin!(init);
    // Dropped before the loader, whose drop may load the key.
    let leader = leader;
    let loaded = poll_fn(|context| {
        let _inside = leader.enter();
        init.as_mut().poll(context)
    })
    .await;
    end(leader, loaded)
}

/// Ends a flight with what its loader returned.
pub(crate) fn end<K, V, S, E>(leader: Leader<'_, K, V, S>, loaded: Result<(V, Life), E>) -> Result<V, Arc<E>>
where
    K: Hash + Eq,
    V: Clone,
    S: BuildHasher,
    E: Send + Sync + 'static,
{
    match loaded {
        Ok((value, life)) => Ok(leader.loaded(value, life)),
        Err(error) => {
            let leader = match leader.fall_back() {
                Ok(value) => return Ok(value),
                Err(leader) => leader,
            };
            let error = Arc::new(error);
            leader.failed(Arc::clone(&error) as Arc<dyn Any + Send + Sync>);
            Err(error)
        }
    }
}

pub(crate) fn forbid_recursion<V>(flight: &Flight<V>) {
    assert!(
        !flight.is_led_from_here(),
        "recursive load: a loader or a compute asked the cache for the key that it is working on"
    );
}

fn with_life<V>((value, ttl): (V, Option<Duration>)) -> (V, Life) {
    (value, ttl.map_or(Life::Configured, |ttl| Life::Ticks(nanos(ttl))))
}

/// What an ended flight means for one who waited; `None`: try again.
pub(crate) fn answer<V: Clone, E: Send + Sync + 'static>(outcome: &Outcome<V>) -> Option<Result<V, Arc<E>>> {
    match outcome {
        Outcome::Loaded(value) => Some(Ok(value.clone())),
        // Another caller's error of another type can't be ours: load for ourselves.
        Outcome::Failed(error) => Arc::clone(error).downcast::<E>().ok().map(Err),
        Outcome::Absent | Outcome::Abandoned => None,
    }
}
