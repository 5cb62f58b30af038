//! Time, which only a cache with a time feature ever asks for.
//!
//! - [`system`]: the built-in clock. It is coarse: on Linux the kernel's tick (1 to 10 ms), read without a system call.
//! - [`kept`]: the same, but hits read a word that a thread keeps.
//! - [`ManualClock`]: what tests inject.

pub(crate) mod kept;
mod system;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A source of time for expiry.
///
/// Time may stand still or jump; if it goes back, entries live that much longer.
pub trait Clock: Send + Sync + 'static {
    /// The time since a fixed moment of the clock's choice. Must be cheap, must not panic and must not use the cache: it is
    /// asked under a shard's lock too.
    fn now(&self) -> Duration;
}

/// A clock that moves only when it is told to, for tests.
///
/// ```
/// use millpond_cache::{Cache, ManualClock};
/// use std::{sync::Arc, time::Duration};
/// let clock = Arc::new(ManualClock::new());
/// let cache: Cache<u32, u32> =
///     Cache::builder().time_to_live(Duration::from_secs(60)).clock(clock.clone()).build()?;
/// cache.insert(1, 10);
/// clock.advance(Duration::from_secs(59));
/// assert_eq!(cache.get(&1), Some(10));
/// clock.advance(Duration::from_secs(1));
/// assert_eq!(cache.get(&1), None);
/// # Ok::<(), millpond_cache::BuildError>(())
/// ```
#[derive(Debug, Default)]
pub struct ManualClock {
    nanos: AtomicU64,
}

impl ManualClock {
    /// A clock at zero.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        let by = nanos(by);
        let _ =
            self.nanos.fetch_update(Ordering::AcqRel, Ordering::Acquire, |now| Some(now.saturating_add(by)));
    }

    /// Sets the clock, also backwards.
    pub fn set(&self, to: Duration) {
        self.nanos.store(nanos(to), Ordering::Release);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Duration {
        Duration::from_nanos(self.nanos.load(Ordering::Acquire))
    }
}

impl<C: Clock + ?Sized> Clock for Arc<C> {
    fn now(&self) -> Duration {
        (**self).now()
    }
}

/// Nanoseconds, with everything above 584 years as "for ever".
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// In which span of 16.8 ms a tick is. They are counted for 2.3 years, from then on it is always the last one.
#[inline]
pub(crate) fn span_of(tick: u64) -> u32 {
    u32::try_from(tick >> 24).unwrap_or(u32::MAX)
}

/// The cache's view of its clock: nanoseconds that are never 0, so that 0 can mean "never" in a deadline.
pub(crate) enum Ticks {
    Coarse,
    /// Hits read [`kept::span`], all others the system's clock.
    Kept(kept::Lease),
    Custom(Box<dyn Clock>),
}

impl Ticks {
    /// Times kept by a thread, if there is one to be had.
    pub(crate) fn kept() -> Self {
        kept::Lease::take().map_or(Self::Coarse, Self::Kept)
    }

    #[inline]
    pub(crate) fn now(&self) -> u64 {
        let nanos = match self {
            // Begins with the machine, and so is far from the end of time.
            Self::Coarse => return system::coarse() + 1,
            Self::Kept(_) => return kept::look(),
            Self::Custom(clock) => nanos(clock.now()),
        };
        // Never 0, and never the last: a deadline at the end of time is not reached.
        nanos.min(u64::MAX - 2) + 1
    }
}

impl fmt::Debug for Ticks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Coarse => "Coarse",
            Self::Kept(_) => "Kept",
            Self::Custom(_) => "Custom",
        })
    }
}
