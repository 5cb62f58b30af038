//! Deadlines of entries, by cell id, in arrays that exist only for shards where something can expire.
//!
//! A cache without a time feature never allocates this, so an entry without a deadline costs no byte and a read of it no
//! clock. The first `insert_with_ttl` into a shard switches it on.
//!
//! Two levels, both growing without a copy: segments of doubling size hold chunks of equal size.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

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

    /// Moves the idle deadline, if that is worth a store: reads of a hot entry then write nothing.
    #[inline]
    pub(crate) fn extend_idle(&self, until: u64, tolerance: u64) {
        let current = self.idle.load(Ordering::Relaxed);
        if current != 0 && until > current.saturating_add(tolerance) {
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
    pub(crate) fn end(&self) -> u64 {
        let deadline = self.deadline.load(Ordering::Relaxed);
        let idle = self.idle.load(Ordering::Relaxed);
        deadline.wrapping_sub(1).min(idle.wrapping_sub(1)).wrapping_add(1)
    }
}

type Chunk = OnceLock<Box<[Times]>>;

/// The side array of one shard.
#[derive(Debug)]
pub(crate) struct TimesTable {
    segments: [OnceLock<Box<[Chunk]>>; SEGMENTS],
}

impl TimesTable {
    pub(crate) fn new() -> Self {
        Self { segments: [const { OnceLock::new() }; SEGMENTS] }
    }

    #[inline]
    fn position(id: u32) -> (usize, usize, usize) {
        let chunk = id as usize / CHUNK + FIRST;
        let segment = (chunk.ilog2() - FIRST.ilog2()) as usize;
        (segment, chunk - (FIRST << segment), id as usize % CHUNK)
    }

    /// The times of an entry; none if nothing was ever stored near it.
    #[inline]
    pub(crate) fn get(&self, id: u32) -> Option<&Times> {
        let (segment, chunk, offset) = Self::position(id);
        self.segments[segment].get()?[chunk].get()?.get(offset)
    }

    /// The times of an entry, made if missing. Writers only.
    pub(crate) fn get_or_create(&self, id: u32) -> &Times {
        let (segment, chunk, offset) = Self::position(id);
        let chunks =
            self.segments[segment].get_or_init(|| (0..FIRST << segment).map(|_| Chunk::new()).collect());
        &chunks[chunk].get_or_init(|| (0..CHUNK).map(|_| Times::default()).collect())[offset]
    }
}
