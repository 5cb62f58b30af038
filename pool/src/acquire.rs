//! The checkout: one way for all callers, with an async and a blocking driver.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use tokio::time::{Instant, Sleep, timeout_at};

use crate::contain;
use crate::core::{Borrow, Checkout, Delivery, Expired, Was};
use crate::error::{Error, Step};
use crate::event::Event;
use crate::guard::Guard;
use crate::inner::{Held, Inner, Stem};
use crate::leaks::Caller;
use crate::manager::Manager;
use crate::rt::after;
use crate::waiters::{Ticket, Waiter};

type Result<M, T = Guard<M>> = std::result::Result<T, Error<<M as Manager>::Error>>;
type Delivered<M> = Delivery<<M as Manager>::Connection, <M as Manager>::Error>;

/// What the shelf had for a caller.
enum Quick<M: Manager> {
    Guard(Guard<M>),
    Unfit(Held<M>),
    None,
}

/// Takes an idle connection that is fit to be lent.
#[inline]
fn quick<M: Manager>(stem: &Arc<Stem<M>>, caller: Caller) -> Quick<M> {
    let inner = &stem.inner;
    loop {
        match inner.core.borrow(inner.now()) {
            Borrow::Fit(held) => {
                if let Some(guard) = lend(stem, held, caller) {
                    return Quick::Guard(guard);
                }
            }
            Borrow::Unfit(held) => return Quick::Unfit(held),
            Borrow::None => return Quick::None,
        }
    }
}

/// Makes a guard of a connection that looks alive; ends one that does not.
#[inline]
fn lend<M: Manager>(stem: &Arc<Stem<M>>, mut held: Held<M>, caller: Caller) -> Option<Guard<M>> {
    let inner = &stem.inner;
    if contain::call(|| inner.manager.probe(&mut held.entry.connection)).unwrap_or(false) {
        Some(Guard::new(stem, held, caller))
    } else {
        inner.end(held, Was::Broken);
        None
    }
}

/// A connection that needs no wait and no check.
pub(crate) fn try_acquire<M: Manager>(stem: &Arc<Stem<M>>, caller: Caller) -> Option<Guard<M>> {
    let inner = &stem.inner;
    inner.maintain();
    if inner.hooks.before_acquire.is_some() {
        return None;
    }
    loop {
        match quick(stem, caller) {
            Quick::Guard(guard) => return Some(guard),
            Quick::Unfit(held) => inner.run(inner.core.take_unfit(held, inner.now())),
            Quick::None => return None,
        }
    }
}

/// A connection, within `limit`.
#[inline]
pub(crate) async fn acquire<M: Manager>(stem: &Arc<Stem<M>>, limit: Duration, caller: Caller) -> Result<M> {
    let inner = &stem.inner;
    inner.maintain();
    let found = quick(stem, caller);
    match found {
        Quick::Guard(guard) if inner.hooks.before_acquire.is_none() => Ok(guard),
        found => acquire_slowly(stem, found, limit, caller).await,
    }
}

async fn acquire_slowly<M: Manager>(
    stem: &Arc<Stem<M>>,
    found: Quick<M>,
    limit: Duration,
    caller: Caller,
) -> Result<M> {
    let mut call = Call::new(stem, limit, caller);
    let mut unfit = None;
    match found {
        Quick::Guard(guard) => {
            if let Some(guard) = prepare(guard, call.deadline).await {
                return Ok(guard);
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
        if let Some(guard) = lend(stem, held, caller) {
            if let Some(guard) = prepare(guard, call.deadline).await {
                return Ok(guard);
            }
        }
        call.again()?;
    }
}

pub(crate) fn acquire_blocking<M: Manager>(
    stem: &Arc<Stem<M>>,
    limit: Duration,
    caller: Caller,
) -> Result<M> {
    let inner = &stem.inner;
    inner.maintain();
    let mut call = Call::new(stem, limit, caller);
    let mut unfit = None;
    match quick(stem, caller) {
        Quick::Guard(guard) => {
            if let Some(guard) = prepare_blocking(guard, call.deadline) {
                return Ok(guard);
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
        let lent = lend(stem, held, caller);
        if let Some(guard) = lent.and_then(|guard| prepare_blocking(guard, call.deadline)) {
            return Ok(guard);
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
}

enum Asked<'p, M: Manager> {
    Held(Held<M>),
    Wait(Place<'p, M>),
}

impl<'p, M: Manager> Call<'p, M> {
    fn new(stem: &'p Arc<Stem<M>>, limit: Duration, _caller: Caller) -> Self {
        let began = Instant::now();
        Self { inner: &stem.inner, began, deadline: after(began, limit), front: false }
    }

    fn ask(&self, unfit: Option<Held<M>>) -> Result<M, Asked<'p, M>> {
        let inner = self.inner;
        let (checkout, after) = inner.core.checkout(unfit, self.front, inner.now(), Instant::now());
        let asked = match checkout {
            Checkout::Ready(held) => Ok(Asked::Held(held)),
            Checkout::Wait(ticket) => {
                Ok(Asked::Wait(Place { inner, ticket: Some(ticket), began: self.began }))
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
        Err(timed_out(self.inner, expired, Some(Step::Validate), now - self.began))
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
    Error::Timeout { step, waited, status, last_connect_error: failure }
}

/// A place in the queue; left on drop.
struct Place<'p, M: Manager> {
    inner: &'p Arc<Inner<M>>,
    ticket: Option<Ticket>,
    began: Instant,
}

impl<M: Manager> Place<'_, M> {
    fn poll(&mut self, waiter: Waiter) -> Option<Delivered<M>> {
        let ticket = self.ticket.expect("polled after its delivery");
        let delivery = self.inner.core.poll(ticket, waiter, self.began.elapsed());
        if delivery.is_some() {
            self.ticket = None;
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
        result.map_err(|expired| timed_out(inner, expired, None, waited))
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
struct Doubtful<M: Manager>(Option<Guard<M>>);

impl<M: Manager> Drop for Doubtful<M> {
    fn drop(&mut self) {
        if let Some(guard) = self.0.take() {
            Guard::discard(guard);
        }
    }
}

/// Runs the user's `before_acquire`, if there is one.
async fn prepare<M: Manager>(guard: Guard<M>, deadline: Instant) -> Option<Guard<M>> {
    let inner = Arc::clone(guard.inner());
    let Some(hook) = &inner.hooks.before_acquire else { return Some(guard) };
    let mut doubtful = Doubtful(Some(guard));
    let limit = after(Instant::now(), inner.config.validation_timeout).min(deadline);
    let connection = &mut **doubtful.0.as_mut().expect("present until it passes");
    let alarm = inner.rt.enter(|| timeout_at(limit, contain::future(|| hook(connection))));
    match alarm.await {
        Ok(Ok(Ok(()))) => doubtful.0.take(),
        _ => None,
    }
}

/// As [`prepare`], for a thread: the hook runs in the background.
fn prepare_blocking<M: Manager>(guard: Guard<M>, deadline: Instant) -> Option<Guard<M>> {
    let inner = Arc::clone(guard.inner());
    if inner.hooks.before_acquire.is_none() {
        return Some(guard);
    }
    let (send, receive) = std::sync::mpsc::channel();
    inner.rt.spawn(async move {
        // A caller who gave up lets the connection return.
        let _received = send.send(prepare(guard, deadline).await);
    });
    let wait = deadline.saturating_duration_since(Instant::now());
    receive.recv_timeout(wait).ok().flatten()
}
