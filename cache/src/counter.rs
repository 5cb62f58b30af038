//! What is counted.

use crate::removal::RemovalCause;

/// One of the counts.
#[derive(Clone, Copy, Debug)]
#[repr(usize)]
pub(crate) enum Counter {
    Hits,
    Misses,
    LoadSuccesses,
    LoadFailures,
    LoadNanos,
    RemovedExplicitly,
    Replaced,
    Expired,
    ExpiredWeight,
    Evicted,
    EvictedWeight,
    Rejected,
    Cleared,
    ListenerPanics,
    StaleServed,
    Refreshes,
    RefreshFailures,
    RefreshesDiscarded,
}

pub(crate) const COUNTERS: usize = Counter::RefreshesDiscarded as usize + 1;

impl Counter {
    pub(crate) fn removal(cause: RemovalCause) -> Self {
        match cause {
            RemovalCause::Explicit => Self::RemovedExplicitly,
            RemovalCause::Replaced => Self::Replaced,
            RemovalCause::Expired => Self::Expired,
            RemovalCause::Size => Self::Evicted,
            RemovalCause::Cleared => Self::Cleared,
        }
    }
}
