//! Values that are loaded again before they end, while the old ones are served.
//!
//! A refresh is the flight of its key, so there is one at a time, computes wait for it, and a write or removal detaches it:
//! then its value is thrown away. Who finds an entry due *claims* it under the shard's lock, by moving the time at which it is due
//! out of reach; so other hits take no lock meanwhile. A failure brings the time back, later and later.

use std::any::Any;
use std::cell::Cell;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use super::flights::Tags;
use super::later::Later;
use super::load::Leader;
use super::write::{Fresh, Life};
use super::{Core, KeyHash};
use crate::counter::Counter;
use crate::flight::Outcome;
use crate::freshness::Refreshing;
use crate::policy::Random;
use crate::reclaim::Pinned;
use crate::removal::RemovalCause;
use crate::store::locked::{Ends, Locked};
use crate::store::shard::{Found, Shard};
use crate::store::times::{FAR, Renewal};
use crate::sync::Ordering;

/// The natural logarithm of a draw is hardly ever below minus this: beyond, no draw makes a refresh early.
const FARTHEST: f64 = 40.0;

thread_local! {
    static DRAWS: Cell<u64> = const { Cell::new(0) };
}

/// Minus the logarithm of a number that is drawn from above 0 to 1.
fn draw() -> f64 {
    let seed = DRAWS.try_with(|draws| {
        // Each thread has draws of its own, from the address of its cell on.
        let seed = if draws.get() == 0 { std::ptr::from_ref(draws).addr() as u64 } else { draws.get() };
        draws.set(seed.wrapping_add(1));
        seed
    });
    let bits = Random::new(seed.unwrap_or(1).wrapping_mul(0x9e37_79b9_7f4a_7c15)).next();
    -(((bits >> 11) + 1) as f64 / (1u64 << 53) as f64).ln()
}

/// If the value is to be loaded again by now: the time that says so.
///
/// Early ones by the rule of A. Vattani, F. Chierichetti and K. Lowenstein, "Optimal Probabilistic Cache Stampede Prevention"
/// (VLDB 2015): the longer a load takes, and the nearer the time, the likelier.
#[inline]
fn due<K>(refresh: &Refreshing<K>, renewal: &Renewal, now: u64) -> Option<u64> {
    let due = renewal.due.load(Ordering::Relaxed);
    if due == 0 || due == FAR {
        return None;
    }
    (due <= now || (refresh.beta > 0.0 && is_early(refresh.beta, renewal, due - now))).then_some(due)
}

#[inline(never)]
fn is_early(beta: f64, renewal: &Renewal, left: u64) -> bool {
    let reach = reach(beta, renewal);
    (left as f64) < reach * FARTHEST && (left as f64) <= reach * draw()
}

/// How early a draw of 1 makes a refresh, in ticks.
fn reach(beta: f64, renewal: &Renewal) -> f64 {
    f64::from(renewal.cost.load(Ordering::Relaxed)) * 1_000.0 * beta
}

/// How long before the value is due chance may have it loaded, in ticks.
pub(super) fn earliest<K>(refresh: &Refreshing<K>, renewal: &Renewal) -> u64 {
    if refresh.beta > 0.0 { (reach(refresh.beta, renewal) * FARTHEST) as u64 } else { 0 }
}

/// Begins a refresh of an entry that is being read, if it is due and plain reads do that.
#[inline(never)]
pub(super) fn refresh_after_read<K, V>(
    refresh: &Refreshing<K>,
    shard: &Shard<K, V>,
    found: Found<'_, K, V>,
    now: u64,
) {
    let Some(trigger) = refresh.trigger.get() else { return };
    let Some(renewal) = shard.renewal(found.id) else { return };
    if let Some(due) = due(refresh, renewal, now) {
        trigger(&found.node().key, due);
    }
}

impl<K, V, S> Core<K, V, S> {
    /// Counts a refresh that has ended.
    fn end_refresh(&self, how: Counter) {
        if let Some(refresh) = &self.freshness.refresh {
            refresh.in_flight.fetch_sub(1, Ordering::Relaxed);
        }
        if let Some(counters) = &self.counters {
            counters.count(how, 1);
        }
    }
}

impl<K, V, S> Core<K, V, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    /// A live entry, counted as a hit or a miss, and the time at which it was due, if it is.
    pub(crate) fn get_and_due<'g>(&'g self, pin: &'g Pinned, key: &K) -> Option<(&'g V, Option<u64>)> {
        let hash = self.hash(key);
        let shard = self.shards.of(hash.shard());
        let Some(found) = shard.find(pin, hash.part(), |candidate| candidate == key) else {
            self.get_nothing(pin);
            return None;
        };
        let value = self.get_found(pin, shard, found)?;
        let refresh = self.freshness.refresh.as_ref().zip(shard.renewal(found.id));
        Some((value, refresh.and_then(|(refresh, renewal)| due(refresh, renewal, self.ticks.now()))))
    }

    /// The time at which a live entry was due, if it is.
    pub(crate) fn due(&self, pin: &Pinned, key: &K) -> Option<u64> {
        let refresh = self.freshness.refresh.as_ref()?;
        let hash = self.hash(key);
        let shard = self.shards.of(hash.shard());
        let found = shard.find(pin, hash.part(), |candidate| candidate == key)?;
        due(refresh, shard.renewal(found.id)?, self.ticks.now())
    }

    /// Takes the right to refresh an entry that was due at that time. None if it is not there, has changed, or is
    /// being worked on.
    pub(crate) fn claim(core: &Arc<Self>, key: K, due: u64) -> Option<Leader<'static, K, V, S>>
    where
        V: Clone,
    {
        let refresh = core.freshness.refresh.as_ref()?;
        let hash = core.hash(&key);
        let index = core.shard_index(hash);
        let locked = core.shards[index].lock();
        let spot = locked.find(hash.part(), |candidate| *candidate == key);
        let spot = spot.filter(|spot| !core.expired(&locked, spot.id));
        let renewal = spot.and_then(|spot| core.shards[index].renewal(spot.id));
        let (Some(spot), Some(renewal)) = (spot, renewal) else {
            drop(locked);
            return None;
        };
        if renewal.due.load(Ordering::Relaxed) != due {
            drop(locked);
            return None;
        }
        let boarded = core.flights[index].board(&locked, hash, key, true);
        if boarded.1.is_ok() {
            // Claims are made under the lock only.
            renewal.begin(due);
        }
        let tags: Option<Tags> =
            Some(locked.tags_of(spot.id)).filter(|tags| !tags.is_empty()).map(Into::into);
        if let (Ok(_), Some(tags)) = (&boarded.1, &tags) {
            core.flights[index].tag(hash, &boarded.0, tags);
        }
        drop(locked);
        // A key that comes back because somebody works on the entry is dropped here.
        let mut leader = core.lead(hash, boarded).ok()?;
        refresh.in_flight.fetch_add(1, Ordering::Relaxed);
        leader.renews = Some(spot.id);
        leader.tags = tags;
        Some(leader.detach(Arc::clone(core)))
    }

    /// Whether the value of a key is being refreshed.
    pub(crate) fn is_refreshing<Q>(&self, key: &Q) -> bool
    where
        Q: Hash + equivalent::Equivalent<K> + ?Sized,
    {
        let hash: KeyHash = self.hash(key);
        self.flights[self.shard_index(hash)].is_refreshing(hash, key)
    }
}

impl<K, V, S> Leader<'_, K, V, S>
where
    K: Hash + Eq,
    V: Clone,
    S: BuildHasher,
{
    /// Puts a new value in the place of the one that was refreshed; false if the entry has changed since.
    pub(crate) fn renewed(self, value: V) -> bool {
        // Dropped after the leader, if what they are asked for panics: their drops may load the key.
        let stored;
        let mut later = Later::new(self.core.clone());
        let mut leader = self;
        leader.count(Counter::LoadSuccesses);
        let core = &*leader.core;
        let hash = leader.hash;
        let key = leader.key();
        // User code before the lock: if it panics, the refresh has failed.
        let weight = core.weigh(key, &value);
        stored = value.clone();
        let ends = Ends { cost: leader.cost(), ..core.ends(hash, key, &value, Life::Configured) };
        let fits = u64::from(weight) <= core.budget.max();
        let index = core.shard_index(hash);
        let pin = core.pin_if_watched();
        let mut removed = core.removed();
        let find = |locked: &Locked<'_, K, V>| locked.find(hash.part(), |candidate| candidate == key);
        let mut credit = core.gather(index, if fits { u64::from(weight) } else { 0 }, find, &mut later);
        let mut locked = core.shards[index].lock();
        let own = core.flights[index].take_own(&locked, hash, &leader.flight);
        let old = find(&locked);
        // After the last comparison, which may panic: a key must not be dropped under the lock. Ours was the other handle.
        let key = leader.key.take().and_then(Arc::into_inner).expect("a key in flight has two handles");
        let alive = old.is_some_and(|spot| !core.expired(&locked, spot.id));
        // Out of the table, so nobody joins any more. Where the old value has ended, it is a load for those who wait.
        let awaited = Arc::strong_count(&leader.flight) > 1;
        let stays = own && (alive || awaited);
        if stays && fits {
            let fresh = Fresh { hash, key, value: stored, weight, ends };
            let linked = core.link(&mut locked, old, fresh, &mut credit, &mut removed);
            if let (Some(id), Some(tags)) = (linked, &leader.tags) {
                // The same entry, only newer.
                locked.attach_tags(id, tags);
            }
        } else {
            if let Some(old) = old.filter(|_| stays) {
                // Heavier than the whole cache: as for other writes, the old value goes.
                core.unlink(&mut locked, old.id);
                let cause = if alive { RemovalCause::Replaced } else { RemovalCause::Expired };
                core.note(&locked, &mut removed, old.id, cause);
            }
            if stays {
                later.refuse(key, stored);
            } else {
                later.throw_away(Some(key), Some(stored));
            }
        }
        core.expire_some(&mut locked, &mut removed);
        let aftermath = locked.finish();
        drop(credit);
        // Before user code runs again, which may panic: it has not failed.
        if leader.renews.take().is_some() {
            core.end_refresh(if stays { Counter::Refreshes } else { Counter::RefreshesDiscarded });
        }
        later.add(pin, index, removed, aftermath);
        let (outcome, _unasked) =
            if awaited { (Outcome::Loaded(value), None) } else { (Outcome::Abandoned, Some(value)) };
        leader.flight.complete(outcome);
        later.conclude();
        stays
    }

    /// Lets the old value live on for now. An error is for those who wait, because the value has ended meanwhile.
    pub(crate) fn not_renewed(mut self, error: Arc<dyn Any + Send + Sync>) {
        self.put_off();
        self.depart();
        // Nobody joins any more.
        if Arc::strong_count(&self.flight) == 1 {
            self.failed(error);
        } else if let Err(leader) = self.fall_back() {
            leader.failed(error);
        }
    }
}

impl<K: Hash + Eq, V, S: BuildHasher> Leader<'_, K, V, S> {
    /// How many microseconds the load took.
    pub(super) fn cost(&self) -> u32 {
        self.began.map_or(0, |began| u32::try_from(began.elapsed().as_micros()).unwrap_or(u32::MAX).max(1))
    }

    /// Ends a refresh that failed: the next one waits, if the entry is still there.
    ///
    /// Its cell may be another entry's by now, whose refresh may be under way as well; its time is not ours to change. While the
    /// flight is still the key's, nobody has written or removed the entry since the claim, and whoever adds one under its key
    /// detaches the flight. So under the lock, a flight that stands and a cell that is linked for a key with this hash are
    /// the entry that was claimed. (Or one with the same half of a hash, that came into the cell since and is being
    /// refreshed: once in four billion such failures, a refresh comes too early or too late. The key is not compared, because that
    /// may panic, and this runs while a leader is dropped.)
    pub(super) fn put_off(&mut self) {
        let Some(id) = self.renews.take() else { return };
        let core = &*self.core;
        core.end_refresh(Counter::RefreshFailures);
        let Some(refresh) = core.freshness.refresh.as_ref() else { return };
        let index = core.shard_index(self.hash);
        let now = core.ticks.now();
        let locked = core.shards[index].lock();
        let stands = core.flights[index].holds(self.hash, &self.flight);
        if stands && locked.spot_of(self.hash.part(), id).is_some() {
            if let Some(renewal) = core.shards[index].renewal(id) {
                renewal.put_off(now, |failures| refresh.delay(failures));
            }
        }
        drop(locked);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_early_refresh_is_as_likely_as_the_paper_says() {
        let renewal = Renewal::default();
        renewal.set(1, 5);
        // Of draws of minus a logarithm, the part above x is the exponential of minus x.
        for (left, likely) in [(0, 1.0), (3_466, 0.5), (11_513, 0.1), (200_000, 0.0)] {
            for beta in [1.0, 2.0] {
                let refresh = Refreshing::<u8> { beta, ..Refreshing::default() };
                assert_eq!(earliest(&refresh, &renewal), (200_000.0 * beta) as u64);
                let left = (f64::from(left) * beta) as u64;
                let early = (0..40_000).filter(|_| is_early(beta, &renewal, left)).count();
                let part = early as f64 / 40_000.0;
                assert!((part - likely).abs() < 0.02, "{left} {beta}: {part}, not {likely}");
            }
        }
    }

    #[test]
    fn a_value_whose_load_was_not_measured_is_never_early() {
        let renewal = Renewal::default();
        renewal.set(1, 0);
        assert!((0..1_000).all(|_| !is_early(1e9, &renewal, 1)));
    }
}
