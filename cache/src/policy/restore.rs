//! Entries that were in another policy and come back to where they were.

use super::entries::Entries;
use super::kind::Kind;
use super::region::Region;
use super::state::Policy;

/// Where an entry can be, hottest first.
pub(crate) const PLACES: [u8; 4] =
    [Region::Pinned as u8, Region::Protected as u8, Region::Window as u8, Region::Probation as u8];

impl Policy {
    /// Slots and estimates of the entries in one of [`PLACES`], the youngest first.
    pub(crate) fn in_place<E: Entries + ?Sized>(&mut self, entries: &E, place: u8) -> Vec<(u32, u8)> {
        let slots: Vec<u32> = self.lists.youngest_first(entries, Region::from_byte(place)).collect();
        slots.into_iter().map(|slot| (slot, self.frequency(entries.header(slot)) as u8)).collect()
    }

    /// Takes in an entry at the old end of the place where it was: call it from the youngest on. What is no place becomes the
    /// window.
    pub(crate) fn restore<E: Entries + ?Sized>(&mut self, entries: &E, slot: u32, weight: u32, place: u8) {
        let region = match Region::from_byte(place) {
            _ if weight == 0 => Region::Pinned,
            region @ (Region::Probation | Region::Protected) if self.kind != Kind::Lru => region,
            _ => Region::Window,
        };
        let header = entries.header(slot);
        self.lists.prepare(slot, weight);
        header.set_stamp(self.quota.stamp(self.clocks.misses));
        header.set_region(region);
        self.lists.push_head(entries, region, slot);
        self.unsettled = true;
    }

    /// After the entries, before their counts: a cache that is at least half full counts, with a window of this part.
    pub(crate) fn warm(&mut self, window: f64) {
        if self.kind != Kind::Lru && self.weight() >= self.quota.capacity() / 2 {
            self.quota.set_window_share(window);
            if !self.sketch.started() {
                self.start();
            }
        }
    }

    /// The part of the capacity that is the window.
    pub(crate) fn window_share(&self) -> f64 {
        self.quota.window() as f64 / self.quota.capacity() as f64
    }

    /// Sees to it that a key counts as used so often, at least.
    pub(crate) fn recount(&mut self, hash: u32, frequency: u8) {
        self.sketch.raise(self.spread.of(hash), u64::from(frequency));
    }
}
