//! The hand-over of write-behind: the queue under its lock, whether a driver lives, and the bells between those who write, those who
//! wait and the one who drives.
//!
//! There is at most one driver, and there is one while the queue holds something:
//!
//! - Who has accepted a write, flushes or closes calls [`ensure`](Driven::ensure), which starts a driver if nobody drives.
//! - A driver leaves in the same turn of the lock in which it finds the queue at rest ([`step`](Driven::step)). So whoever accepts
//!   before that turn keeps it, and whoever accepts after it finds the flag down.
//! - A driver that is dropped, because its runtime ends, puts back what was in flight and lowers the flag in one turn, then tells all who
//!   wait: the first of them starts another ([`desert`](Driven::desert)).
//!
//! Modelled with the real queue: `models/hand_over.rs`.

use super::queue::{Accept, Batch, Queue};
use crate::sync::{AtomicBool, Mutex, MutexGuard, Notify, Ordering};

pub(crate) struct Driven<K, V> {
    queue: Mutex<Queue<K, V>>,
    /// Whether a driver lives, or is about to. Changes under the queue's lock.
    is_driven: AtomicBool,
    /// Rings for the driver: look at the queue again.
    bell: Notify,
    /// Rings for all who wait for an end: something was resolved, or the driver is gone.
    progress: Notify,
    /// Rings for one who found the queue full.
    room: Notify,
}

/// What a driver does next.
pub(crate) struct Step<K, V> {
    /// To be written now.
    pub(crate) departing: Vec<Batch<K, V>>,
    /// Ticks until it must look again although nothing happens; `None`: not before something happens.
    pub(crate) wakes_in: Option<u64>,
}

impl<K, V> Driven<K, V> {
    pub(crate) fn new(queue: Queue<K, V>) -> Self {
        Self {
            queue: Mutex::new(queue),
            is_driven: AtomicBool::new(false),
            bell: Notify::new(),
            progress: Notify::new(),
            room: Notify::new(),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Queue<K, V>> {
        self.queue.lock()
    }

    /// Takes a write in, and rings if the driver must look at it. Whoever accepts calls [`ensure`](Self::ensure) next.
    pub(crate) fn accept(&self, accept: impl FnOnce(&mut Queue<K, V>) -> Accept<K, V>) -> Accept<K, V> {
        let accepted = accept(&mut self.queue.lock());
        if let Accept::Accepted { wakes: true, .. } = accepted {
            self.ring();
        }
        accepted
    }

    /// Sees to it that there is a driver if there is something to write.
    pub(crate) fn ensure(&self, start: impl FnOnce()) {
        // While it is driven the flag can only be read as false too late, by a driver that has found the queue empty under its
        // lock; and ours was not empty.
        if self.is_driven.load(Ordering::Acquire) {
            return;
        }
        let queue = self.queue.lock();
        if queue.is_at_rest() || self.is_driven.swap(true, Ordering::AcqRel) {
            return;
        }
        drop(queue);
        start();
    }

    /// What the driver does next; `None`: it has left, and there is nothing to do.
    pub(crate) fn step(&self, now: u64) -> Option<Step<K, V>> {
        let mut departing = Vec::new();
        let mut queue = self.queue.lock();
        while let Some(batch) = queue.take_batch(now) {
            departing.push(batch);
        }
        if queue.is_at_rest() {
            self.is_driven.store(false, Ordering::Release);
            return None;
        }
        let wakes_in = queue.wakes_at(now).map(|at| at.saturating_sub(now));
        Some(Step { departing, wakes_in })
    }

    /// The driver ends before its time. What was in flight may or may not be written: it goes back, and whoever flushes, closes
    /// or writes next drives on.
    pub(crate) fn desert(&self) {
        let mut queue = self.queue.lock();
        let rubbish = queue.cancel_all();
        self.is_driven.store(false, Ordering::Release);
        drop(queue);
        drop(rubbish);
        self.tell();
    }

    /// Has the driver look at the queue again.
    pub(crate) fn ring(&self) {
        self.bell.notify_one();
    }

    /// For the driver: comes back when somebody has rung since it last did.
    pub(crate) async fn rung(&self) {
        self.bell.notified().await;
    }

    /// Tells those who wait that something has changed.
    pub(crate) fn tell(&self) {
        self.room.notify_one();
        self.progress.notify_waiters();
    }

    /// Has all written that was accepted so far, and comes back when it is written or reported.
    pub(crate) async fn flush(&self, start: impl Fn()) {
        let number = self.queue.lock().flush();
        self.ring();
        self.until_resolved(number, start).await;
    }

    /// Comes back when all writes up to this number are written or reported.
    pub(crate) async fn until_resolved(&self, number: u64, start: impl Fn()) {
        loop {
            let progress = self.progress.notified();
            if self.queue.lock().is_resolved(number) {
                return;
            }
            // Also the second time: the runtime of the driver may have ended.
            self.ensure(&start);
            progress.await;
            // A runtime that shuts down drops every driver that is started, at once, and who waits when he is not running.
            #[cfg(not(millpond_loom))]
            tokio::task::yield_now().await;
        }
    }

    /// Tries now, and again whenever there may be room. One at a time: one bell wakes one.
    pub(crate) async fn until_room<T>(&self, mut attempt: impl FnMut() -> Option<T>, start: impl Fn()) -> T {
        loop {
            let room = self.room.notified();
            if let Some(outcome) = attempt() {
                return outcome;
            }
            // As in `until_resolved`: nobody else may come who does.
            self.ensure(&start);
            room.await;
            #[cfg(not(millpond_loom))]
            tokio::task::yield_now().await;
        }
    }
}
