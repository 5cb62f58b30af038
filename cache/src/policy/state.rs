//! The policy's state, and what the engine calls but for evictions (see `evict`).

use super::activity::Activity;
use super::climber::{Climber, Shape};
use super::entries::Entries;
use super::ghost::{Clocks, Ghosts};
use super::header::Place;
use super::judged::Judged;
use super::kind::Kind;
use super::lists::Lists;
use super::quota::Quota;
use super::random::{Random, Spread};
use super::region::Region;
use super::sketch::Sketch;

/// What a policy is made for.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// The room that the queues share: entries, or weight. `u64::MAX` means no bound.
    pub capacity: u64,
    /// Whether entries differ in weight. If not, each weighs 1.
    pub weighted: bool,
    /// Decides hashing and coin tosses.
    pub seed: u64,
    /// Which rule evicts.
    pub kind: Kind,
}

/// The policy of one shard. All calls are made under that shard's lock.
///
/// The engine calls [`insert`](Self::insert) and then either [`evict`](Self::evict) until it has room or
/// [`settle`](Self::settle). An entry's slot may be used again as soon as it was evicted or removed.
#[derive(Debug)]
pub struct Policy {
    pub(super) lists: Lists,
    pub(super) quota: Quota,
    pub(super) sketch: Sketch,
    pub(super) ghosts: Ghosts,
    pub(super) climber: Climber,
    pub(super) clocks: Clocks,
    pub(super) spread: Spread,
    pub(super) random: Random,
    pub(super) judged: Judged,
    /// How many entries the capacity holds: known, or for weights estimated.
    pub(super) population: u64,
    /// Whether the window may hold more than its quota because the last word has not been spoken on an insert.
    pub(super) unsettled: bool,
    pub(super) kind: Kind,
    /// Weight that must still leave main for a candidate that was admitted by weight.
    pub(super) owed: u64,
}

impl Policy {
    /// An empty policy. Allocates nothing yet, whatever the capacity.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let mut random = Random::new(config.seed);
        let capacity = config.capacity.max(1);
        Self {
            lists: Lists::new(config.weighted),
            quota: Quota::new(capacity),
            sketch: Sketch::new(),
            ghosts: Ghosts::new(),
            climber: Climber::new(),
            clocks: Clocks::default(),
            spread: Spread::new(&mut random),
            random,
            judged: Judged::default(),
            population: capacity,
            unsettled: false,
            kind: config.kind,
            owed: 0,
        }
    }

    /// Takes in a new entry, which may be evicted from now on. Weight 0 means never.
    #[inline]
    pub fn insert<E: Entries + ?Sized>(&mut self, entries: &E, activity: &Activity, slot: u32, weight: u32) {
        let header = entries.header(slot);
        self.lists.prepare(slot, weight);
        if weight == 0 {
            self.link(entries, Region::Pinned, slot);
            return;
        }
        self.clocks.misses = self.clocks.misses.wrapping_add(u64::from(weight));
        let clock = self.quota.stamp(self.clocks.misses);
        activity.set_clock(clock);
        if self.sketch.started() {
            let hash = self.spread.of(header.hash);
            if let Some(back) = self.ghosts.recall(hash, &self.clocks) {
                self.climber.returned(back, self.quota.capacity());
            }
            self.sketch.increment(hash);
            if self.climber.miss(self.population) {
                self.climb(activity);
            }
        } else if self.weight() >= self.quota.capacity() / 2 {
            self.start();
            self.sketch.increment(self.spread.of(header.hash));
            activity.set_half_window(self.quota.half_window());
            activity.take();
        }
        header.set_stamp(clock);
        if u64::from(weight) > self.quota.window() {
            // It would push out all the window; let it be the next to prove itself.
            header.set_region(Region::Window);
            self.lists.push_head(entries, Region::Window, slot);
        } else {
            self.link(entries, Region::Window, slot);
        }
        self.unsettled = true;
        if self.quota.is_moving() {
            self.move_quota(entries, activity);
        }
    }

    /// The cache is half full: from now on there may be something to choose.
    ///
    /// Or it is not, and somebody else takes room from this part of it; and its capacity may be about to change. So what is here
    /// decides the size, not what might be: no more than twice that.
    #[cold]
    pub(super) fn start(&mut self) {
        self.estimate_population();
        let entries = self.population.min(2 * self.evictable() as u64 + 2);
        self.sketch.start(entries);
        self.ghosts.start(entries, self.quota.capacity());
    }

    fn evictable(&self) -> usize {
        self.len() - self.lists.list(Region::Pinned).len()
    }

    #[cold]
    fn climb(&mut self, activity: &Activity) {
        let shape = Shape {
            capacity: self.quota.capacity() as f64,
            window: self.quota.window() as f64,
            probation: self.lists.list(Region::Probation).weight() as f64,
            protected: self.lists.list(Region::Protected).weight() as f64,
        };
        self.quota.request(self.climber.decide(activity.take(), shape));
        if self.lists.is_weighted() {
            self.estimate_population();
            if self.population > self.ghosts.len() as u64 {
                self.ghosts.start(self.population, self.quota.capacity());
            }
        }
        // Doubles at most once a time: after a change of capacity it may have some way to go.
        self.sketch.resize(self.population);
    }

    fn estimate_population(&mut self) {
        let capacity = self.quota.capacity();
        let evictable = self.evictable();
        self.population = if self.lists.is_weighted() && evictable > 0 {
            let mean = (self.weight() as f64 / evictable as f64).max(1.0);
            (capacity as f64 / mean) as u64
        } else {
            capacity
        };
    }

    /// Forgets an entry that the engine removes, without a duel and without a ghost. Its last use is counted.
    pub fn remove<E: Entries + ?Sized>(&mut self, entries: &E, slot: u32) {
        let header = entries.header(slot);
        if header.region() != Region::Pinned {
            self.harvest(header);
        }
        self.expire(entries, slot);
    }

    /// Forgets an entry that is past its time: as [`remove`](Self::remove), but its last use is not counted.
    pub fn expire<E: Entries + ?Sized>(&mut self, entries: &E, slot: u32) {
        let header = entries.header(slot);
        let region = header.region();
        if region == Region::Unlinked {
            debug_assert!(false, "slot {slot} is not linked");
            return;
        }
        self.lists.remove(entries, region, slot);
        header.set_region(Region::Unlinked);
    }

    /// A new value for a key: `new`, which may be `old`, takes `old`'s place. Counts as a hit. The engine then makes room
    /// if `weight` is more than it was.
    #[inline]
    pub fn replace<E: Entries + ?Sized>(
        &mut self,
        entries: &E,
        activity: &Activity,
        old: u32,
        new: u32,
        weight: u32,
    ) {
        let header = entries.header(new);
        let before = entries.header(old);
        let place = before.place();
        let region = place.region();
        debug_assert_ne!(region, Region::Unlinked, "slot {old} is not linked");
        if old != new {
            header.take_place(place);
            before.set_region(Region::Unlinked);
            self.lists.relink(entries, place, old, new);
        }
        if self.lists.is_weighted() {
            let was = self.lists.weight_of(old);
            self.reweigh(entries, region, new, was, weight);
        }
        header.touch(activity);
    }

    /// As [`replace`](Self::replace), where each entry weighs 1 and `new` was made as [`Header::successor`] of `old`, which was at `place`.
    #[inline]
    pub fn succeed<E: Entries + ?Sized>(
        &mut self,
        entries: &E,
        activity: &Activity,
        (old, place): (u32, Place),
        new: u32,
    ) {
        self.lists.relink(entries, place, old, new);
        entries.header(old).set_region(Region::Unlinked);
        place.touch(activity);
    }

    fn reweigh<E: Entries + ?Sized>(
        &mut self,
        entries: &E,
        region: Region,
        slot: u32,
        before: u32,
        weight: u32,
    ) {
        self.lists.reweigh(region, slot, before, weight);
        self.unsettled = true;
        if (region == Region::Pinned) == (weight == 0) {
            return;
        }
        // It became pinned, or ceases to be: then it has no place to go back to but the window.
        self.lists.remove(entries, region, slot);
        if weight == 0 {
            self.link(entries, Region::Pinned, slot);
        } else {
            entries.header(slot).set_stamp(self.quota.stamp(self.clocks.misses));
            self.link(entries, Region::Window, slot);
        }
    }

    /// Forgets all entries at once, but not what was learned of their keys. They keep their slots until
    /// [`next_cleared`](Self::next_cleared) has named them. O(1).
    pub fn clear<E: Entries + ?Sized>(&mut self, entries: &E) {
        self.lists.clear(entries);
        self.owed = 0;
    }

    /// The slot of an entry that was cleared, each of them once. It may be used again.
    #[inline]
    pub fn next_cleared<E: Entries + ?Sized>(&mut self, entries: &E) -> Option<u32> {
        if self.lists.cleared().is_empty() { None } else { self.pop_cleared(entries) }
    }

    #[inline(never)]
    fn pop_cleared<E: Entries + ?Sized>(&mut self, entries: &E) -> Option<u32> {
        let slot = self.lists.pop_cleared(entries)?;
        let header = entries.header(slot);
        if header.region() != Region::Pinned {
            self.harvest(header);
        }
        header.set_region(Region::Unlinked);
        Some(slot)
    }

    /// Entries that were cleared and not named yet, and their weight.
    #[must_use]
    pub fn cleared(&self) -> (usize, u64) {
        let cleared = self.lists.cleared();
        (cleared.len(), cleared.weight())
    }

    /// Their slots.
    pub fn each_cleared<'a, E: Entries + ?Sized>(&'a self, entries: &'a E) -> impl Iterator<Item = u32> + 'a {
        self.lists.each_cleared(entries)
    }

    /// Changes the capacity. Queues follow over the next calls. What was counted is kept unless the sketch is too small now: then
    /// it begins anew when the cache is half full, as at first. Counters that were shared by too many keys mislead for longer
    /// than it takes to count again. Ghosts begin anew, because their stamps are in parts of the capacity.
    pub fn set_capacity(&mut self, activity: &Activity, capacity: u64) {
        self.quota.set_capacity(capacity.max(1));
        self.estimate_population();
        activity.set_half_window(self.quota.half_window());
        if self.sketch.is_small_for(self.population) {
            self.sketch.forget();
            self.ghosts = Ghosts::new();
        } else if self.sketch.started() {
            self.sketch.resize(self.population);
            self.ghosts.start(self.population, self.quota.capacity());
        }
        self.unsettled = true;
    }

    /// Entries held.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.lists.len()
    }

    /// Whether no entry is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Weight held.
    #[inline]
    #[must_use]
    pub fn weight(&self) -> u64 {
        self.lists.weight()
    }

    /// An entry's weight; for an entry evicted or removed, what it was, until its slot is used again.
    #[inline]
    #[must_use]
    pub fn weight_of(&self, slot: u32) -> u32 {
        self.lists.weight_of(slot)
    }

    /// The room that the window has now, in weight. For simulations and statistics.
    #[must_use]
    pub fn window_max(&self) -> u64 {
        self.quota.window()
    }

    /// Entries from the next to be evicted on, as far as that can be told; pinned ones last.
    pub fn coldest<'a, E: Entries + ?Sized>(&'a self, entries: &'a E) -> impl Iterator<Item = u32> + 'a {
        Region::ALL.into_iter().flat_map(|region| self.lists.oldest_first(entries, region))
    }

    /// The reverse of [`coldest`](Self::coldest).
    pub fn hottest<'a, E: Entries + ?Sized>(&'a self, entries: &'a E) -> impl Iterator<Item = u32> + 'a {
        Region::ALL.into_iter().rev().flat_map(|region| self.lists.youngest_first(entries, region))
    }

    #[inline]
    pub(super) fn link<E: Entries + ?Sized>(&mut self, entries: &E, region: Region, slot: u32) {
        entries.header(slot).set_region(region);
        self.lists.push_tail(entries, region, slot);
    }

    /// Moves the head of a queue that has one to the tail of another.
    #[inline]
    pub(super) fn shift<E: Entries + ?Sized>(&mut self, entries: &E, from: Region, to: Region) -> u32 {
        let slot = self.lists.shift(entries, from, to);
        entries.header(slot).set_region(to);
        slot
    }
}
