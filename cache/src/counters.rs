//! Striped counters, so that recording does not make threads share a cache line.
//!
//! Each thread adds to the stripe of its own number, without a locked instruction: the number is that of its participant in
//! `reclaim`, which no two live threads share. The sum is exact once the threads are at rest.
//!
//! Nothing is ever set back, because the owners write without a read-modify-write: a reset keeps what was there before, and
//! readers subtract it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_utils::CachePadded;
use parking_lot::Mutex;

use crate::counter::{COUNTERS, Counter};
use crate::load_times::Recorder;
use crate::reclaim;
use crate::stats::Stats;

/// Threads that have a stripe to themselves; those beyond share one.
const STRIPES: usize = 64;

#[derive(Debug)]
pub(crate) struct Counters {
    stripes: Box<[CachePadded<Stripe>; STRIPES]>,
    shared: CachePadded<Stripe>,
    load_times: Recorder,
    /// What was counted before the last reset.
    before: Mutex<Stats>,
}

#[derive(Debug)]
struct Stripe([AtomicU64; COUNTERS]);

impl Default for Stripe {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; COUNTERS])
    }
}

impl Counters {
    pub(crate) fn new() -> Self {
        Self {
            stripes: Box::new(std::array::from_fn(|_| CachePadded::default())),
            shared: CachePadded::default(),
            load_times: Recorder::new(),
            before: Mutex::default(),
        }
    }

    /// `thread`: from [`Pinned::stripe`](crate::reclaim::Pinned::stripe), so that while we are here, no other thread has it.
    #[inline]
    pub(crate) fn add(&self, thread: u32, counter: Counter, amount: u64) {
        if let Some(stripe) = self.stripes.get(thread as usize) {
            // Ours alone: no read-modify-write. Whoever had the number before us gave it back under a lock.
            let count = &stripe.0[counter as usize];
            count.store(count.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
        } else {
            self.shared.0[counter as usize].fetch_add(amount, Ordering::Relaxed);
        }
    }

    /// The same for who is not pinned.
    pub(crate) fn count(&self, counter: Counter, amount: u64) {
        self.add(reclaim::pin().stripe(), counter, amount);
    }

    /// A load that ended, well or not.
    pub(crate) fn count_load(&self, how: Counter, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let pin = reclaim::pin();
        self.add(pin.stripe(), how, 1);
        self.add(pin.stripe(), Counter::LoadNanos, nanos);
        self.load_times.record(nanos);
    }

    fn sum(&self, counter: usize) -> u64 {
        let all = self.stripes.iter().chain([&self.shared]);
        all.fold(0, |sum, stripe| sum.wrapping_add(stripe.0[counter].load(Ordering::Relaxed)))
    }

    /// All since the cache was built.
    pub(crate) fn total(&self) -> Stats {
        Stats::new(std::array::from_fn(|counter| self.sum(counter)), self.load_times.snapshot())
    }

    /// All since the last reset.
    pub(crate) fn snapshot(&self) -> Stats {
        self.total() - &*self.before.lock()
    }

    /// The same, and begins anew, so that each call is in one of the snapshots.
    pub(crate) fn reset(&self) -> Stats {
        let mut before = self.before.lock();
        let total = self.total();
        let since = total.clone() - &*before;
        *before = total;
        since
    }
}
