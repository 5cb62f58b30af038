//! The change of quotas in small steps: one of many entries is spread over many inserts, so that no insert waits for it.

use super::activity::Activity;
use super::entries::Entries;
use super::region::Region;
use super::state::Policy;

/// Entries moved by one insert for a change of quotas.
const STEP: usize = 64;

impl Policy {
    /// Moves quotas on by one step, and entries into a window that grows. One that shrinks lets go of entries when the
    /// engine next calls `evict` or `settle`.
    #[cold]
    pub(super) fn move_quota<E: Entries + ?Sized>(&mut self, entries: &E, activity: &Activity) {
        let mean = (self.quota.capacity() / self.population.max(1)).max(1);
        let grown = self.quota.advance(mean.saturating_mul(STEP as u64));
        activity.set_half_window(self.quota.half_window());
        if grown == 0 {
            return;
        }
        self.demote(entries);
        let stamp = self.quota.stamp(self.clocks.misses);
        let mut moved = 0;
        for _ in 0..STEP {
            let region = if self.lists.list(Region::Probation).is_empty() {
                Region::Protected
            } else {
                Region::Probation
            };
            let Some(slot) = self.lists.list(region).head() else { break };
            moved += u64::from(self.lists.weight_of(slot));
            if moved > grown {
                break;
            }
            entries.header(slot).set_stamp(stamp);
            self.shift(entries, region, Region::Window);
        }
    }

    /// Lets what the window has too much of pass on to probation, oldest first.
    #[inline]
    pub(super) fn overflow<E: Entries + ?Sized>(&mut self, entries: &E) {
        self.unsettled = self.overflows();
        if self.unsettled {
            self.pass_on(entries);
        }
    }

    #[inline]
    fn overflows(&self) -> bool {
        self.lists.list(Region::Window).weight() > self.quota.window()
    }

    #[inline(never)]
    fn pass_on<E: Entries + ?Sized>(&mut self, entries: &E) {
        for _ in 0..2 * STEP {
            let slot = self.shift(entries, Region::Window, Region::Probation);
            self.harvest(entries.header(slot));
            self.unsettled = self.overflows();
            if !self.unsettled {
                return;
            }
        }
    }
}
