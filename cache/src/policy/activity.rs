//! What hits tell the policy without its lock: first touches by class, in striped cells.
//!
//! An entry is activated at most once for each visit of the hand, so these counters move about as often as entries are
//! inserted or reset, not once per hit.

use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};

use crossbeam_utils::CachePadded;

const STRIPES: usize = 4;

/// Where an activated entry stood.
#[derive(Clone, Copy, Debug)]
pub(super) enum Class {
    Probation,
    Protected,
    /// In the half of the window that is next to leave.
    OldWindow,
}

/// Counters shared by hits and the policy of one shard.
#[derive(Debug, Default)]
pub struct Activity {
    /// The miss clock, in stamp units.
    clock: AtomicU16,
    /// Half the window, in stamp units.
    half_window: AtomicU16,
    cells: [CachePadded<[AtomicU32; 3]>; STRIPES],
}

impl Activity {
    /// Counters at zero.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    pub(super) fn is_old(&self, stamp: u16) -> bool {
        let age = self.clock.load(Ordering::Relaxed).wrapping_sub(stamp);
        age > self.half_window.load(Ordering::Relaxed)
    }

    pub(super) fn record(&self, class: Class, hash: u32) {
        // The upper bits choose the bucket, so neighbours in the table do not meet here.
        let stripe = (hash >> 8) as usize % STRIPES;
        self.cells[stripe][class as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn set_clock(&self, clock: u16) {
        self.clock.store(clock, Ordering::Relaxed);
    }

    pub(super) fn set_half_window(&self, half: u16) {
        self.half_window.store(half, Ordering::Relaxed);
    }

    /// Activations since the last call: probation, protected, older half of the window.
    pub(super) fn drain(&self) -> [u32; 3] {
        let mut sums = [0u32; 3];
        for stripe in &self.cells {
            for (sum, cell) in sums.iter_mut().zip(stripe.iter()) {
                *sum = sum.saturating_add(cell.swap(0, Ordering::Relaxed));
            }
        }
        sums
    }
}
