//! Single flight: at most one load or compute per key at a time, for threads and tasks alike.
//!
//! The flights of a shard change only under that shard's lock, so joining a flight, finding a fresh value and being
//! overtaken by a write are one atomic step each. A write or invalidation of the key *detaches* its flight: those who wait
//! still get the loaded value, but it is not stored, so a slow load never overwrites newer data. A leader that is dropped
//! or panics abandons its flight: the waiters look again, and one of them leads.

use std::any::Any;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;
use std::time::Instant;

use super::flights::{Boarded, Tags};
use super::held::Held;
use super::later::Later;
use super::write::{Fresh, Life};
use super::{Core, KeyHash};
use crate::counter::Counter;
use crate::flight::{Flight, Outcome};
use crate::reclaim;
use crate::removal::RemovalCause;
use crate::span::LoadSpan;
use crate::store::locked::{Ends, Locked, Spot};

/// The flight to wait for, and the key handed back.
pub(crate) type Joined<K, V> = (Arc<Flight<V>>, K);

/// What a caller who needs a value gets.
pub(crate) enum Boarding<'c, K: Hash + Eq, V, S: BuildHasher> {
    /// The value is there after all.
    Hit(V),
    /// Somebody loads it; the key is handed back.
    Wait(Arc<Flight<V>>, K),
    /// Load it.
    Lead(Leader<'c, K, V, S>),
}

/// The right and the duty to load or compute one key. Dropping it hands both to somebody who waits.
pub(crate) struct Leader<'c, K: Hash + Eq, V, S: BuildHasher> {
    pub(super) core: Held<'c, K, V, S>,
    pub(super) hash: KeyHash,
    pub(super) key: Option<Arc<K>>,
    pub(super) flight: Arc<Flight<V>>,
    pub(super) began: Option<Instant>,
    is_counted: bool,
    /// The cell of the value that it refreshes, if it does.
    pub(super) renews: Option<u32>,
    /// Whether right and duty went to another leader.
    is_handed_over: bool,
    /// The tags of what will be stored, if any.
    pub(super) tags: Option<Tags>,
    pub(super) span: LoadSpan,
}

impl<K, V, S> Core<K, V, S>
where
    K: Hash + Eq,
    V: Clone,
    S: BuildHasher,
{
    /// Looks the key up once more under the lock, and joins or starts its load.
    pub(crate) fn board(&self, key: K) -> Boarding<'_, K, V, S> {
        let hash = self.hash(&key);
        let index = self.shard_index(hash);
        let pin = reclaim::pin();
        let locked = self.shards[index].lock();
        let found = locked.find(hash.part(), |candidate| *candidate == key);
        if let Some(spot) = found.filter(|spot| !self.expired(&locked, spot.id)) {
            let node = locked.pinned_node(&pin, spot.id);
            drop(locked);
            return Boarding::Hit(node.value.clone());
        }
        let boarded = self.flights[index].board(&locked, hash, key, false);
        drop(locked);
        match self.lead(hash, boarded) {
            Err((flight, key)) => Boarding::Wait(flight, key),
            Ok(leader) => Boarding::Lead(leader),
        }
    }

    /// Joins or starts the flight of a key, whether it has a value or not; a flight joined comes with the key handed back.
    pub(crate) fn board_any(&self, key: K) -> Result<Leader<'_, K, V, S>, Joined<K, V>> {
        let hash = self.hash(&key);
        let index = self.shard_index(hash);
        let locked = self.shards[index].lock();
        let boarded = self.flights[index].board(&locked, hash, key, false);
        drop(locked);
        self.lead(hash, boarded)
    }

    /// When a load began, if anybody wants to know.
    pub(crate) fn begin(&self) -> Option<Instant> {
        (self.counters.is_some() || self.freshness.measures()).then(Instant::now)
    }

    /// Counts a load that ended.
    pub(crate) fn count_load(&self, counter: Counter, began: Option<Instant>) {
        if let (Some(counters), Some(began)) = (&self.counters, began) {
            counters.count_load(counter, began.elapsed());
        }
    }

    pub(super) fn lead(
        &self,
        hash: KeyHash,
        boarded: Boarded<K, V>,
    ) -> Result<Leader<'_, K, V, S>, Joined<K, V>> {
        match boarded {
            (flight, Err(key)) => Err((flight, key)),
            (flight, Ok(key)) => {
                let core = Held::Borrowed(self);
                Ok(Leader {
                    core,
                    hash,
                    key: Some(key),
                    flight,
                    began: self.begin(),
                    is_counted: true,
                    renews: None,
                    is_handed_over: false,
                    tags: None,
                    span: LoadSpan::default(),
                })
            }
        }
    }
}

impl<'c, K, V, S> Leader<'c, K, V, S>
where
    K: Hash + Eq,
    V: Clone,
    S: BuildHasher,
{
    /// Stores the value unless a write overtook the load, and answers those who wait.
    pub(crate) fn loaded(self, value: V, life: Life) -> V {
        let (value, later, ()) = self.land(value, life, ());
        later.conclude();
        value
    }

    /// As [`loaded`](Self::loaded), and leaves reports and drops to the caller. If user code panics, what is `beside` it is
    /// dropped before the value, whose drop may load a key.
    pub(crate) fn land<R>(self, value: V, life: Life, beside: R) -> (V, Later<'c, K, V, S>, R) {
        // Dropped after the leader, if what they are asked for panics: their drops may load the key.
        let stored;
        let mut later = Later::new(self.core.clone());
        let beside = beside;
        let mut leader = self;
        let core = &*leader.core;
        leader.count(Counter::LoadSuccesses);
        let key = leader.key.as_ref().expect("a leader ends once");
        // User code before the lock: the weigher, the clone, the rule of expiry. If one panics, dropping the leader abandons
        // the flight; the key stays with it until then, so that leaving the table never drops one under the lock.
        let weight = core.weigh(key, &value);
        stored = value.clone();
        let ends = Ends { cost: leader.cost(), ..core.ends(leader.hash, key, &value, life) };
        if u64::from(weight) > core.budget.max() {
            leader.refuse(stored, &mut later);
        } else {
            leader.store(stored, weight, ends, &mut later);
        }
        // Out of the table, so nobody joins any more, and each who joined has a handle.
        let awaited = Arc::strong_count(&leader.flight) > 1;
        leader.flight.complete(if awaited { Outcome::Loaded(value.clone()) } else { Outcome::Abandoned });
        (value, later, beside)
    }

    /// A value heavier than the whole cache: as for a write, the old value goes and the new one is reported.
    #[cold]
    fn refuse(&mut self, value: V, later: &mut Later<'_, K, V, S>) {
        let core = &*self.core;
        let index = core.shard_index(self.hash);
        let pin = core.pin_if_watched();
        let mut removed = core.removed();
        let key = self.key.as_deref().expect("a leader ends once");
        let mut locked = core.shards[index].lock();
        let own = core.flights[index].take_own(&locked, self.hash, &self.flight);
        let old = if own { locked.find(self.hash.part(), |candidate| candidate == key) } else { None };
        if let Some(Spot { id, .. }) = old {
            let cause =
                if core.expired(&locked, id) { RemovalCause::Expired } else { RemovalCause::Replaced };
            core.unlink(&mut locked, id);
            core.note(&locked, &mut removed, id, cause);
        }
        let aftermath = locked.finish();
        later.add(pin, index, removed, aftermath);
        let key = self.key.take().and_then(Arc::into_inner).expect("a key in flight has two handles");
        if own {
            later.refuse(key, value);
        } else {
            later.throw_away(Some(key), Some(value));
        }
    }

    fn store(&mut self, value: V, weight: u32, ends: Ends, later: &mut Later<'_, K, V, S>) {
        let core = &*self.core;
        let hash = self.hash;
        let index = core.shard_index(hash);
        let pin = core.pin_if_watched();
        let mut removed = core.removed();
        let key = self.key.as_deref().expect("a leader ends once");
        let find = |locked: &Locked<'_, K, V>| locked.find(hash.part(), |candidate| candidate == key);
        let mut credit = core.gather(index, u64::from(weight), find, later);
        let mut locked = core.shards[index].lock();
        let own = core.flights[index].take_own(&locked, hash, &self.flight);
        if own {
            let old = core.find_old(&mut locked, hash, find, &mut removed);
            // After the last comparison, which may panic: a key must not be dropped here. Ours was the other handle.
            let key = self.key.take().and_then(Arc::into_inner).expect("a key in flight has two handles");
            let fresh = Fresh { hash, key, value, weight, ends };
            let linked = core.link(&mut locked, old, fresh, &mut credit, &mut removed);
            if let (Some(id), Some(tags)) = (linked, &self.tags) {
                locked.attach_tags(id, tags);
            }
        } else {
            core.expire_some(&mut locked, &mut removed);
            later.throw_away(None, Some(value));
        }
        let aftermath = locked.finish();
        drop(credit);
        later.add(pin, index, removed, aftermath);
    }

    /// Shares the error with those who wait; nothing is stored.
    pub(crate) fn failed(mut self, error: Arc<dyn Any + Send + Sync>) {
        self.count(Counter::LoadFailures);
        self.depart();
        self.flight.complete(Outcome::Failed(error));
        self.key = None;
    }

    /// Tells those who wait that the loader has nothing for this key; nothing is stored.
    pub(crate) fn absent(mut self) -> Later<'c, K, V, S> {
        self.count(Counter::LoadSuccesses);
        let mut later = Later::new(self.core.clone());
        if self.core.freshness.grace == 0 {
            self.depart();
        } else {
            self.bury_old(&mut later);
        }
        self.flight.complete(Outcome::Absent);
        self.key = None;
        later
    }

    pub(super) fn count(&self, counter: Counter) {
        self.core.count_load(counter, self.began.filter(|_| self.is_counted));
    }
}

impl<K: Hash + Eq, V, S: BuildHasher> Leader<'_, K, V, S> {
    /// The same with a handle of its own, for work that may outlive the caller.
    pub(crate) fn detach(mut self, core: Arc<Core<K, V, S>>) -> Leader<'static, K, V, S> {
        self.is_handed_over = true;
        Leader {
            core: Held::Owned(core),
            hash: self.hash,
            key: self.key.take(),
            flight: Arc::clone(&self.flight),
            began: self.began,
            is_counted: self.is_counted,
            renews: self.renews.take(),
            is_handed_over: false,
            tags: self.tags.take(),
            span: std::mem::take(&mut self.span),
        }
    }

    /// What this load stores will carry tags. Before its loader runs.
    pub(crate) fn claim(&mut self, tags: &[Arc<str>]) {
        if tags.is_empty() {
            return;
        }
        let tags: Tags = tags.into();
        let index = self.core.shard_index(self.hash);
        let locked = self.core.shards[index].lock();
        self.core.flights[index].tag(self.hash, &self.flight, &tags);
        drop(locked);
        self.tags = Some(tags);
    }

    /// A handle to the flight, to wait for its end.
    #[cfg(feature = "tokio")]
    pub(crate) fn flight_handle(&self) -> Arc<Flight<V>> {
        Arc::clone(&self.flight)
    }

    /// The key.
    pub(crate) fn key(&self) -> &K {
        self.key.as_deref().expect("a leader ends once")
    }

    /// Whether no write or invalidation of the key has detached this flight so far.
    #[cfg(feature = "store")]
    pub(crate) fn stands(&self) -> bool {
        let index = self.core.shard_index(self.hash);
        let locked = self.core.shards[index].lock();
        let stands = self.core.flights[index].holds(self.hash, &self.flight);
        drop(locked);
        stands
    }

    /// Leaves it to the caller to count the load, which is one for many keys.
    pub(crate) fn uncounted(mut self) -> Self {
        self.is_counted = false;
        self
    }

    /// To be held while the loader runs or is polled.
    pub(crate) fn enter(&self) -> impl Sized + '_ {
        (self.flight.enter(), self.span.enter(self.core.name.as_deref()))
    }

    /// The flight, to mark this thread as being inside its loader.
    pub(crate) fn flight(&self) -> &Flight<V> {
        &self.flight
    }

    /// Leaves the table of flights, so that the next caller starts a new one.
    pub(super) fn depart(&self) {
        let index = self.core.shard_index(self.hash);
        let locked = self.core.shards[index].lock();
        self.core.flights[index].take_own(&locked, self.hash, &self.flight);
        drop(locked);
    }
}

impl<K: Hash + Eq, V, S: BuildHasher> Drop for Leader<'_, K, V, S> {
    fn drop(&mut self) {
        if self.is_handed_over {
            return;
        }
        self.put_off();
        if self.flight.outcome().is_none() {
            self.depart();
            self.flight.complete(Outcome::Abandoned);
        }
    }
}
