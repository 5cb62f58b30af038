//! Counts: what the pool holds now, and what happened so far.

use std::fmt;
use std::time::Duration;

/// What the pool holds now. `idle + in_use + opening + checking + closing` is never above `max_size`, unless that was just
/// lowered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// The limit.
    pub max_size: usize,
    /// Ready to be lent.
    pub idle: usize,
    /// Lent.
    pub in_use: usize,
    /// Being opened.
    pub opening: usize,
    /// Being checked or reset.
    pub checking: usize,
    /// Being closed.
    pub closing: usize,
    /// Callers that wait.
    pub waiting: usize,
}

impl Status {
    /// Connections, those being opened or closed included.
    #[must_use]
    pub fn total(&self) -> usize {
        self.idle + self.in_use + self.opening + self.checking + self.closing
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { max_size, idle, in_use, opening, checking, closing, waiting } = self;
        write!(f, "{in_use} in use, {idle} idle, {opening} opening, {checking} checking")?;
        if *closing > 0 {
            write!(f, ", {closing} closing")?;
        }
        write!(f, " of {max_size}; {waiting} waiting")
    }
}

/// [`Status`] and what happened since the pool was built.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// What the pool holds now.
    pub status: Status,
    /// Connections lent.
    pub acquired: u64,
    /// Of them, those whose borrower had to wait.
    pub waited: u64,
    /// Time spent waiting by those who got one, in sum.
    pub wait_time: Duration,
    /// Callers whose timeout passed.
    pub timeouts: u64,
    /// Callers turned away because [`max_waiters`](crate::PoolBuilder::max_waiters) waited already.
    pub rejected: u64,
    /// Waiters turned away by [`shed`](crate::PoolBuilder::shed).
    pub shed: u64,
    /// Connections opened.
    pub opened: u64,
    /// Attempts to open one that failed.
    pub connect_failures: u64,
    /// Time spent opening, in sum.
    pub connect_time: Duration,
    /// Checks and resets that a connection passed.
    pub validations: u64,
    /// Time spent in them, in sum.
    pub validation_time: Duration,
    /// Checks and resets that a connection failed, or did not end in time.
    pub validation_failures: u64,
    /// Connections that the pool ended because of age, idleness, a lower limit, [`reset`](crate::Pool::reset) or
    /// [`close`](crate::Pool::close).
    pub retired: u64,
    /// Connections that were ended because they were broken, unclean or discarded.
    pub discarded: u64,
    /// Connections taken out by [`Guard::detach`](crate::Guard::detach).
    pub detached: u64,
    /// Borrows that were longer than [`leak_threshold`](crate::PoolBuilder::leak_threshold) when the pool last looked.
    pub leaks: u64,
    /// Callers that had to wait while their own task or thread held a connection of this pool; see
    /// [`warn_nested`](crate::PoolBuilder::warn_nested).
    pub nested: u64,
}

impl Stats {
    /// Somebody got a connection after a wait.
    pub(crate) fn served(&mut self, waited: Duration) {
        self.acquired += 1;
        self.waited += 1;
        self.wait_time += waited;
    }
}
