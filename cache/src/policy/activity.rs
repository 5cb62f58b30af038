//! What hits tell the policy: how many entries came to life in each part of the cache.
//!
//! A hit reports here only when it sets a clear reference bit, so the rate of reports is bounded by inserts and by the
//! moves of the hands; at a high hit ratio it is close to nothing. The counts are striped by thread all the same, because
//! a burst of them after a change of working set comes from all cores at once.

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed};

use crossbeam_utils::CachePadded;

use super::region::Region;

/// A shard is one of several, and reports are rare: few stripes are enough.
const STRIPES: usize = 4;

/// Shared by the hits of one shard and its policy.
#[derive(Debug)]
pub struct Activity {
    /// The miss clock, in units of `1 << unit`; only its low 16 bits count. Written by the policy.
    clock: AtomicU32,
    /// Half of the window, in the same units. Written by the policy.
    half_window: AtomicU32,
    stripes: [CachePadded<Stripe>; STRIPES],
}

#[derive(Debug, Default)]
struct Stripe {
    probation: AtomicU32,
    protected: AtomicU32,
    old_window: AtomicU32,
}

/// Activations since the last look.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Activations {
    pub(super) probation: u32,
    pub(super) protected: u32,
    /// In the older half of the window: what a window of half the size would have missed.
    pub(super) old_window: u32,
}

impl Activity {
    /// No activity.
    #[must_use]
    pub fn new() -> Self {
        Self {
            clock: AtomicU32::new(0),
            half_window: AtomicU32::new(0),
            stripes: std::array::from_fn(|_| CachePadded::default()),
        }
    }

    #[inline]
    pub(super) fn set_clock(&self, clock: u16) {
        self.clock.store(u32::from(clock), Relaxed);
    }

    pub(super) fn set_half_window(&self, units: u64) {
        // Older than 2^16 units cannot be told from young.
        self.half_window.store(u32::try_from(units).unwrap_or(u32::MAX), Relaxed);
    }

    pub(super) fn record(&self, region: Region, stamp: u16) {
        let stripe = &self.stripes[stripe()];
        let cell = match region {
            Region::Probation => &stripe.probation,
            Region::Protected => &stripe.protected,
            Region::Window => {
                let age = (self.clock.load(Relaxed) as u16).wrapping_sub(stamp);
                if u32::from(age) <= self.half_window.load(Relaxed) {
                    return;
                }
                &stripe.old_window
            }
            Region::Unlinked | Region::Pinned => return,
        };
        cell.fetch_add(1, Relaxed);
    }

    /// Reads and resets the counts.
    pub(super) fn take(&self) -> Activations {
        let mut sum = Activations::default();
        for stripe in &self.stripes {
            sum.probation = sum.probation.saturating_add(stripe.probation.swap(0, Relaxed));
            sum.protected = sum.protected.saturating_add(stripe.protected.swap(0, Relaxed));
            sum.old_window = sum.old_window.saturating_add(stripe.old_window.swap(0, Relaxed));
        }
        sum
    }
}

impl Default for Activity {
    fn default() -> Self {
        Self::new()
    }
}

/// This thread's stripe, handed out round robin.
fn stripe() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static MINE: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    // A hit inside the destructor of a thread-local may find ours gone.
    let mine = MINE.try_with(|mine| {
        if mine.get() == usize::MAX {
            mine.set(NEXT.fetch_add(1, Relaxed));
        }
        mine.get()
    });
    mine.unwrap_or(0) % STRIPES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_by_region_and_resets() {
        let activity = Activity::new();
        activity.record(Region::Probation, 0);
        activity.record(Region::Protected, 0);
        activity.record(Region::Protected, 0);
        activity.record(Region::Pinned, 0);
        activity.record(Region::Unlinked, 0);
        assert_eq!(activity.take(), Activations { probation: 1, protected: 2, old_window: 0 });
        assert_eq!(activity.take(), Activations::default());
    }

    #[test]
    fn only_the_older_half_of_the_window_counts_also_across_the_wrap() {
        let activity = Activity::new();
        activity.set_half_window(10);
        activity.set_clock(5);
        for stamp in [5, 0, 65_531] {
            activity.record(Region::Window, stamp);
        }
        assert_eq!(activity.take().old_window, 0, "ages 0, 5 and 10");
        activity.record(Region::Window, 65_530);
        assert_eq!(activity.take().old_window, 1, "age 11");
    }

    #[test]
    fn threads_are_summed() {
        let activity = Activity::new();
        std::thread::scope(|scope| {
            for _ in 0..6 {
                scope.spawn(|| (0..1000).for_each(|_| activity.record(Region::Protected, 0)));
            }
        });
        assert_eq!(activity.take().protected, 6000);
    }
}
