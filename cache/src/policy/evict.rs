//! The hands and the duel: which entry goes.

use super::entries::Entries;
use super::ghost::Kind;
use super::header::Header;
use super::judged::{Judged, with_last_use};
use super::region::Region;
use super::state::Policy;

/// Entries that a hand may pass over in one call because they were used. What it stops at then is judged as it is.
const HAND: usize = 16;
/// Entries in use that one call passes over to find one of the protected that it may demote. Each of them was hit since
/// it was last passed, so this is work put off, not added. The number matters where nearly all entries are in use: the
/// climber learns of main's hits by bits that were cleared, and must learn of more than 32 for each miss, which is what
/// it takes to outweigh the best case for the smallest step of the window (a 32nd of the capacity).
const SPARED: usize = 64;
/// A candidate that loses a duel although it was used this often …
pub(super) const WARM: u32 = 6;
/// … wins nonetheless once in so many times. Otherwise somebody who knows which keys are hot could keep the cache from
/// ever taking in another, by making its victims look hot too.
pub(super) const LUCK: u64 = 128;

impl Policy {
    /// Chooses the entry to evict, forgets it and returns its slot. It may be the one inserted last. `None` if there is
    /// none that may be evicted.
    #[inline]
    pub fn evict<E: Entries + ?Sized>(&mut self, entries: &E) -> Option<u32> {
        if !self.sketch.started() {
            // Another shard takes room from this one, which never filled.
            self.start();
        }
        if self.is_restless(entries) {
            self.candidate(entries);
            self.victim(entries);
        }
        let candidate = self.lists.list(Region::Window).head();
        let victim = self.main();
        let is_rejected = match (candidate, victim) {
            (None, None) => return None,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (Some(candidate), Some((_, victim))) => {
                !self.wins(entries.header(candidate), entries.header(victim))
            }
        };
        let evicted = if is_rejected {
            self.reject(entries)
        } else {
            let evicted = self.expel(entries, victim?.0);
            if self.lists.list(Region::Window).weight() > self.quota.window() {
                self.shift(entries, Region::Window, Region::Probation);
                self.look_ahead(entries, Region::Window);
            }
            evicted
        };
        self.overflow(entries);
        Some(evicted)
    }

    /// Whether a hand has to move before the duel: in a scan, none has.
    #[inline]
    fn is_restless<E: Entries + ?Sized>(&self, entries: &E) -> bool {
        let is_still =
            |region| self.lists.list(region).head().is_some_and(|head| !entries.header(head).referenced());
        !(is_still(Region::Window) && is_still(Region::Probation)) || self.excess().is_some()
    }

    /// The queue of main whose head is the next victim, and that.
    #[inline]
    fn main(&self) -> Option<(Region, u32)> {
        let of = |region| Some((region, self.lists.list(region).head()?));
        of(Region::Probation).or_else(|| of(Region::Protected))
    }

    /// Asks for the memory that an eviction will visit when the new head of this queue is in question. Its header was asked
    /// for when it was second.
    #[inline]
    fn look_ahead<E: Entries + ?Sized>(&self, entries: &E, region: Region) {
        let Some(head) = self.lists.list(region).head() else { return };
        let hash = entries.header(head).hash;
        self.prefetch(hash);
        entries.prefetch_place(hash);
        if let Some(second) = self.lists.second(entries, region) {
            entries.prefetch(second);
        }
    }

    /// Asks for what is remembered of a key.
    #[inline]
    pub fn prefetch(&self, hash: u32) {
        let hash = self.spread.of(hash);
        self.sketch.prefetch(hash);
        self.ghosts.prefetch(hash);
    }

    /// Tells the policy that nothing has to go: the cache is still filling.
    #[inline]
    pub fn settle<E: Entries + ?Sized>(&mut self, entries: &E) {
        self.overflow(entries);
    }

    /// The head of the window, once those used since they came there have gone to its tail.
    #[inline(never)]
    pub(super) fn candidate<E: Entries + ?Sized>(&mut self, entries: &E) -> Option<u32> {
        for _ in 0..HAND {
            let header = entries.header(self.lists.list(Region::Window).head()?);
            if !self.harvest(header) {
                break;
            }
            header.set_stamp(self.quota.stamp(self.clocks.misses));
            self.lists.rotate(entries, Region::Window);
        }
        self.lists.list(Region::Window).head()
    }

    /// The queue of main whose head is the next victim, once those used on probation have been promoted.
    #[inline(never)]
    pub(super) fn victim<E: Entries + ?Sized>(&mut self, entries: &E) -> Option<Region> {
        for _ in 0..HAND {
            let Some(slot) = self.lists.list(Region::Probation).head() else { break };
            let header = entries.header(slot);
            if !self.harvest(header) {
                break;
            }
            self.shift(entries, Region::Probation, Region::Protected);
        }
        self.demote(entries);
        if !self.lists.list(Region::Probation).is_empty() {
            return Some(Region::Probation);
        }
        for _ in 0..HAND {
            let header = entries.header(self.lists.list(Region::Protected).head()?);
            if !self.harvest(header) {
                break;
            }
            self.lists.rotate(entries, Region::Protected);
        }
        (!self.lists.list(Region::Protected).is_empty()).then_some(Region::Protected)
    }

    /// Brings the protected queue back to its quota. Entries in use go round once more, but at most `SPARED` in one call:
    /// what is too much then stays for the next. (To demote an entry in use instead would be wrong: in a loop that nearly
    /// fits all are in use, and it costs up to 4 points there.)
    #[inline]
    pub(super) fn demote<E: Entries + ?Sized>(&mut self, entries: &E) {
        if self.excess().is_some() {
            self.demote_some(entries);
        }
    }

    fn demote_some<E: Entries + ?Sized>(&mut self, entries: &E) {
        let mut spared = 0;
        for _ in 0..2 * SPARED {
            let Some(slot) = self.excess() else { return };
            let header = entries.header(slot);
            if self.harvest(header) {
                self.lists.rotate(entries, Region::Protected);
                spared += 1;
                if spared == SPARED {
                    return;
                }
            } else {
                self.shift(entries, Region::Protected, Region::Probation);
            }
        }
    }

    /// The head of the protected queue if that is over its quota.
    #[inline]
    fn excess(&self) -> Option<u32> {
        let protected = self.lists.list(Region::Protected);
        if protected.weight() > self.quota.protected() { protected.head() } else { None }
    }

    #[inline]
    fn wins(&mut self, candidate: &Header, victim: &Header) -> bool {
        let candidate = self.frequency(candidate);
        // Counters only grow between halvings, so what was found for a victim that still waits is the least it has now.
        let known = self.judged.hash == victim.hash && self.judged.halvings == self.sketch.halvings();
        if !known || candidate > self.judged.with(victim) {
            let counted = self.sketch.frequency(self.spread.of(victim.hash));
            self.judged = Judged { hash: victim.hash, counted, halvings: self.sketch.halvings() };
        }
        candidate > self.judged.with(victim) || (candidate >= WARM && self.random.next() % LUCK == 0)
    }

    /// How often an entry was used, with the use that the sketch does not know of yet.
    #[inline]
    pub(super) fn frequency(&mut self, header: &Header) -> u32 {
        let counted = self.sketch.frequency(self.spread.of(header.hash));
        with_last_use(counted, header)
    }

    /// Counts the use of an entry since this was last called; says whether there was any.
    #[inline]
    pub(super) fn harvest(&mut self, header: &Header) -> bool {
        let used = header.take_reference();
        if used {
            self.sketch.increment(self.spread.of(header.hash));
        }
        used
    }

    /// Takes the head of the window out of the cache.
    #[inline]
    pub(super) fn reject<E: Entries + ?Sized>(&mut self, entries: &E) -> u32 {
        let slot = self.lists.pop_head(entries, Region::Window);
        self.bury(entries.header(slot), Kind::Rejected);
        self.look_ahead(entries, Region::Window);
        slot
    }

    /// Takes the head of a queue of main out of the cache.
    #[inline]
    pub(super) fn expel<E: Entries + ?Sized>(&mut self, entries: &E, region: Region) -> u32 {
        let slot = self.lists.pop_head(entries, region);
        self.clocks.victims = self.clocks.victims.wrapping_add(u64::from(self.lists.weight_of(slot)));
        self.bury(entries.header(slot), Kind::Victim);
        self.look_ahead(entries, region);
        slot
    }

    #[inline]
    fn bury(&mut self, header: &Header, kind: Kind) {
        self.harvest(header);
        header.set_region(Region::Unlinked);
        self.ghosts.remember(self.spread.of(header.hash), kind, &self.clocks);
    }
}
