//! An asymmetric pair of fences: [`light`] on each read, [`heavy`] once for each batch that is freed.
//!
//! A reader must make its pin visible before it loads from the table: a store-to-load fence, the dearest kind. Readers
//! are many and frees are batched, so on Linux the whole price moves to the freeing side: `membarrier(2)` with
//! `PRIVATE_EXPEDITED` runs a full barrier on every core that currently runs a thread of this process, and the reader
//! keeps only the compiler in order. Where the system call is missing (other systems, old kernels, a seccomp filter),
//! both sides are an ordinary sequentially consistent fence. The scheme is the one of P. McKenney's and M. Desnoyers'
//! user-space RCU ("User-Level Implementations of Read-Copy Update", IEEE TPDS 2012).

use crate::sync::{Ordering, fence};

#[cfg(all(target_os = "linux", not(any(miri, millpond_loom, millpond_shuttle))))]
mod imp {
    use std::sync::atomic::{AtomicU8, Ordering};

    const UNKNOWN: u8 = 0;
    const MEMBARRIER: u8 = 1;
    const FENCES: u8 = 2;

    /// Settled by `prepare` before the first pin of any thread, and never changed after.
    static KIND: AtomicU8 = AtomicU8::new(UNKNOWN);

    // The commands of membarrier(2), from linux/membarrier.h.
    const PRIVATE_EXPEDITED: libc::c_int = 1 << 3;
    const REGISTER_PRIVATE_EXPEDITED: libc::c_int = 1 << 4;

    #[expect(unsafe_code, reason = "docs/unsafe.md: membarrier")]
    fn membarrier(command: libc::c_int) -> bool {
        // SAFETY: membarrier takes three integers and touches no memory of the caller; an unknown command or a kernel
        // without the call returns an error.
        unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
    }

    pub(super) fn prepare() {
        if KIND.load(Ordering::Acquire) == UNKNOWN {
            let kind = if membarrier(REGISTER_PRIVATE_EXPEDITED) { MEMBARRIER } else { FENCES };
            // A race settles on the first writer: both sides must agree for the life of the process.
            let _ = KIND.compare_exchange(UNKNOWN, kind, Ordering::AcqRel, Ordering::Acquire);
        }
    }

    pub(super) fn asymmetric() -> bool {
        KIND.load(Ordering::Relaxed) == MEMBARRIER
    }

    #[inline(always)]
    pub(super) fn light() {
        std::sync::atomic::compiler_fence(Ordering::SeqCst);
    }

    /// Returns false where the kernel refuses a command that it registered before.
    pub(super) fn run() -> bool {
        membarrier(PRIVATE_EXPEDITED)
    }
}

#[cfg(not(all(target_os = "linux", not(any(miri, millpond_loom, millpond_shuttle)))))]
mod imp {
    pub(super) fn prepare() {}

    pub(super) fn asymmetric() -> bool {
        false
    }

    pub(super) fn light() {
        super::fence(super::Ordering::SeqCst);
    }

    pub(super) fn run() -> bool {
        true
    }
}

/// Chooses the pair of fences; must run on a thread before its first [`light`].
///
/// A writer may free before any thread has read, and so before there is a choice: its [`heavy`] is then a fence. With the
/// fence here, either it sees the choice, or this thread's loads see all that it had unlinked.
pub(super) fn prepare() {
    imp::prepare();
    fence(Ordering::SeqCst);
}

/// Whether the freeing side pays for both; settled by [`prepare`].
pub(super) fn asymmetric() -> bool {
    imp::asymmetric()
}

/// The reader's side: orders its pin before its loads, against a [`heavy`] on another core. Only where [`asymmetric`] is true
/// is it enough; where that is known to be false already when this is compiled, it is a [`fence`].
#[inline(always)]
pub(super) fn light() {
    imp::light();
}

/// The freeing side. False means that no barrier took place and nothing may be concluded.
pub(super) fn heavy() -> bool {
    fence(Ordering::SeqCst);
    !imp::asymmetric() || imp::run()
}
