//! Lookups. No lock, no shared write but the first touch of an entry since the eviction hand passed.

use std::hash::{BuildHasher, Hash};

use equivalent::Equivalent;

use super::Core;
use crate::reclaim::Pinned;
use crate::stats::Counter;
use crate::store::shard::{Found, Shard};

/// A live entry and its shard.
type Seen<'g, K, V> = (&'g Shard<K, V>, Found<'g, K, V>);

impl<K, V, S: BuildHasher> Core<K, V, S> {
    /// A live entry, counted as a hit or a miss.
    #[inline]
    pub(crate) fn get<'g, Q>(&'g self, pin: &'g Pinned, key: &Q) -> Option<&'g V>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let found = self.look(pin, key, true);
        if let Some((shard, found)) = &found {
            shard.touch(&found.node.header);
        }
        if let Some(counters) = &self.counters {
            counters.add(if found.is_some() { Counter::Hits } else { Counter::Misses }, 1);
        }
        found.map(|(_, found)| &found.node.value)
    }

    /// Whether there is a live entry; leaves no trace in policy, expiry or statistics.
    #[inline]
    pub(crate) fn contains<Q>(&self, pin: &Pinned, key: &Q) -> bool
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.look(pin, key, false).is_some()
    }

    /// A live entry; a use moves its idle deadline.
    #[inline(always)]
    fn look<'g, Q>(&'g self, pin: &'g Pinned, key: &Q, is_use: bool) -> Option<Seen<'g, K, V>>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let hash = self.hash(key);
        let shard = &self.shards[self.shard_index(hash)];
        let found = shard.find(pin, hash.low(), |candidate| key.equivalent(candidate))?;
        if shard.timed() && !self.alive_on_read(shard, found.id, is_use) {
            return None;
        }
        Some((shard, found))
    }

    /// Whether the entry lives now; a use moves its idle deadline if it has one.
    #[inline]
    fn alive_on_read(&self, shard: &Shard<K, V>, id: u32, is_use: bool) -> bool {
        let Some(times) = shard.times(id) else { return true };
        let now = self.ticks.now();
        if times.expired(now) {
            return false;
        }
        if is_use && self.time_to_idle != 0 {
            times.extend_idle(now.saturating_add(self.time_to_idle), self.time_to_idle / 64);
        }
        true
    }
}
