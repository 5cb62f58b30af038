//! Housekeeping without a thread: expiry, reclamation, and the check of all invariants.

use super::Core;

use crate::notifications::Removed;
use crate::reclaim;
use crate::removal::RemovalCause;
use crate::store::locked::Locked;
use crate::store::wheel::Step;
use crate::sync::{Ordering, thread};

/// Timers that a write looks at, at most: more than one, so that expiry outruns the writes that cause it, and few, so that none of
/// them is slow because very much ended at once.
const STEPS_PER_WRITE: usize = 4;
/// Timers that maintenance looks at before it lets writers of the shard in.
const STEPS_PER_LOCK: usize = 256;
/// Entries unlinked under one lock where many go, one by one.
const REMOVED_TOGETHER: usize = 64;
/// How often maintenance looks again while a reader holds back what was removed.
const PATIENCE: usize = 32;

impl<K, V, S> Core<K, V, S> {
    /// Removes a few expired entries; each write to a timed shard does that first, so that room is taken from the dead.
    pub(crate) fn expire_some(&self, locked: &mut Locked<'_, K, V>, removed: &mut Removed) {
        if locked.timed() {
            self.turn(locked, self.ticks.now(), STEPS_PER_WRITE, removed);
        }
    }

    /// Turns a shard's wheel; true if nothing is left to do at this time.
    fn turn(&self, locked: &mut Locked<'_, K, V>, now: u64, steps: usize, removed: &mut Removed) -> bool {
        for _ in 0..steps {
            match locked.next_timer(now) {
                Step::Due(id) => self.expire(locked, id, removed),
                Step::Moved => {}
                Step::Idle => return true,
            }
        }
        false
    }

    fn expire(&self, locked: &mut Locked<'_, K, V>, id: u32, removed: &mut Removed) {
        let weight = u64::from(locked.weight_of(id));
        locked.expire(id);
        self.budget.give(weight);
        self.note(locked, removed, id, RemovalCause::Expired);
    }

    /// Removes what has expired in a shard and ends the growth of its table, by portions, so that writers need not wait for all.
    fn settle_shard(&self, index: usize) {
        loop {
            let pin = self.pin_if_watched();
            let mut removed = self.removed();
            let mut locked = self.shards[index].lock();
            let mut done = locked.settle_table(STEPS_PER_LOCK / 8);
            if locked.timed() {
                // Under the lock: a time from before it may lie behind what a write has dealt with meanwhile.
                let now = self.ticks.now();
                locked.follow_clock(now);
                done &= self.turn(&mut locked, now, STEPS_PER_LOCK, &mut removed);
            }
            let aftermath = locked.finish();
            self.conclude(pin, index, &removed, aftermath);
            if done {
                return;
            }
        }
    }

    /// Removes what has expired before its timer, because a read shortened its life. Looks at every entry.
    #[cold]
    fn expire_shortened(&self, index: usize) {
        let ids = self.shards[index].lock().ids();
        for portion in ids.chunks(STEPS_PER_LOCK) {
            let pin = self.pin_if_watched();
            let mut removed = self.removed();
            let mut locked = self.shards[index].lock();
            let now = self.ticks.now();
            for &id in portion {
                if locked.is_overdue(id, now) {
                    self.expire(&mut locked, id, &mut removed);
                }
            }
            let aftermath = locked.finish();
            self.conclude(pin, index, &removed, aftermath);
        }
    }

    /// Removes all expired entries, ends growth, and drops all removed ones that no pin protects.
    pub(crate) fn run_pending_tasks(&self) {
        self.sweep_all();
        let shortened = self.shortened.swap(false, Ordering::Relaxed);
        for index in 0..self.shards.len() {
            self.settle_shard(index);
            if shortened {
                self.expire_shortened(index);
            }
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
            thread::yield_now();
        }
        for shard in self.shards.iter() {
            let dead = shard.lock().collect_all();
            drop(dead);
        }
        self.published.renew(self);
    }

    /// Removes the live entries that `is_doomed` picks, and returns how many. It is asked without a lock, under a pin; what
    /// was written since it was asked stays.
    pub(crate) fn remove_if(&self, mut is_doomed: impl FnMut(&K, &V) -> bool) -> u64 {
        let mut count = 0;
        for (index, shard) in self.shards.iter().enumerate() {
            let pin = reclaim::pin();
            let locked = shard.lock();
            let mut ids = locked.ids();
            // Of the dead, those that a failing load might still return.
            ids.retain(|&id| self.freshness.grace != 0 || !self.expired(&locked, id));
            let nodes: Vec<_> = ids.into_iter().map(|id| (id, locked.pinned_node(&pin, id))).collect();
            drop(locked);
            let doomed: Vec<_> =
                nodes.into_iter().filter(|(_, node)| is_doomed(&node.key, &node.value)).collect();
            for some in doomed.chunks(REMOVED_TOGETHER) {
                let mut removed = self.removed();
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
                    self.note(&locked, &mut removed, id, cause);
                }
                let aftermath = locked.finish();
                self.report(&pin, index, &removed);
                Self::bury(None, aftermath);
            }
            drop(pin);
            self.wait_for_receiver();
        }
        count
    }

    /// The weight of what is not cleared.
    pub(crate) fn weighted_size(&self) -> u64 {
        // In this order: what is taken out in between is counted, and never more than the bound.
        let used = self.budget.used();
        used.saturating_sub(self.waiting.weight())
    }

    pub(crate) fn entry_count(&self) -> u64 {
        if self.weigher.is_none() {
            // Each entry weighs 1, and the budget is exact.
            return self.weighted_size();
        }
        self.shards.iter().map(|shard| shard.entries() as u64).sum()
    }

    /// Panics unless every shard is consistent and the budget is the sum of what they hold. Takes one lock after the
    /// other: call it while nobody writes.
    pub(crate) fn check_invariants(&self) {
        let (mut held, mut waiting) = (0, (0, 0));
        for (shard, flights) in self.shards.iter().zip(&self.flights) {
            let locked = shard.lock();
            locked.check_invariants();
            flights.check_invariants(&locked);
            let (entries, weight) = locked.cleared();
            held += locked.weight() + weight;
            waiting = (waiting.0 + entries as u64, waiting.1 + weight);
        }
        assert_eq!(waiting, self.waiting.sums(), "what waits is counted");
        assert_eq!(held, self.budget.used(), "the budget is the sum of the shards");
        assert!(held <= self.budget.max(), "the bound holds");
    }
}

#[cfg(all(test, not(any(millpond_loom, millpond_shuttle))))]
mod tests {
    use crate::Cache;

    #[test]
    fn maintenance_ends_growth_that_writes_left_in_the_middle() {
        let cache: Cache<u32, u32> =
            Cache::builder().max_weight(1 << 20).weigher(|_, _| 1).shards(1).build().unwrap();
        let shard = &cache.core.shards[0];
        let mut written = 0;
        while written < 10_000 || !shard.is_growing() {
            cache.insert(written, written);
            written += 1;
        }
        cache.run_pending_tasks();
        assert!(!shard.is_growing());
        assert!((0..written).all(|key| cache.get(&key) == Some(key)));
        cache.check_invariants();
    }
}
