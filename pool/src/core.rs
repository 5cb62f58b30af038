//! The accounting: how many connections there are, where each is, and who gets the next.
//!
//! One mutex, held for a few dozen instructions: no await, no I/O, no user code, no waker runs under it. What must happen
//! after the unlock is handed out as [`After`]. Every connection is idle, in use, opening or checking:
//! `idle + in_use + opening + checking = live <= max_size`, checked in debug builds after each change.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::config::Config;
use crate::error::{ConnectError, ConnectFailure};
use crate::manager::Manager;
use crate::rt::after;
use crate::stats::{Stats, Status};
use crate::waiters::{Ticket, Waiter, Waiters};

/// Failed attempts in a row after which callers are told at once.
const BREAKER: u32 = 3;
const BACKOFF_FIRST: Duration = Duration::from_millis(10);
const BACKOFF_MOST: Duration = Duration::from_millis(200);
/// After the last request, a dead target is tried for this long before the pool waits for the next one.
const INTEREST: Duration = Duration::from_secs(30);

/// An open connection and its dates.
pub(crate) struct Live<C> {
    pub(crate) connection: C,
    generation: u64,
    /// When it is too old; drawn once, at birth.
    expires: Option<Instant>,
    /// When it was last returned, or last answered a check.
    used: Instant,
    /// The suspicions raised before it was opened or last answered a check: that it was returned since proves nothing.
    proved: u64,
    /// When it was last lent or returned: the clock of `idle_timeout`, which checks do not reset.
    lent: Instant,
}

/// What a waiter is given.
pub(crate) enum Delivery<M: Manager> {
    Connection(Live<M::Connection>),
    Failed(ConnectFailure<M::Error>),
    Closed,
}

/// The answer to a request for a connection.
pub(crate) enum Checkout<M: Manager> {
    /// Lent.
    Ready(Live<M::Connection>),
    /// To be checked by the caller first.
    Check(Live<M::Connection>),
    Wait(Ticket),
    Failed(ConnectFailure<M::Error>),
    Closed,
}

/// What to do after the unlock.
#[must_use = "waiters must be woken and openers started"]
pub(crate) struct After<M: Manager> {
    pub(crate) wake: Vec<Waiter>,
    /// Connections to end.
    pub(crate) dead: Vec<M::Connection>,
    /// Openers to start; each is counted as opening already.
    pub(crate) open: usize,
    /// Connections to check before anybody gets them; each is counted as checking already.
    pub(crate) check: Vec<Live<M::Connection>>,
}

impl<M: Manager> After<M> {
    fn nothing() -> Self {
        Self { wake: Vec::new(), dead: Vec::new(), open: 0, check: Vec::new() }
    }
}

struct State<M: Manager> {
    config: Arc<Config>,
    /// As configured, or as [`Core::resize`] last set it.
    max_size: usize,
    idle: VecDeque<Live<M::Connection>>,
    waiters: Waiters<Delivery<M>>,
    in_use: usize,
    opening: usize,
    checking: usize,
    closed: bool,
    generation: u64,
    /// Failed attempts since the last success.
    failures: u32,
    last_failure: Option<(Arc<ConnectError<M::Error>>, Instant)>,
    next_attempt: Option<Instant>,
    /// How often something went wrong with the target. Connections that have not proved themselves since the last time
    /// are checked before they are lent, however recently they were used.
    suspicions: u64,
    last_request: Option<Instant>,
    stats: Stats,
}

pub(crate) struct Core<M: Manager> {
    state: Mutex<State<M>>,
}

impl<M: Manager> State<M> {
    fn live(&self) -> usize {
        self.idle.len() + self.in_use + self.opening + self.checking
    }

    fn min_idle(&self) -> usize {
        self.config.min_idle.min(self.max_size)
    }

    fn status(&self) -> Status {
        Status {
            max_size: self.max_size,
            idle: self.idle.len(),
            in_use: self.in_use,
            opening: self.opening,
            checking: self.checking,
            waiting: self.waiters.len(),
        }
    }

    fn stale(&self, live: &Live<M::Connection>, now: Instant) -> bool {
        live.generation != self.generation || live.expires.is_some_and(|expires| expires <= now)
    }

    fn suspect(&self, live: &Live<M::Connection>) -> bool {
        live.proved < self.suspicions
    }

    fn failure(&self, now: Instant) -> Option<ConnectFailure<M::Error>> {
        let (error, at) = self.last_failure.as_ref()?;
        Some(ConnectFailure { error: Arc::clone(error), age: now - *at, failures: self.failures })
    }

    /// How many connections are wanted that nobody opens yet; counts them as opening.
    fn plan(&mut self, after: &mut After<M>) {
        if self.closed {
            return;
        }
        let wanted = self.waiters.len() + self.min_idle().saturating_sub(self.idle.len());
        // In an outage one prober is enough for all.
        let at_once = if self.failures > 0 { 1 } else { self.config.max_opening };
        let room = self.max_size.saturating_sub(self.live());
        let more = wanted.saturating_sub(self.opening).min(at_once.saturating_sub(self.opening)).min(room);
        self.opening += more;
        after.open += more;
    }

    /// Lends to the first who waits, or keeps as idle, or ends. The connection is in no count yet.
    fn offer(&mut self, live: Live<M::Connection>, now: Instant, after: &mut After<M>) {
        if self.closed || self.stale(&live, now) || self.live() >= self.max_size {
            self.stats.retired += 1;
            after.dead.push(live.connection);
            return;
        }
        match self.waiters.deliver(Delivery::Connection(live)) {
            Ok(waiter) => {
                self.in_use += 1;
                after.wake.extend(waiter);
            }
            Err(Delivery::Connection(live)) => self.idle.push_back(live),
            Err(_) => unreachable!("what was not delivered comes back"),
        }
    }

    fn deliver_to_all(&mut self, mut delivery: impl FnMut() -> Delivery<M>, after: &mut After<M>) {
        while !self.waiters.is_empty() {
            if let Ok(waiter) = self.waiters.deliver(delivery()) {
                after.wake.extend(waiter);
            }
        }
    }

    fn check_invariants(&self) {
        self.waiters.check_invariants();
        let delivered =
            self.waiters.delivered().filter(|delivery| matches!(delivery, Delivery::Connection(_)));
        assert!(delivered.count() <= self.in_use, "a delivered connection counts as in use");
        assert!(self.idle.is_empty() || self.waiters.is_empty(), "nobody waits beside an idle connection");
    }
}

impl<M: Manager> Core<M> {
    pub(crate) fn new(config: Arc<Config>) -> Self {
        Self {
            state: Mutex::new(State {
                max_size: config.max_size,
                config,
                idle: VecDeque::new(),
                waiters: Waiters::new(),
                in_use: 0,
                opening: 0,
                checking: 0,
                closed: false,
                generation: 0,
                failures: 0,
                last_failure: None,
                next_attempt: None,
                suspicions: 0,
                last_request: None,
                stats: Stats::default(),
            }),
        }
    }

    /// Changes the state, plans openings, checks the invariants.
    fn change<R>(&self, f: impl FnOnce(&mut State<M>, &mut After<M>) -> R) -> (R, After<M>) {
        let mut after = After::nothing();
        let mut state = self.state.lock();
        let result = f(&mut state, &mut after);
        state.plan(&mut after);
        if cfg!(debug_assertions) {
            state.check_invariants();
        }
        (result, after)
    }

    /// Asks for a connection. `first`: the caller held the head's rank and its connection proved dead.
    pub(crate) fn checkout(&self, first: bool, wait: bool, now: Instant) -> (Option<Checkout<M>>, After<M>) {
        self.change(|state, after| {
            if state.closed {
                return Some(Checkout::Closed);
            }
            state.last_request = Some(now);
            if first || state.waiters.is_empty() {
                // The most recently used: the others may become idle for long enough to be closed.
                while let Some(mut live) = state.idle.pop_back() {
                    if state.stale(&live, now) {
                        state.stats.retired += 1;
                        after.dead.push(live.connection);
                        continue;
                    }
                    let fresh = now.saturating_duration_since(live.used) < state.config.validation_bypass
                        && !state.suspect(&live);
                    live.lent = now;
                    if fresh {
                        state.in_use += 1;
                        state.stats.acquired += 1;
                        return Some(Checkout::Ready(live));
                    }
                    state.checking += 1;
                    return Some(Checkout::Check(live));
                }
            }
            if !wait {
                return None;
            }
            if state.failures >= BREAKER && state.in_use + state.checking == 0 {
                // Nothing could serve this caller, and the prober is at work: tell the truth at once. Without a prober
                // the caller's own wait starts one.
                if let Some(failure) = state.failure(now).filter(|_| state.opening > 0) {
                    return Some(Checkout::Failed(failure));
                }
            }
            Some(Checkout::Wait(state.waiters.join(first)))
        })
    }

    /// Joins the queue at its front, for a connection that is being checked on the caller's behalf: no other is opened
    /// unless that one fails.
    pub(crate) fn join_first(&self) -> Ticket {
        self.state.lock().waiters.join(true)
    }

    /// Looks for a delivery; stores whom to wake if there is none.
    pub(crate) fn poll(&self, ticket: Ticket, waiter: Waiter, began: Instant) -> Option<Delivery<M>> {
        let mut state = self.state.lock();
        let taken = state.waiters.take(ticket, waiter);
        if let Ok(Delivery::Connection(_)) = &taken {
            state.stats.acquired += 1;
            state.stats.waited += 1;
            state.stats.wait_time += began.elapsed();
        }
        drop(state);
        // A replaced waker is dropped here, after the unlock.
        taken.ok()
    }

    /// Leaves the queue. A connection that was delivered too late goes on to the next.
    pub(crate) fn leave(&self, ticket: Ticket, now: Instant) -> After<M> {
        let (waker, after) = self.change(|state, after| {
            let (delivery, waker) = state.waiters.leave(ticket);
            if let Some(Delivery::Connection(live)) = delivery {
                state.in_use -= 1;
                state.offer(live, now, after);
            }
            waker
        });
        drop(waker);
        after
    }

    /// The timeout of a waiter: its delivery if one came just in time, or what to say in the error.
    #[expect(clippy::type_complexity, reason = "a result with its two halves, used once")]
    pub(crate) fn expire(
        &self,
        ticket: Ticket,
        now: Instant,
    ) -> Result<Delivery<M>, (Status, Option<ConnectFailure<M::Error>>)> {
        let mut state = self.state.lock();
        let status = state.status();
        let (delivery, waker) = state.waiters.leave(ticket);
        let result = match delivery {
            Some(delivery) => {
                if matches!(delivery, Delivery::Connection(_)) {
                    state.stats.acquired += 1;
                    state.stats.waited += 1;
                }
                Ok(delivery)
            }
            None => {
                state.stats.timeouts += 1;
                Err((status, state.failure(now)))
            }
        };
        drop(state);
        drop(waker);
        result
    }

    /// A caller gave up during a check.
    pub(crate) fn timed_out(&self, now: Instant) -> (Status, Option<ConnectFailure<M::Error>>) {
        let mut state = self.state.lock();
        state.stats.timeouts += 1;
        (state.status(), state.failure(now))
    }

    /// Takes a connection back from its borrower.
    pub(crate) fn give_back(&self, mut live: Live<M::Connection>, now: Instant) -> After<M> {
        live.used = now;
        live.lent = now;
        self.change(|state, after| {
            state.in_use -= 1;
            if state.suspect(&live) && !state.closed {
                state.checking += 1;
                after.check.push(live);
            } else {
                state.offer(live, now, after);
            }
        })
        .1
    }

    /// The borrower's connection leaves the pool.
    pub(crate) fn lost(&self, detached: bool) -> After<M> {
        self.change(|state, _| {
            state.in_use -= 1;
            if detached {
                state.stats.detached += 1;
            } else {
                state.stats.discarded += 1;
                state.suspicions += 1;
            }
        })
        .1
    }

    /// From the borrower's hands to a reset in the background.
    pub(crate) fn start_reset(&self) {
        let mut state = self.state.lock();
        state.in_use -= 1;
        state.checking += 1;
    }

    /// A check was passed by a caller: it has the connection.
    pub(crate) fn check_passed(&self, live: &mut Live<M::Connection>, now: Instant) {
        live.used = now;
        let mut state = self.state.lock();
        live.proved = state.suspicions;
        state.checking -= 1;
        state.in_use += 1;
        state.stats.acquired += 1;
        state.stats.validations += 1;
    }

    /// A check was passed in the background.
    pub(crate) fn check_passed_idle(&self, mut live: Live<M::Connection>, now: Instant) -> After<M> {
        live.used = now;
        self.change(|state, after| {
            live.proved = state.suspicions;
            state.checking -= 1;
            state.stats.validations += 1;
            state.offer(live, now, after);
        })
        .1
    }

    /// A check failed, timed out or was given up.
    pub(crate) fn check_failed(&self) -> After<M> {
        self.change(|state, _| {
            state.suspicions += 1;
            state.checking -= 1;
            state.stats.validation_failures += 1;
            state.stats.discarded += 1;
        })
        .1
    }

    /// Idle connections that were not used for `since`: counted as checking, to be checked by the caller.
    pub(crate) fn take_for_check(
        &self,
        since: Duration,
        now: Instant,
    ) -> (Vec<Live<M::Connection>>, After<M>) {
        self.change(|state, after| {
            let (keep, check): (VecDeque<_>, VecDeque<_>) =
                state.idle.drain(..).partition(|live| now.saturating_duration_since(live.used) < since);
            state.idle = keep;
            state.checking += check.len();
            let _ = after;
            check.into()
        })
    }

    /// Retires idle connections that are too old or idle for too long.
    pub(crate) fn retire(&self, now: Instant) -> After<M> {
        self.change(|state, after| {
            let mut idle = std::mem::take(&mut state.idle);
            // Oldest use first, so that the hot end stays.
            let mut surplus = idle.len().saturating_sub(state.min_idle());
            idle.retain(|live| {
                !state.stale(live, now) || {
                    surplus = surplus.saturating_sub(1);
                    true
                }
            });
            let timeout = state.config.idle_timeout;
            for live in idle {
                let idle_for = now.saturating_duration_since(live.lent);
                let too_long = timeout.is_some_and(|timeout| idle_for >= timeout) && surplus > 0;
                if state.stale(&live, now) || too_long {
                    if !state.stale(&live, now) {
                        surplus -= 1;
                    }
                    state.stats.retired += 1;
                    after.dead.push(live.connection);
                } else {
                    state.idle.push_back(live);
                }
            }
        })
        .1
    }

    /// Sets the limit; surplus idle connections end now, surplus borrowed ones when they come back.
    pub(crate) fn resize(&self, max_size: usize) -> After<M> {
        self.change(|state, after| {
            state.max_size = max_size;
            while state.live() > max_size {
                let Some(live) = state.idle.pop_front() else { break };
                state.stats.retired += 1;
                after.dead.push(live.connection);
            }
        })
        .1
    }

    /// Nothing opened before now is lent again.
    pub(crate) fn reset(&self) -> After<M> {
        self.change(|state, after| {
            state.generation += 1;
            state.stats.retired += state.idle.len() as u64;
            after.dead.extend(state.idle.drain(..).map(|live| live.connection));
        })
        .1
    }

    /// No more connections for anybody.
    pub(crate) fn close(&self) -> After<M> {
        self.change(|state, after| {
            state.closed = true;
            state.deliver_to_all(|| Delivery::Closed, after);
            state.stats.retired += state.idle.len() as u64;
            after.dead.extend(state.idle.drain(..).map(|live| live.connection));
        })
        .1
    }

    /// Starts openers if connections are wanted.
    pub(crate) fn replenish(&self) -> After<M> {
        self.change(|_, _| ()).1
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state.lock().closed
    }

    pub(crate) fn stats(&self) -> Stats {
        let state = self.state.lock();
        Stats { status: state.status(), ..state.stats }
    }

    pub(crate) fn check_invariants(&self) {
        let state = self.state.lock();
        state.check_invariants();
        assert!(state.live() <= state.max_size, "never more than max_size at rest");
    }

    // ----- openers; each holds one of the `opening` -----

    /// The generation of a connection whose opening begins now.
    pub(crate) fn generation(&self) -> u64 {
        self.state.lock().generation
    }

    /// When an opener may try. `None`: nobody wants its connection any more, and it is no longer counted.
    pub(crate) fn next_attempt(&self, now: Instant) -> Option<Instant> {
        let mut state = self.state.lock();
        let interested = state.last_request.is_some_and(|at| now.saturating_duration_since(at) < INTEREST);
        let wanted = !state.waiters.is_empty()
            || state.idle.len() < state.min_idle()
            || (state.failures > 0 && interested);
        // In an outage one prober is enough: the others of a burst stand down.
        let superfluous = state.failures > 0 && state.opening > 1;
        if state.closed || !wanted || superfluous || state.live() > state.max_size {
            state.opening -= 1;
            return None;
        }
        Some(state.next_attempt.filter(|&at| at > now).unwrap_or(now))
    }

    pub(crate) fn opened(
        &self,
        connection: M::Connection,
        generation: u64,
        took: Duration,
        now: Instant,
    ) -> After<M> {
        self.change(|state, after| {
            state.opening -= 1;
            state.failures = 0;
            state.next_attempt = None;
            state.last_failure = None;
            state.stats.opened += 1;
            state.stats.connect_time += took;
            let expires = state.config.max_lifetime.map(|lifetime| {
                let lifetime = lifetime.mul_f64(1.0 - 0.1 * fastrand::f64());
                self::after(now, lifetime)
            });
            let live =
                Live { connection, generation, expires, used: now, proved: state.suspicions, lent: now };
            state.offer(live, now, after);
        })
        .1
    }

    /// An attempt failed; the opener goes on if somebody wants it to.
    pub(crate) fn open_failed(
        &self,
        error: ConnectError<M::Error>,
        permanent: bool,
        now: Instant,
    ) -> After<M> {
        let (replaced, after) = self.change(|state, after| {
            state.failures = state.failures.saturating_add(1);
            state.stats.connect_failures += 1;
            state.suspicions += 1;
            let replaced = state.last_failure.replace((Arc::new(error), now));
            let doubled = BACKOFF_FIRST * (1 << (state.failures - 1).min(8));
            let delay = doubled.min(BACKOFF_MOST).mul_f64(0.95 + 0.1 * fastrand::f64());
            state.next_attempt = Some(now + delay);
            if permanent {
                state.failures = state.failures.max(BREAKER);
            }
            let hopeless = (permanent || state.failures >= BREAKER) && state.in_use + state.checking == 0;
            if let Some(failure) = state.failure(now).filter(|_| hopeless) {
                state.deliver_to_all(|| Delivery::Failed(failure.clone()), after);
            }
            replaced
        });
        drop(replaced);
        after
    }

    /// An opener was dropped before it ended, with its runtime. The next change of the pool starts another.
    pub(crate) fn opener_lost(&self) {
        self.state.lock().opening -= 1;
    }
}
