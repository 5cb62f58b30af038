//! What was evicted lately and when: 4 bytes an entry, direct-mapped, always overwritten.
//!
//! A slot is a 16-bit tag, one bit for who was evicted (a rejected candidate or a victim of the main region) and a 15-bit
//! stamp in units of 1/128 of the capacity. A miss that finds its tag tells how much larger that region would have had to
//! be to keep the entry.

/// Stamp units in one capacity.
const UNITS: u64 = 128;
/// Stamps run from 1 to this; 0 marks an empty slot.
const STAMPS: u64 = (1 << 15) - 1;

/// Who was evicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A candidate from the window that lost its duel.
    Window,
    /// A victim from the main region.
    Main,
}

/// Counts weight in units of 1/128 of the capacity, without a division per step.
#[derive(Debug, Default)]
pub(super) struct UnitClock {
    units: u64,
    /// Weight × 128 that has not filled a unit yet.
    rest: u128,
}

impl UnitClock {
    #[inline]
    pub(super) fn advance(&mut self, weight: u64, capacity: u64) {
        self.rest += u128::from(weight) * u128::from(UNITS);
        let capacity = u128::from(capacity.max(1));
        if self.rest >= capacity {
            self.units += u64::try_from(self.rest / capacity).unwrap_or(u64::MAX);
            self.rest %= capacity;
        }
    }
}

#[derive(Debug)]
pub(super) struct Ghosts {
    slots: Vec<u32>,
}

impl Ghosts {
    pub(super) fn new(entries: u64) -> Self {
        let slots = usize::try_from(entries.max(16).next_power_of_two())
            .expect("a ghost table fits the address space");
        Self { slots: vec![0; slots] }
    }

    pub(super) fn entries(&self) -> u64 {
        self.slots.len() as u64
    }

    #[inline]
    fn place(&self, hash: u64) -> (usize, u32) {
        // Upper bits for the slot, the next 16 for the tag: both differ from the sketch's choice of block.
        let slot = (hash >> 20) as usize & (self.slots.len() - 1);
        (slot, (hash as u32 & 0xffff) << 16)
    }

    pub(super) fn remember(&mut self, hash: u64, kind: Kind, clock: &UnitClock) {
        let (slot, tag) = self.place(hash);
        let kind = u32::from(kind == Kind::Main) << 15;
        self.slots[slot] = tag | kind | (clock.units % STAMPS + 1) as u32;
    }

    /// Takes the ghost of a key: who it was and how deep it lies, as a bucket (see [`bucket`]).
    pub(super) fn recall(
        &mut self,
        hash: u64,
        window: &UnitClock,
        main: &UnitClock,
    ) -> Option<(Kind, usize)> {
        let (slot, tag) = self.place(hash);
        let held = self.slots[slot];
        if held == 0 || held & 0xffff_0000 != tag {
            return None;
        }
        self.slots[slot] = 0;
        let (kind, clock) = if held & 1 << 15 == 0 { (Kind::Window, window) } else { (Kind::Main, main) };
        let stamp = u64::from(held & 0x7fff) - 1;
        let depth = (clock.units % STAMPS + STAMPS - stamp) % STAMPS;
        Some((kind, bucket(depth)))
    }
}

/// Number of depth buckets.
pub(super) const BUCKETS: usize = 8;

/// The bucket of a depth in units: up to 1/64, 1/32, … 1/2, 1 of the capacity, and beyond.
fn bucket(depth: u64) -> usize {
    let sixty_fourths = depth.div_ceil(UNITS / 64).max(1);
    (sixty_fourths.next_power_of_two().trailing_zeros() as usize).min(BUCKETS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_powers_of_two_of_the_capacity() {
        let expected =
            [(0, 0), (2, 0), (3, 1), (4, 1), (8, 2), (16, 3), (32, 4), (33, 5), (64, 5), (128, 6), (129, 7)];
        for (depth, bucket_of) in expected {
            assert_eq!(bucket(depth), bucket_of, "depth {depth}");
        }
    }

    #[test]
    fn remembers_once() {
        let mut ghosts = Ghosts::new(64);
        let (mut window, main) = (UnitClock::default(), UnitClock::default());
        ghosts.remember(7, Kind::Window, &window);
        window.advance(32, 64);
        assert_eq!(ghosts.recall(7, &window, &main), Some((Kind::Window, 5)));
        assert_eq!(ghosts.recall(7, &window, &main), None);
    }

    #[test]
    fn the_clock_counts_in_units() {
        let mut clock = UnitClock::default();
        for _ in 0..10 {
            clock.advance(1, 10);
        }
        assert_eq!(clock.units, 128);
        clock.advance(u64::MAX, u64::MAX);
        assert_eq!(clock.units, 256);
    }
}
