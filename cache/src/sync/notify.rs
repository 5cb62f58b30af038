//! A stand-in for `tokio::sync::Notify` that loom can look into. It does what tokio's documentation promises and no more; tokio has
//! models of its own for how it does that.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use loom::sync::{Mutex, MutexGuard};

#[derive(Debug)]
pub(crate) struct Notify(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// `notify_one` found nobody: the next one to wait need not.
    has_permit: bool,
    /// Calls of `notify_waiters`.
    calls: u64,
    next: u64,
    /// By age; `None`: `notify_one` has chosen it.
    waiters: BTreeMap<u64, Option<Waker>>,
}

impl Notify {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(State::default()))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no panic happens under this lock")
    }

    pub(crate) fn notify_one(&self) {
        let mut state = self.lock();
        let waker = state.waiters.values_mut().find_map(Option::take);
        state.has_permit |= waker.is_none();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    pub(crate) fn notify_waiters(&self) {
        let mut state = self.lock();
        state.calls += 1;
        let wakers: Vec<Waker> = state.waiters.values_mut().filter_map(Option::take).collect();
        state.waiters.clear();
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Hears each `notify_waiters` from this call on, and `notify_one` from the first poll on.
    pub(crate) fn notified(&self) -> Notified<'_> {
        let calls = self.lock().calls;
        Notified { notify: self, calls, ticket: None }
    }
}

pub(crate) struct Notified<'n> {
    notify: &'n Notify,
    calls: u64,
    ticket: Option<u64>,
}

impl Future for Notified<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let notify = self.notify;
        let mut state = notify.lock();
        let is_chosen = self.ticket.is_some_and(|ticket| matches!(state.waiters.get(&ticket), Some(None)));
        if state.calls > self.calls || is_chosen || std::mem::take(&mut state.has_permit) {
            if let Some(ticket) = self.ticket.take() {
                state.waiters.remove(&ticket);
            }
            return Poll::Ready(());
        }
        state.next += 1;
        let ticket = *self.ticket.get_or_insert(state.next);
        state.waiters.insert(ticket, Some(context.waker().clone()));
        Poll::Pending
    }
}

impl Drop for Notified<'_> {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket else { return };
        // Who was chosen and leaves hands it on.
        let place = self.notify.lock().waiters.remove(&ticket);
        if matches!(place, Some(None)) {
            self.notify.notify_one();
        }
    }
}
