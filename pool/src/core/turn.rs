//! The steps that a change of the state is made of.

use crate::clock::Ticks;
use crate::core::after::After;
use crate::core::entry::{Dates, Entry, Fitness, Held, Standing};
use crate::core::state::{Delivery, Limits, State};
use crate::shelf::{Shelf, Slot, home};
use crate::stats::Status;

/// One change of the state: the lock's content, and what it takes and leaves.
pub(crate) struct Turn<'t, C, E> {
    pub(crate) state: &'t mut State<C, E>,
    pub(crate) shelf: &'t Shelf<Entry<C>>,
    pub(crate) limits: &'t Limits,
    pub(crate) standing: Standing,
    pub(crate) after: &'t mut After<C, E>,
    pub(crate) now: Ticks,
}

impl<C, E> Turn<'_, C, E> {
    pub(crate) fn fitness(&self, dates: &Dates) -> Fitness {
        dates.fitness(self.standing, self.limits.bypass, self.now)
    }

    pub(crate) fn status(&self) -> Status {
        let state = &*self.state;
        let known = state.opening + state.checking + state.closing;
        let idle = self.shelf.count().min(state.live - known);
        Status {
            max_size: state.max_size,
            idle,
            in_use: state.live - known - idle,
            opening: state.opening,
            checking: state.checking,
            closing: state.closing,
            waiting: state.waiters.len(),
        }
    }

    /// Whether nothing can serve those who wait: the breaker is open, and no connection may come back.
    pub(crate) fn is_hopeless(&self, status: &Status) -> bool {
        self.state.breaker.is_open() && !self.state.suspended && status.in_use + status.checking == 0
    }

    /// From now on every borrow and return comes here; what was returned before is seen by `serve`.
    pub(crate) fn block(&mut self) {
        if !self.state.blocked {
            self.state.blocked = true;
            self.shelf.block();
        }
    }

    /// Ends a turn: blocks or unblocks the shelf as the state demands.
    pub(crate) fn settle(&mut self) {
        if self.limits.barging > 0 {
            self.nudge();
        }
        let state = &mut *self.state;
        state.ceiling = state.max_size.max(state.ceiling.min(state.live));
        let needed = state.closed || state.suspended || !state.waiters.is_empty() || state.is_over();
        if needed {
            self.block();
        } else if self.state.blocked {
            self.state.blocked = false;
            self.shelf.unblock();
        }
        self.state.plain = self.state.is_plain(self.limits);
    }

    /// A connection that was lent, checked or opened, and is counted as live and nothing else, finds its place: with the
    /// first who waits, on the shelf, or nowhere. If something went wrong while it was out it must prove itself first.
    pub(crate) fn offer(&mut self, held: Held<C>) {
        if self.state.closed || self.state.is_over() || self.fitness(&held.item.dates) == Fitness::Retire {
            self.retire(held);
            return;
        }
        if held.item.dates.standing != self.standing {
            self.check(held);
            return;
        }
        self.shed();
        if self.state.waiters.is_empty() || self.state.suspended || self.may_barge() {
            if let Some(codel) = &mut self.state.codel {
                codel.observe(0, self.now);
            }
            // Somebody may wait for the last of them.
            if self.state.suspended {
                self.after.rest().left = true;
            }
            self.shelf.put_locked(home(), held);
        } else {
            self.deliver(Delivery::Connection(held));
        }
    }

    /// Whether whoever is quickest may have a connection that comes back: nobody has waited for long.
    pub(crate) fn may_barge(&self) -> bool {
        let since = self.state.waiters.since();
        since.is_some_and(|since| self.now.saturating_sub(since) < self.limits.barging)
    }

    /// Under eventual fairness: for each idle connection one who waits is told to look for it.
    fn nudge(&mut self) {
        if self.state.suspended || self.state.waiters.nudged() == self.state.waiters.len() {
            return;
        }
        // What is counted may be on its way to or from a stack: who looks would find nothing, and be told again at once.
        if self.shelf.is_empty() {
            return;
        }
        for _ in self.state.waiters.nudged()..self.shelf.count() {
            if !self.state.waiters.nudge(&mut self.after.wake) {
                return;
            }
        }
    }

    /// An idle connection for one who may pass those who wait, or who was told to look.
    pub(crate) fn take_fit(&mut self) -> Option<Held<C>> {
        while let Some((_, held)) = self.shelf.take_locked() {
            match self.fitness(&held.item.dates) {
                Fitness::Fit => return Some(held),
                Fitness::Check => self.check(held),
                Fitness::Retire => self.retire(held),
            }
        }
        None
    }

    /// Turns away those at the front who have waited for too long, if the queue stands.
    fn shed(&mut self) {
        let state = &mut *self.state;
        let Some(codel) = &mut state.codel else { return };
        while let Some(since) = state.waiters.since() {
            if state.suspended || !codel.is_late(self.now.saturating_sub(since), self.now) {
                return;
            }
            if let Ok(waiter) = state.waiters.deliver(Delivery::Shed) {
                state.stats.shed += 1;
                self.after.wake.extend(waiter);
            }
        }
    }

    /// To the first who waits; there is one.
    fn deliver(&mut self, delivery: Delivery<C, E>) {
        if let (Some(codel), Some(since)) = (&mut self.state.codel, self.state.waiters.since()) {
            codel.observe(self.now.saturating_sub(since), self.now);
        }
        match self.state.waiters.deliver(delivery) {
            Ok(waiter) => self.after.wake.extend(waiter),
            Err(_) => unreachable!("somebody waits"),
        }
    }

    pub(crate) fn deliver_to_all(&mut self, mut delivery: impl FnMut() -> Delivery<C, E>) {
        while !self.state.waiters.is_empty() {
            self.deliver(delivery());
        }
    }

    /// A live connection is to be ended after the unlock.
    pub(crate) fn retire(&mut self, held: Held<C>) {
        self.state.closing += 1;
        self.state.stats.retired += 1;
        self.after.rest().dead.push(held);
    }

    /// A live connection is to be checked after the unlock.
    pub(crate) fn check(&mut self, held: Held<C>) {
        self.state.checking += 1;
        self.after.rest().check.push(held);
    }

    /// A connection that was taken from the shelf without the lock is not lent.
    pub(crate) fn refuse(&mut self, held: Held<C>) {
        self.state.unfit += 1;
        match self.fitness(&held.item.dates) {
            Fitness::Retire => self.retire(held),
            Fitness::Check | Fitness::Fit => self.check(held),
        }
    }

    /// A slot's connection is gone; it was counted as live and nothing else.
    pub(crate) fn free(&mut self, slot: Slot) {
        self.state.live -= 1;
        self.state.spare.push(slot);
        self.after.rest().left = true;
    }

    /// Gives idle connections to those who wait: at once where they are fit, after a check otherwise.
    pub(crate) fn serve(&mut self) {
        self.shed();
        while !self.state.suspended && self.state.uncovered() > 0 {
            let Some((_, held)) = self.shelf.take_locked() else { break };
            match self.fitness(&held.item.dates) {
                Fitness::Fit => self.deliver(Delivery::Connection(held)),
                Fitness::Check => self.check(held),
                Fitness::Retire => self.retire(held),
            }
        }
    }

    /// Starts openers for those who wait, and with `fill` for the minimum of idle connections.
    pub(crate) fn plan(&mut self, fill: bool) {
        if self.state.closed || self.state.suspended {
            return;
        }
        let mut wanted = self.state.uncovered();
        let min_idle = self.limits.min_idle.min(self.state.max_size);
        if fill && min_idle > 0 {
            wanted += min_idle.saturating_sub(self.shelf.count() + self.state.checking);
        }
        self.open(wanted);
    }

    /// Starts openers until `wanted` are at work, as far as the limits allow.
    pub(crate) fn open(&mut self, wanted: usize) {
        let state = &mut *self.state;
        // In an outage one prober is enough for all.
        let at_once = if state.breaker.is_closed() { self.limits.max_opening } else { 1 };
        let room = state.max_size.saturating_sub(state.live);
        let more = wanted.min(at_once).saturating_sub(state.opening).min(room);
        for _ in 0..more {
            let slot = state.spare.pop().unwrap_or_else(|| self.shelf.mint());
            self.after.rest().open.push(slot);
        }
        state.opening += more;
        state.live += more;
    }

    pub(crate) fn check_invariants(&self) {
        let state = &*self.state;
        state.waiters.check_invariants();
        assert!(!state.plain || state.is_plain(self.limits), "it is as plain as it says");
        let known = state.opening + state.checking + state.closing;
        let idle = self.shelf.count();
        assert!(known + idle <= state.live, "{known} + {idle} of {} live", state.live);
        assert!(state.overdue <= state.checking, "an overdue check is a check");
        assert!(state.live <= state.ceiling, "{} live, never above max_size", state.live);
        let delivered =
            state.waiters.delivered().filter(|delivery| matches!(delivery, Delivery::Connection(_)));
        assert!(delivered.count() + known + idle <= state.live, "a delivered connection counts as in use");
        if state.blocked && !state.suspended && state.uncovered() > 0 {
            let told = state.waiters.nudged();
            assert!(
                self.shelf.is_empty()
                    || (self.limits.barging > 0 && (idle <= told || told == state.waiters.len())),
                "nobody waits beside an idle connection, unless told to fetch it"
            );
        }
    }
}
