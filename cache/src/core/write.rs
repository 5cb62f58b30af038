//! Insert, update, remove. One short critical section each.
//!
//! Order of a write: hash, weigh and compute deadlines; find room if the bound is reached and this shard is not the one to
//! give it; lock; link; evict; unlock; tell the listener; drop what no reader can see any more.

use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use equivalent::Equivalent;

use super::budget::Budget;
use super::held::Held;
use super::later::Later;
use super::{Core, KeyHash};
use crate::counter::Counter;
use crate::notifications::{Note, Removed};
use crate::reclaim::{self, Pinned};
use crate::rejected::Rejected;
use crate::removal::RemovalCause;
use crate::store::locked::{Aftermath, Ends, Locked, Spot};

/// How long an entry lives.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Life {
    /// As the cache was configured.
    Configured,
    /// This many ticks, whatever the cache's time to live is.
    Ticks(u64),
    /// As the cache was configured, but not longer than this many ticks.
    #[cfg_attr(
        not(feature = "store"),
        expect(dead_code, reason = "only stores know how long their answers hold")
    )]
    AtMost(u64),
}

/// An entry ready to be linked: all user code that it needs has run.
#[derive(Debug)]
pub(crate) struct Fresh<K, V> {
    pub(crate) hash: KeyHash,
    pub(crate) key: K,
    pub(crate) value: V,
    pub(crate) weight: u32,
    pub(crate) ends: Ends,
}

/// Room that a write has taken from the budget or freed by eviction and not used yet. What is left goes back on drop.
#[derive(Debug)]
pub(crate) struct Credit<'b> {
    budget: &'b Budget,
    pub(super) amount: u64,
}

/// An entry for which room is made.
#[derive(Clone, Copy, Debug)]
enum Newcomer {
    /// It stands in the place of its predecessor.
    Linked(u32),
    /// No table holds it yet.
    Unlinked(u32),
}

impl Newcomer {
    #[inline]
    fn id(self) -> u32 {
        match self {
            Self::Linked(id) | Self::Unlinked(id) => id,
        }
    }

    #[inline]
    fn unlinked(self) -> Option<u32> {
        match self {
            Self::Linked(_) => None,
            Self::Unlinked(id) => Some(id),
        }
    }
}

impl Drop for Credit<'_> {
    #[inline]
    fn drop(&mut self) {
        self.budget.give(self.amount);
    }
}

impl<K, V, S> Core<K, V, S> {
    /// Whether anybody wants to know of removed entries.
    pub(crate) fn watched(&self) -> bool {
        self.listener.is_some() || self.counters.is_some() || self.outbox.is_some()
    }

    /// Notes an entry that this call removes or has removed, under the same lock. Its weight is counted here, the entry when it is
    /// reported.
    #[inline]
    pub(crate) fn note(
        &self,
        locked: &Locked<'_, K, V>,
        removed: &mut Removed,
        id: u32,
        cause: RemovalCause,
    ) {
        if self.watched() {
            self.count_weight(locked, id, cause);
            removed.push(id, cause);
        }
    }

    /// Notes an entry that was taken for its room. If it was dead already, that is what it died of.
    pub(super) fn note_evicted(&self, locked: &Locked<'_, K, V>, removed: &mut Removed, id: u32) {
        if self.watched() {
            let cause = if self.expired(locked, id) { RemovalCause::Expired } else { RemovalCause::Size };
            self.note(locked, removed, id, cause);
        }
    }

    #[inline]
    fn count_weight(&self, locked: &Locked<'_, K, V>, id: u32, cause: RemovalCause) {
        let counter = match cause {
            RemovalCause::Size => Counter::EvictedWeight,
            RemovalCause::Expired => Counter::ExpiredWeight,
            _ => return,
        };
        if let Some(counters) = &self.counters {
            counters.count(counter, u64::from(locked.weight_of(id)));
        }
    }

    /// Frees room in other shards for an entry of this weight, where this one holds less than its share of a full cache.
    /// `find` looks for an old entry of the key.
    #[inline]
    pub(crate) fn gather(
        &self,
        own: usize,
        weight: u64,
        find: impl Fn(&Locked<'_, K, V>) -> Option<Spot>,
        later: &mut Later<'_, K, V, S>,
    ) -> Credit<'_> {
        self.sweep_for(own, weight, later);
        if self.shards.len() > 1 && self.short(own, weight) > 0 {
            return self.gather_slow(own, weight, find, later);
        }
        Credit { budget: &self.budget, amount: 0 }
    }

    #[cold]
    fn gather_slow(
        &self,
        own: usize,
        weight: u64,
        find: impl Fn(&Locked<'_, K, V>) -> Option<Spot>,
        later: &mut Later<'_, K, V, S>,
    ) -> Credit<'_> {
        let mut credit = Credit { budget: &self.budget, amount: 0 };
        // An update needs only what it adds; worth a look, because others would be evicted for it.
        let locked = self.shards[own].lock();
        let held = find(&locked).map_or(0, |old| u64::from(locked.weight_of(old.id)));
        drop(locked);
        let short = self.short(own, weight.saturating_sub(held));
        if short > 0 {
            self.gather_from_others(own, short, &mut credit, later);
        }
        credit
    }

    /// What is missing in the budget and should not come from this shard.
    #[inline]
    pub(super) fn short(&self, own: usize, need: u64) -> u64 {
        let room = self.budget.room();
        if room >= need {
            return 0;
        }
        let shard = self.shards.of(own);
        let (held, fair) = (shard.weight(), shard.fair());
        if held >= fair && held >= need {
            return 0;
        }
        let from_own = (held.saturating_add(need)).saturating_sub(fair).min(held).min(need);
        (need - room).saturating_sub(from_own)
    }

    #[cold]
    fn gather_from_others(
        &self,
        own: usize,
        short: u64,
        credit: &mut Credit<'_>,
        later: &mut Later<'_, K, V, S>,
    ) {
        let count = self.shards.len();
        // First those that hold more than their share; one of them exists while the cache is full and we are below ours.
        for above_share in [true, false] {
            for step in 1..count {
                let index = (own + step) % count;
                let shard = &self.shards[index];
                if credit.amount >= short {
                    return;
                }
                if above_share && shard.weight() <= shard.share() {
                    continue;
                }
                let pin = self.pin_if_watched();
                let mut locked = shard.lock();
                let mut removed = self.removed();
                while credit.amount < short && !(above_share && locked.weight() <= shard.share()) {
                    let Some(id) = locked.evict::<false>(None) else { break };
                    credit.amount += u64::from(locked.weight_of(id));
                    self.note_evicted(&locked, &mut removed, id);
                }
                let aftermath = locked.finish();
                // No user code runs while room is held: it might wait for somebody who waits for that room.
                later.add(pin, index, removed, aftermath);
            }
        }
    }

    /// Makes room for `need` more weight, of which `held` is in the budget already under `newcomer`'s name. Evicts in
    /// this shard where the budget has none. False if the newcomer itself had to go.
    #[inline]
    fn make_room(
        &self,
        locked: &mut Locked<'_, K, V>,
        newcomer: Newcomer,
        (held, need): (u64, u64),
        credit: &mut Credit<'_>,
        removed: &mut Removed,
    ) -> bool {
        let mut evicted = false;
        loop {
            let missing = need.saturating_sub(credit.amount);
            if missing == 0 || self.budget.try_take(missing) {
                credit.amount = credit.amount.saturating_sub(need);
                if !evicted {
                    locked.settle::<false>();
                }
                return true;
            }
            evicted = true;
            if self.take_cleared(locked, credit, removed) {
                continue;
            }
            match locked.evict::<false>(newcomer.unlinked()) {
                Some(victim) => {
                    self.note_evicted(locked, removed, victim);
                    if victim == newcomer.id() {
                        credit.amount += held;
                        return false;
                    }
                    credit.amount += u64::from(locked.weight_of(victim));
                }
                // All that is left here is pinned, or another write holds the room: the newcomer gives way.
                None => {
                    locked.remove(newcomer.id());
                    self.note_evicted(locked, removed, newcomer.id());
                    credit.amount += held;
                    return false;
                }
            }
        }
    }

    /// Links an entry under the shard's lock: a new value in the place of the old, or a new entry.
    /// Returns its cell, unless it had to go at once.
    #[inline]
    pub(crate) fn link(
        &self,
        locked: &mut Locked<'_, K, V>,
        old: Option<Spot>,
        fresh: Fresh<K, V>,
        credit: &mut Credit<'_>,
        removed: &mut Removed,
    ) -> Option<u32> {
        let Fresh { hash, key, value, weight, ends } = fresh;
        let Some(old) = old else {
            locked.prefetch(hash.part());
            let id = locked.admit(hash.part(), key, value, weight, ends);
            let needs = (0, u64::from(weight));
            let stays = self.make_room(locked, Newcomer::Unlinked(id), needs, credit, removed);
            if stays {
                locked.publish(hash.part(), id);
            }
            return stays.then_some(id);
        };
        let held = u64::from(locked.weight_of(old.id));
        if self.watched() {
            let cause =
                if self.expired(locked, old.id) { RemovalCause::Expired } else { RemovalCause::Replaced };
            self.note(locked, removed, old.id, cause);
        }
        let id = locked.update(old, hash.part(), key, value, weight, ends);
        let weight = u64::from(weight);
        if weight > held {
            let needs = (held, weight - held);
            return self.make_room(locked, Newcomer::Linked(id), needs, credit, removed).then_some(id);
        }
        credit.amount += held - weight;
        Some(id)
    }

    /// Finds the entry of a key, and then removes a few expired ones, of which it may be one. In this order: a comparison of
    /// keys may panic, and then nothing has changed.
    pub(super) fn find_old(
        &self,
        locked: &mut Locked<'_, K, V>,
        hash: KeyHash,
        find: impl Fn(&Locked<'_, K, V>) -> Option<Spot>,
        removed: &mut Removed<'_>,
    ) -> Option<Spot> {
        let old = find(locked);
        if !locked.timed() {
            return old;
        }
        self.expire_some(locked, removed);
        old.and_then(|old| locked.spot_of(hash.part(), old.id))
    }

    /// Whether a linked entry's time is over.
    pub(crate) fn expired(&self, locked: &Locked<'_, K, V>, id: u32) -> bool {
        locked.times(id).is_some_and(|times| times.end() != 0 && times.expired(self.ticks.now()))
    }

    /// A pin for a write that will have something to report: what it unlinks stays readable until then.
    #[inline]
    pub(crate) fn pin_if_watched(&self) -> Option<Pinned> {
        self.watched().then(reclaim::pin)
    }

    /// After the unlock: statistics, the listener, the dead.
    #[inline]
    pub(crate) fn conclude(
        &self,
        pin: Option<Pinned>,
        shard: usize,
        removed: &Removed,
        aftermath: Aftermath<K, V>,
    ) {
        if let Some(pin) = &pin {
            self.report(pin, shard, removed);
        }
        Self::bury(pin, aftermath);
        if !removed.notes().is_empty() {
            self.wait_for_receiver();
        }
    }

    /// Tells statistics and listener. Never panics.
    pub(super) fn report(&self, pin: &Pinned, shard: usize, removed: &Removed) {
        if let Some(counters) = &self.counters {
            for &Note { cause, .. } in removed.notes() {
                counters.add(pin.stripe(), Counter::removal(cause), 1);
            }
        }
        if self.listener.is_some() || self.outbox.is_some() {
            for &note in removed.notes() {
                let node = self.shards[shard].unlinked_node(pin, note.id);
                self.tell(&node.key, &node.value, note);
            }
        }
        removed.set_reported();
    }

    /// Tells the listener, and fills the event's place.
    fn tell(&self, key: &K, value: &V, note: Note) {
        if let (Some(outbox), Some(place)) = (&self.outbox, note.place) {
            if !outbox.fill(place, key, value, note.cause) {
                self.count_listener_panic();
            }
        }
        if let Some(listener) = &self.listener {
            listener.call(key, value, note.cause, self.counters.as_ref());
        }
    }

    #[cold]
    fn count_listener_panic(&self) {
        if let Some(counters) = &self.counters {
            counters.count(Counter::ListenerPanics, 1);
        }
    }

    /// Entries that a call removes. Before its lock.
    #[inline]
    pub(crate) fn removed(&self) -> Removed<'_> {
        Removed::new(self.outbox.as_ref().map(|outbox| outbox.order()))
    }

    /// The same with what was noted before and detached.
    pub(super) fn removed_before(&self, notes: Vec<Note>) -> Removed<'_> {
        Removed::attach(self.outbox.as_ref().map(|outbox| outbox.order()), notes)
    }

    /// Where the queue of events is too long and writers are to wait for that: waits. Not under a lock or a pin.
    #[inline]
    pub(super) fn wait_for_receiver(&self) {
        if let Some(outbox) = &self.outbox {
            outbox.wait();
        }
    }

    /// Drops what no reader can see any more. Runs drops of keys and values, which may panic.
    #[inline]
    pub(super) fn bury(pin: Option<Pinned>, aftermath: Aftermath<K, V>) {
        // Our own pin would hold back what was unlinked under it.
        drop(pin);
        if aftermath.push {
            reclaim::advance();
        }
        drop(aftermath.dead);
    }

    /// Reports a value that is heavier than the whole cache and never got in.
    pub(crate) fn report_refused(&self, key: &K, value: &V) {
        if let Some(counters) = &self.counters {
            counters.count(Counter::removal(RemovalCause::Size), 1);
            counters.count(Counter::Rejected, 1);
        }
        let place = self.outbox.as_ref().and_then(|outbox| outbox.keep());
        self.tell(key, value, Note { id: 0, cause: RemovalCause::Size, place });
    }

    /// Unlinks an entry and gives its room back.
    pub(crate) fn unlink(&self, locked: &mut Locked<'_, K, V>, id: u32) {
        let weight = u64::from(locked.weight_of(id));
        locked.remove(id);
        self.budget.give(weight);
    }
}

impl<K, V, S> Core<K, V, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    /// Inserts or replaces.
    #[inline]
    pub(crate) fn insert(&self, key: K, value: V, life: Life) {
        let hash = self.hash(&key);
        if self.plain && matches!(life, Life::Configured) {
            self.insert_plain(hash, key, value);
        } else {
            self.insert_fresh(self.fresh(hash, key, value, life));
        }
    }

    /// The same, but an entry heavier than the whole cache goes back to its caller, and nothing changes.
    pub(crate) fn try_insert(&self, key: K, value: V, life: Life) -> Result<(), Rejected<K, V>> {
        let hash = self.hash(&key);
        let fresh = self.fresh(hash, key, value, life);
        let max = self.budget.max();
        if u64::from(fresh.weight) > max {
            let Fresh { key, value, weight, .. } = fresh;
            return Err(Rejected { key, value, weight, max });
        }
        self.insert_fresh(fresh);
        Ok(())
    }

    /// Inserts or replaces, whatever the cache has to do for it.
    pub(super) fn insert_fresh(&self, fresh: Fresh<K, V>) {
        self.insert_fresh_tagged(fresh, &[]);
    }

    pub(super) fn insert_fresh_tagged(&self, fresh: Fresh<K, V>, tags: &[Arc<str>]) {
        if u64::from(fresh.weight) > self.budget.max() {
            self.refuse(fresh);
            return;
        }
        let hash = fresh.hash;
        let index = self.shard_index(hash);
        let pin = self.pin_if_watched();
        let mut removed = self.removed();
        // Before the lock: this may evict in other shards.
        let find = |locked: &Locked<'_, K, V>| locked.find(hash.part(), |candidate| *candidate == fresh.key);
        let mut later = Later::new(Held::Borrowed(self));
        let mut credit = self.gather(index, u64::from(fresh.weight), find, &mut later);
        let mut locked = self.shards.of(index).lock();
        self.flights[index].detach(&locked, hash, &fresh.key);
        let old = self.find_old(&mut locked, hash, find, &mut removed);
        let linked = self.link(&mut locked, old, fresh, &mut credit, &mut removed);
        if let (Some(id), false) = (linked, tags.is_empty()) {
            locked.attach_tags(id, tags);
        }
        let aftermath = locked.finish();
        drop(credit);
        if later.is_empty() {
            self.conclude(pin, index, &removed, aftermath);
        } else {
            later.conclude_with(pin, index, removed, aftermath);
        }
    }

    /// An entry heavier than the whole cache: the old value goes, the new one is reported as evicted for its size.
    #[cold]
    fn refuse(&self, fresh: Fresh<K, V>) {
        let Fresh { key, value, .. } = fresh;
        self.remove(&key, RemovalCause::Replaced, |_, _| ());
        self.report_refused(&key, &value);
    }

    /// Removes an entry; hands key and value to `take` if it was alive, after the unlock.
    pub(crate) fn remove<Q, R>(
        &self,
        key: &Q,
        cause: RemovalCause,
        take: impl FnOnce(&K, &V) -> R,
    ) -> Option<R>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let hash = self.hash(key);
        let index = self.shard_index(hash);
        let pin = reclaim::pin();
        let mut removed = self.removed();
        let mut locked = self.shards[index].lock();
        self.flights[index].detach(&locked, hash, key);
        let spot = locked.find(hash.part(), |candidate| key.equivalent(candidate));
        let mut taken = None;
        if let Some(Spot { id, .. }) = spot {
            let expired = self.expired(&locked, id);
            if !expired {
                taken = Some(locked.pinned_node(&pin, id));
            }
            self.unlink(&mut locked, id);
            self.note(&locked, &mut removed, id, if expired { RemovalCause::Expired } else { cause });
        }
        let aftermath = locked.finish();
        // `take` may panic; the entry is gone by now, so it is reported first.
        self.report(&pin, index, &removed);
        let taken = taken.map(|node| take(&node.key, &node.value));
        Self::bury(Some(pin), aftermath);
        if !removed.notes().is_empty() {
            self.wait_for_receiver();
        }
        taken
    }
}
