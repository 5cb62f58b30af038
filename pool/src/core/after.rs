//! What a change of the state leaves to be done after the unlock.

use std::sync::Arc;

use crate::core::entry::Held;
use crate::error::ConnectError;
use crate::shelf::Slot;
use crate::waiters::Waiter;

/// What to do after the unlock. Nearly always that is to wake one waiter at most, so the rest is apart: a change that needs
/// none of it neither builds it nor looks through it.
#[must_use = "waiters must be woken, openers started, connections checked and ended"]
pub(crate) struct After<C, E> {
    pub(crate) wake: Wake,
    rest: Option<Box<Rest<C, E>>>,
}

/// What there seldom is to do after the unlock.
pub(crate) struct Rest<C, E> {
    /// Connections to end; each is counted as closing.
    pub(crate) dead: Vec<Held<C>>,
    /// Connections to check; each is counted as checking.
    pub(crate) check: Vec<Held<C>>,
    /// Openers to start; each is counted as opening.
    pub(crate) open: Vec<Slot>,
    /// A prober that sleeps should look again.
    pub(crate) hurry: bool,
    /// Something left the pool, or came back while it is suspended: who waits for that should look again.
    pub(crate) left: bool,
    /// User values that must not be dropped under the lock.
    pub(crate) errors: Vec<Arc<ConnectError<E>>>,
    pub(crate) wakers: Vec<Waiter>,
}

/// Whom to wake.
#[derive(Default)]
pub(crate) struct Wake {
    pub(crate) first: Option<Waiter>,
    pub(crate) others: Vec<Waiter>,
}

impl Extend<Waiter> for Wake {
    #[inline]
    fn extend<I: IntoIterator<Item = Waiter>>(&mut self, waiters: I) {
        for waiter in waiters {
            if self.first.is_none() {
                self.first = Some(waiter);
            } else {
                self.others.push(waiter);
            }
        }
    }
}

impl<C, E> Default for After<C, E> {
    #[inline]
    fn default() -> Self {
        Self { wake: Wake::default(), rest: None }
    }
}

impl<C, E> After<C, E> {
    /// The rest, which there is from now on.
    #[cold]
    pub(crate) fn rest(&mut self) -> &mut Rest<C, E> {
        self.rest.get_or_insert_with(|| {
            Box::new(Rest {
                dead: Vec::new(),
                check: Vec::new(),
                open: Vec::new(),
                hurry: false,
                left: false,
                errors: Vec::new(),
                wakers: Vec::new(),
            })
        })
    }

    #[inline]
    pub(crate) fn into_parts(self) -> (Wake, Option<Box<Rest<C, E>>>) {
        (self.wake, self.rest)
    }

    /// Leaves a waker to be dropped after the unlock.
    #[inline]
    pub(crate) fn drop_waker(&mut self, waker: Option<Waiter>) {
        if let Some(waker) = waker {
            self.rest().wakers.push(waker);
        }
    }

    /// Leaves an error to be dropped after the unlock.
    pub(crate) fn drop_error(&mut self, error: Option<Arc<ConnectError<E>>>) {
        if let Some(error) = error {
            self.rest().errors.push(error);
        }
    }
}
