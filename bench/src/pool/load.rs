//! Who borrows, how many of them at once, and for how long.

use std::time::{Duration, Instant};

use clap::ValueEnum;

/// What is done.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Load {
    /// One task alone
    Alone,
    /// Two tasks on two workers
    Tasks2,
    /// 64 tasks on two workers, which hold connections over one turn of the scheduler
    Tasks64,
    /// 1000 tasks on two workers, which hold connections for 50 µs
    Tasks1000,
    /// Two threads
    Threads2,
    /// 8 threads
    Threads8,
    /// 32 threads
    Threads32,
}

/// Who borrows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Callers {
    Tasks { tasks: usize, workers: usize },
    Threads(usize),
}

/// How long a connection is held.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Hold {
    No,
    /// Until the scheduler has come round once.
    Turn,
    /// Until this is over; others run meanwhile. Timers are too coarse for microseconds.
    For(Duration),
}

impl Load {
    pub(super) fn callers(self) -> Callers {
        match self {
            Self::Alone => Callers::Tasks { tasks: 1, workers: 1 },
            Self::Tasks2 => Callers::Tasks { tasks: 2, workers: 2 },
            Self::Tasks64 => Callers::Tasks { tasks: 64, workers: 2 },
            Self::Tasks1000 => Callers::Tasks { tasks: 1000, workers: 2 },
            Self::Threads2 => Callers::Threads(2),
            Self::Threads8 => Callers::Threads(8),
            Self::Threads32 => Callers::Threads(32),
        }
    }

    pub(super) fn hold(self) -> Hold {
        match self {
            Self::Tasks64 => Hold::Turn,
            Self::Tasks1000 => Hold::For(Duration::from_micros(50)),
            _ => Hold::No,
        }
    }

    /// Whether there are more callers than connections, so that who is served how often and how late is worth a look.
    pub(super) fn is_contended(self, size: usize) -> bool {
        self.callers().count() > size
    }

    /// One borrow in so many is timed: a timer would be a large part of a short one.
    pub(super) fn timed_one_in(self) -> usize {
        match self {
            Self::Tasks1000 => 1,
            Self::Tasks64 => 16,
            _ => 64,
        }
    }
}

impl Callers {
    pub(super) fn count(self) -> usize {
        match self {
            Self::Tasks { tasks, .. } => tasks,
            Self::Threads(threads) => threads,
        }
    }
}

impl Hold {
    #[inline]
    pub(super) async fn wait(self) {
        match self {
            Self::No => {}
            Self::Turn => turn().await,
            Self::For(span) => {
                let began = Instant::now();
                while began.elapsed() < span {
                    turn().await;
                }
            }
        }
    }
}

/// Goes to the end of the scheduler's queue. `tokio::task::yield_now` would also poll its timers.
async fn turn() {
    let mut over = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut over, true) {
            return std::task::Poll::Ready(());
        }
        context.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}

impl std::fmt::Display for Load {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let value = self.to_possible_value().expect("no value is skipped");
        f.pad(value.get_name())
    }
}
