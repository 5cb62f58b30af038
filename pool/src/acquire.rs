//! The checkout: one way for all callers, with an async and a blocking driver.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use tokio::time::Instant;

use crate::contain;
use crate::core::{Borrow, Checkout, Delivery, Expired, Was};
use crate::error::{Error, Step};
use crate::event::Event;
use crate::guard::{Lease, Owned, Source};
use crate::inner::{Held, Inner, Stem};
use crate::manager::Manager;
use crate::request::Priority;
use crate::rt::{Sleep, after, timeout_at};
use crate::waiters::{Rank, Ticket, Waiter};
use crate::watch::Caller;

type Result<M, T> = std::result::Result<T, Error<<M as Manager>::Error>>;
type Delivered<M> = Delivery<<M as Manager>::Connection, <M as Manager>::Error>;

/// What a caller wants.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish {
    pub(crate) limit: Duration,
    pub(crate) priority: Priority,
    pub(crate) caller: Caller,
}

/// What the shelf had for a caller.
enum Quick<M: Manager, L> {
    Lease(L),
    Unfit(Held<M>),
    None,
}

/// Takes an idle connection that is fit to be lent.
#[inline]
fn quick<M: Manager, S: Source<M>>(source: S, caller: Caller) -> Quick<M, Lease<M, S::Hold>> {
    let inner = &source.stem().inner;
    loop {
        match inner.core.borrow(inner.now()) {
            Borrow::Fit(held) => {
                if let Some(lease) = lend(source, held, caller) {
                    return Quick::Lease(lease);
                }
            }
            Borrow::Unfit(held) => return Quick::Unfit(held),
            Borrow::None => return Quick::None,
        }
    }
}

/// Makes a lease of a connection that looks alive; ends one that does not.
#[inline]
fn lend<M: Manager, S: Source<M>>(source: S, mut held: Held<M>, caller: Caller) -> Option<Lease<M, S::Hold>> {
    let inner = &source.stem().inner;
    if contain::call(|| inner.manager.probe(&mut held.entry.connection)).unwrap_or(false) {
        Some(Lease::new(source.hold(), held, caller))
    } else {
        inner.end(held, Was::Broken);
        None
    }
}

/// A connection that needs no wait and no check.
#[inline]
pub(crate) fn try_acquire<M: Manager, S: Source<M>>(source: S, caller: Caller) -> Option<S::Guard> {
    let inner = &source.stem().inner;
    inner.maintain();
    if inner.hooks.before_acquire.is_some() {
        return None;
    }
    loop {
        match quick(source, caller) {
            Quick::Lease(lease) => return Some(S::guard(lease)),
            Quick::Unfit(held) => inner.run(inner.core.take_unfit(held, inner.now())),
            Quick::None => return None,
        }
    }
}

/// A connection, as wished.
#[inline]
pub(crate) async fn acquire<M: Manager, S: Source<M>>(source: S, wish: Wish) -> Result<M, S::Guard> {
    let inner = &source.stem().inner;
    inner.maintain();
    let found = quick(source, wish.caller);
    match found {
        Quick::Lease(lease) if inner.hooks.before_acquire.is_none() => Ok(S::guard(lease)),
        found => acquire_slowly(source, found, wish).await,
    }
}

async fn acquire_slowly<M: Manager, S: Source<M>>(
    source: S,
    found: Quick<M, Lease<M, S::Hold>>,
    wish: Wish,
) -> Result<M, S::Guard> {
    let mut call = Call::new(source.stem(), wish);
    let mut unfit = None;
    match found {
        Quick::Lease(lease) => {
            if let Some(lease) = prepare(lease, call.deadline).await {
                return Ok(S::guard(lease));
            }
            call.again()?;
        }
        Quick::Unfit(held) => unfit = Some(held),
        Quick::None => {}
    }
    loop {
        let held = match call.ask(unfit.take())? {
            Asked::Held(held) => held,
            Asked::Wait(place) => call.accept(wait(place, call.deadline).await?)?,
        };
        if let Some(lease) = lend(source, held, wish.caller) {
            if let Some(lease) = prepare(lease, call.deadline).await {
                return Ok(S::guard(lease));
            }
        }
        call.again()?;
    }
}

pub(crate) fn acquire_blocking<M: Manager, S: Source<M>>(source: S, wish: Wish) -> Result<M, S::Guard> {
    let inner = &source.stem().inner;
    inner.maintain();
    let found = match quick(source, wish.caller) {
        Quick::Lease(lease) if inner.hooks.before_acquire.is_none() => return Ok(S::guard(lease)),
        found => found,
    };
    let mut call = Call::new(source.stem(), wish);
    let mut unfit = None;
    match found {
        Quick::Lease(lease) => {
            if let Some(lease) = prepare_blocking(source, lease, call.deadline) {
                return Ok(S::guard(lease));
            }
            call.again()?;
        }
        Quick::Unfit(held) => unfit = Some(held),
        Quick::None => {}
    }
    loop {
        let held = match call.ask(unfit.take())? {
            Asked::Held(held) => held,
            Asked::Wait(place) => call.accept(wait_blocking(place, call.deadline)?)?,
        };
        let lent = lend(source, held, wish.caller);
        if let Some(lease) = lent.and_then(|lease| prepare_blocking(source, lease, call.deadline)) {
            return Ok(S::guard(lease));
        }
        call.again()?;
    }
}

/// One caller's way through the slow path.
struct Call<'p, M: Manager> {
    inner: &'p Arc<Inner<M>>,
    began: Instant,
    deadline: Instant,
    /// The caller was served before, and its connection proved dead: its rank is the first.
    front: bool,
    wish: Wish,
    /// Where the caller's own task or thread borrowed what it holds while it waits.
    holds: Option<Caller>,
}

enum Asked<'p, M: Manager> {
    Held(Held<M>),
    Wait(Place<'p, M>),
}

impl<'p, M: Manager> Call<'p, M> {
    fn new(stem: &'p Arc<Stem<M>>, wish: Wish) -> Self {
        let began = Instant::now();
        Self {
            inner: &stem.inner,
            began,
            deadline: after(began, wish.limit),
            front: false,
            wish,
            holds: None,
        }
    }

    fn ask(&mut self, unfit: Option<Held<M>>) -> Result<M, Asked<'p, M>> {
        let inner = self.inner;
        let now = inner.now();
        let rank = Rank { class: self.wish.priority as usize, front: self.front, since: now };
        let (checkout, after) = inner.core.checkout(unfit, rank, now, Instant::now());
        let asked = match checkout {
            Checkout::Ready(held) => Ok(Asked::Held(held)),
            Checkout::Wait(ticket) => {
                if !self.front {
                    self.holds = inner.nested(self.wish.caller);
                }
                Ok(Asked::Wait(Place { inner, ticket: Some(ticket), began: self.began, holds: self.holds }))
            }
            Checkout::Failed(failure) => Err(failed(inner, failure)),
            Checkout::Full(status) => Err(Error::QueueFull { status }),
            Checkout::Closed => Err(Error::Closed),
        };
        inner.run(after);
        asked
    }

    fn accept(&self, delivery: Delivered<M>) -> Result<M, Held<M>> {
        match delivery {
            Delivery::Connection(held) => Ok(held),
            Delivery::Failed(failure) => Err(failed(self.inner, failure)),
            Delivery::Shed => {
                let (waited, status) = (self.began.elapsed(), self.inner.core.stats().status);
                self.inner.events.tell(&Event::Shed { waited });
                Err(Error::Shed { waited, status })
            }
            Delivery::Closed => Err(Error::Closed),
        }
    }

    /// What the caller got was dead: once more, from the front of the queue.
    fn again(&mut self) -> Result<M, ()> {
        self.front = true;
        let now = Instant::now();
        if now < self.deadline {
            return Ok(());
        }
        let expired = self.inner.core.timed_out(self.inner.now(), now);
        Err(timed_out(self.inner, expired, Some(Step::Validate), now - self.began, self.holds))
    }
}

fn failed<M: Manager>(
    inner: &Arc<Inner<M>>,
    failure: crate::error::ConnectFailure<M::Error>,
) -> Error<M::Error> {
    Error::Connect { failure, status: inner.core.stats().status }
}

fn timed_out<M: Manager>(
    inner: &Arc<Inner<M>>,
    expired: Expired<M::Error>,
    step: Option<Step>,
    waited: Duration,
    holds: Option<Caller>,
) -> Error<M::Error> {
    let Expired { status, suspended, failure } = expired;
    inner.events.tell(&Event::TimedOut { status });
    // What a caller in the queue waited for.
    let step = step.unwrap_or(if suspended {
        Step::Suspended
    } else if status.opening > 0 || (failure.is_some() && status.total() < status.max_size) {
        Step::Connect
    } else if status.checking > 0 && status.in_use == 0 {
        Step::Validate
    } else {
        Step::Queue
    });
    Error::Timeout { step, waited, status, last_connect_error: failure, holds }
}

/// A place in the queue; left on drop.
struct Place<'p, M: Manager> {
    inner: &'p Arc<Inner<M>>,
    ticket: Option<Ticket>,
    began: Instant,
    holds: Option<Caller>,
}

impl<M: Manager> Place<'_, M> {
    fn poll(&mut self, waiter: Waiter) -> Option<Delivered<M>> {
        let ticket = self.ticket.expect("polled after its delivery");
        let waited = self.began.elapsed();
        let (delivery, after) = self.inner.core.poll(ticket, waiter, waited, self.inner.now());
        if delivery.is_some() {
            self.ticket = None;
            self.inner.timings.queue(waited);
        }
        if let Some(after) = after {
            self.inner.run(after);
        }
        delivery
    }

    /// The end of the wait: what came just in time, or the error.
    fn expire(&mut self) -> Result<M, Delivered<M>> {
        let ticket = self.ticket.take().expect("expired after its delivery");
        let (now, inner) = (Instant::now(), self.inner);
        let waited = now.saturating_duration_since(self.began);
        let (result, after) = inner.core.expire(ticket, waited, inner.now(), now);
        inner.run(after);
        inner.timings.queue(waited);
        result.map_err(|expired| timed_out(inner, expired, None, waited, self.holds))
    }
}

impl<M: Manager> Drop for Place<'_, M> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.inner.run(self.inner.core.leave(ticket, self.inner.now()));
        }
    }
}

async fn wait<M: Manager>(mut place: Place<'_, M>, deadline: Instant) -> Result<M, Delivered<M>> {
    let inner = place.inner;
    let mut alarm = pin!(None::<Sleep>);
    std::future::poll_fn(|context: &mut Context<'_>| {
        if let Some(delivery) = place.poll(Waiter::Task(context.waker().clone())) {
            return Poll::Ready(Ok(delivery));
        }
        if alarm.is_none() {
            alarm.set(Some(inner.rt.sleep_until(deadline)));
        }
        let alarm = alarm.as_mut().as_pin_mut().expect("set above");
        alarm.poll(context).map(|()| place.expire())
    })
    .await
}

fn wait_blocking<M: Manager>(mut place: Place<'_, M>, deadline: Instant) -> Result<M, Delivered<M>> {
    loop {
        if let Some(delivery) = place.poll(Waiter::Thread(thread::current())) {
            return Ok(delivery);
        }
        let now = Instant::now();
        if now >= deadline {
            return place.expire();
        }
        thread::park_timeout(deadline - now);
    }
}

/// Discards a connection on which the user's hook did not end well.
struct Doubtful<M: Manager, H: std::ops::Deref<Target = Stem<M>>>(Option<Lease<M, H>>);

impl<M: Manager, H: std::ops::Deref<Target = Stem<M>>> Drop for Doubtful<M, H> {
    fn drop(&mut self) {
        if let Some(lease) = self.0.take() {
            lease.discard();
        }
    }
}

/// Runs the user's `before_acquire`, if there is one.
async fn prepare<M: Manager, H: std::ops::Deref<Target = Stem<M>>>(
    lease: Lease<M, H>,
    deadline: Instant,
) -> Option<Lease<M, H>> {
    let inner = Arc::clone(lease.inner());
    let Some(hook) = &inner.hooks.before_acquire else { return Some(lease) };
    let mut doubtful = Doubtful(Some(lease));
    let limit = after(Instant::now(), inner.config.validation_timeout).min(deadline);
    let connection = doubtful.0.as_mut().expect("present until it passes").connection_mut();
    let alarm = inner.rt.enter(|| timeout_at(limit, contain::future(|| hook(connection))));
    match alarm.await {
        Ok(Ok(Ok(()))) => doubtful.0.take(),
        _ => None,
    }
}

/// As [`prepare`], for a thread: the hook runs in the background.
fn prepare_blocking<M: Manager, S: Source<M>>(
    source: S,
    lease: Lease<M, S::Hold>,
    deadline: Instant,
) -> Option<Lease<M, S::Hold>> {
    let inner = Arc::clone(lease.inner());
    if inner.hooks.before_acquire.is_none() {
        return Some(lease);
    }
    let (send, receive) = std::sync::mpsc::channel();
    let lease: Owned<M> = lease.rehold(Arc::clone(source.stem()));
    inner.rt.spawn(async move {
        // A caller who gave up lets the connection return.
        let _received = send.send(prepare(lease, deadline).await);
    });
    let wait = deadline.saturating_duration_since(Instant::now());
    receive.recv_timeout(wait).ok().flatten().map(|lease| lease.rehold(source.hold()))
}
