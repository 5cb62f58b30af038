//! The names of the subjects, and the way from a name to its type.

use clap::ValueEnum;

use super::bb8::Bb8;
use super::condvar_vec::CondvarVec;
use super::deadpool::Deadpool;
use super::millpond::{Millpond, MillpondEventual, MillpondRef};
use super::mobc::Mobc;
use super::mutex_vec::MutexVec;
use super::r2d2::R2d2;
use super::semaphore_vec::SemaphoreVec;
use super::{Tasks, Threads};

/// A subject.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Kind {
    Millpond,
    /// Millpond, guards that borrow the pool
    MillpondRef,
    /// Millpond, newcomers may pass those who wait
    MillpondEventual,
    Deadpool,
    Bb8,
    Mobc,
    R2d2,
    MutexVec,
    SemaphoreVec,
    CondvarVec,
}

/// Does something with the type behind a name.
pub(in super::super) trait VisitTasks {
    type Output;
    fn visit<S: Tasks>(self) -> Self::Output;
}

/// Does something with the type behind a name.
pub(in super::super) trait VisitThreads {
    type Output;
    fn visit<S: Threads>(self) -> Self::Output;
}

impl Kind {
    /// Those given, or all if none are.
    pub(in super::super) fn or_all(given: &[Self]) -> Vec<Self> {
        if given.is_empty() { Self::value_variants().to_vec() } else { given.to_vec() }
    }

    /// `None` if it is not for tasks.
    pub(in super::super) fn for_tasks<V: VisitTasks>(self, visitor: V) -> Option<V::Output> {
        Some(match self {
            Self::Millpond => visitor.visit::<Millpond>(),
            Self::MillpondRef => visitor.visit::<MillpondRef>(),
            Self::MillpondEventual => visitor.visit::<MillpondEventual>(),
            Self::Deadpool => visitor.visit::<Deadpool>(),
            Self::Bb8 => visitor.visit::<Bb8>(),
            Self::Mobc => visitor.visit::<Mobc>(),
            Self::MutexVec => visitor.visit::<MutexVec>(),
            Self::SemaphoreVec => visitor.visit::<SemaphoreVec>(),
            Self::R2d2 | Self::CondvarVec => return None,
        })
    }

    /// `None` if it is not for threads.
    pub(in super::super) fn for_threads<V: VisitThreads>(self, visitor: V) -> Option<V::Output> {
        Some(match self {
            Self::Millpond => visitor.visit::<Millpond>(),
            Self::MillpondEventual => visitor.visit::<MillpondEventual>(),
            Self::R2d2 => visitor.visit::<R2d2>(),
            Self::MutexVec => visitor.visit::<MutexVec>(),
            Self::CondvarVec => visitor.visit::<CondvarVec>(),
            Self::MillpondRef | Self::Deadpool | Self::Bb8 | Self::Mobc | Self::SemaphoreVec => return None,
        })
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let value = self.to_possible_value().expect("no value is skipped");
        f.pad(value.get_name())
    }
}
