//! A borrowed connection.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use crate::contain;
use crate::core::Was;
use crate::inner::{Held, Inner, Job, Stem};
use crate::leaks::Caller;
use crate::manager::{Manager, Verdict};

/// A connection that goes back to its pool when it is dropped.
///
/// Dropping it needs no runtime and does not wait. While the thread is panicking the connection is discarded instead: it
/// may be in the middle of something.
pub struct Guard<M: Manager> {
    held: Option<Held<M>>,
    stem: Arc<Stem<M>>,
}

impl<M: Manager> Guard<M> {
    #[inline]
    pub(crate) fn new(stem: &Arc<Stem<M>>, mut held: Held<M>, caller: Caller) -> Self {
        if let Some(leaks) = &stem.inner.leaks {
            held.entry.borrow = Some(leaks.lent(caller));
        }
        Self { held: Some(held), stem: Arc::clone(stem) }
    }

    pub(crate) fn inner(&self) -> &Arc<Inner<M>> {
        &self.stem.inner
    }

    /// Ends the borrow.
    #[inline]
    fn take(&mut self) -> Option<Held<M>> {
        let mut held = self.held.take()?;
        if let Some(leaks) = &self.stem.inner.leaks {
            if let Some(borrow) = held.entry.borrow.take() {
                leaks.returned(borrow);
            }
        }
        Some(held)
    }

    /// Takes the connection out of the pool for good; the pool may open another in its place.
    #[must_use]
    pub fn detach(mut guard: Self) -> M::Connection {
        let Some(Held::<M> { slot, entry }) = guard.take() else {
            unreachable!("present until the guard ends")
        };
        let inner = &guard.stem.inner;
        inner.run(inner.core.gone(slot, Was::Detached, inner.now()));
        entry.connection
    }

    /// Ends the connection instead of returning it: it is broken, as far as its borrower can tell. The others are checked
    /// before anybody gets them.
    pub fn discard(mut guard: Self) {
        if let Some(held) = guard.take() {
            guard.stem.inner.end(held, Was::Broken);
        }
    }
}

impl<M: Manager> Drop for Guard<M> {
    #[inline]
    fn drop(&mut self) {
        let Some(mut held) = self.take() else { return };
        let inner = &self.stem.inner;
        if std::thread::panicking() {
            inner.end(held, Was::Broken);
            return;
        }
        let connection = &mut held.entry.connection;
        let verdict = contain::call(|| inner.manager.on_return(connection)).unwrap_or(Verdict::Discard);
        if verdict == Verdict::Keep && inner.hooks.after_release.is_none() {
            let now = inner.now();
            if let Err(held) = inner.core.put_back(held, now) {
                inner.run(inner.core.give_back(held, now));
            }
        } else {
            set_aside(inner, held, verdict);
        }
    }
}

/// What is not simply kept.
#[cold]
fn set_aside<M: Manager>(inner: &Arc<Inner<M>>, held: Held<M>, verdict: Verdict) {
    match verdict {
        Verdict::Keep => {
            inner.core.start_reset();
            (inner.duties.check)(inner, held, Job::Release);
        }
        Verdict::Reset => {
            inner.core.start_reset();
            (inner.duties.check)(inner, held, Job::Reset);
        }
        Verdict::Discard => inner.end(held, Was::Discarded),
        Verdict::Broken => inner.end(held, Was::Broken),
    }
}

impl<M: Manager> Deref for Guard<M> {
    type Target = M::Connection;

    #[inline]
    fn deref(&self) -> &M::Connection {
        &self.held.as_ref().expect("present until the guard ends").entry.connection
    }
}

impl<M: Manager> DerefMut for Guard<M> {
    #[inline]
    fn deref_mut(&mut self) -> &mut M::Connection {
        &mut self.held.as_mut().expect("present until the guard ends").entry.connection
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
