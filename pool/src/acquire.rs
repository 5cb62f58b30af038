//! The checkout: one way for all callers, with an async and a blocking driver.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use tokio::time::Instant;

use crate::contain;
use crate::core::{Borrow, Checkout, Delivery, Expired, Was};
use crate::error::{Error, Step};
use crate::event::Event;
use crate::guard::{Hold, Lease, Owned, Source};
use crate::inner::{Held, Inner};
use crate::manager::Manager;
use crate::request::Request;
use crate::rt::{Sleep, after, timeout_at};
use crate::shelf::home;
use crate::waiters::{Rank, Ticket, Waiter};
use crate::watch::Caller;

type Result<M, T> = std::result::Result<T, Error<<M as Manager>::Error>>;
type Delivered<M> = Delivery<<M as Manager>::Connection, <M as Manager>::Error>;

/// What the shelf had for a caller.
enum Quick<M: Manager, L> {
    Lease(L),
    Unfit(Held<M>),
    None,
    /// Not looked at: the pool has no plain way.
    Odd,
}

/// The plain way: takes an idle connection that is fit to be lent, in a pool where nothing else is to be done.
#[inline(always)]
fn quick<M: Manager, S: Source<M>>(source: S) -> Quick<M, Lease<M, S::Hold>> {
    let inner = &source.stems().inner;
    if !inner.ways.lend_plainly() {
        return Quick::Odd;
    }
    match inner.core.borrow(|| inner.time.plain_now()) {
        Borrow::Fit(mut held) => {
            if is_alive(inner, &mut held) {
                Quick::Lease(Lease::plain(source.hold(), held))
            } else {
                inner.end(held, Was::Broken);
                Quick::None
            }
        }
        Borrow::Unfit(held) => Quick::Unfit(held),
        Borrow::None => Quick::None,
    }
}

#[inline(always)]
fn is_alive<M: Manager>(inner: &Inner<M>, held: &mut Held<M>) -> bool {
    contain::call(|| inner.manager.probe(&mut held.item.connection)).unwrap_or(false)
}

/// The other way: whatever the pool is like.
#[cold]
fn not_so_quick<M: Manager, S: Source<M>>(source: S, caller: Caller) -> Quick<M, Lease<M, S::Hold>> {
    let inner = &source.stems().inner;
    inner.maintain();
    loop {
        match inner.core.borrow(|| inner.now()) {
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
fn lend<M: Manager, S: Source<M>>(source: S, mut held: Held<M>, caller: Caller) -> Option<Lease<M, S::Hold>> {
    let inner = &source.stems().inner;
    if is_alive(inner, &mut held) {
        Some(Lease::new(source.hold(), held, caller))
    } else {
        inner.end(held, Was::Broken);
        None
    }
}

/// A connection that needs no wait and no check.
#[inline(always)]
pub(crate) fn try_acquire<M: Manager, S: Source<M>>(source: S, caller: Caller) -> Option<S::Guard> {
    match quick(source) {
        Quick::Lease(lease) => Some(S::guard(lease)),
        found => try_again(source, found, caller).map(S::guard),
    }
}

#[cold]
fn try_again<M: Manager, S: Source<M>>(
    source: S,
    mut found: Quick<M, Lease<M, S::Hold>>,
    caller: Caller,
) -> Option<Lease<M, S::Hold>> {
    let inner = &source.stems().inner;
    inner.maintain();
    if inner.hooks.before_acquire.is_some() {
        return None;
    }
    loop {
        if let Quick::Unfit(held) = found {
            inner.run(inner.core.take_unfit(held, inner.now()));
        }
        found = match not_so_quick(source, caller) {
            Quick::Lease(lease) => return Some(lease),
            Quick::None => return None,
            found => found,
        }
    }
}

/// What a caller asks for beyond a connection; a type of its own for the usual, so that a future need not carry it.
pub(crate) trait Ask: Copy + Send + Unpin {
    fn request(self) -> Request;
}

/// The pool's timeout, normal priority.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usual;

impl Ask for Usual {
    fn request(self) -> Request {
        Request::new()
    }
}

impl Ask for Request {
    fn request(self) -> Request {
        self
    }
}

/// A connection, as asked for. Written by hand: the compiler would make room in it for all that the long way needs, and the
/// short way would have to go around that.
pub(crate) struct Get<'p, M: Manager, S: Source<M>, A> {
    source: S,
    ask: A,
    caller: Caller,
    slow: Option<Slow<'p, M, S>>,
}

type Slow<'p, M, S> = Pin<Box<dyn Future<Output = Result<M, <S as Source<M>>::Guard>> + Send + 'p>>;

#[inline(always)]
pub(crate) fn acquire<'p, M: Manager, S: Source<M> + 'p, A: Ask>(
    source: S,
    ask: A,
    caller: Caller,
) -> Get<'p, M, S, A> {
    Get { source, ask, caller, slow: None }
}

impl<'p, M: Manager, S: Source<M> + Unpin + 'p, A: Ask> Future for Get<'p, M, S, A> {
    type Output = Result<M, S::Guard>;

    #[inline(always)]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.slow.is_none() {
            match quick(self.source) {
                Quick::Lease(lease) => return Poll::Ready(Ok(S::guard(lease))),
                found => self.go_slowly(found),
            }
        }
        self.poll_slowly(context)
    }
}

impl<'p, M: Manager, S: Source<M> + 'p, A: Ask> Get<'p, M, S, A> {
    #[cold]
    fn go_slowly(&mut self, found: Quick<M, Lease<M, S::Hold>>) {
        self.slow = Some(Box::pin(acquire_slowly(self.source, found, self.ask.request(), self.caller)));
    }

    #[inline(never)]
    fn poll_slowly(&mut self, context: &mut Context<'_>) -> Poll<Result<M, S::Guard>> {
        self.slow.as_mut().expect("made before").as_mut().poll(context)
    }
}

async fn acquire_slowly<M: Manager, S: Source<M>>(
    source: S,
    mut found: Quick<M, Lease<M, S::Hold>>,
    request: Request,
    caller: Caller,
) -> Result<M, S::Guard> {
    if matches!(found, Quick::Odd) {
        found = not_so_quick(source, caller);
    }
    let mut call = Call::new(&source.stems().inner, request, caller);
    let mut unfit = None;
    match found {
        Quick::Lease(lease) => {
            if let Some(lease) = prepare(lease, call.deadline).await {
                return Ok(S::guard(lease));
            }
            call.again()?;
        }
        Quick::Unfit(held) => unfit = Some(held),
        Quick::None | Quick::Odd => {}
    }
    loop {
        let held = match call.ask(unfit.take())? {
            Asked::Held(held) => held,
            Asked::Wait(place) => call.accept(wait(place, call.deadline).await?)?,
        };
        if let Some(lease) = lend(source, held, caller) {
            if let Some(lease) = prepare(lease, call.deadline).await {
                return Ok(S::guard(lease));
            }
        }
        call.again()?;
    }
}

#[inline(always)]
pub(crate) fn acquire_blocking<M: Manager, S: Source<M>>(
    source: S,
    request: Request,
    caller: Caller,
) -> Result<M, S::Guard> {
    match quick(source) {
        Quick::Lease(lease) => Ok(S::guard(lease)),
        found => acquire_blocking_slowly(source, found, request, caller).map(S::guard),
    }
}

#[cold]
fn acquire_blocking_slowly<M: Manager, S: Source<M>>(
    source: S,
    mut found: Quick<M, Lease<M, S::Hold>>,
    request: Request,
    caller: Caller,
) -> Result<M, Lease<M, S::Hold>> {
    if matches!(found, Quick::Odd) {
        found = not_so_quick(source, caller);
    }
    let mut call = Call::new(&source.stems().inner, request, caller);
    let mut unfit = None;
    match found {
        Quick::Lease(lease) => {
            if let Some(lease) = prepare_blocking(source, lease, call.deadline) {
                return Ok(lease);
            }
            call.again()?;
        }
        Quick::Unfit(held) => unfit = Some(held),
        Quick::None | Quick::Odd => {}
    }
    loop {
        let held = match call.ask(unfit.take())? {
            Asked::Held(held) => held,
            Asked::Wait(place) => call.accept(wait_blocking(place, call.deadline)?)?,
        };
        let lent = lend(source, held, caller);
        if let Some(lease) = lent.and_then(|lease| prepare_blocking(source, lease, call.deadline)) {
            return Ok(lease);
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
    class: usize,
    caller: Caller,
    /// Where the caller's own task or thread borrowed what it holds while it waits.
    holds: Option<Caller>,
}

enum Asked<'p, M: Manager> {
    Held(Held<M>),
    Wait(Place<'p, M>),
}

impl<'p, M: Manager> Call<'p, M> {
    fn new(inner: &'p Arc<Inner<M>>, request: Request, caller: Caller) -> Self {
        let began = Instant::now();
        let limit = request.timeout.unwrap_or(inner.config.acquire_timeout);
        let class = request.priority as usize;
        Self { inner, began, deadline: after(began, limit), front: false, class, caller, holds: None }
    }

    fn ask(&mut self, unfit: Option<Held<M>>) -> Result<M, Asked<'p, M>> {
        let inner = self.inner;
        let now = inner.now();
        let rank = Rank { class: self.class, front: self.front, since: now };
        let (checkout, after) = inner.core.checkout(unfit, rank, now, Instant::now());
        let asked = match checkout {
            Checkout::Ready(held) => Ok(Asked::Held(held)),
            Checkout::Wait(ticket) => {
                if !self.front {
                    self.holds = inner.nested(self.caller);
                }
                Ok(Asked::Wait(Place { inner, ticket: Some(ticket), began: self.began, holds: self.holds }))
            }
            Checkout::Failed(failure) => Err(failed(inner, failure)),
            Checkout::Full(status) => Err(Error::QueueFull { status: Box::new(status) }),
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
                let waited = self.began.elapsed();
                self.inner.events.tell(&Event::Shed { waited });
                Err(Error::Shed { waited, status: Box::new(self.inner.core.stats().status) })
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
    Error::Connect { failure: Box::new(failure), status: Box::new(inner.core.stats().status) }
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
    Error::Timeout {
        step,
        waited,
        status: Box::new(status),
        last_connect_error: failure.map(Box::new),
        holds,
    }
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
struct Doubtful<M: Manager, H: Hold<M>>(Option<Lease<M, H>>);

impl<M: Manager, H: Hold<M>> Drop for Doubtful<M, H> {
    fn drop(&mut self) {
        if let Some(lease) = self.0.take() {
            lease.discard();
        }
    }
}

/// Runs the user's `before_acquire`, if there is one.
async fn prepare<M: Manager, H: Hold<M>>(lease: Lease<M, H>, deadline: Instant) -> Option<Lease<M, H>> {
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
    let lease: Owned<M> = lease.rehold(Arc::clone(source.stems().of(home())));
    inner.rt.spawn(async move {
        // A caller who gave up lets the connection return.
        let _received = send.send(prepare(lease, deadline).await);
    });
    let wait = deadline.saturating_duration_since(Instant::now());
    receive.recv_timeout(wait).ok().flatten().map(|lease| lease.rehold(source.hold()))
}
