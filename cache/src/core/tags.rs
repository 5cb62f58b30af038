//! Entries by tag: writing them, and removing all that carry one.
//!
//! A load says its tags when it begins, a refresh has those of its entry. Who invalidates a tag goes through the shards, and
//! under each one's lock detaches the flights that will carry it, as a removal of their keys would: what they load is not stored, and who
//! asks later loads anew. So either a value was there before its shard was looked at, and is removed, or it is not stored.

use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use super::Core;
use super::write::Life;
use crate::reclaim;
use crate::removal::RemovalCause;

/// Entries removed under one lock.
const TOGETHER: usize = 64;

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
        let mut count = 0;
        for (index, shard) in self.shards.iter().enumerate() {
            // What is tagged while we are here comes after us: so this ends.
            let locked = shard.lock();
            self.flights[index].detach_tagged(&locked, tag);
            let mut left = locked.tagged(tag);
            drop(locked);
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
                    // Who computes this entry has seen a value that is gone.
                    self.flights[index].detach_part(&locked, locked.hash_of(id));
                    let expired = self.expired(&locked, id);
                    self.unlink(&mut locked, id);
                    count += u64::from(!expired);
                    let cause = if expired { RemovalCause::Expired } else { RemovalCause::Explicit };
                    self.note(&locked, &mut removed, id, cause);
                }
                let aftermath = locked.finish();
                self.conclude(Some(pin), index, &removed, aftermath);
            }
        }
        count
    }

    /// Joins of entries and tags.
    pub(crate) fn tag_links(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().tag_links()).sum()
    }
}
