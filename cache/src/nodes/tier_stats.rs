//! Figures of a shared tier.

use std::sync::atomic::{AtomicU64, Ordering};

/// What a [`RedisTier`](super::RedisTier) has done since it was made; from [`RedisTier::stats`](super::RedisTier::stats).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TierStats {
    pub(super) hits: u64,
    pub(super) loads: u64,
    pub(super) fills: u64,
    pub(super) refused_fills: u64,
    pub(super) waits: u64,
    pub(super) gave_up: u64,
    pub(super) beside_writes: u64,
    pub(super) foreign: u64,
    pub(super) failures: u64,
    pub(super) skipped: u64,
    pub(super) owed: usize,
    pub(super) is_down: bool,
}

macro_rules! figures {
    ($($(#[$doc:meta])* $name:ident: $type:ty,)*) => {
        impl TierStats {
            $($(#[$doc])* #[must_use] pub fn $name(&self) -> $type { self.$name })*
        }
    };
}

figures! {
    /// Keys that Redis had an answer for, "there is none" included.
    hits: u64,
    /// Keys that the store was asked for.
    loads: u64,
    /// Values that were put into Redis.
    fills: u64,
    /// Values that were not, because the key was written meanwhile or the lease was over.
    refused_fills: u64,
    /// Keys that another node was loading, and that were waited for.
    waits: u64,
    /// Of these, how many the store was asked for after all.
    gave_up: u64,
    /// Keys that were being written, so that the store was asked, and its answer not kept.
    beside_writes: u64,
    /// What stood in Redis and was not ours, or of another version or codec. It was replaced.
    foreign: u64,
    /// Calls that Redis did not answer in time or answered with an error.
    failures: u64,
    /// Calls that were not made, because it had not answered a moment ago.
    skipped: u64,
    /// Keys that were written while Redis did not answer, and of which it will be told; `usize::MAX`: too many to remember, all will be removed.
    owed: usize,
    /// Whether Redis is left alone just now.
    is_down: bool,
}

/// The counters behind it.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) hits: AtomicU64,
    pub(crate) loads: AtomicU64,
    pub(crate) fills: AtomicU64,
    pub(crate) refused_fills: AtomicU64,
    pub(crate) waits: AtomicU64,
    pub(crate) gave_up: AtomicU64,
    pub(crate) beside_writes: AtomicU64,
    pub(crate) foreign: AtomicU64,
    pub(crate) failures: AtomicU64,
    pub(crate) skipped: AtomicU64,
}

impl Counts {
    pub(crate) fn read(&self) -> TierStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        TierStats {
            hits: read(&self.hits),
            loads: read(&self.loads),
            fills: read(&self.fills),
            refused_fills: read(&self.refused_fills),
            waits: read(&self.waits),
            gave_up: read(&self.gave_up),
            beside_writes: read(&self.beside_writes),
            foreign: read(&self.foreign),
            failures: read(&self.failures),
            skipped: read(&self.skipped),
            owed: 0,
            is_down: false,
        }
    }
}

/// Counts.
pub(crate) fn count(counter: &AtomicU64, n: usize) {
    counter.fetch_add(n as u64, Ordering::Relaxed);
}
