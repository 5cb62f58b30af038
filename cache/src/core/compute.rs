//! Read, decide, write as one step on a key, while the decision runs without a lock.
//!
//! The flight of the key is the right to compute it: loads and other computes of the key wait. Plain writes do not. They
//! detach the flight, and then the compute has seen a value that is no longer there: its answer is thrown away and it is
//! asked again. So each one that is stored follows the very value it was made from. Eviction and expiry leave the flight
//! alone, but take the entry away, and what was seen is compared with what is there before anything is stored. Being asked
//! again means that another write, an eviction or an expiry was done: some call always makes progress.

use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use super::later::Later;
use super::load::Leader;
use super::write::{Fresh, Life};
use crate::flight::Outcome;
use crate::reclaim;
use crate::removal::RemovalCause;
use crate::store::locked::{Ends, Locked, Spot};

/// What a compute wants done. The value was weighed, dated and cloned before.
enum Change<V> {
    Put(V, u32, Ends),
    Remove,
}

impl<V> Change<V> {
    fn value(self) -> Option<V> {
        match self {
            Self::Put(value, ..) => Some(value),
            Self::Remove => None,
        }
    }
}

impl<K, V, S> Leader<'_, K, V, S>
where
    K: Hash + Eq,
    V: Clone,
    S: BuildHasher,
{
    /// The value of the key now, cloned, so call it [inside](crate::flight::Flight::enter). Counts as a use. A write after this, and one since boarding, detaches the flight.
    pub(crate) fn look(&self) -> Option<V> {
        let key = self.key.as_deref().expect("a leader ends once");
        let pin = reclaim::pin();
        self.core.get(&pin, key).cloned()
    }

    /// Stores a value in the place of what was seen. `Err`: the cache changed meanwhile; look again.
    pub(crate) fn put(self, seen: bool, value: V) -> Result<(), K> {
        // Dropped before the value, if what it is asked for panics: the value's drop may compute the key.
        let leader = self;
        let inside = leader.flight.enter();
        let key = leader.key.as_deref().expect("a leader ends once");
        let weight = leader.core.weigh(key, &value);
        let ends = leader.core.ends(leader.hash, key, &value, Life::Configured);
        drop(inside);
        leader.change(seen, Change::Put(value, weight, ends))
    }

    /// Removes what was seen. `Err`: the cache changed meanwhile; look again.
    pub(crate) fn take_away(self) -> Result<(), K> {
        self.change(true, Change::Remove)
    }

    fn change(self, seen: bool, change: Change<V>) -> Result<(), K> {
        // Dropped after the leader, if a comparison panics: drops may compute the key.
        let mut later = Later::new(self.core.clone());
        let mut leader = self;
        let core = &*leader.core;
        let hash = leader.hash;
        let index = core.shard_index(hash);
        let pin = core.pin_if_watched();
        let mut removed = core.removed();
        let key = leader.key.as_deref().expect("a leader ends once");
        let find = |locked: &Locked<'_, K, V>| locked.find(hash.part(), |candidate| candidate == key);
        let fits = |weight: u32| u64::from(weight) <= core.budget.max();
        let weight = match change {
            Change::Put(_, weight, _) if fits(weight) => weight,
            _ => 0,
        };
        let mut credit = core.gather(index, u64::from(weight), find, &mut later);
        let mut locked = core.shards[index].lock();
        let own = core.flights[index].take_own(&locked, hash, &leader.flight);
        let old = find(&locked);
        // After the last comparison, which may panic: a key must not be dropped under the lock. Ours was the other handle.
        let key = leader.key.take().and_then(Arc::into_inner).expect("a key in flight has two handles");
        let alive = old.is_some_and(|spot| !core.expired(&locked, spot.id));
        if !own || alive != seen {
            drop(locked);
            drop(credit);
            // A flight that was detached was marked under the lock that was just held.
            let hopeless = leader.flight.is_overtaken_from_within();
            leader.flight.complete(Outcome::Abandoned);
            later.throw_away(None, change.value());
            later.conclude();
            assert!(!hopeless, "recursive compute: a closure wrote the key that it computes");
            return Err(key);
        }
        match change {
            Change::Put(value, weight, ends) if fits(weight) => {
                let fresh = Fresh { hash, key, value, weight, ends };
                core.link(&mut locked, old, fresh, &mut credit, &mut removed);
            }
            change => {
                if let Some(Spot { id, .. }) = old {
                    core.unlink(&mut locked, id);
                    let cause = match change {
                        _ if !alive => RemovalCause::Expired,
                        Change::Put(..) => RemovalCause::Replaced,
                        Change::Remove => RemovalCause::Explicit,
                    };
                    core.note(&locked, &mut removed, id, cause);
                }
                match change {
                    Change::Put(value, ..) => later.refuse(key, value),
                    Change::Remove => later.throw_away(Some(key), None),
                }
            }
        }
        core.expire_some(&mut locked, &mut removed);
        let aftermath = locked.finish();
        drop(credit);
        later.add(pin, index, removed, aftermath);
        leader.flight.complete(Outcome::Abandoned);
        later.conclude();
        Ok(())
    }
}
