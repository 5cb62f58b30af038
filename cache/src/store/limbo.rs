//! Cells that are unlinked but may still be seen by a pinned reader, in the order they were unlinked.
//!
//! Cells arrive unsealed. [`Limbo::seal`] gives all of them one stamp; they may be reused once the process-wide watermark
//! has passed it (`reclaim`). Sealing costs one read-modify-write for the whole batch.

use std::collections::VecDeque;

#[derive(Debug, Default)]
pub(crate) struct Limbo {
    cells: VecDeque<u32>,
    /// Stamp and number of cells, oldest first; together with `unsealed` they cover `cells`.
    batches: VecDeque<(u64, u32)>,
    unsealed: u32,
}

impl Limbo {
    pub(crate) fn push(&mut self, id: u32) {
        self.cells.push_back(id);
        self.unsealed += 1;
    }

    pub(crate) fn len(&self) -> usize {
        self.cells.len()
    }

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

    /// Whether [`Limbo::pop`] would return a cell.
    pub(crate) fn ready(&self, safe: u64) -> bool {
        self.batches.front().is_some_and(|&(stamp, _)| stamp < safe)
    }

    /// The oldest cell, if everything with its stamp may be reused.
    pub(crate) fn pop(&mut self, safe: u64) -> Option<u32> {
        let (stamp, left) = self.batches.front_mut()?;
        if *stamp >= safe {
            return None;
        }
        *left -= 1;
        if *left == 0 {
            self.batches.pop_front();
        }
        self.cells.pop_front()
    }

    /// Everything, for the drop of the whole cache.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = u32> {
        self.batches.clear();
        self.unsealed = 0;
        self.cells.drain(..)
    }
}
