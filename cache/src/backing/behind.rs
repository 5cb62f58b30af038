//! Write-behind: what goes into the queue and waits for room, what the journal is told, and the letters to the user.
//!
//! The lock is held for steps of the state machine only. Keys and values are hashed, weighed and wrapped before it and dropped
//! after it, and the user's callback runs outside.

use std::hash::Hash;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Mutex as AsyncMutex;

use super::dead_letter::{DeadCause, DeadLetter};
use super::driven::Driven;
use super::error::StoreCacheError;
use super::log::{Log, Opened, Receipt};
use super::queue::{Accept, Landed, Letter, Queue};
use super::settings::{WhenFull, WriteBehind};

pub(crate) struct Behind<K, V, E> {
    pub(crate) driven: Driven<K, V>,
    /// Who finds the queue full stands in line here; the first one waits for room.
    gate: AsyncMutex<()>,
    /// Callers at the gate.
    queueing: AtomicUsize,
    callback_panics: AtomicU64,
    hasher: ahash::RandomState,
    settings: WriteBehind<K, V, E>,
    pub(crate) journal: Option<Arc<dyn Log<K, V>>>,
}

/// Counts a caller who waits for room.
struct Queueing<'b>(&'b AtomicUsize);

impl Drop for Queueing<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl<K, V, E> Behind<K, V, E> {
    pub(crate) fn new(mut settings: WriteBehind<K, V, E>, now: u64) -> Self
    where
        K: Hash + Eq,
    {
        let hasher = ahash::RandomState::new();
        let mut queue = Queue::new(settings.limits.clone(), hasher.hash_one(0));
        let journal = settings.journal.take().map(|Opened { log, replay }| {
            for (key, value) in replay {
                let hash = hasher.hash_one(&key);
                let bytes = settings.weigher.as_ref().map_or(0, |weigher| weigher(&key, value.as_ref()));
                queue.restore(hash, Arc::new(key), value.map(Arc::new), bytes, now);
            }
            log.begin(queue.accepted());
            log
        });
        Self {
            driven: Driven::new(queue),
            journal,
            gate: AsyncMutex::new(()),
            queueing: AtomicUsize::new(0),
            callback_panics: AtomicU64::new(0),
            hasher,
            settings,
        }
    }

    pub(crate) fn write_timeout(&self) -> Option<Duration> {
        self.settings.write_timeout
    }

    /// The newest value of a key that the store does not have yet; `Some(None)` if it is to be deleted.
    pub(crate) fn pending(&self, key: &K) -> Option<Option<Arc<V>>>
    where
        K: Hash + Eq,
    {
        let hash = self.hasher.hash_one(key);
        self.driven.lock().pending(hash, key)
    }

    /// Takes a write in, or waits until there is room. Once it is taken in, this returns without another await; the receipt says
    /// when the journal has it. `start`: as for [`Driven::ensure`].
    pub(crate) async fn accept(
        &self,
        key: Arc<K>,
        value: Option<Arc<V>>,
        now: impl Fn() -> u64,
        start: impl Fn(),
    ) -> Result<Option<Receipt>, StoreCacheError<E>>
    where
        K: Hash + Eq,
    {
        let hash = self.hasher.hash_one(&*key);
        let bytes = self.settings.weigher.as_ref().map_or(0, |weigher| weigher(&key, value.as_deref()));
        let failed = |error| StoreCacheError::Journal(Arc::new(error));
        let mut record = None;
        if let Some(log) = &self.journal {
            log.admit().map_err(failed)?;
            record = Some(log.encode(&key, value.as_deref()).map_err(failed)?);
        }
        // Who comes later does not pass those who wait for room, unless it needs none.
        let may_grow = self.queueing.load(Ordering::Acquire) == 0;
        let handed_back = match self.try_accept(hash, key, value, bytes, now(), may_grow, &mut record)? {
            Ok(receipt) => return Ok(receipt),
            Err(handed_back) => handed_back,
        };
        if self.settings.when_full == WhenFull::Error {
            // The runtime of the driver may have ended.
            self.driven.ensure(start);
            return Err(StoreCacheError::QueueFull);
        }
        self.queueing.fetch_add(1, Ordering::AcqRel);
        let _queueing = Queueing(&self.queueing);
        let _first_in_line = self.gate.lock().await;
        let mut write = Some(handed_back);
        let attempt = || {
            let (key, value) = write.take()?;
            match self.try_accept(hash, key, value, bytes, now(), true, &mut record) {
                Ok(Ok(receipt)) => Some(Ok(receipt)),
                Ok(Err(handed_back)) => {
                    write = Some(handed_back);
                    None
                }
                Err(error) => Some(Err(error)),
            }
        };
        self.driven.until_room(attempt, start).await
    }

    #[expect(clippy::type_complexity, reason = "key and value, handed back")]
    #[expect(clippy::too_many_arguments, reason = "a write, and what was found out about it before the lock")]
    fn try_accept(
        &self,
        hash: u64,
        key: Arc<K>,
        value: Option<Arc<V>>,
        bytes: u64,
        now: u64,
        may_grow: bool,
        record: &mut Option<Vec<u8>>,
    ) -> Result<Result<Option<Receipt>, (Arc<K>, Option<Arc<V>>)>, StoreCacheError<E>>
    where
        K: Eq,
    {
        let mut receipt = None;
        let accept = self.driven.accept(|queue| {
            let accept = queue.accept(hash, key, value, bytes, now, may_grow);
            if let (Accept::Accepted { .. }, Some(log)) = (&accept, &self.journal) {
                // Under the lock, so that the journal's order is the queue's.
                receipt = record.take().map(|record| log.append(queue.accepted(), record));
                keep_live(queue, &**log);
            }
            accept
        });
        match accept {
            Accept::Accepted { rubbish, .. } => {
                drop(rubbish);
                Ok(Ok(receipt))
            }
            Accept::Full(key, value) => Ok(Err((key, value))),
            Accept::Closed(key, value) => {
                drop((key, value));
                Err(StoreCacheError::Closed)
            }
        }
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
        let mut queue = self.driven.lock();
        queue.reported(numbers);
        let resolved = queue.resolved_to();
        if let Some(log) = &self.journal {
            keep_live(&queue, &**log);
        }
        drop(queue);
        if let Some(log) = &self.journal {
            log.resolved(resolved);
        }
        self.driven.tell();
    }

    /// Ends with what is not written: it stays in the journal, or is handed back. How many it is.
    pub(crate) fn give_up(&self, forget: impl FnMut(&K)) -> usize {
        if let Some(log) = &self.journal {
            log.freeze();
        }
        let mut landed = self.driven.lock().surrender();
        let unwritten = landed.letters.len();
        if self.journal.as_ref().is_some_and(|log| log.is_whole()) {
            let letters = std::mem::take(&mut landed.letters);
            self.driven.lock().reported(letters.iter().map(|letter| letter.number));
            let _panicked = catch_unwind(AssertUnwindSafe(|| drop(letters)));
        }
        self.conclude(landed, |_| DeadCause::Unfinished, forget);
        unwritten
    }

    pub(crate) fn callback_panics(&self) -> u64 {
        self.callback_panics.load(Ordering::Relaxed)
    }
}

/// Hands the journal what is not resolved, if it wants that. Under the queue's lock, so that the journal's order is the queue's.
fn keep_live<K, V>(queue: &Queue<K, V>, log: &dyn Log<K, V>) {
    if log.wants_live(queue.length()) {
        if let Some(live) = queue.live() {
            log.keep_live(queue.accepted(), live);
        }
    }
}

impl<K, V, E> Drop for Behind<K, V, E> {
    /// The last handle is gone, and so is the driver: a runtime has shut down. What is left is handed back.
    fn drop(&mut self) {
        self.give_up(|_| ());
    }
}
