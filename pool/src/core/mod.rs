//! The accounting: how many connections there are, where each is, and who gets the next.
//!
//! While nobody waits, a connection goes from the shelf to a borrower and back by one compare-and-swap each ([`Core::borrow`],
//! [`Core::put_back`]). All else happens under one lock, held for a few dozen instructions: no await, no I/O, no user code and
//! no waker runs under it. What must happen after the unlock is handed out as [`After`]. The core knows nothing of managers,
//! tasks or timers, so that a test can drive it by hand.

mod breaker;
mod codel;
mod entry;
mod opening;
mod state;

use std::time::Duration;

use tokio::time::Instant;

use crate::clock::Ticks;
use crate::error::ConnectFailure;
use crate::shelf::{Shelf, Slot};
use crate::stats::{Stats, Status};
use crate::sync::{AtomicU32, Mutex, Ordering};
use crate::waiters::{Rank, Ticket, Waiter, Waiters};

use breaker::Breaker;
use codel::Codel;
pub(crate) use entry::{Entry, Fitness, Held};
pub(crate) use opening::{Attempt, Next};
pub(crate) use state::{After, Delivery, Limits, Rest};
use state::{State, Turn, fitness};

/// The answer to a request for a connection.
pub(crate) enum Checkout<C, E> {
    Ready(Held<C>),
    Wait(Ticket),
    Failed(ConnectFailure<E>),
    /// As many wait as may.
    Full(Status),
    Closed,
}

/// What the shelf had for a borrower.
pub(crate) enum Borrow<C> {
    Fit(Held<C>),
    /// Not to be lent as it is; goes to [`Core::checkout`].
    Unfit(Held<C>),
    None,
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

/// Of a connection that ends, what it was counted as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Was {
    /// In use, and taken out for good by its borrower.
    Detached,
    /// In use, and not to be used again for a reason of its own.
    Discarded,
    /// In use, and found dead: the others must prove themselves.
    Broken,
    /// Retired.
    Closing,
}

pub(crate) struct Core<C, E> {
    shelf: Shelf<Box<Entry<C>>>,
    /// Connections opened before the last change of it are not lent. Written under the lock.
    generation: AtomicU32,
    /// How often something went wrong with the target. A connection that has not proved alive since the last time is checked
    /// before it is lent, however recently it was used. Written under the lock.
    suspicions: AtomicU32,
    limits: Limits,
    state: Mutex<State<C, E>>,
}

impl<C, E> Core<C, E> {
    pub(crate) fn new(max_size: usize, stacks: usize, backoff: (Duration, Duration), limits: Limits) -> Self {
        Self {
            shelf: Shelf::new(max_size, stacks),
            generation: AtomicU32::new(0),
            suspicions: AtomicU32::new(0),
            limits,
            state: Mutex::new(State {
                max_size,
                ceiling: max_size,
                live: 0,
                opening: 0,
                checking: 0,
                overdue: 0,
                closing: 0,
                closed: false,
                suspended: false,
                blocked: false,
                spare: Vec::new(),
                waiters: Waiters::new(),
                breaker: Breaker::new(backoff.0, backoff.1),
                codel: limits.shedding.map(|(target, interval)| Codel::new(target, interval)),
                unfit: 0,
                stats: Stats::default(),
            }),
        }
    }

    // ----- without the lock -----

    /// This thread's number among `stacks`.
    #[inline]
    pub(crate) fn home(&self) -> usize {
        self.shelf.home()
    }

    /// Takes the connection that was returned last, unless somebody waits.
    #[inline(always)]
    pub(crate) fn borrow(&self, now: Ticks) -> Borrow<C> {
        let Ok((slot, mut entry)) = self.shelf.take() else { return Borrow::None };
        let generation = self.generation.load(Ordering::Relaxed);
        let suspicions = self.suspicions.load(Ordering::Relaxed);
        match fitness(&entry.dates, generation, suspicions, self.limits.bypass, now) {
            Fitness::Fit => {
                entry.dates.used = now;
                Borrow::Fit(Held { slot, entry })
            }
            Fitness::Check | Fitness::Retire => Borrow::Unfit(Held { slot, entry }),
        }
    }

    /// Puts a connection back, unless somebody waits for it or it is not to be lent again: then it goes to
    /// [`give_back`](Self::give_back).
    #[inline(always)]
    pub(crate) fn put_back(&self, held: Held<C>, now: Ticks) -> Result<(), Held<C>> {
        let Held { slot, mut entry } = held;
        entry.dates.seen = now;
        entry.dates.used = now;
        let dates = &entry.dates;
        if dates.expires <= now
            || dates.generation != self.generation.load(Ordering::Relaxed)
            || dates.proved != self.suspicions.load(Ordering::Relaxed)
        {
            return Err(Held { slot, entry });
        }
        self.shelf.put(slot, entry).map_err(|(slot, entry)| Held { slot, entry })
    }

    // ----- under the lock -----

    /// Changes the state, and says what is to be done after the unlock.
    fn change<R>(&self, now: Ticks, f: impl FnOnce(&mut Turn<'_, C, E>) -> R) -> (R, After<C, E>) {
        let mut after = After::default();
        let mut state = self.state.lock();
        let mut turn = Turn {
            state: &mut state,
            shelf: &self.shelf,
            limits: &self.limits,
            generation: self.generation.load(Ordering::Relaxed),
            suspicions: self.suspicions.load(Ordering::Relaxed),
            after: &mut after,
            now,
        };
        let result = f(&mut turn);
        turn.settle();
        if cfg!(all(debug_assertions, not(millpond_loom))) {
            turn.check_invariants();
        }
        drop(state);
        (result, after)
    }

    /// Asks for a connection: joins the queue, and leaves it at once if there is one. `unfit`: what `borrow` found.
    pub(crate) fn checkout(
        &self,
        unfit: Option<Held<C>>,
        rank: Rank,
        now: Ticks,
        instant: Instant,
    ) -> (Checkout<C, E>, After<C, E>) {
        self.change(now, |turn| {
            if let Some(held) = unfit {
                turn.state.unfit += 1;
                match turn.fitness(&held.entry.dates) {
                    Fitness::Retire => turn.retire(held),
                    Fitness::Check | Fitness::Fit => turn.check(held),
                }
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
            let ticket = turn.state.waiters.join(rank);
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
            Checkout::Wait(ticket)
        })
    }

    /// A connection that `borrow` found unfit and nobody waits for: checked or ended.
    pub(crate) fn take_unfit(&self, held: Held<C>, now: Ticks) -> After<C, E> {
        self.change(now, |turn| {
            turn.state.unfit += 1;
            match turn.fitness(&held.entry.dates) {
                Fitness::Retire => turn.retire(held),
                Fitness::Check | Fitness::Fit => turn.check(held),
            }
        })
        .1
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

    /// Takes a connection back from its borrower.
    pub(crate) fn give_back(&self, held: Held<C>, now: Ticks) -> After<C, E> {
        self.change(now, |turn| {
            turn.offer(held);
        })
        .1
    }

    /// From the borrower's hands to a reset in the background.
    pub(crate) fn start_reset(&self) {
        self.state.lock().checking += 1;
    }

    /// A check or reset was passed: the connection goes to whoever is first. `proof`:
    /// whether that shows it alive; cleaning it may be nothing but a look at memory.
    pub(crate) fn check_passed(
        &self,
        mut held: Held<C>,
        overdue: bool,
        proof: bool,
        took: Duration,
        now: Ticks,
    ) -> After<C, E> {
        self.change(now, |turn| {
            turn.state.checking -= 1;
            turn.state.overdue -= usize::from(overdue);
            turn.state.stats.validations += 1;
            turn.state.stats.validation_time += took;
            held.entry.dates.seen = now;
            if proof {
                held.entry.dates.proved = turn.suspicions;
            }
            turn.offer(held);
            turn.plan(false);
        })
        .1
    }

    /// A check or reset takes long: those who wait get other chances beside it.
    pub(crate) fn check_overdue(&self, now: Ticks) -> After<C, E> {
        self.change(now, |turn| {
            turn.state.overdue += 1;
            turn.serve();
            turn.plan(false);
        })
        .1
    }

    /// A check or reset failed, timed out or was given up, and its connection is gone.
    pub(crate) fn check_failed(&self, slot: Slot, overdue: bool, now: Ticks) -> After<C, E> {
        self.change(now, |turn| {
            turn.state.checking -= 1;
            turn.state.overdue -= usize::from(overdue);
            turn.state.stats.validation_failures += 1;
            turn.state.stats.discarded += 1;
            turn.free(slot);
            self.distrust(turn);
            turn.serve();
            turn.plan(true);
        })
        .1
    }

    /// Something went wrong: connections must prove alive before they are lent again.
    fn suspect(&self, turn: &mut Turn<'_, C, E>) {
        turn.suspicions = turn.suspicions.wrapping_add(1);
        self.suspicions.store(turn.suspicions, Ordering::Relaxed);
    }

    /// One was found dead: the idle ones are checked at once, side by side, so that nobody finds them one by one.
    fn distrust(&self, turn: &mut Turn<'_, C, E>) {
        self.suspect(turn);
        if !turn.state.closed {
            turn.check_suspects();
        }
    }

    /// A connection is gone.
    pub(crate) fn gone(&self, slot: Slot, was: Was, now: Ticks) -> After<C, E> {
        self.change(now, |turn| {
            match was {
                Was::Detached => turn.state.stats.detached += 1,
                Was::Discarded | Was::Broken => turn.state.stats.discarded += 1,
                Was::Closing => turn.state.closing -= 1,
            }
            turn.free(slot);
            if was == Was::Broken {
                self.distrust(turn);
                turn.serve();
            }
            turn.plan(true);
        })
        .1
    }

    /// Takes all idle connections to look at them; each is counted as checking until [`looked_at`](Self::looked_at).
    pub(crate) fn take_idle(&self, now: Ticks) -> (Vec<Held<C>>, After<C, E>) {
        self.change(now, |turn| {
            let all = turn.take_all();
            turn.state.checking += all.len();
            all.into_iter().map(|(_, held)| held).collect()
        })
    }

    /// Puts back a connection that was looked at, as it was, or ends it.
    pub(crate) fn looked_at(&self, held: Held<C>, keep: bool, now: Ticks) -> After<C, E> {
        self.change(now, |turn| {
            turn.state.checking -= 1;
            if keep {
                turn.offer(held);
            } else {
                turn.retire(held);
            }
            turn.plan(true);
        })
        .1
    }

    /// Housekeeping; see [`Turn::sweep`].
    pub(crate) fn sweep(&self, now: Ticks) -> After<C, E> {
        self.change(now, |turn| turn.sweep()).1
    }

    /// Sets the limit; surplus idle connections end now, surplus borrowed ones when they come back.
    pub(crate) fn resize(&self, max_size: usize, now: Ticks) -> After<C, E> {
        self.change(now, |turn| {
            turn.state.max_size = max_size;
            turn.settle();
            turn.trim();
            turn.plan(true);
        })
        .1
    }

    /// Nothing opened before now is lent again.
    pub(crate) fn reset(&self, now: Ticks) -> After<C, E> {
        self.change(now, |turn| {
            turn.generation = turn.generation.wrapping_add(1);
            self.generation.store(turn.generation, Ordering::Relaxed);
            turn.block();
            for (_, held) in turn.take_all() {
                turn.retire(held);
            }
            turn.plan(true);
        })
        .1
    }

    /// No more connections for anybody.
    pub(crate) fn close(&self, now: Ticks) -> After<C, E> {
        self.change(now, |turn| {
            turn.state.closed = true;
            turn.block();
            turn.deliver_to_all(|| Delivery::Closed);
            for (_, held) in turn.take_all() {
                turn.retire(held);
            }
            let rest = turn.after.rest();
            rest.left = true;
            rest.hurry = true;
        })
        .1
    }

    /// While suspended nobody is served; connections come back and stay.
    pub(crate) fn suspend(&self, suspended: bool, now: Ticks) -> After<C, E> {
        self.change(now, |turn| {
            turn.state.suspended = suspended;
            turn.settle();
            turn.serve();
            turn.plan(true);
        })
        .1
    }

    /// Starts openers if connections are wanted.
    pub(crate) fn replenish(&self, now: Ticks) -> After<C, E> {
        self.change(now, |turn| turn.plan(true)).1
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state.lock().closed
    }

    pub(crate) fn stats(&self) -> Stats {
        let look = |turn: &mut Turn<'_, C, E>| {
            (Stats { status: turn.status(), ..turn.state.stats }, turn.state.unfit)
        };
        let ((mut stats, unfit), _nothing_after) = self.change(0, look);
        stats.acquired += self.shelf.taken().saturating_sub(unfit);
        stats
    }

    /// Panics unless the counts agree.
    pub(crate) fn check_invariants(&self) {
        self.change(0, |turn| turn.check_invariants()).0
    }
}
