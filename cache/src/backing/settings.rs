//! The settings of a `StoreCache`: how it writes, and how it treats a store that fails.

use std::fmt;
use std::time::Duration;

use super::dead_letter::DeadLetter;
#[cfg(feature = "journal")]
use super::journal::Journal;
use super::log::Opened;
use super::queue::Limits;
use crate::clock::nanos;

/// What the queue does with a write that it has no room for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenFull {
    /// `put` waits for room, first come, first served.
    #[default]
    Wait,
    /// `put` fails with [`StoreCacheError::QueueFull`](super::StoreCacheError::QueueFull).
    Error,
}

type Callback<K, V, E> = Box<dyn Fn(DeadLetter<K, V, E>) + Send + Sync>;
type Weigher<K, V> = Box<dyn Fn(&K, Option<&V>) -> u64 + Send + Sync>;

/// How write-behind gathers, retries and gives up; for [`StoreCacheBuilder::write_behind`](super::StoreCacheBuilder::write_behind).
///
/// ```
/// use millpond_cache::backing::{DeadLetter, WhenFull, WriteBehind};
/// use std::time::Duration;
///
/// let settings: WriteBehind<String, u64, std::io::Error> =
///     WriteBehind::new(|letter: DeadLetter<String, u64, _>| {
///         eprintln!("lost: {} = {:?}, {}", letter.key(), letter.value(), letter.cause());
///     })
///     .max_delay(Duration::from_millis(200))
///     .max_batch(500)
///     .max_queue(50_000)
///     .when_full(WhenFull::Error);
/// ```
#[must_use = "settings do nothing before `write_behind`"]
pub struct WriteBehind<K, V, E> {
    pub(super) dead_letter: Callback<K, V, E>,
    pub(super) weigher: Option<Weigher<K, V>>,
    pub(super) when_full: WhenFull,
    pub(super) write_timeout: Option<Duration>,
    pub(super) limits: Limits,
    pub(super) journal: Option<Opened<K, V>>,
}

impl<K, V, E> WriteBehind<K, V, E> {
    /// The default settings. `dead_letter` gets each write that is given up, once: log it, or put it into a file or table from
    /// which a person can bring it back.
    ///
    /// It runs on the task that writes, on that of [`close`](super::StoreCache::close), or where the last handle is dropped,
    /// outside all locks; it may use the cache. A `flush` that waits for the write returns after it. A panic in it is caught
    /// and counted. It should be short: meanwhile no other batch is sent.
    pub fn new(dead_letter: impl Fn(DeadLetter<K, V, E>) + Send + Sync + 'static) -> Self {
        Self {
            dead_letter: Box::new(dead_letter),
            weigher: None,
            when_full: WhenFull::Wait,
            write_timeout: None,
            journal: None,
            limits: Limits {
                length: 10_000,
                bytes: u64::MAX,
                batch_length: 100,
                batch_bytes: u64::MAX,
                delay: nanos(Duration::from_millis(100)),
                in_flight: 4,
                attempts: 0,
                first_backoff: nanos(Duration::from_millis(50)),
                most_backoff: nanos(Duration::from_secs(10)),
            },
        }
    }

    /// How long a write waits for others to share its batch. Default: 100 ms. `Duration::ZERO`: not at all.
    ///
    /// By the cache's clock. What a crash loses is what was accepted in this time, and what is in flight or waits for a
    /// store that fails.
    pub fn max_delay(mut self, delay: Duration) -> Self {
        self.limits.delay = nanos(delay);
        self
    }

    /// The most writes in a batch, at least 1. Default: 100. When so many wait, the delay is cut short.
    pub fn max_batch(mut self, writes: usize) -> Self {
        self.limits.batch_length = writes.max(1);
        self
    }

    /// The most bytes in a batch, as the [`weigher`](Self::weigher) counts them. Default: no bound. When so many wait, the delay is cut
    /// short. A heavier write is a batch of its own.
    pub fn max_batch_bytes(mut self, bytes: u64) -> Self {
        self.limits.batch_bytes = bytes.max(1);
        self
    }

    /// The most writes in the queue, those in flight included, at least 1. Default: 10,000.
    ///
    /// A key takes one place however often it is written, two while it is in flight.
    pub fn max_queue(mut self, writes: usize) -> Self {
        self.limits.length = writes.max(1);
        self
    }

    /// The most bytes in the queue, as the [`weigher`](Self::weigher) counts them. Default: no bound. A heavier write is let in
    /// when the queue is empty.
    pub fn max_queue_bytes(mut self, bytes: u64) -> Self {
        self.limits.bytes = bytes;
        self
    }

    /// Says what a write weighs; the value is `None` for a delete. Default: nothing, so that bounds in bytes have no effect.
    pub fn weigher(mut self, weigher: impl Fn(&K, Option<&V>) -> u64 + Send + Sync + 'static) -> Self {
        self.weigher = Some(Box::new(weigher));
        self
    }

    /// What becomes of a write that the queue has no room for. Default: it waits.
    pub fn when_full(mut self, when_full: WhenFull) -> Self {
        self.when_full = when_full;
        self
    }

    /// The most batches on their way to the store at once, at least 1. Default: 4. Writes of one key are never in two.
    pub fn max_in_flight(mut self, batches: usize) -> Self {
        self.limits.in_flight = batches.max(1);
        self
    }

    /// How often a write is tried that fails with transient errors. Default: for ever; 0 means that too.
    ///
    /// With a limit, an outage of the store becomes dead letters instead of a full queue.
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.limits.attempts = attempts;
        self
    }

    /// The time before the first retry, and the longest before a later one. Default: 50 ms and 10 s.
    ///
    /// It doubles with each failure in a row; of each wait a random part of up to half is left out. A key that fails alone waits
    /// alone; when a whole batch fails, all wait, and one batch tries the store again.
    pub fn backoff(mut self, first: Duration, most: Duration) -> Self {
        self.limits.first_backoff = nanos(first);
        self.limits.most_backoff = nanos(most.max(first));
        self
    }

    /// Records each write on the local disk before it counts as accepted, and writes first what a crash has left there. Default: no
    /// journal. Needs the feature `journal`.
    ///
    /// What was left is in the queue when the cache is built, also if it is more than the queue may hold, and counts as accepted; it is
    /// written from then on if that is in a tokio runtime, else from the first write, flush or close.
    #[cfg(feature = "journal")]
    pub fn journal(mut self, journal: Journal<K, V>) -> Self {
        self.journal = Some(journal.opened);
        self
    }

    /// Gives up waiting for the store after this time and tries the batch again. Default: off, a batch that hangs stays in flight.
    ///
    /// Only for stores whose write ends when its future is dropped: else an old value might arrive after a new one. A
    /// timeout of the store's own (for example `statement_timeout` in PostgreSQL) is the safer choice.
    pub fn write_timeout(mut self, timeout: Duration) -> Self {
        self.write_timeout = Some(timeout);
        self
    }
}

impl<K, V, E> fmt::Debug for WriteBehind<K, V, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriteBehind")
            .field("limits", &self.limits)
            .field("when_full", &self.when_full)
            .field("write_timeout", &self.write_timeout)
            .field("has_journal", &self.journal.is_some())
            .finish_non_exhaustive()
    }
}
