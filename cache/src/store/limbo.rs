//! Cells that are unlinked but may still be seen by a pinned reader.
//!
//! Cells arrive unsealed. [`Limbo::seal`] gives all of them one stamp; they may be reused once the process-wide watermark has
//! passed it (`reclaim`). Sealing costs one read-modify-write for the whole batch. A batch is an array: to arrive and to leave
//! touches a line of the array that was touched just before, and none of a cell, which may be in another core's cache.

use std::collections::VecDeque;

/// Emptied arrays that are kept for the next batches.
const SPARE: usize = 4;

/// In this order, so that what each write needs is together.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct Limbo {
    /// What the watermark was seen to have passed.
    ready: Vec<u32>,
    unsealed: Vec<u32>,
    /// Each with its stamp, oldest first.
    batches: VecDeque<(u64, Vec<u32>)>,
    /// Cells in all batches.
    sealed: usize,
    spare: Vec<Vec<u32>>,
}

impl Limbo {
    #[inline]
    pub(crate) fn push(&mut self, id: u32) {
        self.unsealed.push(id);
    }

    pub(crate) fn len(&self) -> usize {
        self.ready.len() + self.sealed + self.unsealed.len()
    }

    #[inline]
    pub(crate) fn unsealed(&self) -> usize {
        self.unsealed.len()
    }

    /// Stamps what has arrived since the last call.
    pub(crate) fn seal(&mut self, stamp: u64) {
        if !self.unsealed.is_empty() {
            self.sealed += self.unsealed.len();
            let next = self.spare.pop().unwrap_or_default();
            self.batches.push_back((stamp, std::mem::replace(&mut self.unsealed, next)));
        }
    }

    /// A cell that [`Limbo::look`] has found to be reusable.
    #[inline]
    pub(crate) fn pop_ready(&mut self) -> Option<u32> {
        self.ready.pop()
    }

    /// A cell of the oldest batch, if it may be reused. `safe` tells the watermark; it is asked once for a batch.
    #[inline]
    pub(crate) fn pop(&mut self, safe: impl FnOnce() -> u64) -> Option<u32> {
        if let Some(id) = self.ready.pop() {
            return Some(id);
        }
        if self.look(safe) { self.ready.pop() } else { None }
    }

    /// Whether [`Limbo::pop`] would return a cell.
    pub(crate) fn look(&mut self, safe: impl FnOnce() -> u64) -> bool {
        if !self.ready.is_empty() {
            return true;
        }
        if self.batches.front().is_none_or(|&(stamp, _)| stamp >= safe()) {
            return false;
        }
        let Some((_, batch)) = self.batches.pop_front() else { return false };
        self.sealed -= batch.len();
        let empty = std::mem::replace(&mut self.ready, batch);
        if self.spare.len() < SPARE {
            self.spare.push(empty);
        }
        true
    }

    /// Everything, for the drop of the whole cache.
    pub(crate) fn drain(&mut self) -> Vec<u32> {
        let Self { ready, unsealed, batches, .. } = std::mem::take(self);
        ready.into_iter().chain(batches.into_iter().flat_map(|(_, batch)| batch)).chain(unsealed).collect()
    }
}
