//! Entries by tag: writing them, removing all that carry one, and loads that will ([`claim`](super::claim)).

use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use super::Core;
use super::claim::Claim;
use super::load::Leader;
use super::write::Life;
use crate::reclaim;
use crate::removal::RemovalCause;

/// Entries removed under one lock.
const TOGETHER: usize = 64;

impl<K: Hash + Eq, V, S: BuildHasher> Leader<'_, K, V, S> {
    /// What this load stores will carry tags. Before its loader runs.
    pub(crate) fn claim(&mut self, tags: &[Arc<str>]) {
        if !tags.is_empty() {
            self.claim = Some(Claim::new(&self.core.tag_loads, tags));
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
        self.tag_loads.invalidate(tag);
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
        held + self.tag_loads.len()
    }
}
