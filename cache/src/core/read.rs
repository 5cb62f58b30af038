//! Lookups. No lock, no shared write but the first touch of an entry since the eviction hand passed.

use std::hash::{BuildHasher, Hash};

use equivalent::Equivalent;

use super::renew::refresh_after_read;
use super::{Core, KeyHash};
use crate::reclaim::Pinned;
use crate::stats::Counter;
use crate::store::shard::{Found, Shard, Unseen};

impl<K, V, S: BuildHasher> Core<K, V, S> {
    /// A live entry, counted as a hit or a miss.
    #[inline(always)]
    pub(crate) fn get<'g, Q>(&'g self, pin: &'g Pinned, key: &Q) -> Option<&'g V>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let hash = self.hash(key);
        let shard = self.shards.of(hash.shard());
        // The common case, and what is called besides is called last: so it needs few registers and no stack.
        match shard.glance(pin, hash.part(), |candidate| key.equivalent(candidate)) {
            Ok(found) if found.node.header.is_settled() => Some(&found.node.value),
            Ok(found) if found.node.header.is_counted() => {
                if let Some(counters) = &self.counters {
                    counters.add(pin.stripe(), Counter::Hits, 1);
                }
                Some(&found.node.value)
            }
            Ok(found) => self.get_found(pin, shard, found),
            Err(Unseen::Absent) => self.get_nothing(pin),
            Err(Unseen::Elsewhere) => self.get_elsewhere(pin, hash, key),
        }
    }

    #[inline(never)]
    fn get_found<'g>(
        &'g self,
        pin: &'g Pinned,
        shard: &'g Shard<K, V>,
        found: Found<'g, K, V>,
    ) -> Option<&'g V> {
        if shard.timed() && !self.alive_on_read(shard, found, true) {
            return self.get_nothing(pin);
        }
        if let Some(counters) = &self.counters {
            counters.add(pin.stripe(), Counter::Hits, 1);
        }
        shard.touch(found.id, &found.node.header, self.counters.is_some());
        Some(&found.node.value)
    }

    #[inline(never)]
    fn get_elsewhere<'g, Q>(&'g self, pin: &'g Pinned, hash: KeyHash, key: &Q) -> Option<&'g V>
    where
        Q: Equivalent<K> + ?Sized,
    {
        let shard = self.shards.of(hash.shard());
        match shard.find(pin, hash.part(), |candidate| key.equivalent(candidate)) {
            Some(found) => self.get_found(pin, shard, found),
            None => self.get_nothing(pin),
        }
    }

    #[inline]
    fn get_nothing<'g>(&self, pin: &Pinned) -> Option<&'g V> {
        if let Some(counters) = &self.counters {
            counters.add(pin.stripe(), Counter::Misses, 1);
        }
        None
    }

    /// Whether there is a live entry; leaves no trace in policy, expiry or statistics.
    #[inline]
    pub(crate) fn contains<Q>(&self, pin: &Pinned, key: &Q) -> bool
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let hash = self.hash(key);
        let shard = self.shards.of(hash.shard());
        shard
            .find(pin, hash.part(), |candidate| key.equivalent(candidate))
            .is_some_and(|found| !shard.timed() || self.alive_on_read(shard, found, false))
    }

    /// Whether the entry lives now; a use moves its idle deadline if it has one.
    #[inline]
    fn alive_on_read(&self, shard: &Shard<K, V>, found: Found<'_, K, V>, is_use: bool) -> bool {
        let times = shard.times(found.id);
        if times.is_none() && self.freshness.refresh.is_none() {
            return true;
        }
        let now = self.ticks.now();
        if let Some(times) = times {
            if times.expired(now) {
                return false;
            }
            if is_use && self.time_to_idle != 0 {
                times.extend_idle(now.saturating_add(self.time_to_idle), self.time_to_idle / 64);
            }
            if let Some(expiry) = self.expiry.as_ref().filter(|_| is_use) {
                self.ask_after_read(&**expiry, times, found.node, now);
            }
        }
        if let Some(refresh) = self.freshness.refresh.as_ref().filter(|_| is_use) {
            refresh_after_read(refresh, shard, found, now);
        }
        true
    }
}
