//! What its owner tells the pool, and its upkeep.

use crate::clock::Ticks;
use crate::core::Core;
use crate::core::after::After;
use crate::core::entry::Standing;
use crate::core::state::Delivery;

impl<C, E> Core<C, E> {
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
            self.stand(
                turn,
                Standing::new(turn.standing.generation().wrapping_add(1), turn.standing.suspicions()),
            );
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
            for bell in turn.state.alarms.bells() {
                bell.notify_one();
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
}
