//! One caller's way through the queue, for tasks and threads alike.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::time::Instant;

use crate::alarm;
use crate::core::{Checkout, Cover, Delivery, Expired, Want};
use crate::error::{ConnectFailure, Error, Step};
use crate::event::Event;
use crate::inner::{Held, Inner};
use crate::manager::Manager;
use crate::request::Request;
use crate::rt::after;
use crate::waiters::{Ticket, Waiter};
use crate::watch::Caller;

pub(crate) type Result<M, T> = std::result::Result<T, Error<<M as Manager>::Error>>;
type Delivered<M> = Delivery<<M as Manager>::Connection, <M as Manager>::Error>;

/// A caller who could not be served at once. Has a place in the queue, which it leaves on drop, or not.
pub(crate) struct Call<'p, M: Manager> {
    inner: &'p Arc<Inner<M>>,
    ticket: Option<Ticket>,
    began: Instant,
    deadline: Instant,
    /// The caller was served before, and its connection proved dead: its rank is the first.
    front: bool,
    class: usize,
    caller: Caller,
    /// Where the caller's own task or thread borrowed what it holds while it waits.
    holds: Option<Caller>,
}

impl<'p, M: Manager> Call<'p, M> {
    pub(crate) fn new(inner: &'p Arc<Inner<M>>, request: Request, caller: Caller) -> Self {
        let began = Instant::now();
        let limit = request.timeout.unwrap_or(inner.config.acquire_timeout);
        let (deadline, class) = (after(began, limit), request.priority as usize);
        Self { inner, ticket: None, began, deadline, front: false, class, caller, holds: None }
    }

    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// A connection for a task, or nothing yet: then the task will be woken.
    #[inline]
    pub(crate) fn poll(
        &mut self,
        unfit: Option<Held<M>>,
        waiter: impl Fn() -> Waiter,
    ) -> Option<Result<M, Held<M>>> {
        if self.ticket.is_some() { self.look(waiter, true) } else { self.ask(unfit, waiter(), true) }
    }

    /// A connection for a thread.
    pub(crate) fn wait(&mut self, unfit: Option<Held<M>>) -> Result<M, Held<M>> {
        let waiter = || Waiter::Thread(thread::current());
        let mut found = self.ask(unfit, waiter(), false);
        loop {
            if let Some(found) = found {
                return found;
            }
            thread::park_timeout(self.deadline.saturating_duration_since(Instant::now()));
            found = self.look(waiter, false);
        }
    }

    /// Joins the queue, unless there is something at once.
    #[inline]
    fn ask(&mut self, unfit: Option<Held<M>>, waiter: Waiter, timed: bool) -> Option<Result<M, Held<M>>> {
        let inner = self.inner;
        // Who can't wait needs no alarm.
        let runtime = if timed && self.deadline > self.began { inner.rt.timer() } else { None };
        let instant = if self.front { Instant::now() } else { self.began };
        let want = Want { class: self.class, front: self.front, instant, deadline: self.deadline, runtime };
        let mut waiter = Some(waiter);
        if unfit.is_none() {
            if let Some((ticket, cover)) = inner.core.join(&want, &mut waiter) {
                return self.queue(ticket, cover, &want);
            }
        }
        self.check_out(unfit, waiter, &want)
    }

    #[cold]
    fn check_out(
        &mut self,
        unfit: Option<Held<M>>,
        waiter: Option<Waiter>,
        want: &Want,
    ) -> Option<Result<M, Held<M>>> {
        let inner = self.inner;
        let (checkout, after) = inner.core.checkout(unfit, want, waiter, inner.now());
        inner.run(after);
        match checkout {
            Checkout::Ready(held) => Some(Ok(held)),
            Checkout::Wait(ticket, cover) => self.queue(ticket, cover, want),
            Checkout::Failed(failure) => Some(Err(failed(inner, Box::new(failure)))),
            Checkout::Full(status) => Some(Err(Error::QueueFull { status: Box::new(status) })),
            Checkout::Closed => Some(Err(Error::Closed)),
        }
    }

    /// It has a place in the queue.
    #[inline]
    fn queue(&mut self, ticket: Ticket, cover: Option<Cover>, want: &Want) -> Option<Result<M, Held<M>>> {
        self.ticket = Some(ticket);
        if !self.front {
            self.holds = self.inner.nested(self.caller);
        }
        if self.deadline <= self.began {
            return Some(self.expire(self.began));
        }
        if let (Some(cover), Some(runtime)) = (cover, want.runtime) {
            alarm::see_to(self.inner, runtime, cover, self.deadline);
        }
        None
    }

    /// Looks for what was delivered.
    #[inline]
    fn look(&mut self, waiter: impl Fn() -> Waiter, timed: bool) -> Option<Result<M, Held<M>>> {
        let ticket = self.ticket.expect("in the queue");
        let now = Instant::now();
        let waited = now.saturating_duration_since(self.began);
        match self.inner.core.collect(ticket, waited) {
            Some(delivery) => Some(self.accept(delivery, waited)),
            None => self.look_again(ticket, waiter(), now, timed),
        }
    }

    /// It was woken for another reason than a delivery.
    #[cold]
    fn look_again(
        &mut self,
        ticket: Ticket,
        waiter: Waiter,
        now: Instant,
        timed: bool,
    ) -> Option<Result<M, Held<M>>> {
        let inner = self.inner;
        let waited = now.saturating_duration_since(self.began);
        let (delivery, after) = inner.core.poll(ticket, waiter, waited, inner.now());
        if let Some(after) = after {
            inner.run(after);
        }
        if let Some(delivery) = delivery {
            return Some(self.accept(delivery, waited));
        }
        if now >= self.deadline {
            return Some(self.expire(now));
        }
        // It may have moved to another runtime, or its own may have lost its alarm.
        if let Some(runtime) = if timed { inner.rt.timer() } else { None } {
            let cover = inner.core.cover(runtime, self.deadline);
            alarm::see_to(inner, runtime, cover, self.deadline);
        }
        None
    }

    fn accept(&mut self, delivery: Delivered<M>, waited: Duration) -> Result<M, Held<M>> {
        self.ticket = None;
        self.inner.timings.queue(waited);
        match delivery {
            Delivery::Connection(held) => Ok(held),
            Delivery::Failed(failure) => Err(failed(self.inner, failure)),
            Delivery::Shed => {
                self.inner.events.tell(&Event::Shed { waited });
                Err(Error::Shed { waited, status: Box::new(self.inner.core.stats().status) })
            }
            Delivery::Closed => Err(Error::Closed),
        }
    }

    /// The end of the wait: what came just in time, or the error.
    fn expire(&mut self, now: Instant) -> Result<M, Held<M>> {
        let ticket = self.ticket.take().expect("in the queue");
        let inner = self.inner;
        let waited = now.saturating_duration_since(self.began);
        let (result, after) = inner.core.expire(ticket, waited, inner.now(), now);
        inner.run(after);
        match result {
            Ok(delivery) => self.accept(delivery, waited),
            Err(expired) => {
                inner.timings.queue(waited);
                Err(timed_out(inner, expired, None, waited, self.holds))
            }
        }
    }

    /// What the caller got was dead: once more, from the front of the queue.
    pub(crate) fn again(&mut self) -> Result<M, ()> {
        self.front = true;
        let now = Instant::now();
        if now < self.deadline {
            return Ok(());
        }
        let expired = self.inner.core.timed_out(self.inner.now(), now);
        Err(timed_out(self.inner, expired, Some(Step::Validate), now - self.began, self.holds))
    }
}

impl<M: Manager> Drop for Call<'_, M> {
    #[inline]
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            leave(self.inner, ticket);
        }
    }
}

#[cold]
fn leave<M: Manager>(inner: &Arc<Inner<M>>, ticket: Ticket) {
    inner.run(inner.core.leave(ticket, inner.now()));
}

#[cold]
fn failed<M: Manager>(inner: &Arc<Inner<M>>, failure: Box<ConnectFailure<M::Error>>) -> Error<M::Error> {
    Error::Connect { failure, status: Box::new(inner.core.stats().status) }
}

#[cold]
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
    let (status, last_connect_error) = (Box::new(status), failure.map(Box::new));
    Error::Timeout { step, waited, status, last_connect_error, holds }
}
