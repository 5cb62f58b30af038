//! Into the queue: a write is accepted, or folded into one that waits.

use std::sync::Arc;

use super::change::{Accept, Change, Garbage, Limits};
use super::state::Queue;

impl<K, V> Queue<K, V> {
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
}
