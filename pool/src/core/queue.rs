//! What callers who have to wait ask of the core.

use std::time::Duration;

use tokio::runtime::Id;
use tokio::time::Instant;

use crate::clock::Ticks;
use crate::core::Core;
use crate::core::after::After;
use crate::core::alarms::Cover;
use crate::core::entry::Held;
use crate::core::state::Delivery;
use crate::error::ConnectFailure;
use crate::stats::Status;
use crate::waiters::{Rank, Ticket, Waiter};

/// The answer to a request for a connection.
pub(crate) enum Checkout<C, E> {
    Ready(Held<C>),
    /// And what is to be done so that the wait ends in time.
    Wait(Ticket, Option<Cover>),
    Failed(ConnectFailure<E>),
    /// As many wait as may.
    Full(Status),
    Closed,
}

/// What a caller wants.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Want {
    pub(crate) class: usize,
    pub(crate) front: bool,
    pub(crate) instant: Instant,
    pub(crate) deadline: Instant,
    /// The runtime that is to wake it at the deadline, if it does not look after that itself.
    pub(crate) runtime: Option<Id>,
}

impl Want {
    fn rank(&self, since: Ticks) -> Rank {
        let deadline = self.runtime.map(|_| self.deadline);
        Rank { class: self.class, front: self.front, since, deadline }
    }
}

/// Why a waiter got nothing.
pub(crate) struct Expired<E> {
    pub(crate) status: Status,
    pub(crate) suspended: bool,
    pub(crate) failure: Option<ConnectFailure<E>>,
}

/// The end of a wait: what came just in time, or nothing.
pub(crate) type Late<C, E> = Result<Delivery<C, E>, Expired<E>>;

/// What a waiter found: its delivery, and what is left to be done if it looked for a connection itself.
pub(crate) type Polled<C, E> = (Option<Delivery<C, E>>, Option<After<C, E>>);

impl<C, E> Core<C, E> {
    /// Joins the queue in a few steps if there is nothing else to do; otherwise [`checkout`](Self::checkout) is to be asked.
    #[inline]
    pub(crate) fn join(&self, want: &Want, waiter: &mut Option<Waiter>) -> Option<(Ticket, Option<Cover>)> {
        let mut state = self.state.lock();
        let len = state.waiters.len();
        // The shelf is empty: somebody waits, and no check is on its way to serve him.
        if !state.plain || len == 0 || len >= self.limits.max_waiters || want.front {
            return None;
        }
        state.breaker.requested(want.instant);
        let ticket = state.waiters.join(want.rank(0), waiter.take());
        Some((ticket, want.runtime.map(|runtime| state.alarms.cover(runtime, want.deadline))))
    }

    /// Asks for a connection: joins the queue, and leaves it at once if there is one. `unfit`: what `borrow` found.
    pub(crate) fn checkout(
        &self,
        unfit: Option<Held<C>>,
        want: &Want,
        mut waiter: Option<Waiter>,
        now: Ticks,
    ) -> (Checkout<C, E>, After<C, E>) {
        let (rank, instant) = (want.rank(now), want.instant);
        self.change(now, |turn| {
            if let Some(held) = unfit {
                turn.refuse(held);
            }
            if turn.state.closed {
                return Checkout::Closed;
            }
            if turn.may_barge() && !turn.state.suspended {
                if let Some(held) = turn.take_fit() {
                    turn.state.stats.acquired += 1;
                    return Checkout::Ready(held);
                }
            }
            if turn.state.waiters.len() >= turn.limits.max_waiters && !rank.front {
                turn.state.stats.rejected += 1;
                return Checkout::Full(turn.status());
            }
            if turn.state.breaker.requested(instant) {
                turn.after.rest().hurry = true;
            }
            // First blocked, then searched: what comes back from now on comes here.
            turn.block();
            let ticket = turn.state.waiters.join(rank, None);
            turn.serve();
            if let Some(Delivery::Connection(held)) = turn.state.waiters.take_if_delivered(ticket) {
                turn.state.stats.acquired += 1;
                turn.plan(false);
                return Checkout::Ready(held);
            }
            // Without a prober at work the caller's own wait starts one. (The whole status counts the shelf: only if need be.)
            let told =
                turn.state.opening > 0 && turn.state.breaker.is_open() && turn.is_hopeless(&turn.status());
            if let Some(failure) = turn.state.breaker.failure(instant).filter(|_| told) {
                let (_, waker) = turn.state.waiters.leave(ticket);
                turn.after.drop_waker(waker);
                return Checkout::Failed(failure);
            }
            turn.plan(false);
            if let Some(waiter) = waiter.take() {
                turn.state.waiters.settle(ticket, waiter);
            }
            let cover = want.runtime.map(|runtime| turn.state.alarms.cover(runtime, want.deadline));
            Checkout::Wait(ticket, cover)
        })
    }

    /// A connection that `borrow` found unfit and nobody waits for: checked or ended.
    pub(crate) fn take_unfit(&self, held: Held<C>, now: Ticks) -> After<C, E> {
        self.change(now, |turn| turn.refuse(held)).1
    }

    /// Takes what was delivered, if anything was.
    #[inline]
    pub(crate) fn collect(&self, ticket: Ticket, waited: Duration) -> Option<Delivery<C, E>> {
        let mut state = self.state.lock();
        let delivery = state.waiters.take_if_delivered(ticket);
        if let Some(Delivery::Connection(_)) = &delivery {
            state.stats.served(waited);
        }
        delivery
    }

    /// Sees to it that the runtime's alarm rings in time.
    pub(crate) fn cover(&self, runtime: Id, deadline: Instant) -> Cover {
        self.state.lock().alarms.cover(runtime, deadline)
    }

    /// The alarm of a runtime rings: those whose time is up, to be woken, and when it is to ring next. If nobody else waits
    /// it is not, and ends.
    pub(crate) fn ring(&self, runtime: Id, now: Instant) -> (Vec<Waiter>, Option<Instant>) {
        let mut state = self.state.lock();
        let (late, next) = state.waiters.late(now);
        state.alarms.set(runtime, next);
        (late, next)
    }

    /// The alarm's task was dropped with its runtime. Whether another must look, because somebody waits.
    pub(crate) fn alarm_lost(&self, runtime: Id) -> bool {
        let mut state = self.state.lock();
        state.alarms.set(runtime, None);
        !state.waiters.is_empty()
    }

    #[cfg(test)]
    pub(crate) fn alarms(&self) -> usize {
        self.state.lock().alarms.count()
    }

    /// Takes what was delivered, or stores whom to wake.
    pub(crate) fn poll(&self, ticket: Ticket, waiter: Waiter, waited: Duration, now: Ticks) -> Polled<C, E> {
        let mut state = self.state.lock();
        if state.waiters.is_nudged(ticket) {
            drop(state);
            let (delivery, after) = self.look(ticket, waiter, waited, now);
            return (delivery, Some(after));
        }
        let taken = state.waiters.take(ticket, waiter);
        if let Ok(Delivery::Connection(_)) = &taken {
            state.stats.served(waited);
        }
        drop(state);
        // A replaced waker is dropped here, after the unlock.
        (taken.ok(), None)
    }

    /// One who was told to look for a connection does so.
    fn look(
        &self,
        ticket: Ticket,
        waiter: Waiter,
        waited: Duration,
        now: Ticks,
    ) -> (Option<Delivery<C, E>>, After<C, E>) {
        self.change(now, |turn| {
            let found = if turn.state.suspended || !turn.state.waiters.is_nudged(ticket) {
                None
            } else {
                turn.take_fit()
            };
            if let Some(held) = found {
                let (_, waker) = turn.state.waiters.leave(ticket);
                turn.after.drop_waker(waker);
                turn.state.stats.served(waited);
                return Some(Delivery::Connection(held));
            }
            match turn.state.waiters.take(ticket, waiter) {
                Ok(delivery) => {
                    if matches!(delivery, Delivery::Connection(_)) {
                        turn.state.stats.served(waited);
                    }
                    Some(delivery)
                }
                Err(replaced) => {
                    turn.after.drop_waker(replaced);
                    turn.serve();
                    turn.plan(false);
                    let delivery = turn.state.waiters.take_if_delivered(ticket);
                    if matches!(delivery, Some(Delivery::Connection(_))) {
                        turn.state.stats.served(waited);
                    }
                    delivery
                }
            }
        })
    }

    /// Leaves the queue. A connection that was delivered too late goes on to the next.
    pub(crate) fn leave(&self, ticket: Ticket, now: Ticks) -> After<C, E> {
        self.change(now, |turn| {
            let (delivery, waker) = turn.state.waiters.leave(ticket);
            turn.after.drop_waker(waker);
            match delivery {
                Some(Delivery::Connection(held)) => turn.offer(held),
                Some(Delivery::Failed(failure)) => turn.after.drop_error(Some(failure.error)),
                Some(Delivery::Shed | Delivery::Closed) | None => {}
            }
        })
        .1
    }

    /// The timeout of a waiter: its delivery if one came just in time, or what to say in the error.
    pub(crate) fn expire(
        &self,
        ticket: Ticket,
        waited: Duration,
        now: Ticks,
        instant: Instant,
    ) -> (Late<C, E>, After<C, E>) {
        self.change(now, |turn| {
            let status = turn.status();
            let (delivery, waker) = turn.state.waiters.leave(ticket);
            turn.after.drop_waker(waker);
            let stats = &mut turn.state.stats;
            match delivery {
                Some(delivery) => {
                    if matches!(delivery, Delivery::Connection(_)) {
                        stats.served(waited);
                    }
                    Ok(delivery)
                }
                None => {
                    stats.timeouts += 1;
                    let suspended = turn.state.suspended;
                    Err(Expired { status, suspended, failure: turn.state.breaker.failure(instant) })
                }
            }
        })
    }

    /// A caller gave up after its connection proved dead, before it asked again.
    pub(crate) fn timed_out(&self, now: Ticks, instant: Instant) -> Expired<E> {
        self.change(now, |turn| {
            turn.state.stats.timeouts += 1;
            let suspended = turn.state.suspended;
            Expired { status: turn.status(), suspended, failure: turn.state.breaker.failure(instant) }
        })
        .0
    }
}
