//! What the core's lock guards.
//!
//! Every connection is idle, in use, opening, checking or closing, and `idle + in_use + opening + checking + closing =
//! live <= max_size`, unless `max_size` was just lowered. A connection is *closing* until it is gone: a slot is used again
//! only when the target has really lost the connection that was in it. Idle and in use are not counted here: an idle
//! connection lies on the shelf, and what is nowhere else is in use.

use std::time::Duration;

use crate::clock::Ticks;
use crate::core::alarms::Alarms;
use crate::core::breaker::Breaker;
use crate::core::codel::Codel;
use crate::core::entry::Held;
use crate::error::ConnectFailure;
use crate::shelf::Slot;
use crate::stats::Stats;
use crate::waiters::Waiters;

/// What a waiter is given.
pub(crate) enum Delivery<C, E> {
    Connection(Held<C>),
    Failed(Box<ConnectFailure<E>>),
    /// Turned away: it has waited for too long in a queue that stands.
    Shed,
    Closed,
}

/// The settings that the core needs, in its own units.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) min_idle: usize,
    pub(crate) max_opening: usize,
    pub(crate) max_waiters: usize,
    pub(crate) bypass: Ticks,
    pub(crate) idle_timeout: Ticks,
    pub(crate) lifetime: Ticks,
    pub(crate) keepalive: Ticks,
    /// How long one who waits may be passed by others; 0 for never.
    pub(crate) barging: Ticks,
    /// Target and interval of shedding.
    pub(crate) shedding: Option<(Ticks, Ticks)>,
}

impl Limits {
    /// How long before its end a connection is replaced, if the minimum of idle ones is at stake.
    pub(crate) fn lead(&self) -> Ticks {
        (self.lifetime / 20).min(30_000_000_000)
    }
}

pub(crate) struct State<C, E> {
    /// As configured, or as last set by `resize`.
    pub(crate) max_size: usize,
    /// `max_size`, or what was live when it was lowered: `live` only falls until it is there.
    pub(crate) ceiling: usize,
    pub(crate) live: usize,
    pub(crate) opening: usize,
    pub(crate) checking: usize,
    /// Of `checking`, those that have taken so long that nobody should count on them.
    pub(crate) overdue: usize,
    pub(crate) closing: usize,
    pub(crate) closed: bool,
    pub(crate) suspended: bool,
    /// Whether the shelf is blocked, so that every borrow and return comes here.
    pub(crate) blocked: bool,
    /// Whether all connections are lent or idle, the shelf is blocked, and nothing else goes on that one who waits might gain
    /// from or that one who comes back might have to do with: while somebody waits, the usual state of a pool that is too
    /// small for its callers. Then to join and to be served takes a few steps. Kept by each change.
    pub(crate) plain: bool,
    /// Slots that nobody uses.
    pub(crate) spare: Vec<Slot>,
    pub(crate) waiters: Waiters<Delivery<C, E>>,
    pub(crate) alarms: Alarms,
    pub(crate) breaker: Breaker<E>,
    pub(crate) codel: Option<Codel>,
    /// Connections that were taken from the shelf without the lock and then not lent.
    pub(crate) unfit: u64,
    /// Counts of events; `acquired` holds only those that came through here.
    pub(crate) stats: Stats,
}

impl<C, E> State<C, E> {
    pub(crate) fn new(
        max_size: usize,
        backoff: (Duration, Duration),
        shedding: Option<(Ticks, Ticks)>,
    ) -> Self {
        Self {
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
            plain: false,
            spare: Vec::new(),
            waiters: Waiters::new(),
            alarms: Alarms::default(),
            breaker: Breaker::new(backoff.0, backoff.1),
            codel: shedding.map(|(target, interval)| Codel::new(target, interval)),
            unfit: 0,
            stats: Stats::default(),
        }
    }

    /// See [`plain`](Self::plain).
    pub(crate) fn is_plain(&self, limits: &Limits) -> bool {
        self.live == self.max_size
            && self.opening + self.checking + self.closing == 0
            && !(self.closed || self.suspended)
            && self.blocked
            && self.ceiling == self.max_size
            && self.breaker.is_closed()
            && limits.barging == 0
            && limits.shedding.is_none()
    }

    /// Those that a fuller pool would have to give up.
    pub(crate) fn is_over(&self) -> bool {
        self.live - self.closing > self.max_size
    }

    /// Waiters for whom no check is on its way that may end well soon.
    pub(crate) fn uncovered(&self) -> usize {
        self.waiters.len().saturating_sub(self.checking - self.overdue)
    }
}
