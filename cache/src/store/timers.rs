//! A shard under its lock: deadlines, and the wheel that keeps their order.

use super::locked::{Ends, Locked};
use super::times::{Side, Times};
use super::wheel::{Step, Wheel};
use crate::sync::Ordering;

impl<'s, K, V> Locked<'s, K, V> {
    /// Notes when an entry ends, and sees to it that it is looked at then.
    #[cold]
    pub(super) fn date(&mut self, id: u32, ends: Ends) {
        let shard = self.shard;
        if ends.deadline != 0 || ends.idle != 0 {
            let times = shard.times_or_new(id);
            times.set(ends.deadline, ends.idle);
            shard.disquiet(id);
            let wheel = self.state.wheel.get_or_insert_with(|| Box::new(Wheel::new()));
            wheel.schedule(id, shard.leaves(times.end()));
            shard.set_timed();
        } else if let Some(times) = shard.times(id) {
            times.set(0, 0);
            shard.disquiet(id);
            self.cancel(id);
        }
        if ends.due != 0 {
            let renewals = shard.renewals.get_or_init(|| Box::new(Side::new()));
            renewals.get_or_create(id).set(ends.due, ends.cost);
        } else if let Some(renewal) = shard.renewal(id) {
            // Of the entry before.
            renewal.set(0, 0);
        }
        self.set_written(id, ends.written);
    }

    /// Says when an entry was written; 0: its deadline does.
    pub(crate) fn set_written(&self, id: u32, written: u64) {
        let side = &self.shard.written;
        if written != 0 {
            let side = side.get_or_init(|| Box::new(Side::new()));
            side.get_or_create(id).store(written, Ordering::Relaxed);
        } else if let Some(before) = side.get().and_then(|side| side.get(id)) {
            before.store(0, Ordering::Relaxed);
        }
    }

    /// When a linked entry was written, if that was said.
    pub(crate) fn written(&self, id: u32) -> Option<u64> {
        let written = self.shard.written.get()?.get(id)?.load(Ordering::Relaxed);
        (written != 0).then_some(written)
    }

    /// Gives a linked entry a new deadline. Its hits ask the clock from now on.
    pub(crate) fn set_deadline(&mut self, id: u32, deadline: u64) {
        let shard = self.shard;
        if deadline == 0 && shard.times(id).is_none() {
            return;
        }
        let times = shard.times_or_new(id);
        times.deadline.store(deadline, Ordering::Relaxed);
        shard.disquiet(id);
        let wheel = self.state.wheel.get_or_insert_with(|| Box::new(Wheel::new()));
        match times.end() {
            0 => wheel.cancel(id),
            end => wheel.schedule(id, shard.leaves(end)),
        }
        shard.set_timed();
        // After the deadline, so that a hit that sees the one sees the other: header.rs.
        self.node(id).header.watch();
    }

    /// Whether a cell that was linked once is still there, and dead by now. If it lives, its timer is set to its end: a
    /// read that shortened its life left it where it was.
    pub(crate) fn is_overdue(&mut self, id: u32, now: u64) -> bool {
        let shard = self.shard;
        let (Some(wheel), Some(times)) = (&mut self.state.wheel, shard.times(id)) else { return false };
        if !wheel.holds(id) {
            return false;
        }
        if times.expired(now.saturating_sub(shard.grace)) {
            return true;
        }
        match times.end() {
            0 => wheel.cancel(id),
            end => wheel.schedule(id, shard.leaves(end)),
        }
        false
    }

    #[cold]
    pub(super) fn cancel(&mut self, id: u32) {
        if let Some(wheel) = &mut self.state.wheel {
            wheel.cancel(id);
        }
    }

    /// Looks at the entry whose turn is next by `now`. Not for shards that are not timed.
    pub(crate) fn next_timer(&mut self, now: u64) -> Step {
        let shard = self.shard;
        let Some(wheel) = &mut self.state.wheel else { return Step::Idle };
        wheel.step(now, |id| shard.times(id).map_or(0, |times| shard.leaves(times.end())))
    }

    /// Puts the timers right if the clock has gone back. Cost: proportional to their number.
    pub(crate) fn follow_clock(&mut self, now: u64) {
        if !self.state.wheel.as_ref().is_some_and(|wheel| wheel.is_ahead_of(now)) {
            return;
        }
        let ids = self.ids();
        let shard = self.shard;
        let Some(wheel) = &mut self.state.wheel else { return };
        wheel.rewind(now);
        for id in ids {
            let end = shard.times(id).map_or(0, Times::end);
            if end != 0 {
                wheel.schedule(id, shard.leaves(end));
            }
        }
    }

    /// Deadlines of a linked entry, if it has any.
    pub(crate) fn times(&self, id: u32) -> Option<&'s Times> {
        self.shard.timed().then(|| self.shard.times(id)).flatten()
    }

    /// Whether anything in this shard can expire.
    #[inline]
    pub(crate) fn timed(&self) -> bool {
        self.shard.timed()
    }

    /// Panics unless every entry that ends has a timer, and nothing else has one.
    pub(super) fn check_timers(&self) {
        let Some(wheel) = &self.state.wheel else {
            let ends = |id: &u32| self.shard.times(*id).is_some_and(|times| times.end() != 0);
            assert!(!self.ids().iter().any(ends), "an end needs a wheel");
            return;
        };
        // Not when their turns come: a read may have brought an end forward.
        wheel.check_invariants(|_| 0);
        let mut timers = 0;
        for id in self.ids() {
            timers += usize::from(wheel.holds(id));
            let end = self.shard.times(id).map_or(0, Times::end);
            assert!(end == 0 || wheel.holds(id), "an entry that ends has a timer");
            assert!(
                end == 0 || !self.node(id).header.mark().is_settled(),
                "a hit on an entry that ends must look at the clock"
            );
        }
        assert_eq!(timers, wheel.len(), "only linked entries have timers");
    }
}
