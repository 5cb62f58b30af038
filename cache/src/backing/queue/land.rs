//! Back from the store: written, to be tried again, or given up.

use std::sync::Arc;

use super::change::{Change, Garbage, Landed, Landing, Letter, Rubbish, Verdict};
use super::state::Queue;

/// How often a write that is alone in its batch may panic before it is given up.
const PANICS: u32 = 3;

impl<K, V> Queue<K, V> {
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
        self.letters += 1;
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
            self.letters -= 1;
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
            // None are there any more after the last one that is in use, if they were many.
            let Some(Some(slot)) = self.slots.get_mut(id) else { continue };
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
}
