//! Cells that are unlinked but may still be seen by a pinned reader, in the order they were unlinked.
//!
//! A list through the cells' own headers, whose links nobody else uses while a cell is in no queue of the policy. Cells arrive
//! unsealed. [`Limbo::seal`] gives all of them one stamp; they may be reused once the process-wide watermark has passed it
//! (`reclaim`). Sealing costs one read-modify-write for the whole batch.

use std::collections::VecDeque;

use crate::policy::Entries;

#[derive(Debug, Default)]
pub(crate) struct Limbo {
    /// The cells that came first and last; mean nothing while there are none.
    head: u32,
    tail: u32,
    len: u32,
    /// Cells at the front that the watermark was seen to have passed.
    ready: u32,
    unsealed: u32,
    /// Stamp and number of cells, oldest first; with `ready` before them and `unsealed` behind they cover all.
    batches: VecDeque<(u64, u32)>,
}

impl Limbo {
    #[inline]
    pub(crate) fn push<E: Entries + ?Sized>(&mut self, cells: &E, id: u32) {
        if self.len == 0 {
            self.head = id;
        } else {
            cells.header(self.tail).set_next(id);
        }
        self.tail = id;
        self.len += 1;
        self.unsealed += 1;
    }

    pub(crate) fn len(&self) -> usize {
        self.len as usize
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
    pub(crate) fn pop<E: Entries + ?Sized>(&mut self, cells: &E, safe: impl FnOnce() -> u64) -> Option<u32> {
        if self.ready == 0 && !self.look(safe) {
            return None;
        }
        self.ready -= 1;
        Some(self.take_head(cells))
    }

    #[inline]
    fn take_head<E: Entries + ?Sized>(&mut self, cells: &E) -> u32 {
        let id = self.head;
        self.len -= 1;
        // Of the last cell, the link of an earlier life: not looked at before the next `push` sets it anew.
        self.head = cells.header(id).next();
        id
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
    pub(crate) fn drain<E: Entries + ?Sized>(&mut self, cells: &E) -> Vec<u32> {
        self.batches.clear();
        self.ready = 0;
        self.unsealed = 0;
        std::iter::from_fn(|| (self.len > 0).then(|| self.take_head(cells))).collect()
    }
}
