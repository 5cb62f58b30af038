//! The one place that decides which atomics, locks and threads the crate runs on: the real ones, loom's or shuttle's.
//!
//! `cfg(millpond_loom)` and `cfg(millpond_shuttle)` are our own names: a plain `cfg(loom)` would leak into dependencies. Only
//! what can be modelled goes through here; policy, statistics, cells and deadlines use the real atomics (docs/unsafe.md says
//! what that leaves open).

#[cfg(all(millpond_loom, feature = "store"))]
mod notify;

#[cfg(all(millpond_loom, feature = "store"))]
pub(crate) use self::notify::Notify;
#[cfg(all(not(millpond_loom), feature = "store"))]
pub(crate) use tokio::sync::Notify;

#[cfg(not(any(millpond_loom, millpond_shuttle)))]
mod imp {
    pub(crate) use std::sync::OnceLock;
    #[cfg(feature = "store")]
    pub(crate) use std::sync::atomic::AtomicBool;
    pub(crate) use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering, fence};
    pub(crate) use std::{thread, thread_local};

    pub(crate) use parking_lot::{Mutex, MutexGuard};
}

#[cfg(any(millpond_loom, millpond_shuttle))]
mod imp {
    #[cfg(millpond_loom)]
    pub(crate) use {loom as model, std::thread_local};
    #[cfg(millpond_shuttle)]
    pub(crate) use {shuttle as model, shuttle::thread_local};

    pub(crate) use model::sync::MutexGuard;
    pub(crate) use model::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering, fence};
    pub(crate) use model::thread;

    /// parking_lot's face over the model's mutex, so that callers hold no cfg.
    #[derive(Debug, Default)]
    pub(crate) struct Mutex<T>(model::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(model::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().expect("no panic happens under this lock")
        }

        pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
            self.0.try_lock().ok()
        }

        pub(crate) fn get_mut(&mut self) -> &mut T {
            self.0.get_mut().expect("no panic happens under this lock")
        }
    }

    /// std's `OnceLock`, with a flag that the model can see.
    #[derive(Debug)]
    pub(crate) struct OnceLock<T> {
        is_set: AtomicBool,
        value: std::sync::OnceLock<T>,
    }

    impl<T> OnceLock<T> {
        pub(crate) fn new() -> Self {
            Self { is_set: AtomicBool::new(false), value: std::sync::OnceLock::new() }
        }

        pub(crate) fn get(&self) -> Option<&T> {
            if self.is_set.load(Ordering::Acquire) { self.value.get() } else { None }
        }

        pub(crate) fn set(&self, value: T) -> Result<(), T> {
            self.value.set(value)?;
            self.is_set.store(true, Ordering::Release);
            Ok(())
        }
    }
}

pub(crate) use imp::*;
