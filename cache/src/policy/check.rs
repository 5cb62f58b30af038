//! What must hold after each call. For tests; walks everything.

use super::entries::Entries;
use super::kind::Kind;
use super::region::Region;
use super::state::Policy;

impl Policy {
    /// Walks the queues and panics unless links, counts, weights, quotas and the entries' headers agree. O(n).
    ///
    /// # Panics
    /// If something does not hold, with a message that says what.
    pub fn check_invariants<E: Entries + ?Sized>(&self, entries: &E) {
        self.lists.check(entries);
        for region in Region::ALL {
            for slot in self.lists.oldest_first(entries, region) {
                assert_eq!(entries.header(slot).region(), region, "the region in the header of slot {slot}");
                let pinned = self.lists.weight_of(slot) == 0;
                assert_eq!(pinned, region == Region::Pinned, "slot {slot}: pinned means weight 0");
            }
        }
        assert_eq!(self.lists.list(Region::Unlinked).len(), 0, "nothing is queued nowhere");
        let (capacity, window) = (self.quota.capacity(), self.quota.window());
        assert!(window >= 1, "the window has room");
        assert!(window + self.quota.protected() <= capacity.max(1), "quotas fit the capacity");
        let held = self.lists.list(Region::Window).weight();
        assert!(
            self.unsettled || self.kind == Kind::Lru || held <= window,
            "the window holds {held}, its quota is {window}"
        );
    }
}
