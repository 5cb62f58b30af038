//! Entries by tag: writing them, removing all that carry one, and loads that will.
//!
//! A load says its tags when it begins. Who invalidates one counts that first and then goes through the shards; a load stores
//! its value, under the shard's lock, only if nobody counted since it began. So either the value was there before its shard was
//! looked at, and is removed, or it is not stored.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use parking_lot::Mutex;

use super::Core;
use super::write::Life;
use crate::reclaim;
use crate::removal::RemovalCause;

/// Entries removed under one lock.
const TOGETHER: usize = 64;

/// The tags of loads in flight.
#[derive(Debug, Default)]
pub(crate) struct TagLoads(Mutex<HashMap<Arc<str>, Loads, ahash::RandomState>>);

#[derive(Debug, Default)]
struct Loads {
    in_flight: usize,
    invalidations: u64,
}

/// What a load in flight has said about its tags. Ends with it.
pub(crate) struct Claim {
    loads: Arc<TagLoads>,
    tags: Box<[Arc<str>]>,
    /// Of all of them, when the load began.
    invalidations: u64,
}

impl Claim {
    pub(super) fn new(loads: &Arc<TagLoads>, tags: &[Arc<str>]) -> Self {
        let mut table = loads.0.lock();
        let mut invalidations = 0;
        for tag in tags {
            let held = table.entry(Arc::clone(tag)).or_default();
            held.in_flight += 1;
            invalidations += held.invalidations;
        }
        drop(table);
        Self { loads: Arc::clone(loads), tags: tags.into(), invalidations }
    }

    /// Whether none of the tags was invalidated since.
    pub(super) fn holds(&self) -> bool {
        let table = self.loads.0.lock();
        // They only grow, and stay while we are in flight.
        self.tags.iter().map(|tag| table[tag].invalidations).sum::<u64>() == self.invalidations
    }

    pub(super) fn tags(&self) -> &[Arc<str>] {
        &self.tags
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut table = self.loads.0.lock();
        for tag in &self.tags {
            let Some(held) = table.get_mut(tag) else { continue };
            held.in_flight -= 1;
            if held.in_flight == 0 {
                table.remove(tag);
            }
        }
    }
}

impl<K, V, S> Core<K, V, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    /// Inserts or replaces; the new value carries these tags and no others.
    pub(crate) fn insert_tagged(&self, key: K, value: V, life: Life, tags: &[Arc<str>]) {
        let hash = self.hash(&key);
        self.insert_fresh_tagged(self.fresh(hash, key, value, life), tags);
    }
}

impl<K, V, S> Core<K, V, S> {
    /// Removes all live entries that carry a tag, and returns how many.
    pub(crate) fn invalidate_tag(&self, tag: &str) -> u64 {
        if let Some(loads) = self.tag_loads.0.lock().get_mut(tag) {
            loads.invalidations += 1;
        }
        let mut count = 0;
        for (index, shard) in self.shards.iter().enumerate() {
            // What is tagged while we are here comes after us: so this ends.
            let mut left = shard.lock().tagged(tag);
            while left > 0 {
                let pin = reclaim::pin();
                let mut removed = self.removed();
                let mut locked = shard.lock();
                for _ in 0..TOGETHER.min(left) {
                    left -= 1;
                    let Some(taken) = locked.take_tagged(tag) else {
                        left = 0;
                        break;
                    };
                    let Some(id) = taken else { continue };
                    let expired = self.expired(&locked, id);
                    self.unlink(&mut locked, id);
                    count += u64::from(!expired);
                    let cause = if expired { RemovalCause::Expired } else { RemovalCause::Explicit };
                    self.note(&mut removed, id, cause);
                }
                let aftermath = locked.finish();
                self.conclude(Some(pin), index, &removed, aftermath);
            }
        }
        count
    }

    /// Joins of entries and tags, and tags of loads in flight.
    pub(crate) fn tag_links(&self) -> usize {
        let held: usize = self.shards.iter().map(|shard| shard.lock().tag_links()).sum();
        held + self.tag_loads.0.lock().len()
    }
}
