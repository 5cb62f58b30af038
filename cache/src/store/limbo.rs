//! Cells that are unlinked but may still be seen by a pinned reader, in the order they were unlinked.
//!
//! Cells arrive unsealed. [`Limbo::seal`] gives all of them one stamp; they may be reused once the process-wide watermark
//! has passed it (`reclaim`). Sealing costs one read-modify-write for the whole batch.

use std::collections::VecDeque;

#[derive(Debug, Default)]
pub(crate) struct Limbo {
    cells: VecDeque<u32>,
    /// Stamp and number of cells, oldest first; with `ready` before them and `unsealed` behind they cover `cells`.
    batches: VecDeque<(u64, u32)>,
    /// Cells at the front that the watermark was seen to have passed.
    ready: u32,
    unsealed: u32,
}

impl Limbo {
    #[inline]
    pub(crate) fn push(&mut self, id: u32) {
        self.cells.push_back(id);
        self.unsealed += 1;
    }

    pub(crate) fn len(&self) -> usize {
        self.cells.len()
    }

    #[inline]
    pub(crate) fn unsealed(&self) -> u32 {
        self.unsealed
    }

    /// Stamps what has arrived since the last call.
    pub(crate) fn seal(&mut self, stamp: u64) {
        if self.unsealed > 0 {
            self.batches.push_back((stamp, self.unsealed));
            self.unsealed = 0;
        }
    }

    /// The oldest cell, if it may be reused. `safe` tells the watermark; it is asked once for a batch.
    #[inline]
    pub(crate) fn pop(&mut self, safe: impl FnOnce() -> u64) -> Option<u32> {
        if self.ready == 0 && !self.look(safe) {
            return None;
        }
        self.ready -= 1;
        self.cells.pop_front()
    }

    /// Whether [`Limbo::pop`] would return a cell.
    pub(crate) fn look(&mut self, safe: impl FnOnce() -> u64) -> bool {
        if self.ready > 0 {
            return true;
        }
        let Some(&(stamp, count)) = self.batches.front() else { return false };
        if stamp >= safe() {
            return false;
        }
        self.batches.pop_front();
        self.ready = count;
        true
    }

    /// Everything, for the drop of the whole cache.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = u32> {
        self.batches.clear();
        self.ready = 0;
        self.unsealed = 0;
        self.cells.drain(..)
    }
}
