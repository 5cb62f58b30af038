//! The system's monotonic clock in nanoseconds, which does not count the time that the system sleeps.

#[cfg(all(target_os = "linux", not(miri)))]
mod imp {
    use rustix::time::{ClockId, Timespec, clock_gettime};

    /// The kernel's last tick: a few ns, because nothing is measured. Goes straight to the kernel's own function: the one of the C
    /// library costs half as much again.
    #[inline]
    pub(crate) fn coarse() -> u64 {
        nanos(clock_gettime(ClockId::MonotonicCoarse))
    }

    /// The same clock, but measured. Never behind `coarse`.
    pub(crate) fn exact() -> u64 {
        nanos(clock_gettime(ClockId::Monotonic))
    }

    #[inline]
    fn nanos(time: Timespec) -> u64 {
        // Neither is negative, and the sum fits for 584 years.
        (time.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec as u64)
    }
}

#[cfg(not(all(target_os = "linux", not(miri))))]
mod imp {
    use std::sync::OnceLock;
    use std::time::Instant;

    pub(crate) fn exact() -> u64 {
        static ORIGIN: OnceLock<Instant> = OnceLock::new();
        crate::clock::nanos(ORIGIN.get_or_init(Instant::now).elapsed())
    }

    #[inline]
    pub(crate) fn coarse() -> u64 {
        exact()
    }
}

pub(super) use imp::{coarse, exact};
