//! The builder: every setting, its unit and its default; cross-field rules are checked once, in `build`.

use std::fmt;
use std::time::Duration;

use tokio::runtime::Handle;

use crate::clock::{Clock, Time};
use crate::config::{Config, Fairness};
use crate::error::BuildError;
use crate::event::{Event, Listener};
use crate::hooks::{HookFuture, Hooks};
use crate::manager::Manager;

/// Configures a [`Pool`](crate::Pool).
#[must_use = "a builder does nothing before `build`"]
pub struct PoolBuilder<M: Manager> {
    manager: M,
    config: Config,
    /// The system's, if there is none.
    clock: Option<Box<dyn Clock>>,
    hooks: Hooks<M::Connection, M::Error>,
    listener: Option<Listener>,
    handle: Option<Handle>,
}

impl<M: Manager> PoolBuilder<M> {
    pub(crate) fn new(manager: M) -> Self {
        Self {
            manager,
            config: Config::default(),
            clock: None,
            hooks: Hooks::default(),
            listener: None,
            handle: None,
        }
    }

    /// All settings at once.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// The most connections, those being opened included. Default: 10.
    pub fn max_size(mut self, connections: usize) -> Self {
        self.config.max_size = connections;
        self
    }

    /// Connections kept ready even when nobody asks. Default: 0.
    pub fn min_idle(mut self, connections: usize) -> Self {
        self.config.min_idle = connections;
        self
    }

    /// The most connections that are opened at a time. Default: 3, so that a burst is served by connections that come
    /// back and not by a herd of new ones.
    pub fn max_opening(mut self, connections: usize) -> Self {
        self.config.max_opening = connections;
        self
    }

    /// How long [`Pool::get`](crate::Pool::get) may take in all. Default: 30 s.
    pub fn acquire_timeout(mut self, timeout: Duration) -> Self {
        self.config.acquire_timeout = timeout;
        self
    }

    /// How long one attempt to open a connection may take. Default: 10 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.config.connect_timeout = timeout;
        self
    }

    /// How long a check, a reset or a close may take. Default: 5 s.
    pub fn validation_timeout(mut self, timeout: Duration) -> Self {
        self.config.validation_timeout = timeout;
        self
    }

    /// A connection used this recently is lent without a check. Default: 500 ms. `Duration::MAX`: never check on borrow.
    ///
    /// With the system's clock the time of a return is that of the borrow if both are less than a second apart: a return
    /// does not ask for the time unless maintenance has come round since. So the window may end up to a second early.
    pub fn validation_bypass(mut self, window: Duration) -> Self {
        self.config.validation_bypass = window;
        self
    }

    /// How long a connection above [`min_idle`](Self::min_idle) may be idle before it is closed. Default: 10 minutes;
    /// `None`: for ever.
    pub fn idle_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.config.idle_timeout = timeout.into();
        self
    }

    /// How old a connection may become. Default: 30 minutes; `None`: any age. Each draws up to 10 % less at birth, so that
    /// those born together do not end together.
    pub fn max_lifetime(mut self, lifetime: impl Into<Option<Duration>>) -> Self {
        self.config.max_lifetime = lifetime.into();
        self
    }

    /// How long a connection may be idle before it is checked in the background. Default: 2 minutes; `None`: never.
    pub fn keepalive(mut self, period: impl Into<Option<Duration>>) -> Self {
        self.config.keepalive = period.into();
        self
    }

    /// A name for logs and metrics. Default: none.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.config.name = Some(name.into());
        self
    }

    /// The runtime for background work. Default: that of the task that needs it; for callers outside of any, a small one
    /// of the pool's own, on a thread that ends with the pool. It needs timers (`enable_time`): without them background work panics, and
    /// who waits is told at its timeout by the pool's own.
    pub fn runtime(mut self, handle: Handle) -> Self {
        self.handle = Some(handle);
        self
    }

    /// The most callers that may wait, at least 1; more are turned away with [`Error::QueueFull`](crate::Error::QueueFull). Those
    /// for whom a connection is being opened wait too. Default: any number.
    pub fn max_waiters(mut self, callers: impl Into<Option<usize>>) -> Self {
        self.config.max_waiters = callers.into();
        self
    }

    /// How long the pool waits after a failed attempt to open a connection: `first`, then four times as long each time up to
    /// `most`, each 5 % more or less. One backoff serves the whole pool. Default: 10 ms and 240 ms: in an outage of 5 s that is
    /// 25 attempts at most, and the pool is back 120 ms after the target on average. While nobody asks for
    /// connections the pace is 5 s.
    pub fn backoff(mut self, first: Duration, most: Duration) -> Self {
        self.config.backoff_first = first;
        self.config.backoff_most = most;
        self
    }

    /// Reports a connection that is lent for longer than this, once, as [`Event::Leak`] with the place of the call, and
    /// counts it in [`Stats::leaks`](crate::Stats::leaks). Also makes [`Pool::borrows`](crate::Pool::borrows) work. Costs a short lock and a clock
    /// a borrow. Default: off.
    pub fn leak_threshold(mut self, threshold: impl Into<Option<Duration>>) -> Self {
        self.config.leak_threshold = threshold.into();
        self
    }

    /// Takes a backtrace of one in so many borrows, for the report of a leak. Costs some microseconds each. Default: none.
    /// Without [`leak_threshold`](Self::leak_threshold) it does nothing.
    pub fn leak_backtraces(mut self, one_in: impl Into<Option<u32>>) -> Self {
        self.config.leak_backtraces = one_in.into();
        self
    }

    /// Reports a task, or a thread outside of one, that has to wait for a connection while it holds another of this pool: as
    /// [`Event::Nested`], in [`Stats::nested`](crate::Stats::nested) and in the text of the timeout error. With `n` such
    /// tasks and `n` connections all wait for each other: `max_size` must be at least `tasks * (connections each - 1) + 1`.
    /// Callers that share a task, as under `join_all`, look like one. Costs a short lock and a clock a borrow. Default: on in
    /// builds with debug assertions, off in others.
    pub fn warn_nested(mut self, on: bool) -> Self {
        self.config.warn_nested = on;
        self
    }

    /// Records how long connections are held, for [`Pool::timings`](crate::Pool::timings). Costs a short lock and a clock a
    /// borrow. Default: off.
    pub fn record_hold_times(mut self, on: bool) -> Self {
        self.config.record_hold_times = on;
        self
    }

    /// Who gets a connection that comes back while others wait. Default: [`Fairness::Strict`].
    pub fn fairness(mut self, fairness: Fairness) -> Self {
        self.config.fairness = fairness;
        self
    }

    /// Turns waiters away once the queue stands: if in a whole `interval` nobody was served within `target`, then for the
    /// next one those who have waited for more than twice the target get [`Error::Shed`](crate::Error::Shed) as their turn
    /// comes, and the connection goes to somebody who is not late yet. This is `CoDel` (Nichols and Jacobson, ACM Queue 10(5),
    /// 2012) for a queue of requests, as Elixir's `DBConnection` has it. A good start is 50 ms and 1 s. Default: off.
    pub fn shed(mut self, target: impl Into<Option<Duration>>, interval: Duration) -> Self {
        self.config.shed_target = target.into();
        self.config.shed_interval = interval;
        self
    }

    /// Where the ages of connections come from: lifetime, idleness, keepalive, validation bypass. Default: the system's
    /// coarse clock, which counts suspension. Timeouts are tokio timers and do not ask it.
    ///
    /// A test on tokio's paused time passes [`TokioClock`](crate::TokioClock), or moves a
    /// [`ManualClock`](crate::ManualClock) by hand.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Some(Box::new(clock));
        self
    }

    /// Runs on each new connection before anybody gets it, as part of its opening: `SET` statements, a tenant's role. An
    /// error counts as a failed attempt. Bounded by [`connect_timeout`](Self::connect_timeout).
    pub fn after_connect<F>(mut self, hook: F) -> Self
    where
        F: for<'c> Fn(&'c mut M::Connection) -> HookFuture<'c, M::Error> + Send + Sync + 'static,
    {
        self.hooks.after_connect = Some(Box::new(hook));
        self
    }

    /// Runs on each connection just before it is lent, new ones included, in the borrower's own time. An error discards the
    /// connection, and the borrower gets another without losing its rank. Bounded by
    /// [`validation_timeout`](Self::validation_timeout) and the caller's deadline. [`Pool::try_get`](crate::Pool::try_get) can't wait for it and
    /// lends nothing.
    pub fn before_acquire<F>(mut self, hook: F) -> Self
    where
        F: for<'c> Fn(&'c mut M::Connection) -> HookFuture<'c, M::Error> + Send + Sync + 'static,
    {
        self.hooks.before_acquire = Some(Box::new(hook));
        self
    }

    /// Runs on each connection that comes back, in a background task, before anybody else gets it. An error discards the
    /// connection. Bounded by [`validation_timeout`](Self::validation_timeout). Makes every return a task.
    pub fn after_release<F>(mut self, hook: F) -> Self
    where
        F: for<'c> Fn(&'c mut M::Connection) -> HookFuture<'c, M::Error> + Send + Sync + 'static,
    {
        self.hooks.after_release = Some(Box::new(hook));
        self
    }

    /// Who is told what happens. Called outside of all locks, on whichever thread it happens; should be quick. A panic is
    /// contained. Default: nobody.
    pub fn on_event(mut self, listener: impl Fn(&Event<'_>) + Send + Sync + 'static) -> Self {
        self.listener = Some(Box::new(listener));
        self
    }

    /// What there is to build from, once the settings are known to be possible.
    pub(crate) fn parts(self) -> Result<Parts<M>, BuildError> {
        self.config.validate()?;
        let Self { manager, config, clock, hooks, listener, handle } = self;
        let time = Time::new(clock);
        Ok(Parts { manager, config, time, hooks, listener, handle })
    }
}

/// What a pool is made of.
pub(crate) struct Parts<M: Manager> {
    pub(crate) manager: M,
    pub(crate) config: Config,
    pub(crate) time: Time,
    pub(crate) hooks: Hooks<M::Connection, M::Error>,
    pub(crate) listener: Option<Listener>,
    pub(crate) handle: Option<Handle>,
}

impl<M: Manager> fmt::Debug for PoolBuilder<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolBuilder").field("config", &self.config).finish_non_exhaustive()
    }
}
