//! The pool's face: documentation and delegation.

use std::fmt;
use std::num::NonZero;
use std::panic::Location;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::acquire::{Usual, acquire, acquire_blocking, try_acquire};
use crate::builder::{Parts, PoolBuilder};
use crate::config::Config;
use crate::error::{BuildError, Error, StartError};
use crate::event::Events;
use crate::guard::{Borrowing, Guard, GuardRef, Owning};
use crate::inner::{Core, Duties, Inner, Stems, Ways};
use crate::manager::Manager;
use crate::meters::Meters;
use crate::request::Request;
use crate::rt::{Rt, after};
use crate::shelf::MOST_STACKS;
use crate::stats::Stats;
use crate::timings::{Recorders, Timings};
use crate::watch::{Borrow, Caller, Watch};
use crate::{checker, contain, maintenance, opener};

/// A pool of connections.
///
/// A `Pool` is a handle: cloning it is cheap and gives the same pool. When the last handle is gone, idle connections end at
/// once and borrowed ones when they come back, as after [`close`](Pool::close).
pub struct Pool<M: Manager> {
    handles: Arc<Handles<M>>,
}

/// What all clones of a `Pool` share; guards and background tasks do not hold it.
struct Handles<M: Manager>(Stems<M>);

impl<M: Manager> Drop for Handles<M> {
    fn drop(&mut self) {
        let inner = &self.0.inner;
        inner.run(inner.core.close(inner.now()));
    }
}

impl<M: Manager> PoolBuilder<M> {
    /// Builds the pool. Opens nothing yet; needs no runtime.
    ///
    /// # Errors
    /// [`BuildError`] names the setting that can't be honoured.
    pub fn build(self) -> Result<Pool<M>, BuildError> {
        self.parts().map(Pool::new)
    }

    /// Builds the pool and opens its first connection, so that a wrong address or password shows at the start of the
    /// program and not with its first request. The rest of [`min_idle`](Self::min_idle) follows in the background.
    ///
    /// # Errors
    /// [`StartError::Build`] as [`build`](Self::build); [`StartError::Connect`] with the real error, at once if it is a
    /// permanent one, else after three attempts, or with a timeout after [`acquire_timeout`](Self::acquire_timeout).
    #[track_caller]
    pub fn start(self) -> impl Future<Output = Result<Pool<M>, StartError<M::Error>>> + Send {
        let caller = Location::caller();
        async move {
            let pool = self.build()?;
            pool.warm_up();
            let first = pool.get_from(caller).await;
            drop(first.map_err(StartError::Connect)?);
            Ok(pool)
        }
    }
}

impl<M: Manager> Clone for Pool<M> {
    fn clone(&self) -> Self {
        Self { handles: Arc::clone(&self.handles) }
    }
}

impl<M: Manager> Pool<M> {
    fn new(parts: Parts<M>) -> Self {
        let Parts { manager, config, time, hooks, listener, handle } = parts;
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        // A power of two, and no more of them than there are connections to lie on them.
        let stacks = 1 << cores.next_power_of_two().min(MOST_STACKS).min(config.max_size).ilog2();
        let core = Core::<M>::new(
            config.max_size,
            stacks,
            (config.backoff_first, config.backoff_most),
            config.limits(),
        );
        let watch = Watch::new(&config);
        let ways = Ways::new(&hooks, watch.is_some(), time.is_custom());
        if watch.is_some() || hooks.after_release.is_some() {
            time.always_ask();
        }
        let inner = Arc::new(Inner {
            core,
            time,
            ways,
            manager: Arc::new(manager),
            hooks: Arc::new(hooks),
            watch,
            leaks_found: AtomicU64::new(0),
            nested_found: AtomicU64::new(0),
            timings: Recorders::new(Meters::new(config.name.as_deref())),
            events: Events::new(listener, config.name.as_deref()),
            config: Arc::new(config),
            rt: Rt::new(handle),
            changed: Notify::new(),
            hurry: Arc::new(Notify::new()),
            duties: Duties { open: opener::start, check: checker::start, maintain: maintenance::start },
        });
        Self { handles: Arc::new(Handles(Stems::new(inner, stacks))) }
    }

    #[inline(always)]
    fn stems(&self) -> &Stems<M> {
        &self.handles.0
    }

    pub(crate) fn inner(&self) -> &Arc<Inner<M>> {
        &self.stems().inner
    }

    /// Starts the configuration of a pool.
    pub fn builder(manager: M) -> PoolBuilder<M> {
        PoolBuilder::new(manager)
    }

    fn get_from(
        &self,
        caller: Caller,
    ) -> impl Future<Output = Result<Guard<M>, Error<M::Error>>> + Send + use<'_, M> {
        acquire(Owning(self.stems()), Usual, caller)
    }

    /// Borrows a connection; waits for one if need be, first come first served.
    ///
    /// # Errors
    /// [`Error::Timeout`] after [`acquire_timeout`](PoolBuilder::acquire_timeout), [`Error::Connect`] as soon as it is
    /// known that none can be opened, [`Error::Closed`] after [`close`](Self::close). [`Error::QueueFull`] and
    /// [`Error::Shed`] only if [`max_waiters`](PoolBuilder::max_waiters) and [`shed`](PoolBuilder::shed) are set.
    ///
    /// # Cancellation
    /// The future may be dropped at any time: nobody behind in the queue is held up, and no connection is lost but one
    /// whose check was interrupted.
    #[track_caller]
    #[inline]
    pub fn get(&self) -> impl Future<Output = Result<Guard<M>, Error<M::Error>>> + Send + use<'_, M> {
        acquire(Owning(self.stems()), Usual, Location::caller())
    }

    /// As [`get`](Self::get), with a timeout of its own. `Duration::ZERO` takes only what needs no waiting.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    ///
    /// # Cancellation
    /// As [`get`](Self::get).
    #[track_caller]
    #[inline]
    pub fn get_timeout(
        &self,
        timeout: Duration,
    ) -> impl Future<Output = Result<Guard<M>, Error<M::Error>>> + Send + use<'_, M> {
        self.get_with(Request::new().timeout(timeout))
    }

    /// As [`get`](Self::get), with a timeout and a priority of its own.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    ///
    /// # Cancellation
    /// As [`get`](Self::get).
    #[track_caller]
    #[inline]
    pub fn get_with(
        &self,
        request: Request,
    ) -> impl Future<Output = Result<Guard<M>, Error<M::Error>>> + Send + use<'_, M> {
        acquire(Owning(self.stems()), request, Location::caller())
    }

    /// As [`get`](Self::get), with a guard that borrows the pool: a little cheaper, and bound to this handle.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    ///
    /// # Cancellation
    /// As [`get`](Self::get).
    #[track_caller]
    #[inline]
    pub fn get_ref<'p>(
        &'p self,
    ) -> impl Future<Output = Result<GuardRef<'p, M>, Error<M::Error>>> + Send + use<'p, M> {
        acquire(Borrowing(self.stems()), Usual, Location::caller())
    }

    /// A connection that is idle, used recently enough to need no check, and for which nobody waits.
    #[must_use]
    #[track_caller]
    #[inline]
    pub fn try_get(&self) -> Option<Guard<M>> {
        try_acquire(Owning(self.stems()), Location::caller())
    }

    /// As [`try_get`](Self::try_get), with a guard that borrows the pool.
    #[must_use]
    #[track_caller]
    #[inline]
    pub fn try_get_ref(&self) -> Option<GuardRef<'_, M>> {
        try_acquire(Borrowing(self.stems()), Location::caller())
    }

    /// As [`get`](Self::get), for a thread outside of any runtime; it shares the queue with async callers.
    ///
    /// Blocks the thread: do not call it from async code.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    #[track_caller]
    #[inline]
    pub fn get_blocking(&self) -> Result<Guard<M>, Error<M::Error>> {
        self.get_blocking_with(Request::new())
    }

    /// As [`get_blocking`](Self::get_blocking), with a timeout of its own.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    #[track_caller]
    #[inline]
    pub fn get_blocking_timeout(&self, timeout: Duration) -> Result<Guard<M>, Error<M::Error>> {
        self.get_blocking_with(Request::new().timeout(timeout))
    }

    /// As [`get_blocking`](Self::get_blocking), with a timeout and a priority of its own.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    #[track_caller]
    #[inline]
    pub fn get_blocking_with(&self, request: Request) -> Result<Guard<M>, Error<M::Error>> {
        acquire_blocking(Owning(self.stems()), request, Location::caller())
    }

    /// What the pool holds, and what happened so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.inner().stats()
    }

    /// How long waiting, opening, checking and holding took, as histograms. Copies 4 KiB.
    #[must_use]
    pub fn timings(&self) -> Timings {
        self.inner().timings.snapshot()
    }

    /// Who holds a connection now, and for how long; empty unless [`leak_threshold`](PoolBuilder::leak_threshold),
    /// [`warn_nested`](PoolBuilder::warn_nested) or [`record_hold_times`](PoolBuilder::record_hold_times) is set. Tells who blocks whom when a timeout says that all are in use.
    #[must_use]
    pub fn borrows(&self) -> Vec<Borrow> {
        self.inner().watch.as_ref().map(Watch::borrows).unwrap_or_default()
    }

    /// The settings in force.
    #[must_use]
    pub fn config(&self) -> Config {
        Config { max_size: self.stats().status.max_size, ..(*self.inner().config).clone() }
    }

    /// The name given at build.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.inner().config.name.as_deref()
    }

    /// Changes the limit. Surplus idle connections end at once, surplus borrowed ones when they come back.
    pub fn resize(&self, max_size: usize) {
        let inner = self.inner();
        inner.run(inner.core.resize(max_size, inner.now()));
    }

    /// Lends no connection again that was opened before now: idle ones end at once, borrowed ones when they come back.
    /// For a failover.
    pub fn reset(&self) {
        let inner = self.inner();
        inner.run(inner.core.reset(inner.now()));
    }

    /// Looks at all idle connections and ends those for which `keep` is false; returns how many. The others are not lent
    /// meanwhile. A `keep` that panics ends that connection.
    ///
    /// To end all of them, the borrowed ones too, call [`reset`](Self::reset).
    pub fn retain(&self, mut keep: impl FnMut(&mut M::Connection) -> bool) -> usize {
        let inner = self.inner();
        let (idle, after) = inner.core.take_idle(inner.now());
        inner.run(after);
        let mut ended = 0;
        // The last taken goes back first, so that the hot end stays hot.
        for mut held in idle.into_iter().rev() {
            let kept = contain::call(|| keep(&mut held.item.connection)).unwrap_or(false);
            ended += usize::from(!kept);
            inner.run(inner.core.looked_at(held, kept, inner.now()));
        }
        ended
    }

    /// Lends nothing until [`resume`](Self::resume): callers wait, up to their timeouts. Borrowed connections come back as
    /// usual. For a failover, or work on the target, that callers should outwait.
    pub fn suspend(&self) {
        let inner = self.inner();
        inner.run(inner.core.suspend(true, inner.now()));
    }

    /// Ends a [`suspend`](Self::suspend): those who wait are served, in order.
    pub fn resume(&self) {
        let inner = self.inner();
        inner.run(inner.core.suspend(false, inner.now()));
    }

    /// Opens [`min_idle`](PoolBuilder::min_idle) connections in the background without waiting for the first caller.
    pub fn warm_up(&self) {
        let inner = self.inner();
        inner.maintain();
        inner.run(inner.core.replenish(inner.now()));
    }

    /// Lends nothing any more, tells all who wait, ends idle connections, and waits until the borrowed ones are back and all
    /// are closed, for at most `deadline`. Returns how many are still out; they end when they come back.
    pub async fn close(&self, deadline: Duration) -> usize {
        let inner = self.inner();
        inner.run(inner.core.close(inner.now()));
        self.wait_for_returns(deadline).await
    }

    /// As [`suspend`](Self::suspend), and waits until all borrowed connections are back, for at most `deadline`. Returns how
    /// many are still out. Idle connections stay open. Afterwards the target may be worked on; [`resume`](Self::resume) lends
    /// again, and [`reset`](Self::reset) before it throws away what was opened until now.
    pub async fn drain(&self, deadline: Duration) -> usize {
        self.suspend();
        self.wait_for_returns(deadline).await
    }

    async fn wait_for_returns(&self, deadline: Duration) -> usize {
        let inner = self.inner();
        let mut alarm = pin!(inner.rt.sleep_until(after(Instant::now(), deadline)));
        loop {
            let mut changed = pin!(inner.changed.notified());
            // Registered before the count is read: no change is missed.
            changed.as_mut().enable();
            let status = inner.core.stats().status;
            let out = status.in_use + status.checking + status.closing;
            if out == 0 {
                return 0;
            }
            let expired = std::future::poll_fn(|context| {
                if changed.as_mut().poll(context).is_ready() {
                    return std::task::Poll::Ready(false);
                }
                alarm.as_mut().poll(context).map(|()| true)
            })
            .await;
            if expired {
                return out;
            }
        }
    }

    /// Whether the pool was closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.inner().core.is_closed()
    }

    /// Panics unless the pool's counts agree. For tests.
    ///
    /// # Panics
    /// If they do not, which is a bug in this crate.
    #[doc(hidden)]
    pub fn check_invariants(&self) {
        self.inner().core.check_invariants();
    }
}

impl<M: Manager> fmt::Debug for Pool<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("stats", &self.stats()).finish_non_exhaustive()
    }
}
