//! What the handles, guards and background tasks of one pool share.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::sync::Notify;

use crate::clock::{Ticks, Time};
use crate::config::Config;
use crate::contain;
use crate::core::{self, Entry, Why};
use crate::event::{Event, Events};
use crate::hooks::Hooks;
use crate::manager::Manager;
use crate::rt::{Rt, timeout};
use crate::shelf::{MOST_STACKS, Slot};
use crate::stats::Stats;
use crate::timings::Recorders;
use crate::watch::{Caller, Watch};

pub(crate) type Core<M> = core::Core<<M as Manager>::Connection, <M as Manager>::Error>;
pub(crate) type After<M> = core::After<<M as Manager>::Connection, <M as Manager>::Error>;
pub(crate) type Rest<M> = core::Rest<<M as Manager>::Connection, <M as Manager>::Error>;
pub(crate) type Held<M> = core::Held<<M as Manager>::Connection>;

/// What is to be done to a connection in the background.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Job {
    Validate,
    /// The manager's `reset`, and then the user's `after_release`.
    Reset,
    /// The user's `after_release` alone.
    Release,
}

/// What the background does for the pool; declared here and done by the files above.
pub(crate) struct Duties<M: Manager> {
    /// Opens a connection for a slot that is counted as opening.
    pub(crate) open: fn(&Arc<Inner<M>>, Slot),
    /// Works on a connection that is counted as checking.
    pub(crate) check: fn(&Arc<Inner<M>>, Held<M>, Job),
    /// Keeps house until the pool ends.
    pub(crate) maintain: fn(&Arc<Inner<M>>),
}

/// How long a connection that is dead or unclean may take to be closed. What takes longer would not end well, and others wait.
pub(crate) const FAREWELL: Duration = Duration::from_millis(250);

pub(crate) struct Inner<M: Manager> {
    pub(crate) core: Core<M>,
    pub(crate) time: Time,
    pub(crate) ways: Ways,
    pub(crate) manager: Arc<M>,
    pub(crate) hooks: Arc<Hooks<M::Connection, M::Error>>,
    pub(crate) watch: Option<Watch>,
    pub(crate) leaks_found: AtomicU64,
    pub(crate) nested_found: AtomicU64,
    pub(crate) timings: Recorders,
    pub(crate) events: Events,
    pub(crate) config: Arc<Config>,
    pub(crate) rt: Rt,
    /// Rings when the pool is closed and when a connection leaves it.
    pub(crate) changed: Notify,
    /// Rings when a sleeping prober should look again.
    pub(crate) hurry: Arc<Notify>,
    pub(crate) duties: Duties<M>,
}

/// What keeps a borrow from going the shortest way, in one word that is read once.
#[derive(Debug)]
pub(crate) struct Ways(AtomicU8);

impl Ways {
    /// The maintenance task runs.
    const MAINTAINED: u8 = 1;
    const BEFORE_ACQUIRE: u8 = 2;
    const WATCHED: u8 = 4;
    const CUSTOM_CLOCK: u8 = 8;

    pub(crate) fn new<C, E>(hooks: &Hooks<C, E>, watched: bool, custom_clock: bool) -> Self {
        let bit = |on: bool, bit: u8| if on { bit } else { 0 };
        let ways = bit(hooks.before_acquire.is_some(), Self::BEFORE_ACQUIRE)
            | bit(watched, Self::WATCHED)
            | bit(custom_clock, Self::CUSTOM_CLOCK);
        Self(AtomicU8::new(ways))
    }

    /// Maintenance runs, nobody watches, the clock is the system's, and no hook is in the way.
    #[inline(always)]
    pub(crate) fn lend_plainly(&self) -> bool {
        self.0.load(Ordering::Relaxed) == Self::MAINTAINED
    }

    /// True for one caller while maintenance does not run: who is to start it.
    fn start(&self) -> bool {
        self.0.load(Ordering::Relaxed) & Self::MAINTAINED == 0
            && self.0.fetch_or(Self::MAINTAINED, Ordering::AcqRel) & Self::MAINTAINED == 0
    }

    /// Maintenance does not run any more.
    pub(crate) fn stop(&self) {
        self.0.fetch_and(!Self::MAINTAINED, Ordering::Release);
    }
}

/// A handle on the pool that guards hold: one for each home stack, so that threads do not meet on one reference count.
#[repr(align(128))]
pub(crate) struct Stem<M: Manager> {
    pub(crate) inner: Arc<Inner<M>>,
}

/// All the stems of a pool; the same ones again and again if there are fewer than numbers.
pub(crate) struct Stems<M: Manager> {
    each: [Arc<Stem<M>>; MOST_STACKS],
    pub(crate) inner: Arc<Inner<M>>,
}

impl<M: Manager> Stems<M> {
    pub(crate) fn new(inner: Arc<Inner<M>>, stacks: usize) -> Self {
        let stems: Vec<_> = (0..stacks).map(|_| Arc::new(Stem { inner: Arc::clone(&inner) })).collect();
        Self { each: std::array::from_fn(|number| Arc::clone(&stems[number % stacks])), inner }
    }

    /// The stem of a thread's home.
    #[inline(always)]
    pub(crate) fn of(&self, home: usize) -> &Arc<Stem<M>> {
        &self.each[home % MOST_STACKS]
    }
}

impl<M: Manager> Inner<M> {
    #[inline(always)]
    pub(crate) fn now(&self) -> Ticks {
        self.time.now()
    }

    pub(crate) fn stats(&self) -> Stats {
        let leaks = self.leaks_found.load(Ordering::Relaxed);
        let nested = self.nested_found.load(Ordering::Relaxed);
        Stats { leaks, nested, ..self.core.stats() }
    }

    /// A caller has to wait: where it borrowed what it holds meanwhile, if it does.
    pub(crate) fn nested(&self, asks: Caller) -> Option<Caller> {
        let (holds, new) = self.watch.as_ref()?.nested(asks)?;
        self.nested_found.fetch_add(1, Ordering::Relaxed);
        if new {
            self.events.tell(&Event::Nested { holds, asks });
        }
        Some(holds)
    }

    /// Does what a change of the core left to be done.
    #[inline]
    pub(crate) fn run(self: &Arc<Self>, after: After<M>) {
        let (wake, rest) = after.into_parts();
        if let Some(waiter) = wake.first {
            let _contained = contain::call(|| waiter.wake());
        }
        for waiter in wake.others {
            let _contained = contain::call(|| waiter.wake());
        }
        if let Some(rest) = rest {
            self.run_rest(*rest);
        }
    }

    #[cold]
    fn run_rest(self: &Arc<Self>, rest: Rest<M>) {
        let Rest::<M> { dead, check, open, hurry, left, errors, wakers } = rest;
        for slot in open {
            (self.duties.open)(self, slot);
        }
        for held in check {
            (self.duties.check)(self, held, Job::Validate);
        }
        for held in dead {
            self.events.tell(&Event::Retired);
            self.close(held, Duration::MAX);
        }
        if hurry {
            self.hurry.notify_waiters();
        }
        if left {
            self.changed.notify_waiters();
        }
        let _contained = contain::call(|| drop(errors));
        let _contained = contain::call(|| drop(wakers));
    }

    /// Ends a connection that was in use. Whoever waits for its slot waits until it is closed: else the target would see more
    /// connections than there may be.
    #[cold]
    pub(crate) fn end(self: &Arc<Self>, held: Held<M>, why: Why) {
        self.events.tell(&Event::Discarded);
        self.run(self.core.discard(why, self.now()));
        self.close(held, FAREWELL);
    }

    /// Closes a connection that is counted as closing: at once if that takes one step, in the background otherwise.
    pub(crate) fn close(self: &Arc<Self>, held: Held<M>, limit: Duration) {
        let (slot, entry) = held.apart();
        let Entry { connection, .. } = entry;
        let closing = Closing { inner: Arc::clone(self), slot: Some(slot) };
        let manager = Arc::clone(&self.manager);
        let mut work: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(async move {
            // Its own way to end; a panic there changes nothing.
            let _contained = contain::future(|| manager.close(connection)).await;
        });
        match work.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(()) => {
                drop(work);
                drop(closing);
            }
            Poll::Pending => {
                let limit = limit.min(self.config.validation_timeout);
                self.rt.spawn_if_possible(async move {
                    let closing = closing;
                    let mut work = work;
                    let _done_or_not = timeout(limit, work.as_mut()).await;
                    drop(work);
                    drop(closing);
                });
            }
        }
    }

    /// Starts the maintenance task if it does not run; it ends with its runtime, or with the pool.
    pub(crate) fn maintain(self: &Arc<Self>) {
        if self.ways.start() {
            (self.duties.maintain)(self);
        }
    }
}

/// A slot whose connection is being closed; free when this is dropped.
struct Closing<M: Manager> {
    inner: Arc<Inner<M>>,
    slot: Option<Slot>,
}

impl<M: Manager> Drop for Closing<M> {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            self.inner.run(self.inner.core.closed(slot, self.inner.now()));
        }
    }
}
