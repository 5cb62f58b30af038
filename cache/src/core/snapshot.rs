//! What a snapshot saves of each entry, and how entries are put back.

use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use super::Core;
use super::write::Life;
use crate::reclaim;
use crate::store::times::FAR;

/// Where the policy can hold an entry, hottest first: the order in which entries are saved.
pub(crate) const PLACES: [u8; 4] = crate::policy::PLACES;

/// Entries counted under one lock.
const TOGETHER: usize = 256;

/// An entry as it is saved. Times are in nanoseconds from now on.
pub(crate) struct Saved<'e, K, V> {
    pub(crate) life: Option<u64>,
    pub(crate) idle: Option<u64>,
    pub(crate) frequency: u8,
    pub(crate) tags: Vec<Arc<str>>,
    pub(crate) key: &'e K,
    pub(crate) value: &'e V,
}

/// An entry to put back.
pub(crate) struct Restored<K, V> {
    pub(crate) life: Option<u64>,
    pub(crate) idle: Option<u64>,
    pub(crate) place: u8,
    pub(crate) frequency: u8,
    pub(crate) tags: Vec<Arc<str>>,
    pub(crate) key: K,
    pub(crate) value: V,
    pub(crate) weight: u32,
}

impl<K, V, S> Core<K, V, S> {
    /// The part of the capacity that is the admission window.
    pub(crate) fn window_share(&self) -> f64 {
        let shares = self.shards.iter().map(|shard| shard.lock().window_share());
        shares.sum::<f64>() / self.shards.len() as f64
    }

    /// Calls `f`, without a lock, with each live entry that a shard's policy holds in one place, hottest first.
    pub(crate) fn saved<E>(
        &self,
        shard: usize,
        place: u8,
        mut f: impl FnMut(Saved<'_, K, V>) -> Result<(), E>,
    ) -> Result<(), E> {
        let pin = reclaim::pin();
        let mut locked = self.shards[shard].lock();
        let mut entries = locked.in_place(place);
        entries.retain(|&(id, _)| !self.expired(&locked, id));
        let left = |end: u64| (end != 0 && end != FAR).then(|| end.saturating_sub(self.ticks.now()));
        let nodes: Vec<_> = entries
            .into_iter()
            .map(|(id, frequency)| {
                let (deadline, idle) = locked.times(id).map_or((0, 0), |times| times.ends());
                let tags = locked.tags_of(id);
                (locked.pinned_node(&pin, id), left(deadline), left(idle), frequency, tags)
            })
            .collect();
        drop(locked);
        for (node, life, idle, frequency, tags) in nodes {
            f(Saved { life, idle, frequency, tags, key: &node.key, value: &node.value })?;
        }
        Ok(())
    }

    /// Puts entries into the cache, hottest first, as long as there is room; returns how many.
    pub(crate) fn restore(&self, entries: Vec<Restored<K, V>>, window: f64) -> u64
    where
        K: Hash + Eq,
        S: BuildHasher,
    {
        let mut counts: Vec<Vec<(u32, u8)>> = self.shards.iter().map(|_| Vec::new()).collect();
        let mut restored = 0;
        for entry in entries {
            let Restored { life, idle, place, frequency, tags, key, value, weight } = entry;
            let hash = self.hash(&key);
            let life = life.map_or(Life::Configured, Life::Ticks);
            let mut ends = self.ends(hash, &key, &value, life);
            if let (Some(idle), true) = (idle, ends.idle != 0) {
                ends.idle = ends.idle.min(self.ticks.now().saturating_add(idle));
            }
            let index = self.shard_index(hash);
            let mut locked = self.shards[index].lock();
            let is_there = locked.find(hash.part(), |candidate| *candidate == key).is_some();
            let fits = !is_there && self.budget.try_take(u64::from(weight));
            let refused = if fits {
                let id = locked.restore(hash.part(), key, value, weight, ends, place);
                if !tags.is_empty() {
                    locked.attach_tags(id, &tags);
                }
                counts[index].push((hash.part(), frequency));
                restored += 1;
                None
            } else {
                Some((key, value))
            };
            let aftermath = locked.finish();
            drop(refused);
            Self::bury(None, aftermath);
        }
        for (index, counts) in counts.iter().enumerate() {
            self.shards[index].lock().warm(window);
            for some in counts.chunks(TOGETHER) {
                let mut locked = self.shards[index].lock();
                some.iter().for_each(|&(hash, frequency)| locked.recount(hash, frequency));
            }
        }
        restored
    }
}
