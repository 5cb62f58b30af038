//! A borrowed connection: with its pool kept alive, or borrowing the pool too.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use crate::contain;
use crate::core::Was;
use crate::inner::{Held, Inner, Job, Stem};
use crate::manager::{Manager, Verdict};
use crate::watch::Caller;

/// Whom a borrow is for: which guard it ends in, and how that holds on to the pool.
pub(crate) trait Source<M: Manager>: Copy + Send {
    type Hold: Deref<Target = Stem<M>> + Send;
    type Guard;

    fn stem(&self) -> &Arc<Stem<M>>;
    fn hold(self) -> Self::Hold;
    fn guard(lease: Lease<M, Self::Hold>) -> Self::Guard;
}

/// Ends in a [`Guard`].
pub(crate) struct Owning<'p, M: Manager>(pub(crate) &'p Arc<Stem<M>>);

/// Ends in a [`GuardRef`].
pub(crate) struct Borrowing<'p, M: Manager>(pub(crate) &'p Arc<Stem<M>>);

impl<M: Manager> Clone for Owning<'_, M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M: Manager> Copy for Owning<'_, M> {}

impl<M: Manager> Clone for Borrowing<'_, M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M: Manager> Copy for Borrowing<'_, M> {}

impl<M: Manager> Source<M> for Owning<'_, M> {
    type Hold = Arc<Stem<M>>;
    type Guard = Guard<M>;

    #[inline]
    fn stem(&self) -> &Arc<Stem<M>> {
        self.0
    }

    #[inline]
    fn hold(self) -> Self::Hold {
        Arc::clone(self.0)
    }

    #[inline]
    fn guard(lease: Lease<M, Self::Hold>) -> Guard<M> {
        Guard { lease }
    }
}

impl<'p, M: Manager> Source<M> for Borrowing<'p, M> {
    type Hold = &'p Stem<M>;
    type Guard = GuardRef<'p, M>;

    #[inline]
    fn stem(&self) -> &Arc<Stem<M>> {
        self.0
    }

    #[inline]
    fn hold(self) -> Self::Hold {
        self.0
    }

    #[inline]
    fn guard(lease: Lease<M, Self::Hold>) -> GuardRef<'p, M> {
        GuardRef { lease }
    }
}

/// What both guards are made of: a connection that goes back when this is dropped.
pub(crate) struct Lease<M: Manager, H: Deref<Target = Stem<M>>> {
    held: Option<Held<M>>,
    stem: H,
}

/// An owned lease, which may go anywhere.
pub(crate) type Owned<M> = Lease<M, Arc<Stem<M>>>;

impl<M: Manager, H: Deref<Target = Stem<M>>> Lease<M, H> {
    #[inline]
    pub(crate) fn new(stem: H, mut held: Held<M>, caller: Caller) -> Self {
        if let Some(watch) = &stem.inner.watch {
            held.entry.borrow = Some(watch.lent(caller));
        }
        Self { held: Some(held), stem }
    }

    pub(crate) fn inner(&self) -> &Arc<Inner<M>> {
        &self.stem.inner
    }

    /// The same borrow, with another hold on the pool.
    pub(crate) fn rehold<J: Deref<Target = Stem<M>>>(mut self, stem: J) -> Lease<M, J> {
        Lease { held: self.held.take(), stem }
    }

    /// Ends the borrow.
    #[inline]
    fn take(&mut self) -> Option<Held<M>> {
        let mut held = self.held.take()?;
        if let Some(watch) = &self.stem.inner.watch {
            if let Some(borrow) = held.entry.borrow.take() {
                self.stem.inner.timings.hold(watch.returned(borrow));
            }
        }
        Some(held)
    }

    fn detach(mut self) -> M::Connection {
        let Some(Held::<M> { slot, entry }) = self.take() else {
            unreachable!("present until the guard ends")
        };
        let inner = &self.stem.inner;
        inner.run(inner.core.gone(slot, Was::Detached, inner.now()));
        entry.connection
    }

    pub(crate) fn discard(mut self) {
        if let Some(held) = self.take() {
            self.stem.inner.end(held, Was::Broken);
        }
    }

    #[inline]
    fn connection(&self) -> &M::Connection {
        &self.held.as_ref().expect("present until the guard ends").entry.connection
    }

    #[inline]
    pub(crate) fn connection_mut(&mut self) -> &mut M::Connection {
        &mut self.held.as_mut().expect("present until the guard ends").entry.connection
    }
}

impl<M: Manager, H: Deref<Target = Stem<M>>> Drop for Lease<M, H> {
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

/// A connection that goes back to its pool when it is dropped. It keeps what it needs of the pool alive and may go anywhere:
/// into a task, a struct, another thread.
///
/// Dropping it needs no runtime and does not wait. While the thread is panicking the connection is discarded instead: it
/// may be in the middle of something.
pub struct Guard<M: Manager> {
    lease: Lease<M, Arc<Stem<M>>>,
}

impl<M: Manager> Guard<M> {
    /// Takes the connection out of the pool for good; the pool may open another in its place.
    #[must_use]
    pub fn detach(guard: Self) -> M::Connection {
        guard.lease.detach()
    }

    /// Ends the connection instead of returning it: it is broken, as far as its borrower can tell. The others are checked
    /// before anybody gets them.
    pub fn discard(guard: Self) {
        guard.lease.discard();
    }
}

impl<M: Manager> Deref for Guard<M> {
    type Target = M::Connection;

    #[inline]
    fn deref(&self) -> &M::Connection {
        self.lease.connection()
    }
}

impl<M: Manager> DerefMut for Guard<M> {
    #[inline]
    fn deref_mut(&mut self) -> &mut M::Connection {
        self.lease.connection_mut()
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

/// As [`Guard`], but it borrows the pool: two atomic operations less a borrow. From [`Pool::get_ref`](crate::Pool::get_ref).
pub struct GuardRef<'p, M: Manager> {
    lease: Lease<M, &'p Stem<M>>,
}

impl<M: Manager> GuardRef<'_, M> {
    /// Takes the connection out of the pool for good; the pool may open another in its place.
    #[must_use]
    pub fn detach(guard: Self) -> M::Connection {
        guard.lease.detach()
    }

    /// Ends the connection instead of returning it: it is broken, as far as its borrower can tell. The others are checked
    /// before anybody gets them.
    pub fn discard(guard: Self) {
        guard.lease.discard();
    }
}

impl<M: Manager> Deref for GuardRef<'_, M> {
    type Target = M::Connection;

    #[inline]
    fn deref(&self) -> &M::Connection {
        self.lease.connection()
    }
}

impl<M: Manager> DerefMut for GuardRef<'_, M> {
    #[inline]
    fn deref_mut(&mut self) -> &mut M::Connection {
        self.lease.connection_mut()
    }
}

impl<M: Manager> fmt::Debug for GuardRef<'_, M>
where
    M::Connection: fmt::Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("GuardRef").field(&**self).finish()
    }
}
