//! What the core's lock guards, and the steps that a change of it is made of.
//!
//! Every connection is idle, in use, opening, checking or closing, and `idle + in_use + opening + checking + closing =
//! live <= max_size`, unless `max_size` was just lowered. A connection is *closing* until it is gone: a slot is used again
//! only when the target has really lost the connection that was in it. Idle and in use are not counted here: an idle
//! connection lies on the shelf, and what is nowhere else is in use.

use std::sync::Arc;

use crate::clock::Ticks;
use crate::core::breaker::Breaker;
use crate::core::codel::Codel;
use crate::core::entry::{Dates, Entry, Fitness, Held};
use crate::error::{ConnectError, ConnectFailure};
use crate::shelf::{Shelf, Slot};
use crate::stats::{Stats, Status};
use crate::waiters::{Waiter, Waiters};

/// What a waiter is given.
pub(crate) enum Delivery<C, E> {
    Connection(Held<C>),
    Failed(ConnectFailure<E>),
    /// Turned away: it has waited for too long in a queue that stands.
    Shed,
    Closed,
}

/// What to do after the unlock. Nearly always that is to wake one waiter at most, so the rest is apart: a change that needs
/// none of it neither builds it nor looks through it.
#[must_use = "waiters must be woken, openers started, connections checked and ended"]
pub(crate) struct After<C, E> {
    pub(crate) wake: Wake,
    rest: Option<Box<Rest<C, E>>>,
}

/// What there seldom is to do after the unlock.
pub(crate) struct Rest<C, E> {
    /// Connections to end; each is counted as closing.
    pub(crate) dead: Vec<Held<C>>,
    /// Connections to check; each is counted as checking.
    pub(crate) check: Vec<Held<C>>,
    /// Openers to start; each is counted as opening.
    pub(crate) open: Vec<Slot>,
    /// A prober that sleeps should look again.
    pub(crate) hurry: bool,
    /// Something left the pool, or came back while it is suspended: who waits for that should look again.
    pub(crate) left: bool,
    /// User values that must not be dropped under the lock.
    pub(crate) errors: Vec<Arc<ConnectError<E>>>,
    pub(crate) wakers: Vec<Waiter>,
}

/// Whom to wake.
#[derive(Default)]
pub(crate) struct Wake {
    pub(crate) first: Option<Waiter>,
    pub(crate) others: Vec<Waiter>,
}

impl Extend<Waiter> for Wake {
    #[inline]
    fn extend<I: IntoIterator<Item = Waiter>>(&mut self, waiters: I) {
        for waiter in waiters {
            if self.first.is_none() {
                self.first = Some(waiter);
            } else {
                self.others.push(waiter);
            }
        }
    }
}

impl<C, E> Default for After<C, E> {
    #[inline]
    fn default() -> Self {
        Self { wake: Wake::default(), rest: None }
    }
}

impl<C, E> After<C, E> {
    /// The rest, which there is from now on.
    #[cold]
    pub(crate) fn rest(&mut self) -> &mut Rest<C, E> {
        self.rest.get_or_insert_with(|| {
            Box::new(Rest {
                dead: Vec::new(),
                check: Vec::new(),
                open: Vec::new(),
                hurry: false,
                left: false,
                errors: Vec::new(),
                wakers: Vec::new(),
            })
        })
    }

    #[inline]
    pub(crate) fn into_parts(self) -> (Wake, Option<Box<Rest<C, E>>>) {
        (self.wake, self.rest)
    }

    /// Leaves a waker to be dropped after the unlock.
    #[inline]
    pub(crate) fn drop_waker(&mut self, waker: Option<Waiter>) {
        if let Some(waker) = waker {
            self.rest().wakers.push(waker);
        }
    }

    /// Leaves an error to be dropped after the unlock.
    pub(crate) fn drop_error(&mut self, error: Option<Arc<ConnectError<E>>>) {
        if let Some(error) = error {
            self.rest().errors.push(error);
        }
    }
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
    fn lead(&self) -> Ticks {
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
    /// Slots that nobody uses.
    pub(crate) spare: Vec<Slot>,
    pub(crate) waiters: Waiters<Delivery<C, E>>,
    pub(crate) breaker: Breaker<E>,
    pub(crate) codel: Option<Codel>,
    /// Connections that were taken from the shelf without the lock and then not lent.
    pub(crate) unfit: u64,
    /// Counts of events; `acquired` holds only those that came through here.
    pub(crate) stats: Stats,
}

impl<C, E> State<C, E> {
    /// Those that a fuller pool would have to give up.
    fn is_over(&self) -> bool {
        self.live - self.closing > self.max_size
    }

    /// Waiters for whom no check is on its way that may end well soon.
    fn uncovered(&self) -> usize {
        self.waiters.len().saturating_sub(self.checking - self.overdue)
    }
}

/// One change of the state: the lock's content, and what it takes and leaves.
pub(crate) struct Turn<'t, C, E> {
    pub(crate) state: &'t mut State<C, E>,
    pub(crate) shelf: &'t Shelf<Box<Entry<C>>>,
    pub(crate) limits: &'t Limits,
    pub(crate) generation: u32,
    /// How often something went wrong.
    pub(crate) suspicions: u32,
    pub(crate) after: &'t mut After<C, E>,
    pub(crate) now: Ticks,
}

/// What may be done with a connection of these dates.
#[inline]
pub(crate) fn fitness(dates: &Dates, generation: u32, suspicions: u32, bypass: Ticks, now: Ticks) -> Fitness {
    if dates.generation != generation || dates.expires <= now {
        Fitness::Retire
    } else if now.saturating_sub(dates.seen) >= bypass || dates.proved != suspicions {
        Fitness::Check
    } else {
        Fitness::Fit
    }
}

impl<C, E> Turn<'_, C, E> {
    pub(crate) fn fitness(&self, dates: &Dates) -> Fitness {
        fitness(dates, self.generation, self.suspicions, self.limits.bypass, self.now)
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
    }

    /// A connection that was lent, checked or opened, and is counted as live and nothing else, finds its place: with the
    /// first who waits, on the shelf, or nowhere. If something went wrong while it was out it must prove itself first.
    pub(crate) fn offer(&mut self, held: Held<C>) {
        if self.state.closed || self.state.is_over() || self.fitness(&held.entry.dates) == Fitness::Retire {
            self.retire(held);
            return;
        }
        if held.entry.dates.proved != self.suspicions {
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
            let Held { slot, entry } = held;
            self.shelf.put_locked(self.shelf.home(), slot, entry);
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
        for _ in self.state.waiters.nudged()..self.shelf.count() {
            if !self.state.waiters.nudge(&mut self.after.wake) {
                return;
            }
        }
    }

    /// An idle connection for one who may pass those who wait, or who was told to look.
    pub(crate) fn take_fit(&mut self) -> Option<Held<C>> {
        while let Some((_, slot, entry)) = self.shelf.take_locked() {
            let held = Held { slot, entry };
            match self.fitness(&held.entry.dates) {
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
            let Some((_, slot, entry)) = self.shelf.take_locked() else { break };
            let held = Held { slot, entry };
            match self.fitness(&held.entry.dates) {
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
    fn open(&mut self, wanted: usize) {
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

    /// All that lies on the shelf, the tops first.
    pub(crate) fn take_all(&mut self) -> Vec<(usize, Held<C>)> {
        let mut all = Vec::new();
        while let Some((stack, slot, entry)) = self.shelf.take_locked() {
            all.push((stack, Held { slot, entry }));
        }
        all
    }

    /// Puts back what `take_all` took, in the old order.
    pub(crate) fn put_all(&mut self, all: Vec<(usize, Held<C>)>) {
        for (stack, Held { slot, entry }) in all.into_iter().rev() {
            self.shelf.put_locked(stack, slot, entry);
        }
    }

    /// Ends idle connections until the limit is kept.
    pub(crate) fn trim(&mut self) {
        while self.state.is_over() {
            let Some((_, slot, entry)) = self.shelf.take_locked() else { break };
            self.retire(Held { slot, entry });
        }
    }

    /// Retires what is too old or idle for too long, checks some of what was not used for a while, and replaces in time.
    pub(crate) fn sweep(&mut self) {
        let (now, limits) = (self.now, *self.limits);
        let mut rest = Vec::new();
        for (stack, held) in self.take_all() {
            if self.fitness(&held.entry.dates) == Fitness::Retire {
                self.retire(held);
            } else {
                rest.push((stack, Some(held)));
            }
        }
        // Oldest use first: the hot end stays.
        let mut order: Vec<(Ticks, usize)> = rest
            .iter()
            .enumerate()
            .filter_map(|(index, (_, held))| held.as_ref().map(|held| (held.entry.dates.used, index)))
            .collect();
        order.sort_unstable();
        let mut surplus = rest.len().saturating_sub(limits.min_idle.min(self.state.max_size));
        let mut checks = (rest.len() / 4).max(1);
        let mut expiring = 0;
        for (used, index) in order {
            let place = &mut rest[index].1;
            let dates = place.as_ref().map(|held| held.entry.dates).expect("nothing was taken yet");
            let expires_soon = dates.expires.saturating_sub(now) <= limits.lead();
            if surplus > 0 && now.saturating_sub(used) >= limits.idle_timeout {
                surplus -= 1;
                self.retire(place.take().expect("looked at above"));
            } else if checks > 0 && is_due(&dates, limits.keepalive, self.suspicions, now) {
                checks -= 1;
                self.check(place.take().expect("looked at above"));
            } else if expires_soon {
                expiring += 1;
            }
        }
        let kept = rest.into_iter().filter_map(|(stack, held)| held.map(|held| (stack, held))).collect();
        self.put_all(kept);
        self.serve();
        self.plan(true);
        if limits.min_idle > 0 && expiring > 0 && !self.state.closed && !self.state.suspended {
            // Replaced before it goes, so that the minimum is there all the time.
            let lasting = (self.shelf.count() + self.state.checking).saturating_sub(expiring);
            self.open(limits.min_idle.min(self.state.max_size).saturating_sub(lasting));
        }
    }

    /// Takes all idle connections that are not believed to be alive: to be checked side by side.
    pub(crate) fn check_suspects(&mut self) {
        let all = self.take_all();
        let (suspects, fit): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|(_, held)| held.entry.dates.proved != self.suspicions);
        self.put_all(fit);
        for (_, held) in suspects {
            self.check(held);
        }
    }

    pub(crate) fn check_invariants(&self) {
        let state = &*self.state;
        state.waiters.check_invariants();
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

/// Whether an idle connection should be checked now.
fn is_due(dates: &Dates, keepalive: Ticks, suspicions: u32, now: Ticks) -> bool {
    if dates.proved != suspicions {
        return true;
    }
    if keepalive == Ticks::MAX {
        return false;
    }
    // Up to 20 % earlier, by a factor drawn at birth.
    let fifth = keepalive / 5;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "a random share of a span"
    )]
    let early = (fifth as f64 * f64::from(dates.jitter)) as Ticks;
    now.saturating_sub(dates.seen) >= keepalive - early
}
