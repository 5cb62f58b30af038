//! The pools under measurement, one file each. Their connections are numbers in memory, so that what is left is the pool.

mod bb8;
mod condvar_vec;
mod deadpool;
mod kind;
mod millpond;
mod mobc;
mod mutex_vec;
mod r2d2;
mod semaphore_vec;

pub(super) use kind::{Kind, VisitTasks, VisitThreads};

/// What is pooled.
pub(super) type Connection = u64;

/// A pool that tasks share. It is leaked, so that guards may borrow it and still go into tasks.
pub(super) trait Tasks: Sized + Send + Sync + 'static {
    /// Whether a caller waits if there is no connection; those that do not sit out loads with more callers than connections.
    const WAITS: bool = true;
    /// A borrowed connection; dropping it gives it back.
    type Held: Send + 'static;

    /// One of so many connections. Called in the runtime whose tasks use it.
    fn make(size: usize) -> Self;

    fn get(&'static self) -> impl Future<Output = Self::Held> + Send;
}

/// A pool that threads share.
pub(super) trait Threads: Sized + Sync + 'static {
    /// As [`Tasks::WAITS`].
    const WAITS: bool = true;
    /// A borrowed connection; dropping it gives it back.
    type Held;

    /// One of so many connections.
    fn make(size: usize) -> Self;

    fn get(&'static self) -> Self::Held;
}
