//! Loads that outlive the caller who began them, as tasks of their own.

use std::convert::Infallible;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use crate::cache::Cache;
use crate::core::load::Boarding;
use crate::core::write::Life;
use crate::loading::{answer, forbid_recursion, run};

impl<K, V, S> Cache<K, V, S>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
{
    /// As [`get_or_insert_with_async`](Self::get_or_insert_with_async), but `init` runs as a task of the tokio runtime that
    /// the caller is in: if the caller goes away, the load is finished and stored all the same.
    ///
    /// For loads whose work should not be wasted by a client's timeout, and for callers that may stop polling. On a hit, and
    /// while another caller loads, nothing is spawned. The task keeps the cache alive until the load has ended. Needs the
    /// feature `tokio`.
    ///
    /// Cost: that of a task, on a miss.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let cache = millpond_cache::Cache::new(100);
    /// assert_eq!(cache.get_or_insert_with_detached(2, async { "two" }).await, "two");
    /// # }
    /// ```
    ///
    /// # Panics
    /// Outside a tokio runtime, on a miss. If `init` panics, with its panic. If the runtime shuts down before the load ends.
    /// If `init`, while it is polled, asks this cache for the same key again.
    ///
    /// # Cancellation
    /// Dropping the returned future does not touch the load.
    pub async fn get_or_insert_with_detached(
        &self,
        key: K,
        init: impl Future<Output = V> + Send + 'static,
    ) -> V {
        match self.drive_detached(key, async { Ok::<_, Infallible>((init.await, Life::Configured)) }).await {
            Ok(value) => value,
            Err(never) => match *never {},
        }
    }

    /// As [`get_or_insert_with_detached`](Self::get_or_insert_with_detached), for a loader that can fail. Errors are not
    /// cached.
    ///
    /// # Errors
    /// The loader's error, shared by all who waited for this load.
    ///
    /// # Panics
    /// As for [`get_or_insert_with_detached`](Self::get_or_insert_with_detached).
    ///
    /// # Cancellation
    /// Dropping the returned future does not touch the load.
    pub async fn try_get_or_insert_with_detached<E>(
        &self,
        key: K,
        init: impl Future<Output = Result<V, E>> + Send + 'static,
    ) -> Result<V, Arc<E>>
    where
        E: Send + Sync + 'static,
    {
        self.drive_detached(key, async { Ok((init.await?, Life::Configured)) }).await
    }

    async fn drive_detached<E>(
        &self,
        mut key: K,
        init: impl Future<Output = Result<(V, Life), E>> + Send + 'static,
    ) -> Result<V, Arc<E>>
    where
        E: Send + Sync + 'static,
    {
        loop {
            if let Some(value) = self.get(&key) {
                return Ok(value);
            }
            match self.core.board(key) {
                Boarding::Hit(value) => return Ok(value),
                Boarding::Lead(leader) => {
                    let leader = leader.detach(Arc::clone(&self.core));
                    return match tokio::spawn(run(leader, init)).await {
                        Ok(loaded) => loaded,
                        Err(error) => match error.try_into_panic() {
                            Ok(panic) => std::panic::resume_unwind(panic),
                            Err(error) => panic!("the runtime ended before the load did: {error}"),
                        },
                    };
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
