//! The one place that decides which atomics and locks the crate runs on: the real ones, or loom's.
//!
//! `cfg(millpond_loom)` is our own name: a plain `cfg(loom)` would leak into dependencies.

#[cfg(not(millpond_loom))]
mod imp {
    pub(crate) use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering, fence};

    pub(crate) use parking_lot::Mutex;
}

#[cfg(millpond_loom)]
mod imp {
    pub(crate) use loom::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering, fence};

    /// parking_lot's face over loom's mutex, so that callers hold no cfg.
    #[derive(Debug, Default)]
    pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(loom::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> loom::sync::MutexGuard<'_, T> {
            self.0.lock().expect("no panic happens under this lock")
        }
    }
}

pub(crate) use imp::*;
