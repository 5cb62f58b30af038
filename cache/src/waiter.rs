//! Someone who waits: a parked thread or a task. One queue and one state machine serve both.

use std::task::Waker;

use crate::sync::thread::Thread;

/// How to wake who waits.
#[derive(Clone, Debug)]
pub(crate) enum Waiter {
    Thread(Thread),
    Task(Waker),
}

impl Waiter {
    /// Runs the waker: never call it under a lock.
    pub(crate) fn wake(self) {
        match self {
            Self::Thread(thread) => thread.unpark(),
            Self::Task(waker) => waker.wake(),
        }
    }
}
