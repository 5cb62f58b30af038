//! The checkout: one way for all callers, with an async and a blocking driver.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::time::Instant;

use crate::call::{Call, Result};
use crate::contain;
use crate::core::{Borrow, Why};
use crate::guard::{Hold, Lease, Owned, Source};
use crate::inner::{Held, Inner};
use crate::manager::Manager;
use crate::request::Request;
use crate::rt::{after, timeout_at};
use crate::waiters::Waiter;
use crate::watch::Caller;

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
fn quick<'p, M: Manager, S: Source<'p, M>>(source: S) -> Quick<M, Lease<M, S::Hold>> {
    let inner = source.inner();
    if !inner.ways.lend_plainly() {
        return Quick::Odd;
    }
    match inner.core.borrow(|| inner.time.plain_now()) {
        Borrow::Fit(mut held) => {
            if is_alive(inner, &mut held) {
                Quick::Lease(Lease::plain(source.hold(), held))
            } else {
                inner.end(held, Why::Broken);
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
fn not_so_quick<'p, M: Manager, S: Source<'p, M>>(source: S, caller: Caller) -> Quick<M, Lease<M, S::Hold>> {
    let inner = source.inner();
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
fn lend<'p, M: Manager, S: Source<'p, M>>(
    source: S,
    mut held: Held<M>,
    caller: Caller,
) -> Option<Lease<M, S::Hold>> {
    let inner = source.inner();
    if is_alive(inner, &mut held) {
        Some(Lease::new(source.hold(), held, caller))
    } else {
        inner.end(held, Why::Broken);
        None
    }
}

/// A connection that needs no wait and no check.
#[inline(always)]
pub(crate) fn try_acquire<'p, M: Manager, S: Source<'p, M>>(source: S, caller: Caller) -> Option<S::Guard> {
    match quick(source) {
        Quick::Lease(lease) => Some(S::guard(lease)),
        found => try_again(source, found, caller).map(S::guard),
    }
}

#[cold]
fn try_again<'p, M: Manager, S: Source<'p, M>>(
    source: S,
    mut found: Quick<M, Lease<M, S::Hold>>,
    caller: Caller,
) -> Option<Lease<M, S::Hold>> {
    let inner = source.inner();
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
pub(crate) struct Get<'p, M: Manager, S: Source<'p, M>, A> {
    source: S,
    ask: A,
    caller: Caller,
    /// Once the short way did not do.
    long: Option<Long<'p, M, S::Hold>>,
}

struct Long<'p, M: Manager, H: Hold<M>> {
    call: Call<'p, M>,
    hook: Option<Hooked<'p, M, H>>,
}

/// The user's `before_acquire` at work on a connection that is to be lent.
type Hooked<'p, M, H> = Pin<Box<dyn Future<Output = Option<Lease<M, H>>> + Send + 'p>>;

#[inline(always)]
pub(crate) fn acquire<'p, M: Manager, S: Source<'p, M>, A: Ask>(
    source: S,
    ask: A,
    caller: Caller,
) -> Get<'p, M, S, A> {
    Get { source, ask, caller, long: None }
}

impl<'p, M: Manager, S: Source<'p, M>, A: Ask> Future for Get<'p, M, S, A> {
    type Output = Result<M, S::Guard>;

    #[inline(always)]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.long.is_some() {
            return self.go_on(None, context);
        }
        match quick(self.source) {
            Quick::Lease(lease) => Poll::Ready(Ok(S::guard(lease))),
            found => self.begin(found, context),
        }
    }
}

impl<'p, M: Manager, S: Source<'p, M>, A: Ask> Get<'p, M, S, A> {
    /// The long way's start.
    #[inline(never)]
    fn begin(
        &mut self,
        mut found: Quick<M, Lease<M, S::Hold>>,
        context: &mut Context<'_>,
    ) -> Poll<Result<M, S::Guard>> {
        if matches!(found, Quick::Odd) {
            found = not_so_quick(self.source, self.caller);
        }
        let inner = self.source.inner();
        let mut unfit = None;
        match found {
            Quick::Lease(lease) if inner.hooks.before_acquire.is_none() => {
                return Poll::Ready(Ok(S::guard(lease)));
            }
            Quick::Lease(lease) => {
                let call = Call::new(inner, self.ask.request(), self.caller);
                let hook = prepare(lease, call.deadline());
                self.long = Some(Long { call, hook: Some(Box::pin(hook)) });
            }
            found => {
                if let Quick::Unfit(held) = found {
                    unfit = Some(held);
                }
                let call = Call::new(inner, self.ask.request(), self.caller);
                self.long = Some(Long { call, hook: None });
            }
        }
        self.go_on(unfit, context)
    }

    #[inline(never)]
    fn go_on(&mut self, mut unfit: Option<Held<M>>, context: &mut Context<'_>) -> Poll<Result<M, S::Guard>> {
        let Long { call, hook } = self.long.as_mut().expect("begun");
        loop {
            if let Some(work) = hook {
                let Poll::Ready(lease) = work.as_mut().poll(context) else { return Poll::Pending };
                *hook = None;
                if let Some(lease) = lease {
                    return Poll::Ready(Ok(S::guard(lease)));
                }
                if let Err(error) = call.again() {
                    return Poll::Ready(Err(error));
                }
            }
            let held = match call.poll(unfit.take(), || Waiter::Task(context.waker().clone())) {
                None => return Poll::Pending,
                Some(Err(error)) => return Poll::Ready(Err(error)),
                Some(Ok(held)) => held,
            };
            match lend(self.source, held, self.caller) {
                Some(lease) if lease.inner().hooks.before_acquire.is_none() => {
                    return Poll::Ready(Ok(S::guard(lease)));
                }
                Some(lease) => *hook = Some(Box::pin(prepare(lease, call.deadline()))),
                None => {
                    if let Err(error) = call.again() {
                        return Poll::Ready(Err(error));
                    }
                }
            }
        }
    }
}

#[inline(always)]
pub(crate) fn acquire_blocking<'p, M: Manager, S: Source<'p, M>>(
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
fn acquire_blocking_slowly<'p, M: Manager, S: Source<'p, M>>(
    source: S,
    mut found: Quick<M, Lease<M, S::Hold>>,
    request: Request,
    caller: Caller,
) -> Result<M, Lease<M, S::Hold>> {
    if matches!(found, Quick::Odd) {
        found = not_so_quick(source, caller);
    }
    let mut call = Call::new(source.inner(), request, caller);
    let mut unfit = None;
    match found {
        Quick::Lease(lease) => {
            if let Some(lease) = prepare_blocking(source, lease, call.deadline()) {
                return Ok(lease);
            }
            call.again()?;
        }
        Quick::Unfit(held) => unfit = Some(held),
        Quick::None | Quick::Odd => {}
    }
    loop {
        let held = call.wait(unfit.take())?;
        let lent = lend(source, held, caller);
        if let Some(lease) = lent.and_then(|lease| prepare_blocking(source, lease, call.deadline())) {
            return Ok(lease);
        }
        call.again()?;
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
fn prepare_blocking<'p, M: Manager, S: Source<'p, M>>(
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
