//! Time, as the ages of connections count it: coarse, cheap, and aware of suspension.
//!
//! On Linux the built-in clock is the kernel's tick (1 to 4 ms), read without a system call, plus the time that the
//! machine was suspended, which maintenance looks up once a second. A laptop that wakes, or a virtual machine that is
//! resumed, finds its connections as old as they are. Timeouts do not come from here: they are tokio timers.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A source of time for the ages of connections: idle timeout, lifetime, keepalive, validation bypass.
///
/// Time may stand still or jump. If it goes back, connections live that much longer.
pub trait Clock: Send + Sync + 'static {
    /// The time since a fixed moment of the clock's choice. Must be cheap and must not panic.
    fn now(&self) -> Duration;
}

impl<C: Clock + ?Sized> Clock for Arc<C> {
    fn now(&self) -> Duration {
        (**self).now()
    }
}

/// A clock that moves only when it is told to, for tests.
///
/// ```
/// use millpond_pool::{Clock, ManualClock};
/// use std::time::Duration;
/// let clock = ManualClock::new();
/// clock.advance(Duration::from_secs(60));
/// assert_eq!(clock.now(), Duration::from_secs(60));
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
        let by = ticks(by);
        let _ =
            self.nanos.fetch_update(Ordering::AcqRel, Ordering::Acquire, |now| Some(now.saturating_add(by)));
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Duration {
        Duration::from_nanos(self.nanos.load(Ordering::Acquire))
    }
}

/// Tokio's clock, which a test may pause: ages then move with `tokio::time::advance` and paused sleeps.
///
/// Outside of a paused runtime it is the system's monotonic clock at its full price, about 25 ns a reading.
#[derive(Clone, Copy, Debug)]
pub struct TokioClock {
    origin: tokio::time::Instant,
}

impl TokioClock {
    /// A clock at zero.
    #[must_use]
    pub fn new() -> Self {
        Self { origin: tokio::time::Instant::now() }
    }
}

impl Default for TokioClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for TokioClock {
    fn now(&self) -> Duration {
        self.origin.elapsed()
    }
}

/// A moment or a span in nanoseconds; `u64::MAX` is never, or for ever.
pub(crate) type Ticks = u64;

/// A span in ticks; everything above 584 years is for ever.
pub(crate) fn ticks(duration: Duration) -> Ticks {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The pool's view of its clock. A moment is never 0.
pub(crate) struct Time {
    system: System,
    /// Asked instead of the system's, if there is one.
    custom: Option<Box<dyn Clock>>,
    /// When maintenance last came round. What was lent later than that was lent just now, as far as ages matter: its return
    /// need not ask what time it is. [`Ticks::MAX`] with a clock of the user's, and where a return has more to do anyway.
    round: AtomicU64,
}

impl Time {
    pub(crate) fn new(custom: Option<Box<dyn Clock>>) -> Self {
        let round = if custom.is_some() { Ticks::MAX } else { 0 };
        Self { system: System::new(), custom, round: AtomicU64::new(round) }
    }

    pub(crate) fn is_custom(&self) -> bool {
        self.custom.is_some()
    }

    pub(crate) fn now(&self) -> Ticks {
        match &self.custom {
            None => self.system.now(),
            Some(clock) => ticks(clock.now()).saturating_add(1),
        }
    }

    /// As [`now`](Self::now), where it is known that the clock is not a custom one.
    #[inline(always)]
    pub(crate) fn plain_now(&self) -> Ticks {
        self.system.now()
    }

    /// From now on everything [is past](Self::is_past).
    pub(crate) fn always_ask(&self) {
        self.round.store(Ticks::MAX, Ordering::Relaxed);
    }

    /// Whether maintenance has come round since then.
    #[inline(always)]
    pub(crate) fn is_past(&self, then: Ticks) -> bool {
        self.round.load(Ordering::Relaxed) > then
    }

    /// Once a period: looks up how long the machine was suspended, which costs two system clocks, and notes the time.
    pub(crate) fn come_round(&self) {
        if self.custom.is_none() {
            self.system.refresh();
            if self.round.load(Ordering::Relaxed) != Ticks::MAX {
                self.round.store(self.now(), Ordering::Relaxed);
            }
        }
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_custom() { "Custom" } else { "System" })
    }
}

#[cfg(all(target_os = "linux", not(miri)))]
mod system {
    use std::sync::atomic::{AtomicU64, Ordering};

    use rustix::time::{ClockId, Timespec, clock_gettime};

    use super::Ticks;

    /// Linux: the kernel's last tick, plus the time spent suspended.
    #[derive(Debug)]
    pub(crate) struct System {
        suspended: AtomicU64,
    }

    fn nanos(time: Timespec) -> Ticks {
        // Since the start of the machine: not negative, and for 584 years not too large.
        (time.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec as u64)
    }

    impl System {
        pub(super) fn new() -> Self {
            let system = Self { suspended: AtomicU64::new(0) };
            system.refresh();
            system
        }

        #[inline(always)]
        pub(super) fn now(&self) -> Ticks {
            nanos(clock_gettime(ClockId::MonotonicCoarse)) + self.suspended.load(Ordering::Relaxed) + 1
        }

        pub(super) fn refresh(&self) {
            let awake = nanos(clock_gettime(ClockId::Monotonic));
            let all = nanos(clock_gettime(ClockId::Boottime));
            self.suspended.fetch_max(all.saturating_sub(awake), Ordering::Relaxed);
        }
    }
}

#[cfg(not(all(target_os = "linux", not(miri))))]
mod system {
    use std::time::Instant;

    use super::{Ticks, ticks};

    /// Elsewhere: the standard library's monotonic clock, which may or may not count suspension.
    #[derive(Debug)]
    pub(crate) struct System {
        origin: Instant,
    }

    impl System {
        pub(super) fn new() -> Self {
            Self { origin: Instant::now() }
        }

        #[inline(always)]
        pub(super) fn now(&self) -> Ticks {
            ticks(self.origin.elapsed()) + 1
        }

        #[expect(clippy::unused_self, reason = "a twin of Linux's")]
        pub(super) fn refresh(&self) {}
    }
}

pub(crate) use system::System;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_time_goes_on() {
        let time = Time::new(None);
        let before = time.now();
        assert!(before > 0);
        time.come_round();
        let began = std::time::Instant::now();
        while time.now() == before {
            assert!(began.elapsed() < Duration::from_secs(5), "it stands still");
        }
        assert!(time.now() > before);
    }

    #[test]
    fn a_return_asks_once_maintenance_came_round() {
        let time = Time::new(None);
        time.come_round();
        let lent = time.now();
        assert!(!time.is_past(lent), "just now");
        let began = std::time::Instant::now();
        while !time.is_past(lent) {
            time.come_round();
            assert!(began.elapsed() < Duration::from_secs(5), "it stands still");
        }
        assert!(!time.is_past(time.now()));
        time.always_ask();
        time.come_round();
        assert!(time.is_past(time.now()));
        assert!(Time::new(Some(Box::new(ManualClock::new()))).is_past(1_000_000));
    }

    #[test]
    fn spans_saturate() {
        assert_eq!(ticks(Duration::MAX), u64::MAX);
        assert_eq!(ticks(Duration::from_secs(1)), 1_000_000_000);
    }
}
