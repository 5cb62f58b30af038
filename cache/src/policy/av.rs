//! Admission by weight: a candidate must be worth more than all that it would push out, together.
//!
//! The rule AV (aggregated victims) of G. Einziger, O. Eytan, R. Friedman, B. Manes, "Lightweight Robust Size Aware Cache
//! Management", ACM ToS 2022 (arXiv 2105.08770): victims are gathered in their order until they weigh as much as the
//! candidate; it gets in if it was used more often than all of them taken together. The gathering ends as soon as their sum
//! is too much for the candidate, which is after 15 of them unless they have all but faded from the sketch.
//!
//! The victims leave one by one, as room is needed: the rest is `owed`, and later evictions take it without a duel.

use super::entries::Entries;
use super::evict::{LUCK, WARM};
use super::region::Region;
use super::state::Policy;

/// Entries of main that one duel looks at. A candidate that would push out more is too heavy.
const GATHERED: usize = 64;

impl Policy {
    /// As [`evict`](Self::evict), with admission by weight.
    pub(super) fn evict_by_weight<E: Entries + ?Sized>(&mut self, entries: &E) -> Option<u32> {
        if !self.sketch.started() {
            self.start();
        }
        let candidate = self.candidate(entries);
        let victim = self.victim(entries);
        let evicted = match (candidate, victim) {
            (None, None) => return None,
            (Some(_), None) => self.reject(entries),
            (None, Some(region)) => self.expel(entries, region),
            (Some(candidate), Some(region)) => {
                if self.owed == 0 && self.outweighs(entries, candidate) {
                    self.owed = u64::from(self.lists.weight_of(candidate));
                    if self.lists.list(Region::Window).weight() > self.quota.window() {
                        self.shift(entries, Region::Window, Region::Probation);
                    }
                }
                if self.owed > 0 { self.expel(entries, region) } else { self.reject(entries) }
            }
        };
        self.owed = self.owed.saturating_sub(u64::from(self.lists.weight_of(evicted)));
        self.pass_by_weight(entries);
        Some(evicted)
    }

    /// Lets what the window has too much of pass on to main as long as main has room for it. What does not fit waits for its
    /// duel, at the head of the window.
    pub(super) fn pass_by_weight<E: Entries + ?Sized>(&mut self, entries: &E) {
        self.unsettled = true;
        for _ in 0..GATHERED {
            let window = self.lists.list(Region::Window);
            let (quota, main) = (self.quota.window(), self.lists.weight() - window.weight());
            let Some(slot) = window.head().filter(|_| window.weight() > quota) else {
                self.unsettled = false;
                return;
            };
            let weight = u64::from(self.lists.weight_of(slot));
            if main + weight > self.quota.capacity() - quota {
                return;
            }
            self.shift(entries, Region::Window, Region::Probation);
            self.harvest(entries.header(slot));
        }
    }

    /// Whether the candidate was used more often than all that must go for it.
    fn outweighs<E: Entries + ?Sized>(&mut self, entries: &E, candidate: u32) -> bool {
        let worth = self.frequency(entries.header(candidate));
        if worth >= WARM && self.random.next() % LUCK == 0 {
            return true;
        }
        let needed = u64::from(self.lists.weight_of(candidate));
        let (mut weight, mut used) = (0, 0);
        let mut looks = GATHERED;
        for region in [Region::Probation, Region::Protected] {
            let mut next = self.lists.list(region).head();
            while let Some(slot) = next {
                if looks == 0 {
                    return false;
                }
                looks -= 1;
                let header = entries.header(slot);
                next = self.lists.younger(entries, region, slot);
                // One that was used meanwhile would be passed over, but for the head, which had its chance.
                let spared = header.referenced() && self.lists.list(region).head() != Some(slot);
                if !spared {
                    used += self.frequency(header);
                    weight += u64::from(self.lists.weight_of(slot));
                    if used >= worth {
                        return false;
                    }
                    if weight >= needed {
                        return true;
                    }
                }
            }
        }
        // It weighs more than all of main.
        used < worth
    }
}
