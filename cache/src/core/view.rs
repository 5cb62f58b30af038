//! The policy's view of the entries, over all shards.

use std::hash::{BuildHasher, Hash};
use std::time::Duration;

use equivalent::Equivalent;

use super::Core;
use crate::policy::{Kind, Parts};
use crate::reclaim;
use crate::sync::Ordering;

impl<K, V, S> Core<K, V, S> {
    /// Clones of the entries that would be evicted first, or last. Each shard has an order of its own; they are merged by
    /// the entries' places in them.
    pub(crate) fn ranked(&self, hottest: bool, count: usize) -> Vec<(K, V)>
    where
        K: Clone,
        V: Clone,
    {
        let pin = reclaim::pin();
        let mut places = Vec::new();
        for shard in self.shards.iter() {
            let locked = shard.lock();
            let ids = locked.ranked(hottest, count, |id| !self.expired(&locked, id));
            let all = locked.len() as f64;
            let place = |(rank, id)| ((rank as f64 + 0.5) / all, locked.pinned_node(&pin, id));
            places.extend(ids.into_iter().enumerate().map(place));
        }
        places.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        // User code: after the unlock, under the pin.
        places.into_iter().take(count).map(|(_, node)| (node.key.clone(), node.value.clone())).collect()
    }

    pub(crate) fn parts(&self) -> Parts {
        let mut sum = Parts::default();
        for shard in self.shards.iter() {
            let parts = shard.lock().parts();
            for (sum, held) in [
                (&mut sum.window, parts.window),
                (&mut sum.probation, parts.probation),
                (&mut sum.protected, parts.protected),
                (&mut sum.pinned, parts.pinned),
            ] {
                sum.entries += held.entries;
                sum.weight += held.weight;
            }
            sum.window_max = sum.window_max.saturating_add(parts.window_max);
        }
        sum
    }

    pub(crate) fn kind(&self) -> Kind {
        self.shards[0].lock().kind()
    }
}

impl<K, V, S> Core<K, V, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    /// What a live entry weighs.
    pub(crate) fn weight_of<Q>(&self, key: &Q) -> Option<u32>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let hash = self.hash(key);
        let locked = self.shards[self.shard_index(hash)].lock();
        let spot = locked.find(hash.part(), |candidate| key.equivalent(candidate))?;
        (!self.expired(&locked, spot.id)).then(|| locked.weight_of(spot.id))
    }

    /// How long ago a live entry was written, where that is known.
    pub(crate) fn age_of<Q>(&self, key: &Q) -> Option<Duration>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let hash = self.hash(key);
        let locked = self.shards[self.shard_index(hash)].lock();
        let spot = locked.find(hash.part(), |candidate| key.equivalent(candidate))?;
        let written = self.written(&locked, spot.id).filter(|_| !self.expired(&locked, spot.id))?;
        Some(Duration::from_nanos(self.ticks.now().saturating_sub(written)))
    }

    /// How long ago a live entry was used, where a time to idle keeps track of that.
    pub(crate) fn idle_for<Q>(&self, key: &Q) -> Option<Duration>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let pin = reclaim::pin();
        let hash = self.hash(key);
        let shard = self.shards.of(hash.shard());
        let found = shard.find(&pin, hash.part(), |candidate| key.equivalent(candidate))?;
        let times = shard.times(found.id)?;
        let now = self.ticks.now();
        if times.expired(now) {
            return None;
        }
        let used = times.idle.load(Ordering::Relaxed).checked_sub(self.time_to_idle)?;
        (self.time_to_idle != 0).then(|| Duration::from_nanos(now.saturating_sub(used)))
    }
}
