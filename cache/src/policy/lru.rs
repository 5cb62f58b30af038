//! Least recently used first: one queue in the order of use, for who wants that and nothing else.
//!
//! All entries are in the window's queue. A use moves its entry to the young end, so it needs the lock; one that finds the
//! lock taken sets the reference bit instead, and the entry moves when it comes to the old end.

use super::entries::Entries;
use super::region::Region;
use super::state::Policy;

/// Entries whose use came while the lock was taken that one eviction moves to the young end.
const LATE: usize = 64;

impl Policy {
    #[inline]
    pub(super) fn insert_youngest<E: Entries + ?Sized>(&mut self, entries: &E, slot: u32, weight: u32) {
        self.lists.prepare(slot, weight);
        self.link(entries, if weight == 0 { Region::Pinned } else { Region::Window }, slot);
    }

    /// A use of an entry in a policy that keeps the order of use. One that has left meanwhile stays out.
    #[inline]
    pub fn refresh<E: Entries + ?Sized>(&mut self, entries: &E, slot: u32) {
        let header = entries.header(slot);
        if header.region() == Region::Window {
            header.take_reference();
            self.lists.remove(entries, Region::Window, slot);
            self.lists.push_tail(entries, Region::Window, slot);
        }
    }

    pub(super) fn evict_oldest<E: Entries + ?Sized>(&mut self, entries: &E) -> Option<u32> {
        for _ in 0..LATE {
            let slot = self.lists.list(Region::Window).head()?;
            if !entries.header(slot).take_reference() {
                break;
            }
            self.lists.rotate(entries, Region::Window);
        }
        let slot = self.lists.list(Region::Window).head()?;
        self.lists.pop_head(entries, Region::Window);
        entries.header(slot).set_region(Region::Unlinked);
        Some(slot)
    }
}
