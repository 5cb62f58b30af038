//! Connections that come back: from borrowers, from checks and resets, from a look at them, or not at all.

use std::time::Duration;

use crate::clock::Ticks;
use crate::core::Core;
use crate::core::after::After;
use crate::core::entry::{Held, Standing};
use crate::core::turn::Turn;
use crate::shelf::Slot;

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

impl<C, E> Core<C, E> {
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
}
