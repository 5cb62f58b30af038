//! What openers ask of the core and tell it; each holds one of the `opening`.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::clock::Ticks;
use crate::core::Core;
use crate::core::after::After;
use crate::core::entry::{Dates, Entry, Standing};
use crate::core::state::Delivery;
use crate::error::ConnectError;
use crate::shelf::{Placed, Slot};

/// A finished attempt to open a connection.
pub(crate) struct Attempt<C> {
    pub(crate) connection: C,
    pub(crate) generation: u32,
    pub(crate) took: Duration,
}

/// What an opener does next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Dial then, if that is not past.
    At(Slot, Instant),
    /// Nobody wants the connection any more; the opening is no longer counted.
    StandDown,
}

impl<C, E> Core<C, E> {
    /// The generation of a connection whose opening begins now.
    pub(crate) fn generation(&self) -> u32 {
        self.standing().generation()
    }

    /// When an opener may try, if anybody still wants its connection.
    pub(crate) fn next_attempt(&self, slot: Slot, now: Ticks, instant: Instant) -> (Next, After<C, E>) {
        self.change(now, |turn| {
            let state = &*turn.state;
            let failing = !state.breaker.is_closed();
            let idle = turn.shelf.count();
            let wanted = !state.waiters.is_empty()
                || idle < turn.limits.min_idle.min(state.max_size)
                || (failing && state.breaker.interested(instant));
            // In an outage one prober is enough: the others of a burst stand down.
            let superfluous = failing && state.opening > 1;
            if state.closed || !wanted || superfluous || state.live - state.closing > state.max_size {
                turn.state.opening -= 1;
                turn.free(slot);
                return Next::StandDown;
            }
            Next::At(slot, state.breaker.next_attempt(instant))
        })
    }

    pub(crate) fn opened(&self, slot: Slot, attempt: Attempt<C>, now: Ticks) -> After<C, E> {
        let Attempt { connection, generation, took } = attempt;
        let lifetime = self.limits.lifetime;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_precision_loss,
            clippy::cast_sign_loss,
            reason = "a random share of a span"
        )]
        let early = ((lifetime / 10) as f64 * fastrand::f64()) as Ticks;
        let expires = if lifetime == Ticks::MAX { lifetime } else { now.saturating_add(lifetime - early) };
        let standing = Standing::new(generation, 0);
        let dates = Dates { standing, jitter: fastrand::f32(), expires, seen: now, used: now };
        let mut held = Placed::new(slot, Entry { connection, dates, borrow: None });
        self.change(now, |turn| {
            turn.state.opening -= 1;
            turn.after.drop_error(turn.state.breaker.succeeded());
            turn.state.stats.opened += 1;
            turn.state.stats.connect_time += took;
            held.item.dates.standing = standing.proved(turn.standing);
            turn.offer(held);
            turn.plan(true);
        })
        .1
    }

    /// An attempt failed; the opener goes on if somebody wants it to.
    pub(crate) fn open_failed(
        &self,
        error: ConnectError<E>,
        permanent: bool,
        now: Ticks,
        instant: Instant,
    ) -> After<C, E> {
        let error = Arc::new(error);
        self.change(now, |turn| {
            turn.state.stats.connect_failures += 1;
            self.suspect(turn);
            turn.after.drop_error(turn.state.breaker.failed(error, permanent, instant));
            let status = turn.status();
            let told = turn.is_hopeless(&status);
            if let Some(failure) = turn.state.breaker.failure(instant).filter(|_| told) {
                turn.deliver_to_all(|| Delivery::Failed(Box::new(failure.clone())));
            }
        })
        .1
    }

    /// An opener was dropped before it ended, with its runtime. The next change of the pool starts another.
    pub(crate) fn opener_lost(&self, slot: Slot, now: Ticks) -> After<C, E> {
        self.change(now, |turn| {
            turn.state.opening -= 1;
            turn.free(slot);
        })
        .1
    }
}
