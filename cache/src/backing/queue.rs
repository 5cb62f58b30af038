//! The queue of write-behind, as a state machine: no lock, no task, no I/O, no clock. `driver` moves it.
//!
//! A *change* is what a key is to become. Each key has at most two: one in flight, which the store is being told, and the next
//! one, into which all later writes are folded. So a key is never in two batches at once, and its writes reach the store
//! in the order in which they were accepted.
//!
//! ```text
//!            accept                 take_batch              land: written
//!  (nothing) ──────▶ in line ─────────────────▶ in flight ───────────────▶ (nothing)
//!                     ▲  ▲                        │  │  land: refused
//!                     │  └── resting ◀────────────┘  └────────▶ a letter ──reported──▶ (nothing)
//!                     └──────── its time is over    land: transient
//! ```
//!
//! A change is *unresolved* from `accept` until the store has it, or it was reported. Its number is that of the oldest write
//! in it; a flush waits until no number up to its own is left.
//!
//! Hashes come from outside, and keys and values that are no longer needed go there ([`Garbage`]), so that of the user's code
//! only `K: Eq` runs in here. Times are ticks of the cache's clock.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fastrand::Rng;
use hashbrown::HashTable;

/// How often a write that is alone in its batch may panic before it is given up.
const PANICS: u32 = 3;

/// What the queue was told to keep to.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    /// Changes in the queue.
    pub(crate) length: usize,
    pub(crate) bytes: u64,
    pub(crate) batch_length: usize,
    pub(crate) batch_bytes: u64,
    /// Ticks that a change waits for company.
    pub(crate) delay: u64,
    /// Batches in flight at once.
    pub(crate) in_flight: usize,
    /// Transient failures after which a change is given up; 0 = never.
    pub(crate) attempts: u32,
    /// Ticks before the first retry, and before later ones at most.
    pub(crate) first_backoff: u64,
    pub(crate) most_backoff: u64,
}

/// Keys and values to be dropped outside the lock.
#[derive(Debug)]
pub(crate) enum Garbage<K, V> {
    Key(#[expect(dead_code, reason = "only to be dropped")] Arc<K>),
    Value(#[expect(dead_code, reason = "only to be dropped")] Arc<V>),
}

pub(crate) type Rubbish<K, V> = Vec<Garbage<K, V>>;

#[derive(Debug)]
struct Change<V> {
    /// `None`: delete.
    value: Option<Arc<V>>,
    bytes: u64,
    /// Of the oldest write in it.
    number: u64,
    /// When that was accepted.
    since: u64,
    /// How often the store has failed to take it.
    attempts: u32,
    panics: u32,
    /// Whether it was in a batch: it need not wait for company again.
    was_tried: bool,
}

#[derive(Debug)]
struct Slot<K, V> {
    hash: u64,
    key: Arc<K>,
    flying: Option<Change<V>>,
    next: Option<Change<V>>,
    /// Transient failures of this key in a row.
    failures: u32,
    /// When it may be tried again, while it rests.
    rests_until: Option<u64>,
    /// The longest batch that it may be in: halved when a batch is refused as a whole.
    company: usize,
}

#[derive(Debug)]
struct Flight {
    id: u64,
    slots: Vec<usize>,
}

#[derive(Debug)]
pub(crate) struct Queue<K, V> {
    limits: Limits,
    slots: Vec<Option<Slot<K, V>>>,
    free: Vec<usize>,
    index: HashTable<usize>,
    /// Next changes of keys that neither fly nor rest, by number.
    line: BTreeMap<u64, usize>,
    /// Next changes of keys that rest, by the end of their rest.
    resting: BTreeSet<(u64, usize)>,
    flights: Vec<Flight>,
    /// Numbers, with the times of acceptance.
    unresolved: BTreeMap<u64, u64>,
    line_bytes: u64,
    bytes: u64,
    /// Changes in line that were tried before.
    tried_in_line: usize,
    accepted: u64,
    /// The last number that somebody wants written without delay.
    flush_to: u64,
    is_closed: bool,
    next_flight: u64,
    /// Failures of the whole store in a row, and the end of the pause after the last.
    store_failures: u32,
    paused_until: u64,
    random: Rng,
    /// Changes that were there at the start, for which no bound holds.
    restored: usize,
    pub(crate) counts: Counts,
}

/// What has happened since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) accepted: u64,
    pub(crate) coalesced: u64,
    pub(crate) written: u64,
    pub(crate) retried: u64,
    pub(crate) dead: u64,
    pub(crate) batches: u64,
}

/// What became of an attempt to accept a write.
#[derive(Debug)]
pub(crate) enum Accept<K, V> {
    /// `wakes`: the driver has something new to look at.
    Accepted {
        wakes: bool,
        rubbish: Rubbish<K, V>,
    },
    /// No room; handed back.
    Full(Arc<K>, Option<Arc<V>>),
    Closed(Arc<K>, Option<Arc<V>>),
}

/// A change that is in flight now.
pub(crate) type Departed<K, V> = (Arc<K>, Option<Arc<V>>);

#[derive(Debug)]
pub(crate) struct Batch<K, V> {
    pub(crate) id: u64,
    pub(crate) changes: Vec<Departed<K, V>>,
}

/// What the store made of one change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Written,
    Transient,
    Permanent,
    Panicked,
}

/// What the store made of a batch.
#[derive(Clone, Debug)]
pub(crate) enum Landing {
    /// It looked at each of them.
    Each(Vec<Verdict>),
    /// It failed for all together, and nobody knows what was written. Not `Written`.
    Whole(Verdict),
    /// It was not asked to the end.
    Cancelled,
}

/// A change that will not be written. It stays unresolved until [`Queue::reported`].
#[derive(Debug)]
pub(crate) struct Letter<K, V> {
    pub(crate) key: Arc<K>,
    pub(crate) value: Option<Arc<V>>,
    pub(crate) number: u64,
    pub(crate) attempts: u32,
    /// Place in the batch; 0 for what was not in flight.
    pub(crate) place: usize,
}

#[derive(Debug)]
pub(crate) struct Landed<K, V> {
    pub(crate) letters: Vec<Letter<K, V>>,
    pub(crate) rubbish: Rubbish<K, V>,
}

impl<K, V> Queue<K, V> {
    pub(crate) fn new(limits: Limits, seed: u64) -> Self {
        Self {
            limits,
            slots: Vec::new(),
            free: Vec::new(),
            index: HashTable::new(),
            line: BTreeMap::new(),
            resting: BTreeSet::new(),
            flights: Vec::new(),
            unresolved: BTreeMap::new(),
            line_bytes: 0,
            bytes: 0,
            tried_in_line: 0,
            accepted: 0,
            flush_to: 0,
            is_closed: false,
            next_flight: 0,
            store_failures: 0,
            paused_until: 0,
            random: Rng::with_seed(seed),
            restored: 0,
            counts: Counts::default(),
        }
    }

    /// Takes a write in. With `may_grow` false, only if it can be folded into one that waits.
    pub(crate) fn accept(
        &mut self,
        hash: u64,
        key: Arc<K>,
        value: Option<Arc<V>>,
        bytes: u64,
        now: u64,
        may_grow: bool,
    ) -> Accept<K, V>
    where
        K: Eq,
    {
        if self.is_closed {
            return Accept::Closed(key, value);
        }
        let found = self.find(hash, &key);
        let old_bytes = found.and_then(|id| self.slot(id).next.as_ref()).map(|next| next.bytes);
        let fits = match old_bytes {
            Some(old) => bytes <= old || self.has_room(self.bytes - old, bytes),
            None => {
                may_grow && self.unresolved.len() < self.limits.length && self.has_room(self.bytes, bytes)
            }
        };
        if !fits {
            return Accept::Full(key, value);
        }
        self.take_in(hash, key, value, bytes, now)
    }

    /// Takes a write in that was accepted before this process began, whether there is room or not.
    pub(crate) fn restore(&mut self, hash: u64, key: Arc<K>, value: Option<Arc<V>>, bytes: u64, now: u64)
    where
        K: Eq,
    {
        let _nobody_else_is_here = self.take_in(hash, key, value, bytes, now);
        self.restored = self.unresolved.len();
    }

    fn take_in(&mut self, hash: u64, key: Arc<K>, value: Option<Arc<V>>, bytes: u64, now: u64) -> Accept<K, V>
    where
        K: Eq,
    {
        let found = self.find(hash, &key);
        let old_bytes = found.and_then(|id| self.slot(id).next.as_ref()).map(|next| next.bytes);
        self.accepted += 1;
        self.counts.accepted += 1;
        self.bytes += bytes;
        let line_before = (self.line.len(), self.line_bytes);
        let mut rubbish = Vec::new();
        let Some(id) = found else {
            let change = self.new_change(value, bytes, now);
            let id = self.add(hash, key);
            self.slot_mut(id).next = Some(change);
            self.queue_up(id);
            return Accept::Accepted { wakes: self.has_more_to_do(line_before), rubbish };
        };
        rubbish.push(Garbage::Key(key));
        if let Some(old) = old_bytes {
            self.bytes -= old;
            self.counts.coalesced += 1;
            let is_in_line = self.is_in_line(id);
            let next = self.slot_mut(id).next.as_mut().expect("found above");
            next.bytes = bytes;
            next.attempts = 0;
            next.panics = 0;
            rubbish.extend(std::mem::replace(&mut next.value, value).map(Garbage::Value));
            if is_in_line {
                self.line_bytes = self.line_bytes - old + bytes;
            }
        } else {
            let change = self.new_change(value, bytes, now);
            self.slot_mut(id).next = Some(change);
        }
        Accept::Accepted { wakes: self.has_more_to_do(line_before), rubbish }
    }

    fn has_room(&self, others: u64, bytes: u64) -> bool {
        // What is larger than the whole queue is let in alone, or it could never be written.
        others == 0 || others.saturating_add(bytes) <= self.limits.bytes
    }

    fn new_change(&mut self, value: Option<Arc<V>>, bytes: u64, now: u64) -> Change<V> {
        let number = self.accepted;
        self.unresolved.insert(number, now);
        Change { value, bytes, number, since: now, attempts: 0, panics: 0, was_tried: false }
    }

    /// Whether a sleeping driver must look again: there is a first change to wait for, or the line is long enough now.
    fn has_more_to_do(&self, (length, bytes): (usize, u64)) -> bool {
        let Limits { batch_length, batch_bytes, .. } = self.limits;
        (length == 0 && !self.line.is_empty())
            || (length < batch_length && self.line.len() >= batch_length)
            || (bytes < batch_bytes && self.line_bytes >= batch_bytes)
    }

    /// The newest value accepted for a key that is not written yet; `Some(None)` if it is to be deleted.
    pub(crate) fn pending(&self, hash: u64, key: &K) -> Option<Option<Arc<V>>>
    where
        K: Eq,
    {
        let slot = self.slot(self.find(hash, key)?);
        let newest = slot.next.as_ref().or(slot.flying.as_ref()).expect("a slot has a change");
        Some(newest.value.clone())
    }

    /// The next batch that is due.
    pub(crate) fn take_batch(&mut self, now: u64) -> Option<Batch<K, V>> {
        self.end_rests(now);
        if now < self.paused_until || self.flights.len() >= self.flights_allowed() || !self.is_due(now) {
            return None;
        }
        let id = self.next_flight;
        self.next_flight += 1;
        let (mut slots, mut changes, mut bytes) = (Vec::new(), Vec::new(), 0_u64);
        let mut most = self.limits.batch_length;
        while let Some((_, &slot_id)) = self.line.first_key_value() {
            let slot = self.slot(slot_id);
            let next = slot.next.as_ref().expect("what is in line has a next change");
            most = most.min(slot.company);
            let heavier = bytes.saturating_add(next.bytes);
            if !slots.is_empty() && (slots.len() >= most || heavier > self.limits.batch_bytes) {
                break;
            }
            bytes = heavier;
            self.leave_line(slot_id);
            let slot = self.slot_mut(slot_id);
            let change = slot.next.take().expect("seen above");
            changes.push((Arc::clone(&slot.key), change.value.clone()));
            slot.flying = Some(change);
            slots.push(slot_id);
        }
        self.counts.batches += 1;
        self.flights.push(Flight { id, slots });
        Some(Batch { id, changes })
    }

    fn flights_allowed(&self) -> usize {
        // One batch tries a store that has failed.
        if self.store_failures > 0 { 1 } else { self.limits.in_flight }
    }

    fn is_due(&self, now: u64) -> bool {
        let Some((&number, &id)) = self.line.first_key_value() else { return false };
        let next = self.slot(id).next.as_ref().expect("what is in line has a next change");
        self.is_closed
            || number <= self.flush_to
            || self.tried_in_line > 0
            || self.line.len() >= self.limits.batch_length
            || self.line_bytes >= self.limits.batch_bytes
            || now >= next.since.saturating_add(self.limits.delay)
    }

    fn end_rests(&mut self, now: u64) {
        while let Some(&(until, id)) = self.resting.first() {
            if until > now {
                return;
            }
            self.resting.remove(&(until, id));
            self.slot_mut(id).rests_until = None;
            self.queue_up(id);
        }
    }

    /// When there may be something to do although nothing happens; `None`: not before something happens.
    pub(crate) fn wakes_at(&self, now: u64) -> Option<u64> {
        let mut at = self.resting.first().map(|&(until, _)| until);
        if self.flights.len() < self.flights_allowed() {
            if let Some((_, &id)) = self.line.first_key_value() {
                let next = self.slot(id).next.as_ref().expect("what is in line has a next change");
                let due = if self.is_due(now) { now } else { next.since.saturating_add(self.limits.delay) };
                at = Some(at.unwrap_or(u64::MAX).min(due));
            }
        }
        at.map(|at| at.max(self.paused_until))
    }

    /// A batch is back. Nothing happens if it was given up meanwhile.
    pub(crate) fn land(&mut self, batch: u64, landing: &Landing, now: u64) -> Landed<K, V> {
        let mut landed = Landed { letters: Vec::new(), rubbish: Vec::new() };
        let Some(at) = self.flights.iter().position(|flight| flight.id == batch) else { return landed };
        let slots = self.flights.swap_remove(at).slots;
        match landing {
            Landing::Each(_) | Landing::Whole(Verdict::Permanent | Verdict::Written) => {
                self.store_failures = 0;
                self.paused_until = 0;
            }
            Landing::Whole(Verdict::Transient | Verdict::Panicked) => {
                self.store_failures = self.store_failures.saturating_add(1);
                self.paused_until = now.saturating_add(self.backoff(self.store_failures));
            }
            Landing::Cancelled => {}
        }
        let length = slots.len();
        for (place, id) in slots.into_iter().enumerate() {
            let mut change = self.slot_mut(id).flying.take().expect("what is in flight flies");
            change.was_tried = true;
            match landing {
                Landing::Each(verdicts) => match verdicts.get(place).copied().unwrap_or(Verdict::Written) {
                    Verdict::Written => self.written(id, change, &mut landed),
                    Verdict::Permanent | Verdict::Panicked => self.die(id, change, place, &mut landed),
                    Verdict::Transient => {
                        change.attempts += 1;
                        let slot = self.slot_mut(id);
                        slot.failures = slot.failures.saturating_add(1);
                        let failures = slot.failures;
                        let until = now.saturating_add(self.backoff(failures));
                        self.try_again(id, change, place, Some(until), &mut landed);
                    }
                },
                // Which of them it refuses, the store did not say: smaller batches will tell.
                Landing::Whole(Verdict::Permanent) if length > 1 => {
                    self.slot_mut(id).company = length / 2;
                    self.try_again(id, change, place, None, &mut landed);
                }
                Landing::Whole(Verdict::Permanent) => self.die(id, change, place, &mut landed),
                Landing::Whole(Verdict::Panicked) => {
                    if length > 1 {
                        self.slot_mut(id).company = length / 2;
                    } else {
                        change.panics += 1;
                    }
                    if change.panics >= PANICS {
                        self.die(id, change, place, &mut landed);
                    } else {
                        self.try_again(id, change, place, None, &mut landed);
                    }
                }
                Landing::Whole(Verdict::Transient | Verdict::Written) => {
                    change.attempts += 1;
                    self.try_again(id, change, place, None, &mut landed);
                }
                Landing::Cancelled => self.try_again(id, change, place, None, &mut landed),
            }
        }
        landed
    }

    /// Ends all flights as cancelled.
    pub(crate) fn cancel_all(&mut self) -> Rubbish<K, V> {
        let mut rubbish = Vec::new();
        while let Some(id) = self.flights.last().map(|flight| flight.id) {
            rubbish.append(&mut self.land(id, &Landing::Cancelled, 0).rubbish);
        }
        rubbish
    }

    fn written(&mut self, id: usize, change: Change<V>, landed: &mut Landed<K, V>) {
        self.counts.written += 1;
        self.bytes -= change.bytes;
        self.unresolved.remove(&change.number);
        landed.rubbish.extend(change.value.map(Garbage::Value));
        let slot = self.slot_mut(id);
        slot.failures = 0;
        slot.company = usize::MAX;
        self.settle(id, landed);
    }

    fn die(&mut self, id: usize, change: Change<V>, place: usize, landed: &mut Landed<K, V>) {
        self.counts.dead += 1;
        self.bytes -= change.bytes;
        let slot = self.slot(id);
        landed.letters.push(Letter {
            key: Arc::clone(&slot.key),
            value: change.value,
            number: change.number,
            attempts: change.attempts.max(1),
            place,
        });
        self.settle(id, landed);
    }

    /// Puts a change that was in flight back, or lets the newer one take its place.
    fn try_again(
        &mut self,
        id: usize,
        change: Change<V>,
        place: usize,
        rests_until: Option<u64>,
        landed: &mut Landed<K, V>,
    ) {
        let most = self.limits.attempts;
        let slot = self.slot_mut(id);
        if let Some(next) = &mut slot.next {
            // The store may have the old value or not: the newer one settles that for both.
            let number = std::mem::replace(&mut next.number, change.number);
            next.since = change.since;
            next.was_tried = true;
            self.unresolved.remove(&number);
            self.bytes -= change.bytes;
            self.counts.coalesced += 1;
            landed.rubbish.extend(change.value.map(Garbage::Value));
        } else if most > 0 && change.attempts >= most {
            self.die(id, change, place, landed);
            return;
        } else {
            slot.next = Some(change);
        }
        self.counts.retried += 1;
        match rests_until {
            Some(until) => {
                self.slot_mut(id).rests_until = Some(until);
                self.resting.insert((until, id));
            }
            None => self.queue_up(id),
        }
    }

    /// After a change has left: the next one's turn, or the end of the slot.
    fn settle(&mut self, id: usize, landed: &mut Landed<K, V>) {
        if self.slot(id).next.is_some() {
            self.queue_up(id);
        } else {
            landed.rubbish.push(Garbage::Key(self.remove(id)));
        }
    }

    /// Reports were made: these changes are resolved.
    pub(crate) fn reported(&mut self, numbers: impl IntoIterator<Item = u64>) {
        for number in numbers {
            self.unresolved.remove(&number);
        }
    }

    /// Gives all up that is not written, also what is in flight, and takes nothing in any more.
    pub(crate) fn surrender(&mut self) -> Landed<K, V> {
        self.is_closed = true;
        self.flights.clear();
        self.line.clear();
        self.resting.clear();
        self.line_bytes = 0;
        self.tried_in_line = 0;
        let mut landed = Landed { letters: Vec::new(), rubbish: Vec::new() };
        for id in 0..self.slots.len() {
            let Some(slot) = &mut self.slots[id] else { continue };
            let (flying, next) = (slot.flying.take(), slot.next.take());
            // The line is rebuilt by `settle` if both are there.
            if let Some(mut change) = flying {
                // An older value that was in flight when a newer one was accepted is part of that one's fate.
                if let Some(newer) = &next {
                    self.unresolved.remove(&newer.number);
                    self.bytes -= change.bytes;
                    self.counts.coalesced += 1;
                    landed.rubbish.extend(change.value.take().map(Garbage::Value));
                    let newer = next.map(|newer| Change { number: change.number, ..newer });
                    self.die(id, newer.expect("seen above"), 0, &mut landed);
                } else {
                    self.die(id, change, 0, &mut landed);
                }
            } else if let Some(change) = next {
                self.die(id, change, 0, &mut landed);
            }
        }
        // In the order in which they were accepted.
        landed.letters.sort_by_key(|letter| letter.number);
        landed
    }

    /// Wants all that was accepted so far written without delay; the number to ask about.
    pub(crate) fn flush(&mut self) -> u64 {
        self.flush_to = self.flush_to.max(self.accepted);
        self.accepted
    }

    /// The number of the last write that was accepted.
    pub(crate) fn accepted(&self) -> u64 {
        self.accepted
    }

    /// The last number up to which all are written or reported.
    pub(crate) fn resolved_to(&self) -> u64 {
        self.unresolved.first_key_value().map_or(self.accepted, |(&oldest, _)| oldest - 1)
    }

    /// Whether all writes up to this number are written or reported.
    pub(crate) fn is_resolved(&self, number: u64) -> bool {
        self.unresolved.first_key_value().is_none_or(|(&oldest, _)| oldest > number)
    }

    /// Takes nothing in any more, and waits for no company.
    pub(crate) fn close(&mut self) {
        self.is_closed = true;
    }

    /// Whether nothing waits and nothing is in flight.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.index.is_empty()
    }

    /// Changes that are not resolved.
    pub(crate) fn length(&self) -> usize {
        self.unresolved.len()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Changes in flight.
    pub(crate) fn flying(&self) -> usize {
        self.flights.iter().map(|flight| flight.slots.len()).sum()
    }

    /// Ticks since the oldest unresolved write was accepted.
    pub(crate) fn oldest_age(&self, now: u64) -> Option<u64> {
        self.unresolved.first_key_value().map(|(_, &since)| now.saturating_sub(since))
    }

    /// Whether the store failed as a whole when it was last asked.
    pub(crate) fn is_store_down(&self) -> bool {
        self.store_failures > 0
    }

    fn backoff(&mut self, failures: u32) -> u64 {
        let doubled = self.limits.first_backoff.saturating_mul(1 << (failures.max(1) - 1).min(32));
        let full = doubled.min(self.limits.most_backoff);
        // At least half of it: many processes lose the same store at the same moment.
        full - (full as f64 * 0.5 * self.random.f64()) as u64
    }

    fn find(&self, hash: u64, key: &K) -> Option<usize>
    where
        K: Eq,
    {
        let is = |&id: &usize| {
            let slot = self.slot(id);
            slot.hash == hash && *slot.key == *key
        };
        self.index.find(hash, is).copied()
    }

    fn slot(&self, id: usize) -> &Slot<K, V> {
        self.slots[id].as_ref().expect("ids stand for slots in use")
    }

    fn slot_mut(&mut self, id: usize) -> &mut Slot<K, V> {
        self.slots[id].as_mut().expect("ids stand for slots in use")
    }

    fn add(&mut self, hash: u64, key: Arc<K>) -> usize {
        let slot =
            Slot { hash, key, flying: None, next: None, failures: 0, rests_until: None, company: usize::MAX };
        let id = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        self.slots[id] = Some(slot);
        let slots = &self.slots;
        let hash_of = |&id: &usize| slots[id].as_ref().map_or(0, |slot| slot.hash);
        self.index.insert_unique(hash, id, hash_of);
        id
    }

    fn remove(&mut self, id: usize) -> Arc<K> {
        let slot = self.slots[id].take().expect("ids stand for slots in use");
        if let Ok(entry) = self.index.find_entry(slot.hash, |&candidate| candidate == id) {
            entry.remove();
        }
        self.free.push(id);
        if self.index.is_empty() && self.slots.len() > 1024 {
            // A flood is over: its memory goes.
            self.slots = Vec::new();
            self.free = Vec::new();
            self.index = HashTable::new();
        }
        slot.key
    }

    fn is_in_line(&self, id: usize) -> bool {
        let slot = self.slot(id);
        slot.next.is_some() && slot.flying.is_none() && slot.rests_until.is_none()
    }

    fn queue_up(&mut self, id: usize) {
        let next = self.slot(id).next.as_ref().expect("who queues up has a change");
        let (number, bytes, was_tried) = (next.number, next.bytes, next.was_tried);
        self.line.insert(number, id);
        self.line_bytes += bytes;
        self.tried_in_line += usize::from(was_tried);
    }

    fn leave_line(&mut self, id: usize) {
        let next = self.slot(id).next.as_ref().expect("who is in line has a change");
        let (number, bytes, was_tried) = (next.number, next.bytes, next.was_tried);
        self.line.remove(&number);
        self.line_bytes -= bytes;
        self.tried_in_line -= usize::from(was_tried);
    }

    /// Panics unless all parts agree. For tests.
    pub(crate) fn check_invariants(&self) {
        let used: Vec<usize> = (0..self.slots.len()).filter(|&id| self.slots[id].is_some()).collect();
        assert_eq!((used.len(), used.len() + self.free.len()), (self.index.len(), self.slots.len()));
        let (mut bytes, mut line_bytes, mut tried, mut numbers) = (0, 0, 0, BTreeSet::new());
        for &id in &used {
            let slot = self.slot(id);
            assert!(slot.flying.is_some() || slot.next.is_some(), "a slot has a change");
            assert!(slot.flying.is_none() || slot.rests_until.is_none(), "who flies does not rest");
            let in_flights = self.flights.iter().flat_map(|flight| &flight.slots).filter(|&&slot| slot == id);
            assert_eq!(in_flights.count(), usize::from(slot.flying.is_some()), "a key flies in one batch");
            for change in slot.flying.iter().chain(&slot.next) {
                bytes += change.bytes;
                assert!(numbers.insert(change.number), "numbers are unique");
                assert_eq!(self.unresolved.get(&change.number), Some(&change.since));
            }
            if let (Some(flying), Some(next)) = (&slot.flying, &slot.next) {
                assert!(flying.number < next.number);
            }
            if let Some(until) = slot.rests_until {
                assert!(self.resting.contains(&(until, id)));
            }
            if self.is_in_line(id) {
                let next = slot.next.as_ref().expect("in line");
                assert_eq!(self.line.get(&next.number), Some(&id));
                line_bytes += next.bytes;
                tried += usize::from(next.was_tried);
            }
        }
        let in_line = used.iter().filter(|&&id| self.is_in_line(id)).count();
        let resting = used.iter().filter(|&&id| self.slot(id).rests_until.is_some()).count();
        assert_eq!((in_line, resting), (self.line.len(), self.resting.len()));
        assert_eq!((bytes, line_bytes, tried), (self.bytes, self.line_bytes, self.tried_in_line));
        assert!(self.flights.iter().all(|flight| !flight.slots.is_empty()));
        assert!(self.unresolved.len() <= self.limits.length.max(self.restored), "the bound holds");
        let counts = self.counts;
        let ended = counts.coalesced + counts.written + counts.dead;
        assert_eq!(counts.accepted, ended + numbers.len() as u64, "each write is somewhere");
    }
}
