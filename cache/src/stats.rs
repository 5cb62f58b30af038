//! Statistics: striped counters, so that recording does not make threads share a cache line.
//!
//! Each thread adds to the stripe of its own number, without a locked instruction: the number is that of its participant in
//! `reclaim`, which no two live threads share. The sum is exact once the threads are at rest.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_utils::CachePadded;

use crate::reclaim;
use crate::removal::RemovalCause;

/// What is counted.
#[derive(Clone, Copy, Debug)]
#[repr(usize)]
pub(crate) enum Counter {
    Hits,
    Misses,
    LoadSuccesses,
    LoadFailures,
    LoadNanos,
    RemovedExplicitly,
    Replaced,
    Expired,
    Evicted,
    Cleared,
    ListenerPanics,
    StaleServed,
    Refreshes,
    RefreshFailures,
    RefreshesDiscarded,
}

const COUNTERS: usize = 15;

impl Counter {
    pub(crate) fn removal(cause: RemovalCause) -> Self {
        match cause {
            RemovalCause::Explicit => Self::RemovedExplicitly,
            RemovalCause::Replaced => Self::Replaced,
            RemovalCause::Expired => Self::Expired,
            RemovalCause::Size => Self::Evicted,
            RemovalCause::Cleared => Self::Cleared,
        }
    }
}

/// Threads that have a stripe to themselves; those beyond share one.
const STRIPES: usize = 64;

#[derive(Debug)]
pub(crate) struct Counters {
    stripes: Box<[CachePadded<Stripe>; STRIPES]>,
    shared: CachePadded<Stripe>,
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

    fn sum(&self, counter: Counter) -> u64 {
        let all = self.stripes.iter().chain([&self.shared]);
        all.fold(0, |sum, stripe| sum.wrapping_add(stripe.0[counter as usize].load(Ordering::Relaxed)))
    }

    pub(crate) fn snapshot(&self) -> Stats {
        Stats {
            hits: self.sum(Counter::Hits),
            misses: self.sum(Counter::Misses),
            load_successes: self.sum(Counter::LoadSuccesses),
            load_failures: self.sum(Counter::LoadFailures),
            load_time: Duration::from_nanos(self.sum(Counter::LoadNanos)),
            removed: self.sum(Counter::RemovedExplicitly),
            replaced: self.sum(Counter::Replaced),
            expired: self.sum(Counter::Expired),
            evicted: self.sum(Counter::Evicted),
            cleared: self.sum(Counter::Cleared),
            listener_panics: self.sum(Counter::ListenerPanics),
            stale_served: self.sum(Counter::StaleServed),
            refreshes: self.sum(Counter::Refreshes),
            refresh_failures: self.sum(Counter::RefreshFailures),
            refreshes_discarded: self.sum(Counter::RefreshesDiscarded),
        }
    }
}

/// Counts since the cache was built; all zero unless [`CacheBuilder::record_stats`](crate::CacheBuilder::record_stats)
/// is on.
///
/// Exact when no call is in progress; while calls run, each figure is a recent one, and figures of one snapshot may differ
/// by the calls that ran meanwhile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    hits: u64,
    misses: u64,
    load_successes: u64,
    load_failures: u64,
    load_time: Duration,
    removed: u64,
    replaced: u64,
    expired: u64,
    evicted: u64,
    cleared: u64,
    listener_panics: u64,
    stale_served: u64,
    refreshes: u64,
    refresh_failures: u64,
    refreshes_discarded: u64,
}

impl Stats {
    /// Lookups that found a live entry.
    #[must_use]
    pub fn hits(&self) -> u64 {
        self.hits
    }

    /// Lookups that found none, the first look of a loading call included.
    #[must_use]
    pub fn misses(&self) -> u64 {
        self.misses
    }

    /// Hits and misses.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.hits + self.misses
    }

    /// Hits per lookup, from 0 to 1; 1 if there was no lookup.
    #[must_use]
    pub fn hit_ratio(&self) -> f64 {
        if self.requests() == 0 { 1.0 } else { self.hits as f64 / self.requests() as f64 }
    }

    /// Loads that ended without an error, those that found nothing included.
    #[must_use]
    pub fn load_successes(&self) -> u64 {
        self.load_successes
    }

    /// Loaders that returned an error.
    #[must_use]
    pub fn load_failures(&self) -> u64 {
        self.load_failures
    }

    /// Time spent in loaders that ended, in sum.
    #[must_use]
    pub fn load_time(&self) -> Duration {
        self.load_time
    }

    /// Entries removed by the caller ([`RemovalCause::Explicit`]).
    #[must_use]
    pub fn removed(&self) -> u64 {
        self.removed
    }

    /// Values replaced by a write ([`RemovalCause::Replaced`]).
    #[must_use]
    pub fn replaced(&self) -> u64 {
        self.replaced
    }

    /// Entries whose time was over ([`RemovalCause::Expired`]), counted when they are removed.
    #[must_use]
    pub fn expired(&self) -> u64 {
        self.expired
    }

    /// Entries evicted because the cache was full ([`RemovalCause::Size`]).
    #[must_use]
    pub fn evictions(&self) -> u64 {
        self.evicted
    }

    /// Entries that left with all others ([`RemovalCause::Cleared`]), counted when they are taken out.
    #[must_use]
    pub fn cleared(&self) -> u64 {
        self.cleared
    }

    /// Failed loads that were answered with an expired value
    /// ([`CacheBuilder::stale_if_error`](crate::CacheBuilder::stale_if_error)), counted for each key.
    #[must_use]
    pub fn stale_served(&self) -> u64 {
        self.stale_served
    }

    /// Refreshes whose value was stored. They count as loads, too.
    #[must_use]
    pub fn refreshes(&self) -> u64 {
        self.refreshes
    }

    /// Refreshes that failed, panicked or were dropped before they ended. The first of these count as failed loads, too.
    #[must_use]
    pub fn refresh_failures(&self) -> u64 {
        self.refresh_failures
    }

    /// Refreshes whose value was not stored, because the entry was written or removed meanwhile. They count as loads, too.
    #[must_use]
    pub fn refreshes_discarded(&self) -> u64 {
        self.refreshes_discarded
    }

    /// Calls of the eviction listener that panicked.
    #[must_use]
    pub fn listener_panics(&self) -> u64 {
        self.listener_panics
    }
}
