//! A shard that is emptied at once, and its entries, which leave one by one afterwards.
//!
//! To empty it, an empty table takes the place of the tables, and the policy's queues are joined to one in which the entries
//! wait; both cost the same whatever the number of entries. Readers come from a table, so from then on no lookup finds what
//! was there, and nothing in a hit asks for it. What waits still fills its cells and is taken out by later calls, a bounded
//! number each.

use super::locked::Locked;
use super::shard::Detour;
use super::table::Table;
use crate::reclaim;
use crate::sync::Ordering;

/// So few entries are cheaper taken out of the table one by one than with a new table.
const FEW: usize = if cfg!(any(millpond_loom, millpond_shuttle)) { 0 } else { 8 };

/// An entry that was cleared, and is now in limbo.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gone {
    pub(crate) id: u32,
    pub(crate) weight: u32,
    /// Whether its time was over when it was cleared.
    pub(crate) expired: bool,
}

impl<K, V> Locked<'_, K, V> {
    /// Takes all entries out of everybody's sight; returns their number and weight. `now`: the time, if the shard is timed.
    pub(crate) fn clear(&mut self, now: u64) -> (usize, u64) {
        let (entries, weight) = (self.state.policy.len(), self.state.policy.weight());
        // What iterates throws away what it has taken from here.
        self.shard.load.clears.fetch_add(1, Ordering::Release);
        if entries == 0 {
            return (0, 0);
        }
        if entries <= FEW {
            let ids: Vec<u32> = self.state.policy.coldest(&self.view()).collect();
            ids.into_iter().for_each(|id| self.hide(id));
        } else {
            self.hide_all();
        }
        if let Some(wheel) = &mut self.state.wheel {
            wheel.clear();
        }
        let view = self.view();
        self.state.policy.clear(&view);
        self.state.clearings.push_back((entries, now));
        (entries, weight)
    }

    /// Puts an empty table in the place of those that there are.
    fn hide_all(&mut self) {
        let empty = Box::new(Table::for_entries(self.table().capacity()));
        let shard = self.shard;
        let tables = [
            shard.next.swap(std::ptr::null_mut(), Ordering::AcqRel),
            shard.table.swap(Box::into_raw(empty), Ordering::AcqRel),
        ];
        shard.set(Detour::Growth, false);
        // After both left.
        let stamp = reclaim::seal();
        self.state
            .retired
            .extend(tables.into_iter().filter(|table| !table.is_null()).map(|table| (stamp, table)));
    }

    /// Whether entries wait that were cleared.
    #[inline]
    pub(crate) fn has_cleared(&self) -> bool {
        self.state.policy.cleared().0 != 0
    }

    /// Number and weight of the entries that wait.
    pub(crate) fn cleared(&self) -> (usize, u64) {
        self.state.policy.cleared()
    }

    /// Lays the next entry out that was cleared.
    #[inline]
    pub(crate) fn next_cleared(&mut self) -> Option<Gone> {
        if self.has_cleared() { self.lay_out_cleared() } else { None }
    }

    #[inline(never)]
    fn lay_out_cleared(&mut self) -> Option<Gone> {
        let view = self.view();
        let id = self.state.policy.next_cleared(&view)?;
        let weight = self.weight_of(id);
        let (left, now) = self.state.clearings.front_mut().expect("each entry belongs to a clearing");
        let now = *now;
        *left -= 1;
        if *left == 0 {
            self.state.clearings.pop_front();
        }
        let expired = self.times(id).is_some_and(|times| times.end() != 0 && times.expired(now));
        self.lay_out(id);
        Some(Gone { id, weight, expired })
    }

    pub(super) fn check_cleared(&self) {
        let batches = &self.state.clearings;
        assert!(batches.iter().all(|&(entries, _)| entries > 0), "no clearing of nothing");
        let waiting: usize = batches.iter().map(|&(entries, _)| entries).sum();
        assert_eq!(waiting, self.cleared().0, "what waits belongs to a clearing");
    }
}
