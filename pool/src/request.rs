//! How one caller wants its connection, where that differs from the pool's settings.

use std::time::Duration;

/// Whose turn it is among those who wait.
///
/// Within a class who came first is served first. A lower class is not starved: after eight connections that went to higher
/// classes its own first waiter is next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// Work that others wait for: health checks, sign-in.
    High,
    /// The rest.
    #[default]
    Normal,
    /// Work that can wait: reports, cleaning up.
    Low,
}

/// One call's own timeout and priority, for [`Pool::get_with`](crate::Pool::get_with).
///
/// ```
/// use millpond_pool::{Priority, Request};
/// use std::time::Duration;
/// let request = Request::new().timeout(Duration::from_millis(50)).priority(Priority::High);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use = "a request does nothing by itself"]
pub struct Request {
    pub(crate) timeout: Option<Duration>,
    pub(crate) priority: Priority,
}

impl Request {
    /// The pool's timeout, normal priority.
    pub fn new() -> Self {
        Self::default()
    }

    /// How long it may take in all. Default: the pool's [`acquire_timeout`](crate::PoolBuilder::acquire_timeout).
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Whose turn it is if others wait too. Default: [`Priority::Normal`]. Costs nothing while nobody waits.
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }
}
