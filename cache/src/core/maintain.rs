//! Housekeeping without a thread: expiry, reclamation, clearing, and the check of all invariants.

use super::Core;
use super::write::Removed;
use crate::reclaim;
use crate::removal::RemovalCause;
use crate::store::locked::Locked;

/// Buckets of the table that each write checks for expired entries.
const SWEEP_BUCKETS: usize = 1;
/// Entries unlinked under one lock where many go, one by one.
const REMOVED_TOGETHER: usize = 64;
/// How often maintenance looks again while a reader holds back what was removed.
const PATIENCE: usize = 32;

impl<K, V, S> Core<K, V, S> {
    /// Looks at a few entries for expired ones; each write pays for a little of it.
    pub(crate) fn sweep_a_little(&self, locked: &mut Locked<'_, K, V>, removed: &mut Removed) {
        if locked.timed() {
            let ids = locked.next_ids(SWEEP_BUCKETS);
            self.expire(locked, &ids, removed);
        }
    }

    fn expire(&self, locked: &mut Locked<'_, K, V>, ids: &[u32], removed: &mut Removed) {
        let now = self.ticks.now();
        for &id in ids {
            if locked.times(id).is_some_and(|times| times.expired(now)) {
                let weight = u64::from(locked.weight_of(id));
                locked.expire(id);
                self.budget.give(weight);
                if self.watched() {
                    removed.push((id, RemovalCause::Expired));
                }
            }
        }
    }

    /// Removes all expired entries and drops all removed ones that no pin protects.
    pub(crate) fn run_pending_tasks(&self) {
        for (index, shard) in self.shards.iter().enumerate() {
            let pin = self.pin_if_watched();
            let mut removed = Removed::new();
            let mut locked = shard.lock();
            if locked.timed() {
                let ids = locked.ids();
                self.expire(&mut locked, &ids, &mut removed);
            }
            let aftermath = locked.finish();
            self.conclude(pin, index, &removed, aftermath);
        }
        for shard in self.shards.iter() {
            shard.lock().seal();
        }
        // Readers that are in the middle of a lookup are done in an instant; a pin that is held longer is not waited for.
        let horizon = reclaim::seal();
        for _ in 0..PATIENCE {
            if reclaim::advance() > horizon {
                break;
            }
            std::thread::yield_now();
        }
        for shard in self.shards.iter() {
            let dead = shard.lock().collect_all();
            drop(dead);
        }
    }

    /// Removes every entry, and keeps loads in flight from storing theirs.
    pub(crate) fn clear(&self) {
        for (index, shard) in self.shards.iter().enumerate() {
            let pin = self.pin_if_watched();
            let mut removed = Removed::new();
            let mut locked = shard.lock();
            self.flights[index].detach_all();
            for id in locked.ids() {
                let expired = self.expired(&locked, id);
                self.unlink(&mut locked, id);
                if self.watched() {
                    removed.push((id, if expired { RemovalCause::Expired } else { RemovalCause::Explicit }));
                }
            }
            let aftermath = locked.finish();
            self.conclude(pin, index, &removed, aftermath);
        }
    }

    /// Removes the live entries that `is_doomed` picks, and returns how many. It is asked without a lock, under a pin; what
    /// was written since it was asked stays.
    pub(crate) fn remove_if(&self, mut is_doomed: impl FnMut(&K, &V) -> bool) -> u64 {
        let mut count = 0;
        for (index, shard) in self.shards.iter().enumerate() {
            let pin = reclaim::pin();
            let locked = shard.lock();
            let mut ids = locked.ids();
            ids.retain(|&id| !self.expired(&locked, id));
            let nodes: Vec<_> = ids.into_iter().map(|id| (id, locked.pinned_node(&pin, id))).collect();
            drop(locked);
            let doomed: Vec<_> =
                nodes.into_iter().filter(|(_, node)| is_doomed(&node.key, &node.value)).collect();
            for some in doomed.chunks(REMOVED_TOGETHER) {
                let mut removed = Removed::new();
                let mut locked = shard.lock();
                for &(id, node) in some {
                    // Our pin keeps the cell from being filled anew: what is found in it is the entry that was judged.
                    let is_it = |key: &K| std::ptr::eq(key, &raw const node.key);
                    if locked.find(node.header.hash, is_it).is_none_or(|spot| spot.id != id) {
                        continue;
                    }
                    let expired = self.expired(&locked, id);
                    self.unlink(&mut locked, id);
                    count += u64::from(!expired);
                    let cause = if expired { RemovalCause::Expired } else { RemovalCause::Explicit };
                    self.note(&mut removed, id, cause);
                }
                let aftermath = locked.finish();
                self.report(&pin, index, &removed);
                Self::bury(None, aftermath);
            }
        }
        count
    }

    pub(crate) fn entry_count(&self) -> u64 {
        if self.weigher.is_none() {
            // Each entry weighs 1, and the budget is exact.
            return self.budget.used();
        }
        self.shards.iter().map(|shard| shard.entries() as u64).sum()
    }

    /// Panics unless every shard is consistent and the budget is the sum of what they hold. Takes one lock after the
    /// other: call it while nobody writes.
    pub(crate) fn check_invariants(&self) {
        let mut held = 0;
        for shard in self.shards.iter() {
            let locked = shard.lock();
            locked.check_invariants();
            held += locked.weight();
        }
        assert_eq!(held, self.budget.used(), "the budget is the sum of the shards");
        assert!(held <= self.budget.max(), "the bound holds");
        for flights in &self.flights {
            flights.check_invariants();
        }
    }
}
