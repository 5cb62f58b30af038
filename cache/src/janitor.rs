//! Housekeeping by a thread or a task, for caches that nobody writes to for a while.
//!
//! A janitor holds the cache only while it works. The cache holds the other end of its channel, so that the end of the cache
//! wakes it and it ends too.

use std::hash::{BuildHasher, Hash};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, Weak};
use std::time::Duration;
use std::{io, thread};

use crate::cache::Cache;
use crate::contain::contain;
use crate::core::Core;

/// The shortest time between two rounds: a period of zero is not a busy loop.
const SHORTEST: Duration = Duration::from_millis(1);

impl<K, V, S> Cache<K, V, S>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
{
    /// Starts a thread that calls [`run_pending_tasks`](Self::run_pending_tasks) once in each `period`, of at least 1 ms, and
    /// ends with the cache.
    ///
    /// Never needed for correctness. With it, expired entries are dropped and reported while nobody writes. It keeps no
    /// cache alive: when the last handle is gone the thread ends at once, or after the round it is in. Listeners and drops
    /// then run on that thread too; a panic in one ends the round, not the thread.
    ///
    /// ```
    /// use millpond_cache::Cache;
    /// use std::time::Duration;
    /// let cache: Cache<u32, u32> = Cache::builder().time_to_live(Duration::from_millis(20)).build()?;
    /// let janitor = cache.spawn_janitor(Duration::from_millis(10))?;
    /// cache.insert(1, 1);
    /// while cache.entry_count() > 0 {
    ///     std::thread::yield_now();
    /// }
    /// drop(cache);
    /// janitor.join().unwrap();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// If the system can't start a thread.
    pub fn spawn_janitor(&self, period: Duration) -> io::Result<thread::JoinHandle<()>> {
        let period = period.max(SHORTEST);
        let core = Arc::downgrade(&self.core);
        let (end, ended) = sync_channel::<()>(0);
        let janitor = thread::Builder::new().name(String::from("cache janitor")).spawn(move || {
            while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(period) {
                if !round(&core) {
                    break;
                }
            }
        })?;
        self.core.janitors.add(end);
        Ok(janitor)
    }

    /// As [`spawn_janitor`](Self::spawn_janitor), by a task on the tokio runtime that the caller is in. Aborting the task
    /// stops it.
    ///
    /// A round waits for nothing, but takes the time that removing the expired entries takes: for caches in which millions
    /// expire at once, use the thread.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// use std::time::Duration;
    /// let cache: millpond_cache::Cache<u32, u32> = millpond_cache::Cache::new(100);
    /// let janitor = cache.spawn_janitor_task(Duration::from_secs(1));
    /// drop(cache);
    /// janitor.await.unwrap();
    /// # }
    /// ```
    ///
    /// # Panics
    /// Outside a tokio runtime. In one without timers, the task panics.
    #[cfg(feature = "tokio")]
    #[expect(clippy::must_use_candidate, reason = "dropping the handle leaves the task to the cache")]
    pub fn spawn_janitor_task(&self, period: Duration) -> tokio::task::JoinHandle<()> {
        let period = period.max(SHORTEST);
        let core = Arc::downgrade(&self.core);
        let (end, mut ended) = tokio::sync::oneshot::channel::<()>();
        let janitor = tokio::spawn(async move {
            // An error: the period is over. Else the cache is.
            while tokio::time::timeout(period, &mut ended).await.is_err() {
                if !round(&core) {
                    break;
                }
            }
        });
        self.core.janitors.add(end);
        janitor
    }
}

/// One round of housekeeping; false if the cache is gone.
fn round<K, V, S>(core: &Weak<Core<K, V, S>>) -> bool {
    let Some(core) = core.upgrade() else { return false };
    // A panic in a drop or a clock of the user's: the cache is consistent, and there is a next round. If ours is the last
    // handle by now, dropping it may panic too, so it is dropped in here.
    let _panicked = contain(move || core.run_pending_tasks());
    true
}
