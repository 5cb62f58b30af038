//! Asks the processor for a cache line before it is needed.
//!
//! An insert into a large cache visits about ten lines that it shares with no other recent one. They are known some time
//! ahead (the hash before the lock, the next victims one eviction earlier), so they can be fetched side by side instead
//! of one after the other.

/// Asks for the line of `place`. A hint without effect on what the program does; nothing on other processors.
#[inline(always)]
#[cfg_attr(all(target_arch = "x86_64", not(miri)), expect(unsafe_code, reason = "docs/unsafe.md: prefetch"))]
#[allow(unused_unsafe, reason = "the intrinsic may become safe, as others have")]
pub(crate) fn prefetch<T>(place: *const T) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch reads nothing and never faults, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(place.cast()) };
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = place;
}
