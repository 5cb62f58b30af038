//! Figures of a backing store's traffic.

use std::time::Duration;

/// What a [`StoreCache`](super::StoreCache) and its store are doing; from [`StoreCache::stats`](super::StoreCache::stats).
///
/// Counts are since the start. Those of the queue are of one instant, and always so that what was accepted is what was
/// coalesced, written, or dead, and what is in the queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    pub(super) queue_length: usize,
    pub(super) queue_bytes: u64,
    pub(super) in_flight: usize,
    pub(super) oldest_age: Option<Duration>,
    pub(super) accepted: u64,
    pub(super) coalesced: u64,
    pub(super) written: u64,
    pub(super) retried: u64,
    pub(super) dead: u64,
    pub(super) batches: u64,
    pub(super) callback_panics: u64,
    pub(super) journal_bytes: u64,
    pub(super) journal_syncs: u64,
    pub(super) journal_blocks: u64,
    pub(super) journal_compactions: u64,
    pub(super) is_store_down: bool,
}

impl StoreStats {
    /// Writes that were accepted and are neither in the store nor reported, those in flight included. Several writes of a key
    /// that were folded into one count as one.
    #[must_use]
    pub fn queue_length(&self) -> usize {
        self.queue_length
    }

    /// What they weigh, as [`WriteBehind::weigher`](super::WriteBehind::weigher) says.
    #[must_use]
    pub fn queue_bytes(&self) -> u64 {
        self.queue_bytes
    }

    /// How many of them the store is being told now.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// How long ago the oldest of them was accepted: what a crash would lose.
    #[must_use]
    pub fn oldest_age(&self) -> Option<Duration> {
        self.oldest_age
    }

    /// Writes that were accepted.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.accepted
    }

    /// Writes that need not be done, because a later one of the same key took their place.
    #[must_use]
    pub fn coalesced(&self) -> u64 {
        self.coalesced
    }

    /// Writes that the store has confirmed.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Writes that were put back after a failure, counted each time.
    #[must_use]
    pub fn retried(&self) -> u64 {
        self.retried
    }

    /// Writes that were given up and handed to the dead-letter callback.
    #[must_use]
    pub fn dead(&self) -> u64 {
        self.dead
    }

    /// Batches that the store was given.
    #[must_use]
    pub fn batches(&self) -> u64 {
        self.batches
    }

    /// Calls of the dead-letter callback that panicked.
    #[must_use]
    pub fn callback_panics(&self) -> u64 {
        self.callback_panics
    }

    /// Bytes in the journal's files; 0 without one.
    #[must_use]
    pub fn journal_bytes(&self) -> u64 {
        self.journal_bytes
    }

    /// How often the journal was synced to the disk.
    #[must_use]
    pub fn journal_syncs(&self) -> u64 {
        self.journal_syncs
    }

    /// How often something was appended to the journal: each time one write or a group.
    #[must_use]
    pub fn journal_blocks(&self) -> u64 {
        self.journal_blocks
    }

    /// How often the journal was written anew with what the queue holds, because it had grown by more than that.
    #[must_use]
    pub fn journal_compactions(&self) -> u64 {
        self.journal_compactions
    }

    /// Whether the circuit breaker is open, or the last batch of write-behind failed as a whole.
    #[must_use]
    pub fn is_store_down(&self) -> bool {
        self.is_store_down
    }
}
