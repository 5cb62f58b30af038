//! Entries that have expired and wait a little longer, for loads that fail.

use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use super::later::Later;
use super::load::Leader;
use crate::counter::Counter;
use crate::flight::Outcome;
use crate::reclaim;
use crate::removal::RemovalCause;

impl<K, V, S> Leader<'_, K, V, S>
where
    K: Hash + Eq,
    V: Clone,
    S: BuildHasher,
{
    /// Ends a load that failed with the old value, if there is one, or with one that was written meanwhile.
    pub(crate) fn fall_back(self) -> Result<V, Self> {
        if self.core.freshness.grace == 0 {
            return Err(self);
        }
        let Some(value) = self.old_value() else { return Err(self) };
        self.count(Counter::LoadFailures);
        self.depart();
        let awaited = Arc::strong_count(&self.flight) > 1;
        self.flight.complete(if awaited { Outcome::Loaded(value.clone()) } else { Outcome::Abandoned });
        Ok(value)
    }

    fn old_value(&self) -> Option<V> {
        let core = &*self.core;
        let key = self.key();
        let pin = reclaim::pin();
        let shard = &core.shards[core.shard_index(self.hash)];
        let found = shard.find(&pin, self.hash.part(), |candidate| candidate == key)?;
        let now = core.ticks.now();
        if shard.times(found.id).is_some_and(|times| times.expired(now)) {
            if shard.times(found.id)?.expired(now.saturating_sub(core.freshness.grace)) {
                return None;
            }
            if let Some(counters) = &core.counters {
                counters.count(Counter::StaleServed, 1);
            }
        }
        Some(found.node().value.clone())
    }

    /// Removes what is left of an entry whose loader has found nothing.
    pub(super) fn bury_old(&self, later: &mut Later<'_, K, V, S>) {
        let core = &*self.core;
        let (hash, key) = (self.hash, self.key());
        let index = core.shard_index(hash);
        let pin = core.pin_if_watched();
        let mut removed = core.removed();
        let mut locked = core.shards[index].lock();
        if core.flights[index].take_own(&locked, hash, &self.flight) {
            let old = locked.find(hash.part(), |candidate| candidate == key);
            if let Some(old) = old.filter(|old| core.expired(&locked, old.id)) {
                core.unlink(&mut locked, old.id);
                core.note(&locked, &mut removed, old.id, RemovalCause::Expired);
            }
        }
        let aftermath = locked.finish();
        later.add(pin, index, removed, aftermath);
    }
}
