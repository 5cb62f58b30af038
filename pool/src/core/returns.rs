//! Connections that come back: from borrowers, from checks and resets, from a look at them, or not at all.

use std::time::Duration;

use crate::clock::Ticks;
use crate::core::Core;
use crate::core::after::After;
use crate::core::entry::{Held, Standing};
use crate::core::state::Delivery;
use crate::core::turn::Turn;
use crate::shelf::Slot;
use crate::waiters::Waiter;

/// Why a borrowed connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// It is not to be used again for a reason of its own.
    Unclean,
    /// It was found dead: the others must prove themselves.
    Broken,
}

impl<C, E> Core<C, E> {
    /// Hands a connection that may be lent on to the first who waits, in a few steps if there is nothing else to do. Returns
    /// whom to wake; or the connection, which goes to [`give_back`](Self::give_back).
    pub(crate) fn hand_off(&self, held: Held<C>) -> Result<Option<Waiter>, Held<C>> {
        let mut state = self.state.lock();
        if !state.plain || state.waiters.is_empty() || held.item.dates.standing != self.standing() {
            return Err(held);
        }
        let Ok(waiter) = state.waiters.deliver(Delivery::Connection(held)) else {
            unreachable!("somebody waits")
        };
        if state.waiters.is_empty() {
            state.blocked = false;
            state.plain = false;
            self.shelf.unblock();
        }
        Ok(waiter)
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
        let mut state = self.state.lock();
        state.checking += 1;
        state.plain = false;
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
            held.item.dates.seen = now;
            if proof {
                held.item.dates.standing = held.item.dates.standing.proved(turn.standing);
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

    /// A check or reset failed, timed out or was given up: its connection is to be closed, and is counted as closing.
    pub(crate) fn check_failed(&self, overdue: bool, now: Ticks) -> After<C, E> {
        self.change(now, |turn| {
            turn.state.checking -= 1;
            turn.state.overdue -= usize::from(overdue);
            turn.state.stats.validation_failures += 1;
            turn.state.stats.discarded += 1;
            turn.state.closing += 1;
            self.distrust(turn);
            turn.serve();
            turn.plan(true);
        })
        .1
    }

    /// Something went wrong: connections must prove alive before they are lent again.
    pub(super) fn suspect(&self, turn: &mut Turn<'_, C, E>) {
        self.stand(
            turn,
            Standing::new(turn.standing.generation(), turn.standing.suspicions().wrapping_add(1)),
        );
    }

    /// One was found dead: the idle ones are checked at once, side by side, so that nobody finds them one by one.
    fn distrust(&self, turn: &mut Turn<'_, C, E>) {
        self.suspect(turn);
        if !turn.state.closed {
            turn.check_suspects();
        }
    }

    /// A borrowed connection is to be closed, and is counted as closing.
    pub(crate) fn discard(&self, why: Why, now: Ticks) -> After<C, E> {
        self.change(now, |turn| {
            turn.state.stats.discarded += 1;
            turn.state.closing += 1;
            if why == Why::Broken {
                self.distrust(turn);
                turn.serve();
            }
            turn.plan(true);
        })
        .1
    }

    /// A borrowed connection was taken out for good by its borrower.
    pub(crate) fn detached(&self, slot: Slot, now: Ticks) -> After<C, E> {
        self.change(now, |turn| {
            turn.state.stats.detached += 1;
            turn.free(slot);
            turn.plan(true);
        })
        .1
    }

    /// A connection that was counted as closing is gone.
    pub(crate) fn closed(&self, slot: Slot, now: Ticks) -> After<C, E> {
        self.change(now, |turn| {
            turn.state.closing -= 1;
            turn.free(slot);
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
}
