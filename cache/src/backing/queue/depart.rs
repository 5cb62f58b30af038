//! Out of the line, into flight: when, and how many together.

use std::sync::Arc;

use super::change::Batch;
use super::state::{Flight, Queue};

impl<K, V> Queue<K, V> {
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
}
