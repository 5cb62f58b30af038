//! The checkout: one state machine, an async and a blocking driver.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use crate::contain;
use crate::core::{Checkout, Delivery, Live};
use crate::error::{Error, Step};
use crate::guard::Guard;
use crate::inner::{Checking, Inner};
use crate::maintenance::{check_idle, check_in_background};
use crate::manager::Manager;
use crate::rt::after;
use crate::stats::Status;
use crate::waiters::{Ticket, Waiter};

type Result<M, T = Guard<M>> = std::result::Result<T, Error<<M as Manager>::Error>>;

/// A place in the queue; left on drop.
struct Place<'p, M: Manager> {
    inner: &'p Arc<Inner<M>>,
    ticket: Option<Ticket>,
    began: Instant,
}

impl<M: Manager> Place<'_, M> {
    fn poll(&mut self, waiter: Waiter) -> Option<Delivery<M>> {
        let ticket = self.ticket.expect("polled after its delivery");
        let delivery = self.inner.core.poll(ticket, waiter, self.began);
        if delivery.is_some() {
            self.ticket = None;
        }
        delivery
    }

    /// The end of the wait: what came just in time, or the error.
    fn expire(&mut self) -> Result<M, Delivery<M>> {
        let ticket = self.ticket.take().expect("expired after its delivery");
        let now = Instant::now();
        self.inner.core.expire(ticket, now).map_err(|(status, last_connect_error)| {
            let step = waiting_for(&status, last_connect_error.is_some());
            Error::Timeout { step, waited: now - self.began, status, last_connect_error }
        })
    }
}

impl<M: Manager> Drop for Place<'_, M> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            let after = self.inner.core.leave(ticket, Instant::now());
            self.inner.run(after);
        }
    }
}

/// What a caller in the queue waits for.
fn waiting_for(status: &Status, connects_fail: bool) -> Step {
    if status.opening > 0 || (connects_fail && status.total() < status.max_size) {
        Step::Connect
    } else {
        Step::Queue
    }
}

fn accept<M: Manager>(inner: &Arc<Inner<M>>, delivery: Delivery<M>) -> Result<M> {
    match delivery {
        Delivery::Connection(live) => Ok(Guard::new(inner, live)),
        Delivery::Failed(failure) => Err(Error::Connect { failure, status: inner.core.stats().status }),
        Delivery::Closed => Err(Error::Closed),
    }
}

fn request<M: Manager>(inner: &Arc<Inner<M>>, first: bool, wait: bool, now: Instant) -> Option<Checkout<M>> {
    inner.maintain();
    let (checkout, after) = inner.core.checkout(first, wait, now);
    inner.run(after);
    checkout
}

/// Whether a connection that is ready looks alive; discards it if not.
fn looks_alive<M: Manager>(inner: &Arc<Inner<M>>, live: &mut Live<M::Connection>) -> bool {
    contain::call(|| inner.manager.is_open(&mut live.connection)).unwrap_or(false)
}

/// A connection that needs no wait and no check.
pub(crate) fn try_acquire<M: Manager>(inner: &Arc<Inner<M>>) -> Option<Guard<M>> {
    loop {
        match request(inner, false, false, Instant::now())? {
            Checkout::Ready(mut live) => {
                if looks_alive(inner, &mut live) {
                    return Some(Guard::new(inner, live));
                }
                Guard::discard(Guard::new(inner, live));
            }
            Checkout::Check(live) => check_in_background(inner, live),
            Checkout::Wait(_) | Checkout::Failed(_) | Checkout::Closed => return None,
        }
    }
}

pub(crate) async fn acquire<M: Manager>(inner: &Arc<Inner<M>>, limit: Duration) -> Result<M> {
    let began = Instant::now();
    let deadline = after(began, limit);
    let mut first = false;
    let mut now = began;
    loop {
        match request(inner, first, true, now).expect("a caller who waits gets an answer") {
            Checkout::Ready(mut live) => {
                if looks_alive(inner, &mut live) {
                    return Ok(Guard::new(inner, live));
                }
                Guard::discard(Guard::new(inner, live));
                check_idle(inner, Duration::ZERO);
                first = true;
            }
            Checkout::Check(live) => {
                let mut checking = Checking::new(inner, live);
                if check(inner, &mut checking, deadline).await {
                    return Ok(Guard::new(inner, checking.lend()));
                }
                drop(checking);
                // One is dead: the others of its age may be, and are checked all at once, not one by one by us.
                check_idle(inner, Duration::ZERO);
                first = true;
            }
            Checkout::Wait(ticket) => {
                let place = Place { inner, ticket: Some(ticket), began };
                return wait(place, deadline).await;
            }
            Checkout::Failed(failure) => {
                return Err(Error::Connect { failure, status: inner.core.stats().status });
            }
            Checkout::Closed => return Err(Error::Closed),
        }
        now = Instant::now();
        if now >= deadline {
            let (status, last_connect_error) = inner.core.timed_out(now);
            return Err(Error::Timeout {
                step: Step::Validate,
                waited: now - began,
                status,
                last_connect_error,
            });
        }
    }
}

/// Whether a connection answers within its own limit and the caller's.
async fn check<M: Manager>(inner: &Arc<Inner<M>>, checking: &mut Checking<M>, deadline: Instant) -> bool {
    let limit = inner.config.validation_timeout;
    let mut alarm = pin!(inner.rt.sleep_until(after(Instant::now(), limit).min(deadline)));
    let manager = Arc::clone(&inner.manager);
    let mut answer = pin!(contain::future(|| manager.validate(checking.connection())));
    std::future::poll_fn(|context| {
        if let Poll::Ready(answer) = answer.as_mut().poll(context) {
            return Poll::Ready(matches!(answer, Ok(Ok(()))));
        }
        alarm.as_mut().poll(context).map(|()| false)
    })
    .await
}

async fn wait<M: Manager>(mut place: Place<'_, M>, deadline: Instant) -> Result<M> {
    let inner = place.inner;
    let mut alarm: Pin<Box<Sleep>> = Box::pin(inner.rt.sleep_until(deadline));
    let delivery = std::future::poll_fn(|context: &mut Context<'_>| {
        if let Some(delivery) = place.poll(Waiter::Task(context.waker().clone())) {
            return Poll::Ready(Ok(delivery));
        }
        alarm.as_mut().poll(context).map(|()| place.expire())
    })
    .await?;
    accept(inner, delivery)
}

pub(crate) fn acquire_blocking<M: Manager>(inner: &Arc<Inner<M>>, limit: Duration) -> Result<M> {
    let began = Instant::now();
    let deadline = after(began, limit);
    let mut first = false;
    let ticket = loop {
        match request(inner, first, true, Instant::now()).expect("a caller who waits gets an answer") {
            Checkout::Ready(mut live) => {
                if looks_alive(inner, &mut live) {
                    return Ok(Guard::new(inner, live));
                }
                Guard::discard(Guard::new(inner, live));
                first = true;
            }
            // A check is async: it runs in the background and delivers to the first in the queue, which is us.
            Checkout::Check(live) => {
                let ticket = inner.core.join_first();
                check_in_background(inner, live);
                break ticket;
            }
            Checkout::Wait(ticket) => break ticket,
            Checkout::Failed(failure) => {
                return Err(Error::Connect { failure, status: inner.core.stats().status });
            }
            Checkout::Closed => return Err(Error::Closed),
        }
    };
    let mut place = Place { inner, ticket: Some(ticket), began };
    loop {
        if let Some(delivery) = place.poll(Waiter::Thread(thread::current())) {
            return accept(inner, delivery);
        }
        let now = Instant::now();
        if now >= deadline {
            let delivery = place.expire()?;
            return accept(inner, delivery);
        }
        thread::park_timeout(deadline - now);
    }
}
