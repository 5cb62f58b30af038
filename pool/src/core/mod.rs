//! The accounting: how many connections there are, where each is, and who gets the next.
//!
//! While nobody waits, a connection goes from the shelf to a borrower and back by one compare-and-swap each ([`Core::borrow`],
//! [`Core::put_back`]). All else happens under one lock, held for a few dozen instructions: no await, no I/O, no user code and
//! no waker runs under it. What must happen after the unlock is handed out as [`After`]. The core knows nothing of managers,
//! tasks or timers, so that a test can drive it by hand.

mod after;
mod alarms;
mod breaker;
mod codel;
mod control;
mod entry;
mod opening;
mod queue;
mod returns;
mod state;
mod turn;
mod upkeep;

use std::time::Duration;

use crate::clock::Ticks;
use crate::shelf::Shelf;
use crate::stats::Stats;
use crate::sync::{AtomicU64, Mutex, Ordering};

pub(crate) use after::{After, Rest};
pub(crate) use alarms::Cover;
use entry::{Dates, Fitness, Standing};
pub(crate) use entry::{Entry, Held};
pub(crate) use opening::{Attempt, Next};
pub(crate) use queue::{Checkout, Expired, Want};
pub(crate) use returns::Why;
use state::State;
pub(crate) use state::{Delivery, Limits};
use turn::Turn;

/// What the shelf had for a borrower.
pub(crate) enum Borrow<C> {
    Fit(Held<C>),
    /// Not to be lent as it is; goes to [`Core::checkout`].
    Unfit(Held<C>),
    None,
}

pub(crate) struct Core<C, E> {
    shelf: Shelf<Entry<C>>,
    /// A [`Standing`], in the way of every borrow and return. Written under the lock.
    standing: AtomicU64,
    limits: Limits,
    state: Mutex<State<C, E>>,
}

impl<C, E> Core<C, E> {
    pub(crate) fn new(max_size: usize, stacks: usize, backoff: (Duration, Duration), limits: Limits) -> Self {
        let state = State::new(max_size, backoff, limits.shedding);
        Self {
            shelf: Shelf::new(max_size, stacks),
            standing: AtomicU64::new(Standing::new(0, 0).0),
            limits,
            state: Mutex::new(state),
        }
    }

    #[inline(always)]
    fn standing(&self) -> Standing {
        Standing(self.standing.load(Ordering::Relaxed))
    }

    /// Changes what connections are measured by.
    fn stand(&self, turn: &mut Turn<'_, C, E>, standing: Standing) {
        turn.standing = standing;
        self.standing.store(standing.0, Ordering::Relaxed);
    }

    // ----- without the lock -----

    /// Takes the connection that was returned last, unless somebody waits. Asks for the time only if there is one.
    #[inline(always)]
    pub(crate) fn borrow(&self, now: impl FnOnce() -> Ticks) -> Borrow<C> {
        let Ok(mut held) = self.shelf.take() else { return Borrow::None };
        let now = now();
        let dates = &mut held.item.dates;
        if dates.is_plainly_fit(self.standing(), self.limits.bypass, now) || self.is_fit(dates, now) {
            dates.used = now;
            Borrow::Fit(held)
        } else {
            Borrow::Unfit(held)
        }
    }

    #[cold]
    fn is_fit(&self, dates: &Dates, now: Ticks) -> bool {
        dates.fitness(self.standing(), self.limits.bypass, now) == Fitness::Fit
    }

    /// Puts a connection back whose dates are right, unless somebody waits for it or it is not to be lent again: then it goes
    /// to [`give_back`](Self::give_back).
    #[inline(always)]
    pub(crate) fn put_back(&self, held: Held<C>) -> Result<(), Held<C>> {
        if held.item.dates.standing == self.standing() { self.shelf.put(held) } else { Err(held) }
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
            standing: self.standing(),
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
