//! What readers must have seen, and what they saw.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Values of each key only grow. One that is known, because its write was acknowledged or because somebody has seen it, must be seen by
/// every read that begins later than the bound after that.
#[derive(Default)]
pub(crate) struct History {
    known: Mutex<HashMap<usize, Vec<(Instant, u64)>>>,
    behind: Mutex<Behind>,
    pub(crate) reads: AtomicU64,
    pub(crate) failed_reads: AtomicU64,
    pub(crate) written: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) unknown: AtomicU64,
    pub(crate) is_over: AtomicBool,
}

/// How far reads were behind.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Behind {
    pub(crate) longest: Duration,
    pub(crate) reads: u64,
    pub(crate) beyond: u64,
}

impl History {
    pub(crate) fn is_known(&self, key: usize, value: u64) {
        let mut known = self.known.lock();
        let values = known.entry(key).or_default();
        if values.last().is_none_or(|&(_, last)| value > last) {
            values.push((Instant::now(), value));
        }
    }

    /// A read that began then has seen this.
    pub(crate) fn saw(&self, key: usize, began: Instant, value: u64, bound: Duration) -> Option<Duration> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        let missed = {
            let known = self.known.lock();
            let values = known.get(&key).map_or(&[][..], Vec::as_slice);
            values.get(values.partition_point(|&(_, known)| known <= value)).copied()
        };
        self.is_known(key, value);
        let behind = began.checked_duration_since(missed?.0)?;
        let mut sums = self.behind.lock();
        sums.longest = sums.longest.max(behind);
        sums.reads += 1;
        sums.beyond += u64::from(behind > bound);
        (behind > bound).then_some(behind)
    }

    pub(crate) fn behind(&self) -> Behind {
        *self.behind.lock()
    }

    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }
}
