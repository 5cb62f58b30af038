//! Loaders that may find nothing, which is an answer for all who wait but is not cached.

use std::convert::Infallible;
use std::future::poll_fn;
use std::hash::{BuildHasher, Hash};
use std::pin::pin;
use std::sync::Arc;

use crate::cache::Cache;
use crate::core::load::{Boarding, Leader};
use crate::core::write::Life;
use crate::flight::Outcome;
use crate::loading::{end, forbid_recursion};

impl<K, V, S> Cache<K, V, S>
where
    K: Hash + Eq,
    V: Clone,
    S: BuildHasher,
{
    /// The value of a key, from `init` if it is missing; `None` if `init` finds nothing. An absence is shared by all who
    /// wait for this load, and not cached.
    ///
    /// To cache absences too, make it a cache of `Option<V>` and give them a life of their own:
    /// [`negative_time_to_live`](crate::CacheBuilder::negative_time_to_live). Otherwise as
    /// [`get_or_insert_with`](Self::get_or_insert_with).
    ///
    /// ```
    /// let cache = millpond_cache::Cache::new(100);
    /// assert_eq!(cache.optionally_get_with(1, || None), None);
    /// assert_eq!(cache.optionally_get_with(1, || Some("one")), Some("one"));
    /// assert_eq!(cache.optionally_get_with(1, || unreachable!()), Some("one"));
    /// ```
    ///
    /// # Panics
    /// If `init` asks this cache for the same key again.
    pub fn optionally_get_with(&self, key: K, init: impl FnOnce() -> Option<V>) -> Option<V> {
        match self.try_optionally_get_with(key, || Ok::<_, Infallible>(init())) {
            Ok(value) => value,
            Err(never) => match *never {},
        }
    }

    /// As [`optionally_get_with`](Self::optionally_get_with), for a loader that can fail. Errors are not cached.
    ///
    /// # Errors
    /// The loader's error, shared by all who waited for this load.
    ///
    /// # Panics
    /// If `init` asks this cache for the same key again.
    pub fn try_optionally_get_with<E>(
        &self,
        mut key: K,
        init: impl FnOnce() -> Result<Option<V>, E>,
    ) -> Result<Option<V>, Arc<E>>
    where
        E: Send + Sync + 'static,
    {
        loop {
            if let Some(value) = self.get(&key) {
                return Ok(Some(value));
            }
            match self.core.board(key) {
                Boarding::Hit(value) => return Ok(Some(value)),
                Boarding::Lead(leader) => {
                    let inside = leader.enter();
                    let loaded = init();
                    drop(inside);
                    return end_optional(leader, loaded);
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

    /// As [`optionally_get_with`](Self::optionally_get_with), with a future.
    ///
    /// # Panics
    /// As for [`get_or_insert_with_async`](Self::get_or_insert_with_async).
    ///
    /// # Cancellation
    /// As for [`get_or_insert_with_async`](Self::get_or_insert_with_async).
    pub async fn optionally_get_with_async(
        &self,
        key: K,
        init: impl Future<Output = Option<V>>,
    ) -> Option<V> {
        match self.try_optionally_get_with_async(key, async { Ok::<_, Infallible>(init.await) }).await {
            Ok(value) => value,
            Err(never) => match *never {},
        }
    }

    /// As [`try_optionally_get_with`](Self::try_optionally_get_with), with a future.
    ///
    /// # Errors
    /// The loader's error, shared by all who waited for this load.
    ///
    /// # Panics
    /// As for [`get_or_insert_with_async`](Self::get_or_insert_with_async).
    ///
    /// # Cancellation
    /// As for [`get_or_insert_with_async`](Self::get_or_insert_with_async).
    pub async fn try_optionally_get_with_async<E>(
        &self,
        mut key: K,
        init: impl Future<Output = Result<Option<V>, E>>,
    ) -> Result<Option<V>, Arc<E>>
    where
        E: Send + Sync + 'static,
    {
        loop {
            if let Some(value) = self.get(&key) {
                return Ok(Some(value));
            }
            match self.core.board(key) {
                Boarding::Hit(value) => return Ok(Some(value)),
                Boarding::Lead(leader) => {
                    let mut init = pin!(init);
                    // Dropped before the loader, whose drop may load the key.
                    let leader = leader;
                    let loaded = poll_fn(|context| {
                        let _inside = leader.enter();
                        init.as_mut().poll(context)
                    })
                    .await;
                    return end_optional(leader, loaded);
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

fn end_optional<K, V, S, E>(
    leader: Leader<'_, K, V, S>,
    loaded: Result<Option<V>, E>,
) -> Result<Option<V>, Arc<E>>
where
    K: Hash + Eq,
    V: Clone,
    S: BuildHasher,
    E: Send + Sync + 'static,
{
    match loaded {
        Ok(None) => {
            leader.absent().conclude();
            Ok(None)
        }
        Ok(Some(value)) => end(leader, Ok((value, Life::Configured))).map(Some),
        Err(error) => end(leader, Err(error)).map(Some),
    }
}

/// What an ended flight means for one who accepts an absence; `None`: try again.
fn answer<V: Clone, E: Send + Sync + 'static>(outcome: &Outcome<V>) -> Option<Result<Option<V>, Arc<E>>> {
    match outcome {
        Outcome::Absent => Some(Ok(None)),
        outcome => crate::loading::answer(outcome).map(|answer| answer.map(Some)),
    }
}
