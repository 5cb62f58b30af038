//! Yardsticks: the best that can be had, and LRU by bytes.

use std::collections::BTreeMap;

use super::access::{Access, Setup, Tally};
use crate::trace::Loaded;

/// Belady's optimum for entries (L. Belady, "A study of replacement algorithms", 1966), which evicts what is needed last,
/// and does not take in what is needed later than all it holds.
#[must_use]
pub fn belady(trace: &Loaded, capacity: u64) -> Tally {
    const NEVER: u64 = u64::MAX;
    // When each request's key is asked for next.
    let mut next = vec![NEVER; trace.len()];
    let mut seen = vec![NEVER; trace.distinct()];
    for (time, &id) in trace.ids.iter().enumerate().rev() {
        next[time] = std::mem::replace(&mut seen[id as usize], time as u64);
    }
    // What is held, by when it is needed next. Keys that are never needed again are not held at all, so times are unique.
    let mut held: BTreeMap<u64, u32> = BTreeMap::new();
    let mut tally = Tally::default();
    for (time, &id) in trace.ids.iter().enumerate() {
        let hit = held.remove(&(time as u64)).is_some();
        tally.count(hit, trace.size(time));
        if next[time] == NEVER {
            continue;
        }
        held.insert(next[time], id);
        if held.len() as u64 > capacity {
            held.pop_last();
        }
    }
    tally
}

/// LRU bounded in bytes.
#[derive(Debug)]
pub struct WeightedLru {
    entries: lru::LruCache<u32, u32, ahash::RandomState>,
    weight: u64,
    capacity: u64,
}

impl WeightedLru {
    /// An empty cache.
    #[must_use]
    pub fn new(setup: Setup) -> Self {
        let entries = lru::LruCache::unbounded_with_hasher(setup.hasher());
        Self { entries, weight: 0, capacity: setup.capacity }
    }
}

impl Access for WeightedLru {
    fn access(&mut self, id: u32, size: u32) -> bool {
        if self.entries.get(&id).is_some() {
            return true;
        }
        if u64::from(size) <= self.capacity {
            self.entries.put(id, size);
            self.weight += u64::from(size);
        }
        while self.weight > self.capacity {
            let Some((_, size)) = self.entries.pop_lru() else { break };
            self.weight -= u64::from(size);
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(ids: &[u32]) -> Loaded {
        let keys = ids.iter().copied().max().map_or(0, |max| u64::from(max) + 1);
        Loaded { ids: ids.to_vec(), sizes: Vec::new(), keys: (0..keys).collect() }
    }

    #[test]
    fn belady_keeps_what_is_needed_first() {
        assert_eq!(belady(&trace(&[0, 1, 2, 0, 1, 3, 0]), 1).hits, 2);
        assert_eq!(belady(&trace(&[0, 1, 2, 0, 1, 3, 0]), 2).hits, 3);
        assert_eq!(belady(&trace(&[]), 2).hits, 0);
        let looped: Vec<u32> = (0..100).map(|i| i % 10).collect();
        assert_eq!(belady(&trace(&looped), 10).hits, 90);
    }

    #[test]
    fn weighted_lru_stays_within_its_bytes() {
        let setup = Setup { capacity: 10, byte: true, seed: 1, shards: None, distinct: 5, mean_size: 6 };
        let mut lru = WeightedLru::new(setup);
        assert!(!lru.access(1, 6) && !lru.access(2, 4) && lru.access(1, 6));
        assert!(!lru.access(3, 4), "evicts 2, the older");
        assert!(lru.access(1, 6) && !lru.access(2, 4));
        assert!(!lru.access(4, 11) && !lru.access(4, 11), "too heavy to be kept");
    }
}
