//! Another bound while the cache is in use.
//!
//! Callers cooperate: each works towards the bound asked for last, so none waits for another and none holds a lock while
//! user code runs. See [`budget`](super::budget) for why the bound is exact when a call returns.

use super::Core;
use crate::sync::thread;

/// Entries evicted under one lock.
const EVICTED_TOGETHER: usize = 64;

/// A shard's part of the bound. A shard of an unbounded cache has no bound either.
pub(crate) fn share(shard: usize, count: usize, max: u64) -> u64 {
    if max == u64::MAX {
        return max;
    }
    let (shard, count) = (shard as u64, count as u64);
    max / count + u64::from(shard < max % count)
}

impl<K, V, S> Core<K, V, S> {
    /// Sets the bound, and evicts until it holds.
    pub(crate) fn set_max(&self, max: u64) {
        self.budget.request(max);
        let count = self.shards.len();
        for (index, shard) in self.shards.iter().enumerate() {
            let mut locked = shard.lock();
            // Of several callers the last one to be here may have come first; so not what it asked for.
            locked.set_share(share(index, count, self.budget.target()));
            let aftermath = locked.finish();
            Self::bury(None, aftermath);
        }
        while !self.budget.adjust(0) {
            // The room of what was cleared comes before that of anybody who lives.
            self.sweep_all();
            let evicted = self.evict_excess(true) || self.evict_excess(false);
            if !evicted {
                // What is missing is in the hands of writes that are about to use it or give it back.
                thread::yield_now();
            }
        }
    }

    /// Goes through the shards once and evicts what is too much; first in those that hold more than their share. False if
    /// there was nothing to evict.
    fn evict_excess(&self, above_share: bool) -> bool {
        let mut evicted = false;
        for index in 0..self.shards.len() {
            while self.budget.excess() > 0 && self.evict_some(index, above_share) {
                evicted = true;
            }
        }
        evicted
    }

    /// Evicts a few entries of a shard for a bound that is to shrink. False if there was nothing to evict.
    fn evict_some(&self, index: usize, above_share: bool) -> bool {
        let shard = &self.shards[index];
        let least = if above_share { shard.share() } else { 0 };
        if shard.weight() <= least {
            return false;
        }
        let pin = self.pin_if_watched();
        let mut removed = self.removed();
        let mut locked = shard.lock();
        let (mut freed, excess) = (0, self.budget.excess());
        for _ in 0..EVICTED_TOGETHER {
            if freed >= excess || locked.weight() <= least {
                break;
            }
            let Some(id) = locked.evict::<false>(None) else { break };
            freed += u64::from(locked.weight_of(id));
            self.note_evicted(&locked, &mut removed, id);
        }
        let aftermath = locked.finish();
        // Before any user code: nobody must have to wait for that.
        self.budget.adjust(freed);
        self.conclude(pin, index, &removed, aftermath);
        freed > 0
    }
}
