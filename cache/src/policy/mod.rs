//! The eviction policy: an adaptive W-TinyLFU in which a hit writes at most one byte.
//!
//! New entries pass a small window; to stay they must win a duel of frequencies against the entry that the main region
//! would give up. W-TinyLFU is from G. Einziger, R. Friedman, B. Manes (ACM ToS 2017), the adaptive window from their
//! "Adaptive Software Cache Management" (Middleware 2018). Two things differ here:
//!
//! - **One reference bit in place of a read buffer.** A hit sets a bit; the eviction hand *harvests* it into the sketch
//!   when it passes. The sketch so counts periods in use and not every hit, which filters bursts, and no hit is lost.
//! - **The window follows marginal values** (see [`climber`]), measured on misses and first touches only.
//!
//! The policy knows slots, hashes and weights. It has no key, no value, no lock, no clock, and is compiled once for each
//! kind of storage. All work per call is bounded.
//!
//! Parts: [`header`] in the entry, [`activity`] beside it, [`sketch`], [`ghost`], [`climber`], [`lists`] over [`chunked`]
//! arrays.

mod activity;
mod chunked;
mod climber;
mod ghost;
mod header;
mod lists;
mod sketch;

use chunked::Chunked;
use climber::{Climber, Sizes};
use ghost::{Ghosts, Kind, UnitClock};
use header::Region;
use lists::{Links, List, NONE};
use sketch::Sketch;

pub use activity::Activity;
pub use header::Header;

/// Entries a hand may pass over before it takes one regardless.
const BUDGET: u32 = 16;
/// Entries that change region in one call when the window grows or shrinks.
const MOVES: u32 = 64;
/// Frequency from which a candidate that lost is admitted now and then: it may be the victim of a flood of crafted keys.
const LUCKY_FREQUENCY: u8 = 6;
const LUCK_MASK: u64 = 127;
/// Stamps of the window span a capacity in at most 2^14 steps.
const STAMP_BITS: u32 = 14;

/// How the policy sees the entries that the engine stores.
pub trait Entries {
    /// The header of a slot that was handed to the policy.
    fn header(&self, slot: u32) -> &Header;
}

/// What a policy is made for.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// This shard's share of the bound, in entries or weight; `u64::MAX` for no bound.
    pub capacity: u64,
    /// Whether entries differ in weight.
    pub weighted: bool,
    /// Seeds hashes and random choices.
    pub seed: u64,
}

/// Chooses whom to evict in one shard. Slots are small integers from 1 on.
#[derive(Debug)]
pub struct Policy {
    capacity: u64,
    window_max: u64,
    protected_max: u64,
    window: List,
    probation: List,
    protected: List,
    pinned: List,
    links: Links,
    weights: Option<Chunked<u32>>,
    /// None until the shard is half full: before, nothing is evicted and nothing need be known.
    memory: Option<Memory>,
    climber: Climber,
    /// Weight the window still has to grow or shrink by, worked off a little per call.
    pending: f64,
    /// Weight of all insertions; stamps are its upper bits.
    clock: u64,
    stamp_shift: u32,
    rng: u64,
    spread: u64,
}

/// What the policy remembers of keys, present or not.
#[derive(Debug)]
struct Memory {
    sketch: Sketch,
    ghosts: Ghosts,
    /// Weight of all misses, and of all victims of the main region.
    window_clock: UnitClock,
    main_clock: UnitClock,
}

impl Policy {
    /// A policy without entries. Allocates next to nothing.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let Config { capacity, weighted, seed } = config;
        let window_max = (capacity.div_ceil(50)).max(1);
        let bits = u64::BITS - capacity.leading_zeros();
        let mix = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x2545_f491_4f6c_dd1d;
        Self {
            capacity,
            window_max,
            protected_max: (u128::from(capacity.saturating_sub(window_max)) * 4 / 5) as u64,
            window: List::default(),
            probation: List::default(),
            protected: List::default(),
            pinned: List::default(),
            links: Links::default(),
            weights: weighted.then(Chunked::default),
            memory: None,
            climber: Climber::new(),
            pending: 0.0,
            clock: 0,
            stamp_shift: bits.saturating_sub(STAMP_BITS),
            rng: mix | 1,
            spread: (mix.rotate_left(31).wrapping_mul(0xd6e8_feb8_6659_fd93)) | 1,
        }
    }

    /// Entries that the policy knows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.window.len + self.probation.len + self.protected.len + self.pinned.len
    }

    /// Whether it knows none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The weight of all of them.
    #[must_use]
    pub fn weight(&self) -> u64 {
        self.window.weight + self.probation.weight + self.protected.weight
    }

    /// The weight of an entry; of one that was just unlinked, too.
    #[must_use]
    #[inline]
    pub fn weight_of(&self, slot: u32) -> u32 {
        self.weights.as_ref().map_or(1, |weights| weights.get(slot))
    }

    /// The window's bound, for the curious.
    #[must_use]
    pub fn window_max(&self) -> u64 {
        self.window_max
    }

    #[inline]
    fn spread(&self, hash: u32) -> u64 {
        let product = u64::from(hash).wrapping_mul(self.spread);
        let folded = (product ^ (product >> 32)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        folded ^ (folded >> 29)
    }

    fn list(&mut self, region: Region) -> (&mut List, &mut Links) {
        let list = match region {
            Region::Window => &mut self.window,
            Region::Probation => &mut self.probation,
            Region::Protected => &mut self.protected,
            Region::Pinned => &mut self.pinned,
            Region::Unlinked => unreachable!("an unlinked entry is in no list"),
        };
        (list, &mut self.links)
    }

    #[inline]
    fn stamp(&self) -> u16 {
        (self.clock >> self.stamp_shift) as u16
    }

    fn push<E: Entries + ?Sized>(&mut self, entries: &E, slot: u32, region: Region) {
        let weight = self.weight_of(slot);
        let header = entries.header(slot);
        header.set_region(region);
        if region == Region::Window {
            header.set_stamp(self.stamp());
        }
        let (list, links) = self.list(region);
        list.push_tail(links, slot, weight);
    }

    fn pull<E: Entries + ?Sized>(&mut self, entries: &E, slot: u32) {
        let weight = self.weight_of(slot);
        let header = entries.header(slot);
        let (list, links) = self.list(header.region());
        list.unlink(links, slot, weight);
        header.set_region(Region::Unlinked);
    }

    /// Clears a reference and counts it; true if there was one.
    #[inline]
    fn harvest(&mut self, header: &Header) -> bool {
        let referenced = header.take_reference();
        if referenced {
            let hash = self.spread(header.hash);
            if let Some(memory) = &mut self.memory {
                memory.sketch.increment(hash);
            }
        }
        referenced
    }

    /// Admits a new entry. Call [`Policy::evict`] next while the engine is over its bound, else [`Policy::settle`].
    pub fn insert<E: Entries + ?Sized>(&mut self, entries: &E, activity: &Activity, slot: u32, weight: u32) {
        self.links.cover(slot);
        if let Some(weights) = &mut self.weights {
            weights.cover(slot);
            *weights.get_mut(slot) = weight;
        }
        if weight == 0 {
            self.push(entries, slot, Region::Pinned);
            return;
        }
        let miss = u64::from(weight);
        self.clock = self.clock.wrapping_add(miss);
        activity.set_clock(self.stamp());
        let header = entries.header(slot);
        let hash = self.spread(header.hash);
        if self.memory.is_none() {
            self.publish_window(activity);
        }
        self.remember_if_half_full(miss);
        if let Some(memory) = &mut self.memory {
            memory.window_clock.advance(miss, self.capacity);
            if let Some((kind, depth)) = memory.ghosts.recall(hash, &memory.window_clock, &memory.main_clock)
            {
                self.climber.ghost(kind, depth);
            }
            memory.sketch.increment(hash);
        }
        if miss > self.window_max && self.memory.is_some() {
            // Heavier than the window: it duels at once.
            header.set_region(Region::Window);
            header.set_stamp(self.stamp());
            self.window.push_head(&mut self.links, slot, weight);
        } else {
            self.push(entries, slot, Region::Window);
        }
        if self.memory.is_some() {
            self.climb(entries, activity);
        }
    }

    /// Starts the sketch and the ghosts when the shard is half full, and keeps them as large as the entries need.
    fn remember_if_half_full(&mut self, coming: u64) {
        match &mut self.memory {
            None => {
                if self.weight().saturating_add(coming) >= self.capacity.div_ceil(2) {
                    self.start_memory();
                }
            }
            Some(memory) if self.weights.is_some() => {
                let entries = (self.window.len + self.probation.len + self.protected.len + 1) as u64;
                if entries > memory.sketch.entries() {
                    memory.sketch.double();
                    let ghosts = (memory.ghosts.entries() * 2).max(entries);
                    memory.ghosts = Ghosts::new(ghosts);
                }
            }
            Some(_) => {}
        }
    }

    #[cold]
    fn start_memory(&mut self) {
        let entries = if self.weights.is_some() { self.len() as u64 * 2 } else { self.capacity };
        self.memory = Some(Memory {
            sketch: Sketch::new(entries),
            ghosts: Ghosts::new(entries),
            window_clock: UnitClock::default(),
            main_clock: UnitClock::default(),
        });
    }

    /// Nothing had to go: what is too much for the window moves on.
    pub fn settle<E: Entries + ?Sized>(&mut self, entries: &E) {
        let mut moves = MOVES;
        while self.window.weight > self.window_max && moves > 0 {
            moves -= 1;
            let head = self.window.head;
            self.harvest(entries.header(head));
            self.relocate(entries, head, Region::Probation);
        }
    }

    fn relocate<E: Entries + ?Sized>(&mut self, entries: &E, slot: u32, region: Region) {
        self.pull(entries, slot);
        self.push(entries, slot, region);
    }

    /// Chooses an entry, unlinks it and remembers it as a ghost. None if all that is left is pinned.
    pub fn evict<E: Entries + ?Sized>(&mut self, entries: &E) -> Option<u32> {
        if self.memory.is_none() {
            // Another shard's pressure reaches one that never filled.
            self.start_memory();
        }
        let candidate = self.candidate(entries);
        let victim = self.victim(entries);
        let loser = match (candidate, victim) {
            (NONE, NONE) => return None,
            (candidate, NONE) => {
                self.forget(entries, candidate, Kind::Window);
                candidate
            }
            (NONE, victim) => {
                self.forget(entries, victim, Kind::Main);
                victim
            }
            (candidate, victim) if self.wins(entries, candidate, victim) => {
                self.forget(entries, victim, Kind::Main);
                if self.window.weight > self.window_max {
                    self.relocate(entries, candidate, Region::Probation);
                }
                victim
            }
            (candidate, _) => {
                self.forget(entries, candidate, Kind::Window);
                candidate
            }
        };
        self.settle(entries);
        Some(loser)
    }

    /// The entry next to leave the window, after those that were used meanwhile had their second chance.
    fn candidate<E: Entries + ?Sized>(&mut self, entries: &E) -> u32 {
        for _ in 0..BUDGET {
            let head = self.window.head;
            if head == NONE {
                break;
            }
            let header = entries.header(head);
            if !self.harvest(header) {
                break;
            }
            header.set_stamp(self.stamp());
            self.window.rotate(&mut self.links);
        }
        self.window.head
    }

    /// The entry that the main region would give up; those that were used meanwhile are promoted.
    fn victim<E: Entries + ?Sized>(&mut self, entries: &E) -> u32 {
        for _ in 0..BUDGET {
            let head = self.probation.head;
            if head == NONE || !self.harvest(entries.header(head)) {
                break;
            }
            self.relocate(entries, head, Region::Protected);
            self.demote(entries);
        }
        if self.probation.head != NONE {
            return self.probation.head;
        }
        for _ in 0..BUDGET {
            let head = self.protected.head;
            if head == NONE || !self.harvest(entries.header(head)) {
                break;
            }
            self.protected.rotate(&mut self.links);
        }
        self.protected.head
    }

    /// Brings the protected region back to its bound; entries in use go round once more.
    fn demote<E: Entries + ?Sized>(&mut self, entries: &E) {
        let mut budget = BUDGET;
        while self.protected.weight > self.protected_max {
            let head = self.protected.head;
            if self.harvest(entries.header(head)) && budget > 0 {
                budget -= 1;
                self.protected.rotate(&mut self.links);
            } else {
                self.relocate(entries, head, Region::Probation);
            }
        }
    }

    fn wins<E: Entries + ?Sized>(&mut self, entries: &E, candidate: u32, victim: u32) -> bool {
        let frequency = |slot| {
            let header = entries.header(slot);
            let counted =
                self.memory.as_ref().map_or(0, |memory| memory.sketch.frequency(self.spread(header.hash)));
            (counted + u8::from(header.referenced())).min(15)
        };
        let (candidate, victim) = (frequency(candidate), frequency(victim));
        candidate > victim || (candidate >= LUCKY_FREQUENCY && self.random() & LUCK_MASK == 0)
    }

    /// xorshift64* (G. Marsaglia, S. Vigna).
    fn random(&mut self) -> u64 {
        self.rng ^= self.rng >> 12;
        self.rng ^= self.rng << 25;
        self.rng ^= self.rng >> 27;
        self.rng.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32
    }

    /// Unlinks an evicted entry and keeps its ghost.
    fn forget<E: Entries + ?Sized>(&mut self, entries: &E, slot: u32, kind: Kind) {
        let header = entries.header(slot);
        self.harvest(header);
        let hash = self.spread(header.hash);
        let weight = u64::from(self.weight_of(slot));
        self.pull(entries, slot);
        if let Some(memory) = &mut self.memory {
            let clock = match kind {
                Kind::Window => &memory.window_clock,
                Kind::Main => {
                    memory.main_clock.advance(weight, self.capacity);
                    &memory.main_clock
                }
            };
            memory.ghosts.remember(hash, kind, clock);
        }
    }

    /// Unlinks an entry that the engine removes for a reason of its own. No ghost.
    pub fn remove<E: Entries + ?Sized>(&mut self, entries: &E, slot: u32) {
        self.harvest(entries.header(slot));
        self.pull(entries, slot);
    }

    /// A new value of the same key: `new` takes the place of `old`, and the update counts as a hit.
    pub fn replace<E: Entries + ?Sized>(
        &mut self,
        entries: &E,
        activity: &Activity,
        old: u32,
        new: u32,
        weight: u32,
    ) {
        let before = entries.header(old);
        before.touch(activity);
        let after = entries.header(new);
        after.inherit(before);
        self.links.cover(new);
        let region = before.region();
        let (list, links) = self.list(region);
        if old != new {
            list.substitute(links, old, new);
            before.set_region(Region::Unlinked);
        }
        let Some(weights) = &mut self.weights else { return };
        weights.cover(new);
        let held = weights.get(old);
        *weights.get_mut(new) = weight;
        if (held == 0) == (weight == 0) {
            let (list, _) = self.list(region);
            list.weight = list.weight - u64::from(held) + u64::from(weight);
        } else {
            // Pinned or no longer pinned: another list.
            *self.weights.as_mut().expect("weighted").get_mut(new) = held;
            self.pull(entries, new);
            *self.weights.as_mut().expect("weighted").get_mut(new) = weight;
            self.push(entries, new, if weight == 0 { Region::Pinned } else { Region::Window });
        }
    }

    /// Decides on the window when it is time, and works off a part of the last decision.
    fn climb<E: Entries + ?Sized>(&mut self, entries: &E, activity: &Activity) {
        let period = if self.weights.is_some() { self.len() as u64 / 2 } else { self.capacity / 2 };
        if self.climber.miss(period.max(256)) {
            let sizes = Sizes {
                capacity: self.capacity,
                window_max: self.window_max,
                probation: self.probation.weight,
                protected: self.protected.weight,
            };
            self.pending = self.climber.decide(activity.drain(), sizes).trunc();
        }
        if self.pending != 0.0 {
            self.resize_window(entries, activity);
        }
    }

    #[cold]
    fn resize_window<E: Entries + ?Sized>(&mut self, entries: &E, activity: &Activity) {
        let mut moves = MOVES;
        while self.pending >= 1.0 && moves > 0 {
            moves -= 1;
            let head = if self.probation.head == NONE { self.protected.head } else { self.probation.head };
            let weight = if head == NONE { 0 } else { u64::from(self.weight_of(head)) };
            if head == NONE || weight as f64 > self.pending {
                // Nothing to move, or too heavy to move: only the bounds change.
                self.grow_bounds(self.pending as u64);
                self.pending = 0.0;
                break;
            }
            self.grow_bounds(weight);
            self.pending -= weight as f64;
            self.relocate(entries, head, Region::Window);
        }
        while self.pending <= -1.0 && moves > 0 {
            moves -= 1;
            let head = self.window.head;
            let weight = if head == NONE { 0 } else { u64::from(self.weight_of(head)) };
            if head == NONE || weight as f64 > -self.pending {
                self.shrink_bounds(-self.pending as u64);
                self.pending = 0.0;
                break;
            }
            self.shrink_bounds(weight);
            self.pending += weight as f64;
            self.relocate(entries, head, Region::Probation);
        }
        self.demote(entries);
        self.publish_window(activity);
    }

    fn publish_window(&self, activity: &Activity) {
        let half = (self.window_max / 2) >> self.stamp_shift;
        activity.set_half_window(u16::try_from(half).unwrap_or(u16::MAX));
    }

    fn grow_bounds(&mut self, by: u64) {
        let by = by.min(self.capacity - self.window_max);
        self.window_max += by;
        self.protected_max = self.protected_max.saturating_sub(by);
    }

    fn shrink_bounds(&mut self, by: u64) {
        let by = by.min(self.window_max - 1);
        self.window_max -= by;
        self.protected_max = (self.protected_max + by).min(self.capacity - self.window_max);
    }

    /// Slots from the one that would be evicted last to the first, roughly.
    pub fn coldest(&self) -> impl Iterator<Item = u32> {
        let lists = [&self.probation, &self.window, &self.protected, &self.pinned];
        lists.into_iter().flat_map(|list| list.iter(&self.links))
    }

    /// Panics unless lists, counts, weights and headers agree.
    ///
    /// # Panics
    /// If they do not.
    pub fn check_invariants<E: Entries + ?Sized>(&self, entries: &E) {
        let lists = [
            (Region::Window, &self.window),
            (Region::Probation, &self.probation),
            (Region::Protected, &self.protected),
            (Region::Pinned, &self.pinned),
        ];
        for (region, list) in lists {
            let (mut len, mut weight, mut prev) = (0, 0, NONE);
            for slot in list.iter(&self.links) {
                assert_eq!(self.links.get(slot).prev, prev, "{region:?}: links agree in both directions");
                assert_eq!(entries.header(slot).region(), region, "the header of {slot} names its list");
                let own = self.weight_of(slot);
                assert_eq!(own == 0, region == Region::Pinned, "weight 0 and only that is pinned");
                prev = slot;
                len += 1;
                weight += u64::from(own);
                assert!(len <= list.len, "{region:?} has a cycle or miscounts");
            }
            assert_eq!(list.tail, prev, "{region:?} ends at its tail");
            assert_eq!((list.len, list.weight), (len, weight), "{region:?} counts what it holds");
        }
        assert!(self.window_max >= 1, "the window takes at least one entry");
        assert!(self.window_max <= self.capacity.max(1), "the window is within the capacity");
    }
}

#[cfg(test)]
mod tests;
