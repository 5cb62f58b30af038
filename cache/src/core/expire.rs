//! When entries end: what was configured, what the user's rule says, what is asked and set from outside.
//!
//! All user code here runs outside the locks.

use std::hash::{BuildHasher, Hash};
use std::time::Duration;

use equivalent::Equivalent;

use super::write::{Fresh, Life};
use super::{Core, KeyHash};
use crate::clock::nanos;
use crate::expiry::Expiry;
use crate::policy::Random;
use crate::reclaim::{self, Pinned};
use crate::store::locked::{Ends, Locked};
use crate::store::node::Node;
use crate::store::times::{FAR, Times};
use crate::sync::Ordering;

/// A time to live or to idle that is not set: for ever.
pub(crate) const OFF: u64 = u64::MAX;

/// What must be left of a time to idle so that a hit does not move its end: all but a 64th. 1 where there is none: an end that
/// is not behind us.
pub(crate) fn idle_left(time_to_idle: u64) -> u64 {
    if time_to_idle == OFF { 1 } else { (time_to_idle - time_to_idle / 64).max(1) }
}

impl<K, V, S> Core<K, V, S> {
    /// A deadline in so many ticks. Beyond the end of time is never.
    fn deadline(&self, now: u64, ticks: u64) -> u64 {
        let never = if self.expiry.is_some() { FAR } else { 0 };
        now.checked_add(ticks).filter(|&deadline| deadline < FAR).unwrap_or(never)
    }

    /// The configured time to live, less this entry's part of the jitter.
    fn life(&self, hash: KeyHash, now: u64) -> u64 {
        if self.jitter == 0.0 || self.time_to_live == OFF {
            return self.time_to_live;
        }
        // Time and key decide, mixed well: no state that writers would share.
        let bits = Random::new(hash.full() ^ now.rotate_left(32)).next();
        let share = (bits >> 11) as f64 / (1u64 << 53) as f64;
        let less = (self.time_to_live as f64 * self.jitter * share) as u64;
        self.time_to_live.saturating_sub(less)
    }

    /// Lets the user's rule move the deadline of an entry that is being read.
    #[inline(never)]
    pub(super) fn ask_after_read(
        &self,
        expiry: &dyn Expiry<K, V>,
        times: &Times,
        node: &Node<K, V>,
        now: u64,
    ) {
        let before = times.deadline.load(Ordering::Relaxed);
        let Some(life) = expiry.expire_after_read(&node.key, &node.value, remaining(before, now)) else {
            return;
        };
        let after = self.deadline(now, nanos(life));
        // The system's clock moves every few milliseconds: in between, reads of a hot entry write nothing.
        if after != before && times.move_deadline(before, after) && after < before {
            self.shortened.store(true, Ordering::Relaxed);
        }
    }
}

impl<K: Eq, V, S> Core<K, V, S> {
    /// Weighs and dates an entry. Runs the weigher and the user's rule of expiry.
    #[inline]
    pub(crate) fn fresh(&self, hash: KeyHash, key: K, value: V, life: Life) -> Fresh<K, V> {
        let weight = self.weigh(&key, &value);
        let ends = self.ends(hash, &key, &value, life);
        Fresh { hash, key, value, weight, ends }
    }

    /// When an entry ends that is written now.
    #[inline]
    pub(crate) fn ends(&self, hash: KeyHash, key: &K, value: &V, life: Life) -> Ends {
        let configured = self.time_to_live != OFF
            || self.time_to_idle != OFF
            || self.expiry.is_some()
            || self.freshness.negative.is_some()
            || self.freshness.refresh.is_some();
        if !configured && matches!(life, Life::Configured) {
            return Ends::default();
        }
        self.ends_from_now(hash, key, value, life)
    }

    #[cold]
    fn ends_from_now(&self, hash: KeyHash, key: &K, value: &V, life: Life) -> Ends {
        // Where a value has a life of its own, nothing else is asked.
        let (life, most) = match life {
            Life::AtMost(most) => (Life::Configured, Some(most)),
            life => (life, None),
        };
        let life = match life {
            Life::Configured => self.freshness.negative_life(value).map_or(life, Life::Ticks),
            life => life,
        };
        let now = self.ticks.now();
        let deadline = match (life, &self.expiry) {
            (Life::Ticks(ticks), _) => self.deadline(now, ticks),
            (_, Some(expiry)) => self.deadline_by_rule(&**expiry, hash, (key, value), now),
            (_, None) => self.deadline(now, self.life(hash, now)),
        };
        let deadline = match most.map(|most| self.deadline(now, most)) {
            // Without a deadline it would never end.
            Some(most) if most != 0 && (deadline == 0 || most < deadline) => most,
            _ => deadline,
        };
        let idle = now.checked_add(self.time_to_idle).unwrap_or(0);
        let due = self.freshness.refresh.as_ref().map_or(0, |refresh| refresh.next(now));
        let configured = matches!(life, Life::Configured) && self.expiry.is_none() && self.jitter == 0.0;
        let says_when = configured && self.time_to_live != OFF && deadline != 0;
        let written = if self.keeps_age() && !says_when { now } else { 0 };
        Ends { deadline, idle, due, cost: 0, written }
    }

    /// Whether it is known when entries were written.
    fn keeps_age(&self) -> bool {
        self.time_to_live != OFF || self.expiry.is_some() || self.freshness.refresh.is_some()
    }

    /// When a linked entry was written, if that is known.
    pub(super) fn written(&self, locked: &Locked<'_, K, V>, id: u32) -> Option<u64> {
        if !self.keeps_age() {
            return None;
        }
        // Where it was not said, the entry lives for the time to live.
        let by_deadline = || {
            let deadline = locked.times(id)?.deadline.load(Ordering::Relaxed);
            deadline.checked_sub(self.time_to_live)
        };
        locked.written(id).or_else(by_deadline)
    }

    fn deadline_by_rule(
        &self,
        expiry: &dyn Expiry<K, V>,
        hash: KeyHash,
        (key, value): (&K, &V),
        now: u64,
    ) -> u64 {
        let before = self.held_deadline(hash, key, now);
        let life = match before {
            Some(before) => expiry.expire_after_update(key, value, remaining(before, now)),
            None => expiry.expire_after_create(key, value),
        };
        life.map_or(before.unwrap_or(FAR), |life| self.deadline(now, nanos(life)))
    }

    /// The deadline of a live entry, without the lock.
    fn held_deadline(&self, hash: KeyHash, key: &K, now: u64) -> Option<u64> {
        let pin = reclaim::pin();
        let shard = self.shards.of(hash.shard());
        let found = shard.find(&pin, hash.part(), |candidate| candidate == key)?;
        let times = shard.times(found.id)?;
        (!times.expired(now)).then(|| times.deadline.load(Ordering::Relaxed))
    }
}

impl<K, V, S> Core<K, V, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    /// What is left of an entry's life; none if there is no entry, or no end.
    pub(crate) fn expires_after<Q>(&self, pin: &Pinned, key: &Q) -> Option<Duration>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let hash = self.hash(key);
        let shard = self.shards.of(hash.shard());
        let found = shard.find(pin, hash.part(), |candidate| key.equivalent(candidate))?;
        let times = shard.times(found.id)?;
        let now = self.ticks.now();
        // An end that a read moves meanwhile may lie behind us now, but not both the old and the new one.
        remaining(times.end(), now).filter(|left| !left.is_zero())
    }

    /// Gives a live entry a new deadline; false if there is none.
    pub(crate) fn set_expires_after<Q>(&self, key: &Q, ticks: u64) -> bool
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let hash = self.hash(key);
        let index = self.shard_index(hash);
        let pin = self.pin_if_watched();
        let mut removed = self.removed();
        let mut locked = self.shards[index].lock();
        let spot = locked
            .find(hash.part(), |candidate| key.equivalent(candidate))
            .filter(|spot| !self.expired(&locked, spot.id));
        if let Some(spot) = spot {
            // Of which its deadline will not tell any more.
            let written = self.written(&locked, spot.id);
            let deadline = self.deadline(self.ticks.now(), ticks);
            locked.set_deadline(spot.id, deadline);
            locked.set_written(spot.id, written.unwrap_or(0));
        }
        self.expire_some(&mut locked, &mut removed);
        let aftermath = locked.finish();
        self.conclude(pin, index, &removed, aftermath);
        spot.is_some()
    }
}

/// From now to an end; none if that is never.
fn remaining(end: u64, now: u64) -> Option<Duration> {
    (end != 0 && end != FAR).then(|| Duration::from_nanos(end.saturating_sub(now)))
}
