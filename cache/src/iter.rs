//! Iteration over a snapshot of each shard.

use std::fmt;
use std::hash::{BuildHasher, Hash};

use crate::core::Core;
use crate::reclaim;

/// Iterates over clones of the live entries; see [`Cache::iter`](crate::Cache::iter).
pub struct Iter<'c, K, V, S> {
    core: &'c Core<K, V, S>,
    shard: usize,
    /// What is left of the last shard, and how often that had been emptied when it was looked at.
    entries: std::vec::IntoIter<(K, V)>,
    clears: u32,
}

impl<'c, K, V, S> Iter<'c, K, V, S> {
    pub(crate) fn new(core: &'c Core<K, V, S>) -> Self {
        Self { core, shard: 0, entries: Vec::new().into_iter(), clears: 0 }
    }
}

impl<K, V, S> Iterator for Iter<'_, K, V, S>
where
    K: Hash + Eq + Clone,
    V: Clone,
    S: BuildHasher,
{
    type Item = (K, V);

    fn next(&mut self) -> Option<(K, V)> {
        loop {
            if let Some(entry) = self.entries.next() {
                // What was cleared since is gone for us, too.
                if self.core.shards[self.shard - 1].clears() == self.clears {
                    return Some(entry);
                }
                self.entries = Vec::new().into_iter();
            }
            let shard = self.core.shards.get(self.shard)?;
            self.shard += 1;
            let pin = reclaim::pin();
            let locked = shard.lock();
            self.clears = shard.clears();
            let mut ids = locked.ids();
            ids.retain(|&id| !self.core.expired(&locked, id));
            let nodes: Vec<_> = ids.into_iter().map(|id| locked.pinned_node(&pin, id)).collect();
            drop(locked);
            // Clones are user code: after the unlock, under the pin.
            let entries: Vec<_> =
                nodes.into_iter().map(|node| (node.key.clone(), node.value.clone())).collect();
            self.entries = entries.into_iter();
        }
    }
}

impl<K, V, S> fmt::Debug for Iter<'_, K, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Iter").field("shard", &self.shard).finish_non_exhaustive()
    }
}

impl<'c, K, V, S> IntoIterator for &'c crate::Cache<K, V, S>
where
    K: Hash + Eq + Clone,
    V: Clone,
    S: BuildHasher,
{
    type Item = (K, V);
    type IntoIter = Iter<'c, K, V, S>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
