//! Write-behind: the queue under its lock, who waits for it, and its letters to the user.
//!
//! The lock is held for steps of the state machine only. Keys and values are hashed, weighed and wrapped before it and dropped
//! after it, and the user's callback runs outside.

use std::hash::Hash;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Mutex as AsyncMutex, Notify};

use super::dead_letter::{DeadCause, DeadLetter};
use super::error::StoreCacheError;
use super::queue::{Accept, Landed, Letter, Queue};
use super::settings::{WhenFull, WriteBehind};

pub(crate) struct Behind<K, V, E> {
    pub(crate) queue: Mutex<Queue<K, V>>,
    /// Whether a driver lives. Changes under the queue's lock.
    pub(crate) is_driven: AtomicBool,
    /// Rings for the driver: look at the queue again.
    pub(crate) bell: Notify,
    /// Rings for all who wait for an end: something was resolved, or the driver is gone.
    pub(crate) progress: Notify,
    /// Who finds the queue full stands in line here; the first one listens for `room`.
    gate: AsyncMutex<()>,
    room: Notify,
    /// Callers at the gate.
    queueing: AtomicUsize,
    callback_panics: AtomicU64,
    hasher: ahash::RandomState,
    settings: WriteBehind<K, V, E>,
}

/// Counts a caller who waits for room.
struct Queueing<'b>(&'b AtomicUsize);

impl Drop for Queueing<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl<K, V, E> Behind<K, V, E> {
    pub(crate) fn new(settings: WriteBehind<K, V, E>) -> Self {
        let seed = ahash::RandomState::new().hash_one(0);
        Self {
            queue: Mutex::new(Queue::new(settings.limits.clone(), seed)),
            is_driven: AtomicBool::new(false),
            bell: Notify::new(),
            progress: Notify::new(),
            gate: AsyncMutex::new(()),
            room: Notify::new(),
            queueing: AtomicUsize::new(0),
            callback_panics: AtomicU64::new(0),
            hasher: ahash::RandomState::new(),
            settings,
        }
    }

    pub(crate) fn write_timeout(&self) -> Option<Duration> {
        self.settings.write_timeout
    }

    pub(crate) fn batch_length(&self) -> usize {
        self.settings.limits.batch_length
    }

    /// The newest value of a key that the store does not have yet; `Some(None)` if it is to be deleted.
    pub(crate) fn pending(&self, key: &K) -> Option<Option<Arc<V>>>
    where
        K: Hash + Eq,
    {
        let hash = self.hasher.hash_one(key);
        self.queue.lock().pending(hash, key)
    }

    /// Takes a write in, or waits until there is room. Once it is taken in, this returns without another await.
    pub(crate) async fn accept(
        &self,
        key: Arc<K>,
        value: Option<Arc<V>>,
        now: impl Fn() -> u64,
    ) -> Result<(), StoreCacheError<E>>
    where
        K: Hash + Eq,
    {
        let hash = self.hasher.hash_one(&*key);
        let bytes = self.settings.weigher.as_ref().map_or(0, |weigher| weigher(&key, value.as_deref()));
        // Who comes later does not pass those who wait for room, unless it needs none.
        let may_grow = self.queueing.load(Ordering::Acquire) == 0;
        let handed_back = self.try_accept(hash, key, value, bytes, now(), may_grow)?;
        let Some((mut key, mut value)) = handed_back else { return Ok(()) };
        if self.settings.when_full == WhenFull::Error {
            return Err(StoreCacheError::QueueFull);
        }
        self.queueing.fetch_add(1, Ordering::AcqRel);
        let _queueing = Queueing(&self.queueing);
        let _first_in_line = self.gate.lock().await;
        loop {
            let room = self.room.notified();
            match self.try_accept(hash, key, value, bytes, now(), true)? {
                None => return Ok(()),
                Some(handed_back) => (key, value) = handed_back,
            }
            room.await;
        }
    }

    #[expect(clippy::type_complexity, reason = "key and value, handed back")]
    fn try_accept(
        &self,
        hash: u64,
        key: Arc<K>,
        value: Option<Arc<V>>,
        bytes: u64,
        now: u64,
        may_grow: bool,
    ) -> Result<Option<(Arc<K>, Option<Arc<V>>)>, StoreCacheError<E>>
    where
        K: Eq,
    {
        // Not in the match: its lock would live as long.
        let accept = self.queue.lock().accept(hash, key, value, bytes, now, may_grow);
        match accept {
            Accept::Accepted { wakes, rubbish } => {
                if wakes {
                    self.bell.notify_one();
                }
                drop(rubbish);
                Ok(None)
            }
            Accept::Full(key, value) => Ok(Some((key, value))),
            Accept::Closed(key, value) => {
                drop((key, value));
                Err(StoreCacheError::Closed)
            }
        }
    }

    /// Tells those who wait that something has changed.
    pub(crate) fn tell(&self) {
        self.room.notify_one();
        self.progress.notify_waiters();
    }

    /// Ends what a landing began, outside the lock: letters are reported, then count as resolved.
    pub(crate) fn conclude(
        &self,
        landed: Landed<K, V>,
        cause: impl Fn(&Letter<K, V>) -> DeadCause<E>,
        mut forget: impl FnMut(&K),
    ) {
        let Landed { letters, rubbish } = landed;
        let numbers: Vec<u64> = letters.iter().map(|letter| letter.number).collect();
        for letter in letters {
            let cause = cause(&letter);
            let Letter { key, value, attempts, .. } = letter;
            let reported = catch_unwind(AssertUnwindSafe(|| {
                // First, so that what the callback reads is what the store has.
                forget(&key);
                (self.settings.dead_letter)(DeadLetter { key, value, attempts, cause });
            }));
            if reported.is_err() {
                self.callback_panics.fetch_add(1, Ordering::Relaxed);
            }
        }
        // A drop that panics must not keep the rest from happening.
        let _panicked = catch_unwind(AssertUnwindSafe(|| drop(rubbish)));
        self.queue.lock().reported(numbers);
        self.tell();
    }

    pub(crate) fn callback_panics(&self) -> u64 {
        self.callback_panics.load(Ordering::Relaxed)
    }
}

impl<K, V, E> Drop for Behind<K, V, E> {
    /// The last handle is gone, and so is the driver: a runtime has shut down. What is left is handed back.
    fn drop(&mut self) {
        let landed = self.queue.get_mut().surrender();
        self.conclude(landed, |_| DeadCause::Unfinished, |_| ());
    }
}
