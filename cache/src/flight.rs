//! One load in flight: who leads it, who waits for it, how it ended.
//!
//! The outcome is set once; then all waiters are woken. A waiter checks the outcome under the queue's lock before it
//! joins, so none is missed. Values are cloned from the outcome outside every lock.

use std::any::Any;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::thread::panicking;

use crate::contain::dispose;
use crate::sync::{Mutex, OnceLock, thread};
use crate::waiter::Waiter;

/// How a load ended.
#[derive(Debug)]
pub(crate) enum Outcome<V> {
    Loaded(V),
    /// The loader's error, shared by all who waited.
    Failed(Arc<dyn Any + Send + Sync>),
    /// The loader has no value for the key. Whoever accepts that answer has it; others try again.
    Absent,
    /// The leader was dropped or panicked: whoever waits tries again and one of them leads.
    Abandoned,
}

#[derive(Debug)]
pub(crate) struct Flight<V> {
    outcome: OnceLock<Outcome<V>>,
    /// Whether the user code that leads it wrote the key itself. Written and read by the leader's thread, or under the
    /// shard's lock.
    overtaken_from_within: AtomicBool,
    queue: Mutex<Queue>,
    /// The [`Group`] that it is led with; 0: by itself. Read and written by the leader's thread, and by who asks whether it is that.
    group: AtomicUsize,
    /// Whether it refreshes a value that is still there.
    is_refresh: bool,
}

crate::sync::thread_local! {
    /// Names of the flights and groups whose user code is on this thread's stack: called, or being polled.
    static INSIDE: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

/// Marks this thread as being inside a loader while it lives.
#[derive(Debug)]
pub(crate) struct Inside;

impl Inside {
    fn of(name: usize) -> Self {
        let _ = INSIDE.try_with(|inside| inside.borrow_mut().push(name));
        Self
    }
}

/// Flights that one loader leads together, so that one mark stands for all of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Group(usize);

impl Group {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(1);
        // Odd, and so never the address of a flight.
        Self(NEXT.fetch_add(2, Ordering::Relaxed))
    }

    /// As [`Flight::enter`], for all of them.
    pub(crate) fn enter(self) -> Inside {
        Inside::of(self.0)
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        let _ = INSIDE.try_with(|inside| inside.borrow_mut().pop());
    }
}

#[derive(Debug, Default)]
struct Queue {
    next: u64,
    waiters: BTreeMap<u64, Waiter>,
}

impl<V> Flight<V> {
    pub(crate) fn new(is_refresh: bool) -> Self {
        Self {
            outcome: OnceLock::new(),
            overtaken_from_within: AtomicBool::new(false),
            queue: Mutex::new(Queue::default()),
            group: AtomicUsize::new(0),
            is_refresh,
        }
    }

    pub(crate) fn is_refresh(&self) -> bool {
        self.is_refresh
    }

    fn name(&self) -> usize {
        match self.group.load(Ordering::Relaxed) {
            0 => std::ptr::from_ref(self).addr(),
            group => group,
        }
    }

    /// From now on, it is led with others.
    pub(crate) fn lead_with(&self, Group(group): Group) {
        self.group.store(group, Ordering::Relaxed);
    }

    /// To be held while the loader runs or is polled, and while other user code runs on the way to the flight's end.
    pub(crate) fn enter(&self) -> Inside {
        Inside::of(self.name())
    }

    /// Whether this thread is inside the loader of this very flight: then it waits for itself.
    pub(crate) fn is_led_from_here(&self) -> bool {
        INSIDE.try_with(|inside| inside.borrow().contains(&self.name())).unwrap_or(false)
    }

    /// A write of the key detaches the flight. The caller holds the shard's lock.
    pub(crate) fn overtake(&self) {
        if self.is_led_from_here() {
            self.overtaken_from_within.store(true, Ordering::Relaxed);
        }
    }

    /// Whether the write that detached it came from inside its own loader or closure, which no retry would change.
    pub(crate) fn is_overtaken_from_within(&self) -> bool {
        self.overtaken_from_within.load(Ordering::Relaxed)
    }

    pub(crate) fn outcome(&self) -> Option<&Outcome<V>> {
        self.outcome.get()
    }

    /// Ends the flight and wakes everybody. Only the first call counts.
    pub(crate) fn complete(&self, outcome: Outcome<V>) {
        if self.outcome.set(outcome).is_err() {
            return;
        }
        let waiters = std::mem::take(&mut self.queue.lock().waiters);
        let mut panic = None;
        for waiter in waiters.into_values() {
            // Wakers are foreign code; one that panics must not leave the others asleep.
            if let Err(caught) = catch_unwind(AssertUnwindSafe(|| waiter.wake())) {
                if let Some(before) = panic.replace(caught) {
                    dispose(before);
                }
            }
        }
        match panic {
            // A second panic would abort: a leader that panics ends its flight as it is dropped.
            Some(panic) if panicking() => dispose(panic),
            Some(panic) => resume_unwind(panic),
            None => {}
        }
    }

    /// Joins the queue, or returns the outcome if there is one already. A second call with the ticket of the first
    /// replaces the waiter.
    fn join(&self, ticket: &mut Option<u64>, waiter: Waiter) -> Option<&Outcome<V>> {
        let mut queue = self.queue.lock();
        let outcome = self.outcome.get();
        if outcome.is_none() {
            let ticket = *ticket.get_or_insert_with(|| {
                queue.next += 1;
                queue.next
            });
            let replaced = queue.waiters.insert(ticket, waiter);
            drop(queue);
            drop(replaced);
        }
        outcome
    }

    /// Whether anybody is in the queue.
    #[cfg(feature = "tokio")]
    pub(crate) fn is_awaited(&self) -> bool {
        !self.queue.lock().waiters.is_empty()
    }

    fn leave(&self, ticket: u64) {
        let waiter = self.queue.lock().waiters.remove(&ticket);
        drop(waiter);
    }

    /// Blocks until the load ends.
    pub(crate) fn wait(&self) -> &Outcome<V> {
        let mut ticket = None;
        loop {
            if let Some(outcome) = self.outcome.get() {
                return outcome;
            }
            if ticket.is_none() {
                // A second look: the load may have ended since the first.
                match self.join(&mut ticket, Waiter::Thread(thread::current())) {
                    Some(outcome) => return outcome,
                    None => continue,
                }
            }
            thread::park();
        }
    }

    /// Waits for the end of the load as a task.
    pub(crate) fn waiting(&self) -> Waiting<'_, V> {
        Waiting { flight: self, ticket: None }
    }
}

/// Resolves when the load has ended. Dropping it leaves the queue.
#[derive(Debug)]
pub(crate) struct Waiting<'f, V> {
    flight: &'f Flight<V>,
    ticket: Option<u64>,
}

impl<'f, V> Future for Waiting<'f, V> {
    type Output = &'f Outcome<V>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let flight = self.flight;
        match flight.join(&mut self.ticket, Waiter::Task(context.waker().clone())) {
            Some(outcome) => {
                self.ticket = None;
                Poll::Ready(outcome)
            }
            None => Poll::Pending,
        }
    }
}

impl<V> Drop for Waiting<'_, V> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.flight.leave(ticket);
        }
    }
}
