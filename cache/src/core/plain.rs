//! Inserts into a cache of which nothing is asked but to hold entries: each weighs 1, none ends, nobody is told.
//!
//! The same steps as in [`write`](super::write), less what such a cache has no use for, and the rare cases left to it. They are
//! most of what a cache-aside service writes, so they are worth a way of their own: half the instructions.

use std::hash::{BuildHasher, Hash};

use super::write::Fresh;
use super::{Core, KeyHash};
use crate::store::locked::{Ends, Locked};
use crate::store::swap::Peek;

impl<K, V, S> Core<K, V, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    /// Inserts or replaces. Only for a cache that is `plain`.
    #[inline]
    pub(super) fn insert_plain(&self, hash: KeyHash, key: K, value: V) {
        let index = self.shard_index(hash);
        let mut locked = self.shards.of(index).lock();
        // Key and value stay with us while keys are compared: they must not be dropped under the lock if that panics.
        match locked.peek(hash.part(), &key) {
            Peek::Held(link, old) => {
                if let Err((key, value)) = locked.swap(link, old, key, value) {
                    drop(locked);
                    self.insert_general(hash, key, value);
                }
            }
            Peek::Absent => self.add_plain(locked, hash, key, value),
            Peek::Unsure => {
                drop(locked);
                self.insert_general(hash, key, value);
            }
        }
    }

    /// Adds an entry for a key that the shard does not hold.
    #[inline(never)]
    fn add_plain(&self, mut locked: Locked<'_, K, V>, hash: KeyHash, key: K, value: V) {
        let index = self.shard_index(hash);
        if self.waiting.any() || self.shards.len() > 1 && self.short(index, 1) > 0 {
            // Who was cleared is to give the room, or another shard has to, and no two are locked at once.
            drop(locked);
            return self.insert_general(hash, key, value);
        }
        let id = locked.admit_plain(hash.part(), key, value);
        let mut stays = true;
        if self.budget.try_take(1) {
            locked.settle::<true>();
        } else {
            // One goes, one comes.
            let victim = locked.evict::<true>(Some(id));
            if victim.is_none() {
                locked.remove(id);
            }
            stays = victim.is_some_and(|victim| victim != id);
        }
        if stays {
            locked.publish(hash.part(), id);
        }
        let aftermath = locked.finish();
        // Nobody is told of anything.
        Self::bury(None, aftermath);
    }

    #[cold]
    fn insert_general(&self, hash: KeyHash, key: K, value: V) {
        self.insert_fresh(Fresh { hash, key, value, weight: 1, ends: Ends::default() });
    }
}
