//! The seam between the standard library, loom and shuttle: the lock-free shelf and the core take their primitives from
//! here, so that `--cfg millpond_loom` can run them through every interleaving and `--cfg millpond_shuttle` the whole pool
//! through random ones.

#[cfg(not(any(millpond_loom, millpond_shuttle)))]
mod imp {
    pub(crate) use parking_lot::Mutex;
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

    pub(crate) use super::cell::UnsafeCell;
}

#[cfg(not(millpond_loom))]
mod cell {
    /// A cell whose holder alone may touch it; the holder proves that with an `unsafe` block.
    #[derive(Debug)]
    pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(std::cell::UnsafeCell::new(value))
        }

        /// Calls `f` with the place; what it does there is for the caller to justify.
        #[inline]
        pub(crate) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
            f(self.0.get())
        }
    }
}

#[cfg(any(millpond_loom, millpond_shuttle))]
mod imp {
    #[cfg(millpond_loom)]
    use loom as model;
    #[cfg(millpond_shuttle)]
    use shuttle as model;

    #[cfg(millpond_shuttle)]
    pub(crate) use super::cell::UnsafeCell;
    #[cfg(millpond_loom)]
    pub(crate) use loom::cell::UnsafeCell;
    use model::sync::MutexGuard;
    pub(crate) use model::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

    /// `parking_lot`'s face over the model's mutex.
    #[derive(Debug)]
    pub(crate) struct Mutex<T>(model::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(model::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().expect("no test panics under the lock")
        }
    }
}

pub(crate) use imp::*;
