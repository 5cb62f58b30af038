//! What the handles, guards and background tasks of one pool share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::runtime::Handle;
use tokio::sync::Notify;

use crate::config::Config;
use crate::contain;
use crate::core::{After, Core, Live};
use crate::manager::Manager;
use crate::rt::Rt;

/// The background work that a change of the pool may call for; it stands above this file, so it is handed in.
pub(crate) struct Background<M: Manager> {
    /// Starts an opener.
    pub(crate) open: fn(&Arc<Inner<M>>),
    /// Starts the maintenance task.
    pub(crate) maintain: fn(&Arc<Inner<M>>),
    /// Starts the check of a connection.
    pub(crate) check: fn(&Arc<Inner<M>>, Live<M::Connection>),
}

pub(crate) struct Inner<M: Manager> {
    background: Background<M>,
    pub(crate) manager: Arc<M>,
    pub(crate) config: Arc<Config>,
    pub(crate) core: Core<M>,
    pub(crate) rt: Rt,
    /// Whether the maintenance task runs.
    pub(crate) maintained: AtomicBool,
    /// Rings when the pool is closed and when a connection leaves it.
    pub(crate) changed: Notify,
}

impl<M: Manager> Inner<M> {
    pub(crate) fn new(manager: M, config: Config, handle: Option<Handle>, background: Background<M>) -> Self {
        let config = Arc::new(config);
        Self {
            background,
            manager: Arc::new(manager),
            core: Core::new(Arc::clone(&config)),
            config,
            rt: Rt::new(handle),
            maintained: AtomicBool::new(false),
            changed: Notify::new(),
        }
    }

    /// Does what a change of the core left to be done.
    pub(crate) fn run(self: &Arc<Self>, after: After<M>) {
        for _ in 0..after.open {
            (self.background.open)(self);
        }
        for live in after.check {
            (self.background.check)(self, live);
        }
        for waiter in after.wake {
            waiter.wake();
        }
        if !after.dead.is_empty() {
            self.end(after.dead);
        }
    }

    /// Drops connections; a panic in their drop is theirs alone.
    fn end(&self, dead: Vec<M::Connection>) {
        for connection in dead {
            let _contained = contain::call(|| drop(connection));
        }
        self.changed.notify_waiters();
    }

    /// Starts the maintenance task if it does not run; it ends with its runtime, or with the pool.
    pub(crate) fn maintain(self: &Arc<Self>) {
        if !self.maintained.load(Ordering::Relaxed) && !self.maintained.swap(true, Ordering::AcqRel) {
            (self.background.maintain)(self);
        }
    }
}

/// A connection that is being checked or reset: counted as checking until it passes. Dropped otherwise, it is discarded.
pub(crate) struct Checking<M: Manager> {
    inner: Arc<Inner<M>>,
    live: Option<Live<M::Connection>>,
}

impl<M: Manager> Checking<M> {
    pub(crate) fn new(inner: &Arc<Inner<M>>, live: Live<M::Connection>) -> Self {
        Self { inner: Arc::clone(inner), live: Some(live) }
    }

    pub(crate) fn connection(&mut self) -> &mut M::Connection {
        &mut self.live.as_mut().expect("present until it passes").connection
    }

    /// It passed: the caller has it now, in use.
    pub(crate) fn lend(mut self) -> Live<M::Connection> {
        let mut live = self.live.take().expect("present until it passes");
        self.inner.core.check_passed(&mut live, tokio::time::Instant::now());
        live
    }

    /// It passed: to whoever is first.
    pub(crate) fn offer(mut self) {
        let live = self.live.take().expect("present until it passes");
        let after = self.inner.core.check_passed_idle(live, tokio::time::Instant::now());
        self.inner.run(after);
    }
}

impl<M: Manager> Drop for Checking<M> {
    fn drop(&mut self) {
        if let Some(live) = self.live.take() {
            let after = self.inner.core.check_failed();
            let _contained = contain::call(|| drop(live));
            self.inner.run(after);
            self.inner.changed.notify_waiters();
        }
    }
}
