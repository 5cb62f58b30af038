//! Deadlines of entries, and when they are to be loaded again, by cell id, in arrays that exist only for shards where
//! something can expire or is refreshed.
//!
//! A cache that is built with a time feature keeps them with the cells (cells.rs). One without never allocates them, so an entry
//! without a deadline costs no byte and a read of it no clock; the first `insert_with_ttl` into a shard makes the table below.
//!
//! Two levels, both growing without a copy: segments of doubling size hold chunks of equal size.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::clock::span_of;

/// Entries a chunk covers.
const CHUNK: usize = 1024;
/// Chunks the first segment covers.
const FIRST: usize = 16;
const SEGMENTS: usize = 19;

/// A deadline that no clock reaches, where 0 would mean that the clock need not be asked.
pub(crate) const FAR: u64 = u64::MAX;

/// When an entry dies, in ticks of the cache's clock. 0 = never.
#[derive(Debug, Default)]
pub(crate) struct Times {
    /// Set by writes, and moved by reads where the user's rule says so.
    pub(crate) deadline: AtomicU64,
    /// Moved by reads of a cache with a time to idle.
    pub(crate) idle: AtomicU64,
}

impl Times {
    /// Whether the entry is dead at `now`.
    #[inline]
    pub(crate) fn expired(&self, now: u64) -> bool {
        let deadline = self.deadline.load(Ordering::Relaxed);
        let idle = self.idle.load(Ordering::Relaxed);
        // 0 wraps to the largest value: "never".
        deadline.wrapping_sub(1).min(idle.wrapping_sub(1)) < now
    }

    /// Whether so much is left until the idle end; `left` is at least 1.
    #[inline]
    pub(crate) fn idles_at_least(&self, now: u64, left: u64) -> bool {
        // Not so much before the end: one that was restored may be nearer to the beginning of time than that.
        self.idle.load(Ordering::Relaxed).wrapping_sub(1) >= now.saturating_add(left - 1)
    }

    /// Moves the idle end back, if there is one.
    #[inline]
    pub(crate) fn extend_idle(&self, until: u64) {
        if self.idle.load(Ordering::Relaxed) != 0 {
            self.idle.store(until, Ordering::Relaxed);
        }
    }

    /// Puts a deadline in the place of another; false if it was changed meanwhile.
    pub(crate) fn move_deadline(&self, before: u64, after: u64) -> bool {
        self.deadline.compare_exchange(before, after, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    pub(crate) fn set(&self, deadline: u64, idle: u64) {
        self.deadline.store(deadline, Ordering::Relaxed);
        self.idle.store(idle, Ordering::Relaxed);
    }

    /// Both ends, 0 = never: the deadline, and where it is not used.
    #[cfg(feature = "snapshot")]
    pub(crate) fn ends(&self) -> (u64, u64) {
        (self.deadline.load(Ordering::Relaxed), self.idle.load(Ordering::Relaxed))
    }

    /// The earlier of both ends, 0 = never.
    #[inline]
    pub(crate) fn end(&self) -> u64 {
        let deadline = self.deadline.load(Ordering::Relaxed);
        let idle = self.idle.load(Ordering::Relaxed);
        deadline.wrapping_sub(1).min(idle.wrapping_sub(1)).wrapping_add(1)
    }
}

/// Until when a hit on an entry has nothing to do, so that hits read one word: not to look at its [`Times`], nor to move them. In
/// whole [spans](span_of), so that many lie in a cache line; 0: not known.
///
/// Only for entries whose ends nothing but reads changes once they are shown: the answers of two that race are both right.
#[derive(Debug, Default)]
pub(crate) struct Quiet(AtomicU32);

impl Quiet {
    /// Whether it lasts in this span of time, and in the next: a clock that is a span behind does no harm.
    #[inline]
    pub(crate) fn lasts(&self, now: u32) -> bool {
        now < self.0.load(Ordering::Relaxed)
    }

    /// Until the deadline, until no more than `left`, which is at least 1, is left to the idle end, or until so much time before it is
    /// due to be loaded again.
    pub(crate) fn set(&self, times: &Times, left: u64, renewal: Option<(&Renewal, u64)>) {
        let deadline = times.deadline.load(Ordering::Relaxed).wrapping_sub(1);
        let idle = times.idle.load(Ordering::Relaxed).wrapping_sub(1).saturating_sub(left - 1);
        let due = renewal.map_or(u64::MAX, |(renewal, early)| match renewal.due.load(Ordering::Relaxed) {
            0 => u64::MAX,
            // It is being loaded, and nobody knows when it is to be loaded again if that fails.
            FAR => 0,
            due => (due - 1).saturating_sub(early),
        });
        let end = span_of(deadline.min(idle).min(due)).saturating_sub(1);
        // In an entry's last spans each hit comes here.
        if self.0.load(Ordering::Relaxed) != end {
            self.0.store(end, Ordering::Relaxed);
        }
    }

    pub(crate) fn end(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

/// When an entry is to be loaded again, and what is known of its loads.
#[derive(Debug, Default)]
pub(crate) struct Renewal {
    /// In ticks; 0 = never, [`FAR`] while a refresh is under way.
    pub(crate) due: AtomicU64,
    /// How long it took to load the value, in microseconds, at most 71 minutes; 0 = nobody knows.
    pub(crate) cost: AtomicU32,
    /// Refreshes that failed since the value was written.
    failures: AtomicU32,
}

impl Renewal {
    pub(crate) fn set(&self, due: u64, cost: u32) {
        self.cost.store(cost, Ordering::Relaxed);
        self.failures.store(0, Ordering::Relaxed);
        self.due.store(due, Ordering::Relaxed);
    }

    /// Begins a refresh; false if the time that was seen has changed.
    pub(crate) fn begin(&self, due: u64) -> bool {
        due != FAR && self.due.compare_exchange(due, FAR, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Lets the next refresh wait for what `delay` makes of the number of failures before this one.
    pub(crate) fn put_off(&self, now: u64, delay: impl FnOnce(u32) -> u64) {
        let failures = self.failures.load(Ordering::Relaxed);
        let due = now.saturating_add(delay(failures)).min(FAR - 1);
        // It is under way while nobody else has changed that.
        if self.due.compare_exchange(FAR, due, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            self.failures.store(failures.saturating_add(1), Ordering::Relaxed);
        }
    }
}

type Chunk<T> = OnceLock<Box<[T]>>;

/// A side array of one shard.
#[derive(Debug)]
pub(crate) struct Side<T> {
    segments: [OnceLock<Box<[Chunk<T>]>>; SEGMENTS],
}

impl<T: Default> Side<T> {
    pub(crate) fn new() -> Self {
        Self { segments: [const { OnceLock::new() }; SEGMENTS] }
    }

    #[inline]
    fn position(id: u32) -> (usize, usize, usize) {
        let chunk = id as usize / CHUNK + FIRST;
        let segment = (chunk.ilog2() - FIRST.ilog2()) as usize;
        (segment, chunk - (FIRST << segment), id as usize % CHUNK)
    }

    /// What is kept of an entry; none if nothing was ever stored near it.
    #[inline]
    pub(crate) fn get(&self, id: u32) -> Option<&T> {
        let (segment, chunk, offset) = Self::position(id);
        self.segments[segment].get()?[chunk].get()?.get(offset)
    }

    /// What is kept of an entry, made if missing. Writers only.
    pub(crate) fn get_or_create(&self, id: u32) -> &T {
        let (segment, chunk, offset) = Self::position(id);
        let chunks =
            self.segments[segment].get_or_init(|| (0..FIRST << segment).map(|_| Chunk::new()).collect());
        &chunks[chunk].get_or_init(|| (0..CHUNK).map(|_| T::default()).collect())[offset]
    }
}
