//! Who was thrown out lately, and where from: the evidence that the window should have been larger or smaller.
//!
//! A table of 32-bit words, one for each entry of the capacity, in sets of four that are queues: a new ghost pushes out
//! the oldest of its set. No key is kept, so it cannot grow or be attacked; a wrong match needs the same set and the same
//! 16-bit tag. (One slot for each hash, always overwritten, forgets a third of what it should keep.)

use crate::prefetch::prefetch;

/// Bits of a stamp.
const STAMP_BITS: u32 = 15;
const STAMP_MASK: u32 = (1 << STAMP_BITS) - 1;
/// A stamp's unit is at most this part of the capacity: twice as fine as the smallest depth that is told apart.
const UNITS_PER_CAPACITY: u64 = 128;
/// Slots that a ghost may be in: 16 bytes.
const WAYS: usize = 4;
/// More slots than that would not be worth their memory.
const MAX_SLOTS: u64 = 1 << 32;

/// Why an entry was evicted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    /// A candidate from the window that lost its duel. Its clock counts misses.
    Rejected,
    /// A victim from main. Its clock counts such victims.
    Victim,
}

/// The clocks that stamps are taken from, in weight.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Clocks {
    pub(super) misses: u64,
    pub(super) victims: u64,
}

impl Clocks {
    #[inline]
    fn of(&self, kind: Kind) -> u64 {
        match kind {
            Kind::Rejected => self.misses,
            Kind::Victim => self.victims,
        }
    }
}

/// An entry that came back.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Return {
    pub(super) kind: Kind,
    /// How much its clock moved on while it was away: what would have kept it.
    pub(super) depth: u64,
}

/// The table. Remembers nothing before [`start`](Self::start).
#[derive(Debug)]
pub(super) struct Ghosts {
    /// Tag, kind, stamp from the upper bits down. 0 = empty; the one entry in 2^32 that looks so is lost.
    sets: Box<[[u32; WAYS]]>,
    /// Shift from a clock to a stamp.
    unit: u32,
}

impl Ghosts {
    pub(super) fn new() -> Self {
        Self { sets: Box::default(), unit: 0 }
    }

    /// Begins to remember, afresh. `entries` decides the size, `capacity` (in weight) the unit of stamps.
    pub(super) fn start(&mut self, entries: u64, capacity: u64) {
        let slots = entries.clamp(WAYS as u64, MAX_SLOTS).next_power_of_two() as usize;
        self.sets = vec![[0; WAYS]; slots / WAYS].into_boxed_slice();
        self.unit = (capacity / UNITS_PER_CAPACITY).max(1).ilog2();
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.sets.len() * WAYS
    }

    /// Says that a key will be remembered or recalled soon.
    #[inline]
    pub(super) fn prefetch(&self, hash: u64) {
        let last = self.sets.len().wrapping_sub(1);
        if let Some(set) = self.sets.get((hash >> 16) as usize & last) {
            prefetch(set);
        }
    }

    #[inline]
    pub(super) fn remember(&mut self, hash: u64, kind: Kind, clocks: &Clocks) {
        let stamp = (clocks.of(kind) >> self.unit) as u32 & STAMP_MASK;
        let word = tag(hash) | (kind as u32) << STAMP_BITS | stamp;
        if let Some(set) = self.set(hash) {
            *set = match *set {
                [a, b, c, _] => [word, a, b, c],
            };
        }
    }

    /// Whether a new entry is one that was evicted lately. Forgets it if so.
    #[inline]
    pub(super) fn recall(&mut self, hash: u64, clocks: &Clocks) -> Option<Return> {
        let set = self.set(hash)?;
        let slot =
            set.iter_mut().find(|word| **word != 0 && (**word ^ tag(hash)) >> (STAMP_BITS + 1) == 0)?;
        let word = std::mem::take(slot);
        let kind = if word >> STAMP_BITS & 1 == 0 { Kind::Rejected } else { Kind::Victim };
        let now = (clocks.of(kind) >> self.unit) as u32;
        let units = now.wrapping_sub(word) & STAMP_MASK;
        Some(Return { kind, depth: u64::from(units) << self.unit })
    }

    #[inline]
    fn set(&mut self, hash: u64) -> Option<&mut [u32; WAYS]> {
        // The tag has the lowest 16 bits. Before the start there is no last set, and so none at all.
        let last = self.sets.len().wrapping_sub(1);
        self.sets.get_mut((hash >> 16) as usize & last)
    }
}

#[inline]
fn tag(hash: u64) -> u32 {
    (hash as u32) << 16
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: u64 = 0x1234_5678_9abc_def0;

    fn clocks(misses: u64, victims: u64) -> Clocks {
        Clocks { misses, victims }
    }

    #[test]
    fn each_kind_is_measured_by_its_own_clock_and_once() {
        let mut ghosts = Ghosts::new();
        ghosts.start(64, 64);
        ghosts.remember(HASH, Kind::Rejected, &clocks(100, 5));
        assert_eq!(ghosts.recall(HASH ^ 1, &clocks(110, 9)), None, "another tag");
        let back = ghosts.recall(HASH, &clocks(110, 9));
        assert_eq!(back, Some(Return { kind: Kind::Rejected, depth: 10 }));
        assert_eq!(ghosts.recall(HASH, &clocks(110, 9)), None);
        ghosts.remember(HASH, Kind::Victim, &clocks(100, 5));
        let back = ghosts.recall(HASH, &clocks(110, 9));
        assert_eq!(back, Some(Return { kind: Kind::Victim, depth: 4 }));
    }

    #[test]
    fn a_set_is_a_queue_of_four() {
        let mut ghosts = Ghosts::new();
        ghosts.start(1, 64);
        let now = clocks(1, 1);
        (1..=5).for_each(|tag| ghosts.remember(tag, Kind::Victim, &now));
        assert_eq!(ghosts.recall(1, &now), None, "the oldest was pushed out");
        assert!((2..=5).all(|tag| ghosts.recall(tag, &now).is_some()));
    }

    #[test]
    fn stamps_wrap() {
        let mut ghosts = Ghosts::new();
        ghosts.start(64, 64);
        ghosts.remember(HASH, Kind::Rejected, &clocks((1 << 40) - 3, 0));
        assert_eq!(ghosts.recall(HASH, &clocks((1 << 40) + 4, 0)).map(|back| back.depth), Some(7));
    }

    #[test]
    fn depths_of_large_caches_are_exact_to_a_128th_of_the_capacity() {
        let capacity = 1_000_000;
        let mut ghosts = Ghosts::new();
        ghosts.start(1024, capacity);
        for depth in [0, 10_000, 15_625, 250_000, 5_000_000] {
            ghosts.remember(HASH, Kind::Victim, &clocks(0, 777_777));
            let back = ghosts.recall(HASH, &clocks(0, 777_777 + depth)).expect("just remembered");
            assert!(back.depth.abs_diff(depth) <= capacity / 128, "{depth} seen as {}", back.depth);
        }
    }

    #[test]
    fn before_the_start_nothing_is_remembered() {
        let mut ghosts = Ghosts::new();
        ghosts.remember(HASH, Kind::Victim, &clocks(1, 1));
        assert_eq!(ghosts.recall(HASH, &clocks(1, 1)), None);
    }
}
