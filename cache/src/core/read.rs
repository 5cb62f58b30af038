//! Lookups. No lock, no shared write but the first touch of an entry since the eviction hand passed.

use std::hash::{BuildHasher, Hash};

use equivalent::Equivalent;

use super::expire::OFF;
use super::renew::{earliest, refresh_after_read};
use super::{Core, KeyHash};
use crate::clock::{kept, span_of};
use crate::counter::Counter;
use crate::reclaim::Pinned;
use crate::store::shard::{Found, Shard, Unseen};
use crate::store::times::{Quiet, Renewal, Times};

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
        let found = match shard.glance(pin, hash.part(), |candidate| key.equivalent(candidate)) {
            Ok(found) => found,
            Err(Unseen::Absent) => return self.get_nothing(pin),
            Err(Unseen::Elsewhere) => return self.get_elsewhere(pin, hash, key),
        };
        if found.node().header.mark().is_settled() {
            return Some(&found.node().value);
        }
        // Read again for each question, so that the compiler does not merge them and ask the rare ones first.
        if found.node().header.mark().is_counted() {
            self.count_hit(pin);
            return Some(&found.node().value);
        }
        // Alive by the time that a thread keeps, and the end need not be moved. Whatever becomes of that thread, the ends of pins see to
        // the time.
        let lives_on = |quiet: &Quiet| quiet.lasts(kept::span());
        if found.quiet_if_ending(false).is_some_and(lives_on) {
            return Some(&found.node().value);
        }
        if found.quiet_if_ending(true).is_some_and(lives_on) {
            self.count_hit(pin);
            return Some(&found.node().value);
        }
        self.get_found(pin, shard, found)
    }

    #[inline(never)]
    pub(super) fn get_found<'g>(
        &'g self,
        pin: &'g Pinned,
        shard: &'g Shard<K, V>,
        found: Found<'g, K, V>,
    ) -> Option<&'g V> {
        let header = &found.node().header;
        // Before the end, so that an end that comes in between keeps the entry from being marked: header.rs.
        let seen = header.seen();
        if seen.is_touched() && !shard.ordered() {
            if let Some(quiet) = shard.quiet(found) {
                if quiet.lasts(span_of(self.ticks.now())) {
                    self.count_hit(pin);
                    return Some(&found.node().value);
                }
            }
        }
        let times = shard.ending(found.id);
        let renewal = self.freshness.refresh.as_ref().and_then(|_| shard.renewal(found.id));
        let endless = times.is_none() && renewal.is_none();
        if !endless {
            let now = self.ticks.now();
            if times.is_some_and(|times| times.expired(now)) {
                return self.get_nothing(pin);
            }
            self.move_end_on_read(shard, (times, renewal), found, now);
        }
        self.count_hit(pin);
        shard.touch(found, seen, self.marks, endless);
        Some(&found.node().value)
    }

    #[inline]
    fn count_hit(&self, pin: &Pinned) {
        if let Some(counters) = &self.counters {
            counters.add(pin.stripe(), Counter::Hits, 1);
        }
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
    pub(super) fn get_nothing<'g>(&self, pin: &Pinned) -> Option<&'g V> {
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
            .is_some_and(|found| shard.ending(found.id).is_none_or(|times| !times.expired(self.ticks.now())))
    }

    /// A use moves the idle end, the rule may move the deadline, and what is due is loaded again.
    #[inline]
    fn move_end_on_read(
        &self,
        shard: &Shard<K, V>,
        (times, renewal): (Option<&Times>, Option<&Renewal>),
        found: Found<'_, K, V>,
        now: u64,
    ) {
        if let Some(times) = times {
            if self.time_to_idle != OFF && !times.idles_at_least(now, self.idle_left) {
                times.extend_idle(now.saturating_add(self.time_to_idle));
            }
            if let Some(expiry) = &self.expiry {
                self.ask_after_read(&**expiry, times, found.node(), now);
            }
        }
        let refresh = self.freshness.refresh.as_ref();
        if let Some(refresh) = refresh {
            refresh_after_read(refresh, shard, found, now);
        }
        // A rule is asked by each hit.
        let asked = self.expiry.is_some();
        if let (false, Some(quiet), Some(times)) = (asked, shard.quiet(found), shard.times(found.id)) {
            let renewal =
                refresh.zip(renewal).map(|(refresh, renewal)| (renewal, earliest(refresh, renewal)));
            quiet.set(times, self.idle_left, renewal);
        }
    }
}

#[cfg(all(test, not(any(millpond_loom, millpond_shuttle))))]
mod tests {
    use std::time::Duration;

    use crate::{Cache, reclaim};

    #[test]
    fn with_a_clock_thread_hits_do_not_ask_the_clock_whether_they_are_counted_or_not() {
        for counted in [false, true] {
            let builder = Cache::builder().time_to_live(Duration::from_secs(3600)).clock_thread();
            let cache: Cache<u64, u64> =
                if counted { builder.record_stats() } else { builder }.build().unwrap();
            cache.insert(1, 1);
            (0..1_000).for_each(|_| assert_eq!(cache.get(&1), Some(1)));
            assert_eq!(cache.stats().hits(), if counted { 1_000 } else { 0 });
            let (pin, hash) = (reclaim::pin(), cache.core.hash(&1u64));
            let found = cache.core.shards.of(hash.shard()).find(&pin, hash.part(), |key| *key == 1).unwrap();
            let mark = found.node().header.mark();
            assert_eq!((mark.is_ending(false), mark.is_ending(true)), (!counted, counted));
        }
    }
}
