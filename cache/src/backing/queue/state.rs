//! All that the queue knows: keys and their changes, the line, who rests, what is in flight, what is not resolved.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fastrand::Rng;
use hashbrown::HashTable;

use super::change::{Counts, Departed, Limits, Slot};

#[derive(Debug)]
pub(super) struct Flight {
    pub(super) id: u64,
    pub(super) slots: Vec<usize>,
}

#[derive(Debug)]
pub(crate) struct Queue<K, V> {
    pub(super) limits: Limits,
    pub(super) slots: Vec<Option<Slot<K, V>>>,
    pub(super) free: Vec<usize>,
    pub(super) index: HashTable<usize>,
    /// Next changes of keys that neither fly nor rest, by number.
    pub(super) line: BTreeMap<u64, usize>,
    /// Next changes of keys that rest, by the end of their rest.
    pub(super) resting: BTreeSet<(u64, usize)>,
    pub(super) flights: Vec<Flight>,
    /// Numbers, with the times of acceptance.
    pub(super) unresolved: BTreeMap<u64, u64>,
    pub(super) line_bytes: u64,
    pub(super) bytes: u64,
    /// Changes in line that were tried before.
    pub(super) tried_in_line: usize,
    pub(super) accepted: u64,
    /// The last number that somebody wants written without delay.
    pub(super) flush_to: u64,
    pub(super) is_closed: bool,
    pub(super) next_flight: u64,
    /// Failures of the whole store in a row, and the end of the pause after the last.
    pub(super) store_failures: u32,
    pub(super) paused_until: u64,
    pub(super) random: Rng,
    /// Changes that were there at the start, for which no bound holds.
    pub(super) restored: usize,
    /// Letters that were not reported yet: unresolved, and in no slot.
    pub(super) letters: usize,
    pub(crate) counts: Counts,
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
            letters: 0,
            counts: Counts::default(),
        }
    }

    /// Wants all that was accepted so far written without delay; the number to ask about.
    pub(crate) fn flush(&mut self) -> u64 {
        self.flush_to = self.flush_to.max(self.accepted);
        self.accepted
    }

    /// The newest value of each key, which is all that a replay needs; `None` while there are letters to be reported, which it would
    /// not have.
    pub(crate) fn live(&self) -> Option<Vec<Departed<K, V>>> {
        if self.letters > 0 {
            return None;
        }
        let newest = |slot: &Slot<K, V>| {
            let change = slot.next.as_ref().or(slot.flying.as_ref()).expect("a slot has a change");
            (Arc::clone(&slot.key), change.value.clone())
        };
        Some(self.slots.iter().flatten().map(newest).collect())
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

    pub(super) fn backoff(&mut self, failures: u32) -> u64 {
        let doubled = self.limits.first_backoff.saturating_mul(1 << (failures.max(1) - 1).min(32));
        let full = doubled.min(self.limits.most_backoff);
        // At least half of it: many processes lose the same store at the same moment.
        full - (full as f64 * 0.5 * self.random.f64()) as u64
    }

    pub(super) fn find(&self, hash: u64, key: &K) -> Option<usize>
    where
        K: Eq,
    {
        let is = |&id: &usize| {
            let slot = self.slot(id);
            slot.hash == hash && *slot.key == *key
        };
        self.index.find(hash, is).copied()
    }

    pub(super) fn slot(&self, id: usize) -> &Slot<K, V> {
        self.slots[id].as_ref().expect("ids stand for slots in use")
    }

    pub(super) fn slot_mut(&mut self, id: usize) -> &mut Slot<K, V> {
        self.slots[id].as_mut().expect("ids stand for slots in use")
    }

    pub(super) fn add(&mut self, hash: u64, key: Arc<K>) -> usize {
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

    pub(super) fn remove(&mut self, id: usize) -> Arc<K> {
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

    pub(super) fn is_in_line(&self, id: usize) -> bool {
        let slot = self.slot(id);
        slot.next.is_some() && slot.flying.is_none() && slot.rests_until.is_none()
    }

    pub(super) fn queue_up(&mut self, id: usize) {
        let next = self.slot(id).next.as_ref().expect("who queues up has a change");
        let (number, bytes, was_tried) = (next.number, next.bytes, next.was_tried);
        self.line.insert(number, id);
        self.line_bytes += bytes;
        self.tried_in_line += usize::from(was_tried);
    }

    pub(super) fn leave_line(&mut self, id: usize) {
        let next = self.slot(id).next.as_ref().expect("who is in line has a change");
        let (number, bytes, was_tried) = (next.number, next.bytes, next.was_tried);
        self.line.remove(&number);
        self.line_bytes -= bytes;
        self.tried_in_line -= usize::from(was_tried);
    }
}
