//! A borrowed connection.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use tokio::time::Instant;

use crate::contain;
use crate::core::Live;
use crate::inner::Inner;
use crate::maintenance::reset_in_background;
use crate::manager::{Manager, Verdict};

/// A connection that goes back to its pool when it is dropped.
///
/// Dropping it needs no runtime and does not wait. While the thread is panicking the connection is discarded instead: it
/// may be in the middle of something.
pub struct Guard<M: Manager> {
    live: Option<Live<M::Connection>>,
    inner: Arc<Inner<M>>,
}

impl<M: Manager> Guard<M> {
    pub(crate) fn new(inner: &Arc<Inner<M>>, live: Live<M::Connection>) -> Self {
        Self { live: Some(live), inner: Arc::clone(inner) }
    }

    /// Takes the connection out of the pool for good; the pool may open another in its place.
    #[must_use]
    pub fn detach(mut guard: Self) -> M::Connection {
        let Some(live) = guard.live.take() else { unreachable!("present until the guard ends") };
        let after = guard.inner.core.lost(true);
        guard.inner.run(after);
        guard.inner.changed.notify_waiters();
        live.connection
    }

    /// Ends the connection instead of returning it.
    pub fn discard(mut guard: Self) {
        if let Some(live) = guard.live.take() {
            guard.end(live);
        }
    }

    fn end(&self, live: Live<M::Connection>) {
        let after = self.inner.core.lost(false);
        let _contained = contain::call(|| drop(live));
        self.inner.run(after);
        self.inner.changed.notify_waiters();
    }
}

impl<M: Manager> Drop for Guard<M> {
    fn drop(&mut self) {
        let Some(mut live) = self.live.take() else { return };
        if std::thread::panicking() {
            self.end(live);
            return;
        }
        let manager = &self.inner.manager;
        let verdict = contain::call(|| manager.on_return(&mut live.connection)).unwrap_or(Verdict::Discard);
        match verdict {
            Verdict::Keep => {
                let after = self.inner.core.give_back(live, Instant::now());
                self.inner.run(after);
            }
            Verdict::Reset => {
                self.inner.core.start_reset();
                reset_in_background(&self.inner, live);
            }
            Verdict::Discard => self.end(live),
        }
    }
}

impl<M: Manager> Deref for Guard<M> {
    type Target = M::Connection;

    fn deref(&self) -> &M::Connection {
        &self.live.as_ref().expect("present until the guard ends").connection
    }
}

impl<M: Manager> DerefMut for Guard<M> {
    fn deref_mut(&mut self) -> &mut M::Connection {
        &mut self.live.as_mut().expect("present until the guard ends").connection
    }
}

impl<M: Manager> fmt::Debug for Guard<M>
where
    M::Connection: fmt::Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Guard").field(&**self).finish()
    }
}
