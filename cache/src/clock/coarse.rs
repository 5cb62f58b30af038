//! The kernel's coarse monotonic time: about 5 ns, because it is only a copy of the last tick.

#[cfg(all(target_os = "linux", not(miri)))]
#[expect(unsafe_code, reason = "docs/unsafe.md: coarse clock")]
pub(super) fn now() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid place for one timespec, and the clock exists since Linux 2.6.32.
    let status = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &raw mut time) };
    debug_assert_eq!(status, 0);
    u64::try_from(time.tv_sec).unwrap_or(0).saturating_mul(1_000_000_000)
        + u64::try_from(time.tv_nsec).unwrap_or(0)
}

#[cfg(not(all(target_os = "linux", not(miri))))]
pub(super) fn now() -> u64 {
    use std::sync::OnceLock;
    use std::time::Instant;

    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    super::nanos(ORIGIN.get_or_init(Instant::now).elapsed())
}
