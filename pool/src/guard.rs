//! A borrowed connection: with its pool kept alive, or borrowing the pool too.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use crate::contain;
use crate::core::Why;
use crate::inner::{Held, Inner, Job, Stem, Stems};
use crate::manager::{Manager, Verdict};
use crate::shelf::home;
use crate::watch::Caller;

/// How a borrow holds on to its pool.
pub(crate) trait Hold<M: Manager>: Send {
    fn inner(&self) -> &Arc<Inner<M>>;
}

impl<M: Manager> Hold<M> for Arc<Stem<M>> {
    #[inline(always)]
    fn inner(&self) -> &Arc<Inner<M>> {
        &self.inner
    }
}

impl<M: Manager> Hold<M> for &Arc<Inner<M>> {
    #[inline(always)]
    fn inner(&self) -> &Arc<Inner<M>> {
        self
    }
}

/// Whom a borrow is for: which guard it ends in, and how that holds on to the pool.
pub(crate) trait Source<'p, M: Manager>: Copy + Send + Unpin + 'p {
    type Hold: Hold<M>;
    type Guard: Send;

    fn inner(self) -> &'p Arc<Inner<M>>;
    fn stem(self) -> &'p Arc<Stem<M>>;
    fn hold(self) -> Self::Hold;
    fn guard(lease: Lease<M, Self::Hold>) -> Self::Guard;
}

/// Ends in a [`Guard`].
pub(crate) struct Owning<'p, M: Manager>(pub(crate) &'p Stems<M>);

/// Ends in a [`GuardRef`].
pub(crate) struct Borrowing<'p, M: Manager>(pub(crate) &'p Stems<M>);

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

impl<'p, M: Manager> Source<'p, M> for Owning<'p, M> {
    type Hold = Arc<Stem<M>>;
    type Guard = Guard<M>;

    #[inline(always)]
    fn inner(self) -> &'p Arc<Inner<M>> {
        &self.0.inner
    }

    #[inline(always)]
    fn stem(self) -> &'p Arc<Stem<M>> {
        self.0.of(home())
    }

    #[inline(always)]
    fn hold(self) -> Self::Hold {
        Arc::clone(self.stem())
    }

    #[inline(always)]
    fn guard(lease: Lease<M, Self::Hold>) -> Guard<M> {
        Guard { lease }
    }
}

impl<'p, M: Manager> Source<'p, M> for Borrowing<'p, M> {
    type Hold = &'p Arc<Inner<M>>;
    type Guard = GuardRef<'p, M>;

    #[inline(always)]
    fn inner(self) -> &'p Arc<Inner<M>> {
        &self.0.inner
    }

    #[inline(always)]
    fn stem(self) -> &'p Arc<Stem<M>> {
        self.0.of(home())
    }

    #[inline(always)]
    fn hold(self) -> Self::Hold {
        &self.0.inner
    }

    #[inline(always)]
    fn guard(lease: Lease<M, Self::Hold>) -> GuardRef<'p, M> {
        GuardRef { lease }
    }
}

/// What both guards are made of: a connection that goes back when this is dropped.
pub(crate) struct Lease<M: Manager, H: Hold<M>> {
    held: Option<Held<M>>,
    hold: H,
}

/// An owned lease, which may go anywhere.
pub(crate) type Owned<M> = Lease<M, Arc<Stem<M>>>;

impl<M: Manager, H: Hold<M>> Lease<M, H> {
    /// A lease that nobody watches.
    #[inline(always)]
    pub(crate) fn plain(hold: H, held: Held<M>) -> Self {
        Self { held: Some(held), hold }
    }

    pub(crate) fn new(hold: H, mut held: Held<M>, caller: Caller) -> Self {
        if let Some(watch) = &hold.inner().watch {
            held.item.borrow = Some(watch.lent(caller));
        }
        Self::plain(hold, held)
    }

    pub(crate) fn inner(&self) -> &Arc<Inner<M>> {
        self.hold.inner()
    }

    /// The same borrow, with another hold on the pool.
    pub(crate) fn rehold<J: Hold<M>>(mut self, hold: J) -> Lease<M, J> {
        Lease { held: self.held.take(), hold }
    }

    /// Ends the borrow.
    fn take(&mut self) -> Option<Held<M>> {
        let mut held = self.held.take()?;
        no_more_watched(self.inner(), &mut held);
        Some(held)
    }

    fn detach(mut self) -> M::Connection {
        let Some(held) = self.take() else { unreachable!("present until the guard ends") };
        let (slot, entry) = held.apart();
        let inner = self.inner();
        inner.run(inner.core.detached(slot, inner.now()));
        entry.connection
    }

    pub(crate) fn discard(mut self) {
        if let Some(held) = self.take() {
            self.inner().end(held, Why::Broken);
        }
    }

    #[inline(always)]
    fn connection(&self) -> &M::Connection {
        &self.held.as_ref().expect("present until the guard ends").item.connection
    }

    #[inline(always)]
    pub(crate) fn connection_mut(&mut self) -> &mut M::Connection {
        &mut self.held.as_mut().expect("present until the guard ends").item.connection
    }
}

impl<M: Manager, H: Hold<M>> Drop for Lease<M, H> {
    #[inline(always)]
    fn drop(&mut self) {
        let Some(mut held) = self.held.take() else { return };
        let inner = self.hold.inner();
        if std::thread::panicking() {
            abandon(inner, held);
            return;
        }
        let connection = &mut held.item.connection;
        match contain::call(|| inner.manager.on_return(connection)) {
            Ok(Verdict::Keep) => {
                if inner.time.is_past(held.item.dates.used) {
                    come_back(inner, held);
                } else if let Err(held) = inner.core.put_back(held) {
                    hand_off(inner, held);
                }
            }
            verdict => set_aside(inner, held, verdict.unwrap_or(Verdict::Discard)),
        }
    }
}

fn no_more_watched<M: Manager>(inner: &Arc<Inner<M>>, held: &mut Held<M>) {
    if let Some(watch) = &inner.watch {
        if let Some(borrow) = held.item.borrow.take() {
            inner.timings.hold(watch.returned(borrow));
        }
    }
}

/// It may be in the middle of something.
#[cold]
fn abandon<M: Manager>(inner: &Arc<Inner<M>>, mut held: Held<M>) {
    no_more_watched(inner, &mut held);
    inner.end(held, Why::Broken);
}

/// A connection that is to be kept, but not at once: it was not lent just now, somebody watches, or a hook is in the way.
#[cold]
fn come_back<M: Manager>(inner: &Arc<Inner<M>>, mut held: Held<M>) {
    if inner.hooks.after_release.is_some() {
        set_aside(inner, held, Verdict::Keep);
        return;
    }
    no_more_watched(inner, &mut held);
    let dates = &mut held.item.dates;
    dates.used = inner.now();
    if dates.used >= dates.expires {
        give_back(inner, held);
    } else if let Err(held) = inner.core.put_back(held) {
        hand_off(inner, held);
    }
}

/// Somebody waits for it, most likely.
fn hand_off<M: Manager>(inner: &Arc<Inner<M>>, held: Held<M>) {
    match inner.core.hand_off(held) {
        Ok(Some(waiter)) => {
            let _contained = contain::call(|| waiter.wake());
        }
        Ok(None) => {}
        Err(held) => give_back(inner, held),
    }
}

/// Whatever the pool is like.
#[cold]
fn give_back<M: Manager>(inner: &Arc<Inner<M>>, held: Held<M>) {
    inner.run(inner.core.give_back(held, inner.now()));
}

/// What is not simply kept.
#[cold]
fn set_aside<M: Manager>(inner: &Arc<Inner<M>>, mut held: Held<M>, verdict: Verdict) {
    no_more_watched(inner, &mut held);
    match verdict {
        Verdict::Keep => {
            inner.core.start_reset();
            (inner.duties.check)(inner, held, Job::Release);
        }
        Verdict::Reset => {
            inner.core.start_reset();
            (inner.duties.check)(inner, held, Job::Reset);
        }
        Verdict::Discard => inner.end(held, Why::Unclean),
        Verdict::Broken => inner.end(held, Why::Broken),
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
    lease: Lease<M, &'p Arc<Inner<M>>>,
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
