//! When to look at which entry again: a hierarchical timer wheel (G. Varghese and T. Lauck, "Hashed and Hierarchical Timing
//! Wheels", SOSP 1987).
//!
//! Eleven levels of 64 slots cover all 64 bits of a time in nanoseconds. An entry stands in the level of the highest group
//! of six bits in which its time differs from the wheel's hand, in the slot that those bits name; so all that is in a slot
//! comes after all that is in the slots before it and in the levels below. When the hand reaches a slot of an upper level,
//! its entries go to lower ones, one a step; those that are due by then leave at once, so that the lowest levels are used
//! only by clocks that are finer than the system's. A bitmap for each level lets the hand jump over empty slots, however
//! far.
//!
//! The wheel keeps no times of its own. It asks for an entry's end when its turn comes, and puts it further back if that
//! was moved meanwhile: a read that prolongs a life never comes here. An end that became earlier must be scheduled anew.
//!
//! Entries are cells, by number. All of it is guarded by the shard's lock; a shard without deadlines has no wheel.

use crate::policy::Chunked;

/// Bits that a level decides on.
const BITS: u32 = 6;
const SLOTS: usize = 1 << BITS;
const LEVELS: usize = 11;

/// Bits of [`Link::bucket`] below the era.
const BUCKET_BITS: u32 = 10;
const BUCKET: u32 = (1 << BUCKET_BITS) - 1;

/// Where an entry stands. `bucket` is 1 + level · 64 + slot, 0 for one that is in none, and above that the era: a link of
/// an older one is none.
#[derive(Clone, Copy, Debug, Default)]
struct Link {
    older: u32,
    younger: u32,
    bucket: u32,
}

/// The ends of a slot's queue; 0 = empty.
#[derive(Clone, Copy, Debug, Default)]
struct Queue {
    oldest: u32,
    youngest: u32,
}

/// What one step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// This entry's end was reached; it is out of the wheel.
    Due(u32),
    /// An entry came nearer to its end, or left because it has none any more.
    Moved,
    /// Nothing is left to do at this time.
    Idle,
}

/// The timers of one shard.
#[derive(Debug)]
pub(crate) struct Wheel {
    links: Chunked<Link>,
    queues: Box<[Queue; LEVELS * SLOTS]>,
    /// Slots of each level that hold anything.
    occupied: [u64; LEVELS],
    /// Levels that hold anything.
    levels: u16,
    /// The time that has been dealt with. Never goes back but by [`Wheel::rewind`].
    hand: u64,
    len: usize,
    /// Counts how often all timers were forgotten at once. Comes round after four million times; by then the entries of the
    /// first are long out of their cells, which takes their links away.
    era: u32,
}

impl Wheel {
    pub(crate) fn new() -> Self {
        Self {
            links: Chunked::new(),
            queues: Box::new([Queue::default(); LEVELS * SLOTS]),
            occupied: [0; LEVELS],
            levels: 0,
            hand: 0,
            len: 0,
            era: 0,
        }
    }

    /// Forgets all timers, whatever their number. An entry that is still there is to be [cancelled](Self::cancel) before its
    /// cell is used again.
    pub(crate) fn clear(&mut self) {
        *self.queues = [Queue::default(); LEVELS * SLOTS];
        self.occupied = [0; LEVELS];
        self.levels = 0;
        self.len = 0;
        self.era = (self.era + 1) & (u32::MAX >> BUCKET_BITS);
    }

    /// The slot that an entry stands in.
    #[inline]
    fn bucket_of(&self, id: u32) -> Option<usize> {
        let bucket = self.links.try_get(id)?.bucket;
        (bucket & BUCKET != 0 && bucket >> BUCKET_BITS == self.era).then(|| (bucket & BUCKET) as usize - 1)
    }

    /// Entries with a timer.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Whether the clock went back since the wheel last moved. Entries that end before the hand then take turns in one
    /// slot, until [`Wheel::rewind`] or until the clock is there again.
    pub(crate) fn is_ahead_of(&self, now: u64) -> bool {
        now < self.hand
    }

    /// Looks at an entry again when `end` is reached, and not when it was to before.
    pub(crate) fn schedule(&mut self, id: u32, end: u64) {
        self.cancel(id);
        self.links.reserve(id);
        self.link(id, end);
    }

    /// Forgets an entry; one that has no timer too.
    #[inline]
    pub(crate) fn cancel(&mut self, id: u32) {
        if self.bucket_of(id).is_some() {
            self.take(id);
        } else if self.era != 0 && self.links.try_get(id).is_some() {
            *self.links.get_mut(id) = Link::default();
        }
    }

    /// One step towards `now`: looks at one entry, at most. `end_of` tells when an entry ends; 0 = never.
    pub(crate) fn step(&mut self, now: u64, end_of: impl FnOnce(u32) -> u64) -> Step {
        let Some((bucket, start)) = self.first() else {
            self.hand = self.hand.max(now);
            return Step::Idle;
        };
        if start > now && start > self.hand {
            // Nothing stands between here and there.
            self.hand = self.hand.max(now);
            return Step::Idle;
        }
        self.hand = self.hand.max(start);
        let id = self.queues[bucket].oldest;
        self.take(id);
        match end_of(id) {
            0 => Step::Moved,
            end if end <= now => Step::Due(id),
            end => {
                self.link(id, end);
                Step::Moved
            }
        }
    }

    /// After the clock went back: empties the wheel and sets its hand. The caller schedules everything anew.
    pub(crate) fn rewind(&mut self, now: u64) {
        while let Some((bucket, _)) = self.first() {
            self.take(self.queues[bucket].oldest);
        }
        self.hand = now;
    }

    /// The slot to look at first and the time at which it begins. A slot that the hand is in comes before all others:
    /// something was left in it.
    fn first(&self) -> Option<(usize, u64)> {
        let mut levels = self.levels;
        let mut next = None;
        while levels != 0 {
            let level = levels.trailing_zeros();
            levels &= levels - 1;
            let at = digit(self.hand, level);
            let later = self.occupied[level as usize] >> at;
            if later & 1 != 0 {
                return Some((level as usize * SLOTS + at, self.hand));
            }
            if next.is_none() {
                let slot = at + later.trailing_zeros() as usize;
                let above = u64::MAX.checked_shl(BITS * (level + 1)).unwrap_or(0);
                let start = self.hand & above | (slot as u64) << (BITS * level);
                next = Some((level as usize * SLOTS + slot, start));
            }
        }
        next
    }

    /// Puts an entry without a timer at the young end of its slot.
    fn link(&mut self, id: u32, end: u64) {
        let end = end.max(self.hand);
        let level = (63 - ((end ^ self.hand) | 1).leading_zeros()) / BITS;
        let slot = digit(end, level);
        let bucket = level as usize * SLOTS + slot;
        let queue = &mut self.queues[bucket];
        let older = std::mem::replace(&mut queue.youngest, id);
        if older == 0 {
            queue.oldest = id;
            self.occupied[level as usize] |= 1 << slot;
            self.levels |= 1 << level;
        } else {
            self.links.get_mut(older).younger = id;
        }
        let bucket = self.era << BUCKET_BITS | (bucket as u32 + 1);
        *self.links.get_mut(id) = Link { older, younger: 0, bucket };
        self.len += 1;
    }

    /// Takes an entry that has a timer out of its slot.
    fn take(&mut self, id: u32) {
        let Link { older, younger, bucket } = std::mem::take(self.links.get_mut(id));
        let bucket = (bucket & BUCKET) as usize - 1;
        if older == 0 {
            self.queues[bucket].oldest = younger;
        } else {
            self.links.get_mut(older).younger = younger;
        }
        if younger == 0 {
            self.queues[bucket].youngest = older;
        } else {
            self.links.get_mut(younger).older = older;
        }
        if self.queues[bucket].oldest == 0 {
            let level = bucket / SLOTS;
            self.occupied[level] &= !(1 << (bucket % SLOTS));
            if self.occupied[level] == 0 {
                self.levels &= !(1 << level);
            }
        }
        self.len -= 1;
    }

    /// Panics unless queues, bitmaps and links agree, and each entry's turn comes no later than its end. `end_of` as in
    /// [`Wheel::step`].
    pub(crate) fn check_invariants(&self, end_of: impl Fn(u32) -> u64) {
        let mut counted = 0;
        for (bucket, queue) in self.queues.iter().enumerate() {
            let (level, slot) = (bucket / SLOTS, bucket % SLOTS);
            let occupied = self.occupied[level] >> slot & 1 != 0;
            assert_eq!(occupied, queue.oldest != 0, "slots that hold something are marked");
            if !occupied {
                assert_eq!(queue.youngest, 0, "an empty queue has no end");
                continue;
            }
            let at = digit(self.hand, level as u32);
            assert!(slot >= at, "the hand has not passed a slot that holds something");
            let above = u64::MAX.checked_shl(BITS * (level as u32 + 1)).unwrap_or(0);
            let start = (self.hand & above | (slot as u64) << (BITS * level as u32)).max(self.hand);
            let (mut older, mut id) = (0, queue.oldest);
            while id != 0 {
                let link = self.links.try_get(id).expect("a linked entry has a link");
                assert_eq!(self.bucket_of(id), Some(bucket), "an entry knows its slot");
                assert_eq!(link.older, older, "links point both ways");
                let end = end_of(id);
                assert!(
                    slot == at || end == 0 || end >= start,
                    "entry {id} ends at {end} and its turn comes at {start}"
                );
                counted += 1;
                (older, id) = (id, link.younger);
            }
            assert_eq!(queue.youngest, older, "the queue ends where it should");
        }
        for level in 0..LEVELS {
            assert_eq!(self.levels >> level & 1 != 0, self.occupied[level] != 0, "levels in use are marked");
        }
        assert_eq!(counted, self.len, "every timer is counted");
    }

    /// Whether an entry has a timer.
    pub(crate) fn holds(&self, id: u32) -> bool {
        self.bucket_of(id).is_some()
    }
}

/// The six bits of a time that a level decides on.
#[inline]
fn digit(time: u64, level: u32) -> usize {
    (time >> (BITS * level)) as usize % SLOTS
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// Ends by entry, as the wheel asks for them; the truth that it is compared with.
    #[derive(Default)]
    struct Ends(BTreeMap<u32, u64>);

    impl Ends {
        fn of(&self, id: u32) -> u64 {
            self.0.get(&id).copied().unwrap_or(0)
        }

        /// Turns the wheel until it is idle; every entry that is due must come, no other.
        fn drain(&mut self, wheel: &mut Wheel, now: u64) {
            let mut steps = 0;
            let bound = (LEVELS + 1) * (wheel.len() + 1);
            loop {
                match wheel.step(now, |id| self.of(id)) {
                    Step::Due(id) => {
                        let end = self.0.remove(&id).expect("an entry comes once");
                        assert!(end <= now, "{id} ends at {end}, not yet at {now}");
                    }
                    Step::Moved => {}
                    Step::Idle => break,
                }
                steps += 1;
                assert!(steps <= bound, "each entry goes down each level at most once");
            }
            wheel.check_invariants(|id| self.of(id));
            let late: Vec<_> = self.0.iter().filter(|&(_, &end)| end <= now).collect();
            assert!(late.is_empty(), "forgotten at {now}: {late:?}");
        }
    }

    #[derive(Clone, Debug)]
    enum Op {
        Schedule(u32, u64),
        Cancel(u32),
        /// Moves the end without a word to the wheel, as a read does.
        Prolong(u32, u64),
        Advance(u64),
        Back(u64),
        Steps(u64, usize),
        /// Forgets everything; the entries' cells are used again, or not.
        Clear,
    }

    fn spans() -> impl Strategy<Value = u64> {
        // Each magnitude alike, with the ends of time.
        prop_oneof![
            8 => (0u32..64, any::<u64>()).prop_map(|(shift, bits)| bits >> shift),
            1 => Just(0),
            1 => Just(u64::MAX),
        ]
    }

    fn ops() -> impl Strategy<Value = Op> {
        prop_oneof![
            6 => (1u32..40, spans()).prop_map(|(id, span)| Op::Schedule(id, span)),
            2 => (1u32..40).prop_map(Op::Cancel),
            2 => (1u32..40, spans()).prop_map(|(id, span)| Op::Prolong(id, span)),
            4 => (8u32..64, any::<u64>()).prop_map(|(shift, bits)| Op::Advance(bits >> shift)),
            1 => (20u32..64, any::<u64>()).prop_map(|(shift, bits)| Op::Back(bits >> shift)),
            1 => Just(Op::Clear),
            2 => (8u32..64, any::<u64>(), 1usize..8)
                .prop_map(|(shift, bits, steps)| Op::Steps(bits >> shift, steps)),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: if cfg!(miri) { 2 } else { 1024 },
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        #[test]
        fn agrees_with_a_sorted_map(ops in proptest::collection::vec(ops(), 1..120)) {
            let mut wheel = Wheel::new();
            let mut ends = Ends::default();
            let mut now = 1u64;
            for op in ops {
                match op {
                    Op::Schedule(id, span) => {
                        let end = now.saturating_add(span).max(1);
                        ends.0.insert(id, end);
                        wheel.schedule(id, end);
                    }
                    Op::Cancel(id) => {
                        ends.0.remove(&id);
                        wheel.cancel(id);
                        prop_assert!(!wheel.holds(id));
                    }
                    Op::Prolong(id, span) => {
                        if let Some(end) = ends.0.get_mut(&id) {
                            *end = end.saturating_add(span);
                        }
                    }
                    Op::Advance(span) => {
                        now = now.saturating_add(span);
                        if wheel.is_ahead_of(now) {
                            wheel.rewind(now);
                            for (&id, &end) in &ends.0 {
                                wheel.schedule(id, end);
                            }
                        }
                        ends.drain(&mut wheel, now);
                    }
                    Op::Clear => {
                        wheel.clear();
                        prop_assert!(ends.0.keys().all(|&id| !wheel.holds(id)));
                        ends.0.clear();
                    }
                    Op::Back(span) => now = now.saturating_sub(span).max(1),
                    // Some work only, as by a write.
                    Op::Steps(span, steps) => {
                        now = now.saturating_add(span);
                        for _ in 0..steps {
                            if let Step::Due(id) = wheel.step(now, |id| ends.of(id)) {
                                let end = ends.0.remove(&id);
                                prop_assert!(end.is_some_and(|end| end <= now));
                            }
                        }
                    }
                }
                wheel.check_invariants(|id| ends.of(id));
                prop_assert_eq!(wheel.len(), ends.0.len());
            }
        }
    }

    #[test]
    fn a_clock_that_went_back_starves_nobody() {
        let mut wheel = Wheel::new();
        let mut ends = Ends::default();
        assert_eq!(wheel.step(1_000_000, |_| 0), Step::Idle);
        assert!(wheel.is_ahead_of(10));
        for id in 1..=100 {
            let end = if id == 77 { 20 } else { 500_000 };
            ends.0.insert(id, end);
            wheel.schedule(id, end);
        }
        // They take turns: after as many steps as there are entries, each was looked at.
        let due = (0..100).filter(|_| wheel.step(20, |id| ends.of(id)) == Step::Due(77)).count();
        assert_eq!(due, 1);
    }

    #[test]
    fn a_jump_over_centuries_takes_no_longer_than_one_over_a_second() {
        for by in [1_000_000_000, u64::MAX - 1] {
            let mut wheel = Wheel::new();
            wheel.schedule(1, 1_000);
            wheel.schedule(2, u64::MAX);
            let end_of = |id| if id == 1 { 1_000 } else { u64::MAX };
            let mut steps = 1;
            while wheel.step(by, end_of) != Step::Due(1) {
                steps += 1;
            }
            while wheel.step(by, end_of) != Step::Idle {
                steps += 1;
            }
            assert!(steps <= 2 * LEVELS, "{steps} steps");
            assert!(wheel.holds(2), "the end of time is not reached");
        }
    }
}
