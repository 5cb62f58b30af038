//! The pool's face: documentation and delegation.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::acquire::{acquire, acquire_blocking, try_acquire};
use crate::config::Config;
use crate::error::Error;
use crate::guard::Guard;
use crate::inner::Inner;
use crate::manager::Manager;
use crate::rt::after;
use crate::stats::Stats;

/// A pool of connections.
///
/// A `Pool` is a handle: cloning it is cheap and gives the same pool. The pool ends when the last handle and the last
/// [`Guard`] are gone, or when it is [closed](Pool::close).
pub struct Pool<M: Manager> {
    inner: Arc<Inner<M>>,
}

impl<M: Manager> Clone for Pool<M> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<M: Manager> Pool<M> {
    pub(crate) fn new(inner: Inner<M>) -> Self {
        Self { inner: Arc::new(inner) }
    }

    /// Borrows a connection; waits for one if need be, first come first served.
    ///
    /// # Errors
    /// [`Error::Timeout`] after [`acquire_timeout`](crate::PoolBuilder::acquire_timeout), [`Error::Connect`] as soon as it is
    /// known that none can be opened, [`Error::Closed`] after [`close`](Self::close).
    ///
    /// # Cancellation
    /// The future may be dropped at any time: nobody behind in the queue is held up, and no connection is lost but one
    /// whose check was interrupted.
    pub async fn get(&self) -> Result<Guard<M>, Error<M::Error>> {
        let timeout = self.inner.config.acquire_timeout;
        acquire(&self.inner, timeout).await
    }

    /// As [`get`](Self::get), with a timeout of its own. `Duration::ZERO` takes only what needs no waiting.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    ///
    /// # Cancellation
    /// As [`get`](Self::get).
    pub async fn get_timeout(&self, timeout: Duration) -> Result<Guard<M>, Error<M::Error>> {
        acquire(&self.inner, timeout).await
    }

    /// A connection that is idle, used recently enough to need no check, and for which nobody waits.
    #[must_use]
    pub fn try_get(&self) -> Option<Guard<M>> {
        try_acquire(&self.inner)
    }

    /// As [`get`](Self::get), for a thread outside of any runtime; it shares the queue with async callers.
    ///
    /// Blocks the thread: do not call it from async code.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn get_blocking(&self) -> Result<Guard<M>, Error<M::Error>> {
        let timeout = self.inner.config.acquire_timeout;
        acquire_blocking(&self.inner, timeout)
    }

    /// As [`get_blocking`](Self::get_blocking), with a timeout of its own.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn get_blocking_timeout(&self, timeout: Duration) -> Result<Guard<M>, Error<M::Error>> {
        acquire_blocking(&self.inner, timeout)
    }

    /// What the pool holds, and what happened so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.inner.core.stats()
    }

    /// The settings in force.
    #[must_use]
    pub fn config(&self) -> Config {
        Config { max_size: self.stats().status.max_size, ..(*self.inner.config).clone() }
    }

    /// The name given at build.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.inner.config.name.as_deref()
    }

    /// Changes the limit. Surplus idle connections end at once, surplus borrowed ones when they come back.
    pub fn resize(&self, max_size: usize) {
        let after = self.inner.core.resize(max_size);
        self.inner.run(after);
    }

    /// Lends no connection again that was opened before now: idle ones end at once, borrowed ones when they come back.
    /// For a failover.
    pub fn reset(&self) {
        let after = self.inner.core.reset();
        self.inner.run(after);
    }

    /// Opens [`min_idle`](crate::PoolBuilder::min_idle) connections in the background without waiting for the first caller.
    pub fn warm_up(&self) {
        self.inner.maintain();
        let after = self.inner.core.replenish();
        self.inner.run(after);
    }

    /// Lends nothing any more, tells all who wait, ends idle connections, and waits until the borrowed ones are back, for
    /// at most `deadline`. Returns how many are still out; they end when they come back.
    pub async fn close(&self, deadline: Duration) -> usize {
        let after_close = self.inner.core.close();
        self.inner.run(after_close);
        self.inner.changed.notify_waiters();
        let mut alarm = pin!(self.inner.rt.sleep_until(after(Instant::now(), deadline)));
        loop {
            let mut changed = pin!(self.inner.changed.notified());
            // Registered before the count is read: no change is missed.
            changed.as_mut().enable();
            let status = self.inner.core.stats().status;
            let out = status.in_use + status.checking;
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
        self.inner.core.is_closed()
    }

    /// Panics unless the pool's counts agree. For tests.
    ///
    /// # Panics
    /// If they do not, which is a bug in this crate.
    #[doc(hidden)]
    pub fn check_invariants(&self) {
        self.inner.core.check_invariants();
    }
}

impl<M: Manager> fmt::Debug for Pool<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("stats", &self.stats()).finish_non_exhaustive()
    }
}
