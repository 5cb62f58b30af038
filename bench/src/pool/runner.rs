//! The loops, generic over the subject, behind an object that is called once a round.

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

use super::adapters::{Kind, Tasks, Threads, VisitTasks, VisitThreads};
use super::load::{Callers, Hold, Load};
use crate::rounds;

/// Connections in each pool.
pub(super) const SIZE: usize = 10;

/// How much is done in a round.
#[derive(Clone, Copy, Debug)]
pub(super) enum Length {
    /// So many borrows by each caller.
    Borrows(usize),
    /// As many as there is time for.
    Time(Duration),
}

/// What a round found.
#[derive(Debug)]
pub(super) struct Round {
    /// Wall time for one borrow and return, in ns.
    pub(super) nanos: f64,
    /// Borrows of each caller.
    pub(super) counts: Vec<usize>,
    /// Waits that were timed, in ns.
    pub(super) waits: Vec<u64>,
}

/// A pool whose connections are open.
pub(super) trait Runner {
    fn round(&self, length: Length) -> Round;
}

/// A subject that is ready, or why it can't do the load.
pub(super) type Made = Result<Box<dyn Runner>, &'static str>;

/// Makes a pool and opens its connections.
pub(super) fn make(kind: Kind, load: Load) -> Made {
    make_for(kind, load, load.callers())
}

/// As [`make`], with so many callers on a single worker.
pub(super) fn make_small(kind: Kind, load: Load, callers: usize) -> Made {
    let callers = match load.callers() {
        Callers::Tasks { .. } => Callers::Tasks { tasks: callers, workers: 1 },
        Callers::Threads(_) => Callers::Threads(callers),
    };
    make_for(kind, load, callers)
}

fn make_for(kind: Kind, load: Load, callers: Callers) -> Made {
    able(kind, load)?;
    let made = match callers {
        Callers::Tasks { tasks, workers } => kind.for_tasks(MakeTasks { load, tasks, workers }),
        Callers::Threads(threads) => kind.for_threads(MakeThreads { load, threads }),
    };
    made.unwrap_or(Err("is for others"))
}

/// Whether a subject can do a load; else why not.
pub(super) fn able(kind: Kind, load: Load) -> Result<(), &'static str> {
    let waits = match load.callers() {
        Callers::Tasks { .. } => kind.for_tasks(Waits).ok_or("is not for tasks"),
        Callers::Threads(_) => kind.for_threads(Waits).ok_or("is not for threads"),
    }?;
    if load.is_contended(SIZE) && !waits { Err("nobody can wait for a connection") } else { Ok(()) }
}

struct Waits;

impl VisitTasks for Waits {
    type Output = bool;

    fn visit<S: Tasks>(self) -> bool {
        S::WAITS
    }
}

impl VisitThreads for Waits {
    type Output = bool;

    fn visit<S: Threads>(self) -> bool {
        S::WAITS
    }
}

struct MakeTasks {
    load: Load,
    tasks: usize,
    workers: usize,
}

impl VisitTasks for MakeTasks {
    type Output = Made;

    fn visit<S: Tasks>(self) -> Made {
        let runtime = if self.workers == 1 {
            tokio::runtime::Builder::new_current_thread().enable_time().build()
        } else {
            tokio::runtime::Builder::new_multi_thread().worker_threads(self.workers).enable_time().build()
        };
        let runtime = runtime.map_err(|_| "there is no runtime")?;
        let pool = runtime.block_on(async {
            let pool: &'static S = Box::leak(Box::new(S::make(SIZE)));
            let mut held = Vec::new();
            for _ in 0..SIZE {
                held.push(pool.get().await);
            }
            pool
        });
        Ok(Box::new(OfTasks { runtime, pool, load: self.load, tasks: self.tasks }))
    }
}

struct OfTasks<S: 'static> {
    runtime: Runtime,
    pool: &'static S,
    load: Load,
    tasks: usize,
}

/// What one caller did.
struct Part {
    began: Instant,
    ended: Instant,
    borrows: usize,
    waits: Vec<u64>,
}

/// When a caller begins and ends.
struct Signals {
    /// Callers that are there.
    here: AtomicUsize,
    over: AtomicBool,
}

fn signals() -> &'static Signals {
    Box::leak(Box::new(Signals { here: AtomicUsize::new(0), over: AtomicBool::new(false) }))
}

impl<S: Tasks> Runner for OfTasks<S> {
    fn round(&self, length: Length) -> Round {
        let Self { runtime, pool, load, tasks } = self;
        let (pool, hold) = (*pool, load.hold());
        let parts = match length {
            Length::Borrows(borrows) if *tasks == 1 => {
                vec![runtime.block_on(borrow_times(pool, hold, borrows))]
            }
            Length::Borrows(borrows) => runtime.block_on(async {
                let signals = signals();
                // As many as workers may hold them up until all have begun, each on its own; more would hold up each other.
                let together = if load.hold() == Hold::No { *tasks } else { 0 };
                let tasks = (0..*tasks).map(|_| {
                    tokio::spawn(async move {
                        signals.here.fetch_add(1, Ordering::SeqCst);
                        while signals.here.load(Ordering::SeqCst) < together {
                            std::hint::spin_loop();
                        }
                        borrow_times(pool, hold, borrows).await
                    })
                });
                all(tasks.collect()).await
            }),
            Length::Time(time) => runtime.block_on(async {
                let signals = signals();
                let one_in = load.timed_one_in();
                let tasks =
                    (0..*tasks).map(|_| tokio::spawn(borrow_until(pool, hold, &signals.over, one_in)));
                let tasks = tasks.collect();
                tokio::time::sleep(time).await;
                signals.over.store(true, Ordering::Relaxed);
                all(tasks).await
            }),
        };
        sum(parts)
    }
}

async fn all(tasks: Vec<tokio::task::JoinHandle<Part>>) -> Vec<Part> {
    let mut parts = Vec::new();
    for task in tasks {
        parts.push(task.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic())));
    }
    parts
}

async fn borrow_times<S: Tasks>(pool: &'static S, hold: Hold, borrows: usize) -> Part {
    let began = Instant::now();
    for _ in 0..borrows {
        let held = black_box(pool.get().await);
        hold.wait().await;
        drop(held);
    }
    Part { began, ended: Instant::now(), borrows, waits: Vec::new() }
}

async fn borrow_until<S: Tasks>(pool: &'static S, hold: Hold, over: &AtomicBool, one_in: usize) -> Part {
    let began = Instant::now();
    let (mut borrows, mut waits) = (0, Vec::new());
    while !over.load(Ordering::Relaxed) {
        let asked = (borrows % one_in == 0).then(Instant::now);
        let held = black_box(pool.get().await);
        waits.extend(asked.map(|asked| asked.elapsed().as_nanos() as u64));
        hold.wait().await;
        drop(held);
        borrows += 1;
    }
    Part { began, ended: Instant::now(), borrows, waits }
}

struct MakeThreads {
    load: Load,
    threads: usize,
}

impl VisitThreads for MakeThreads {
    type Output = Made;

    fn visit<S: Threads>(self) -> Made {
        let pool: &'static S = Box::leak(Box::new(S::make(SIZE)));
        drop((0..SIZE).map(|_| pool.get()).collect::<Vec<_>>());
        Ok(Box::new(OfThreads { pool, load: self.load, threads: self.threads }))
    }
}

struct OfThreads<S: 'static> {
    pool: &'static S,
    load: Load,
    threads: usize,
}

impl<S: Threads> Runner for OfThreads<S> {
    fn round(&self, length: Length) -> Round {
        let Self { pool, load, threads } = *self;
        let one_in = load.timed_one_in();
        sum(rounds::run(threads, |_| {
            let began = Instant::now();
            let (mut borrows, mut waits) = (0, Vec::new());
            let go_on = |borrows: usize| match length {
                Length::Borrows(most) => borrows < most,
                Length::Time(time) => began.elapsed() < time,
            };
            // The clock is read once in `one_in` borrows, for the wait and for the end.
            while go_on(borrows) {
                let asked = Instant::now();
                drop(black_box(pool.get()));
                waits.push(asked.elapsed().as_nanos() as u64);
                for _ in 1..one_in {
                    drop(black_box(pool.get()));
                }
                borrows += one_in;
            }
            if matches!(length, Length::Borrows(_)) {
                waits.clear();
            }
            Part { began, ended: Instant::now(), borrows, waits }
        }))
    }
}

fn sum(parts: Vec<Part>) -> Round {
    let began = parts.iter().map(|part| part.began).min();
    let ended = parts.iter().map(|part| part.ended).max();
    let wall = began.zip(ended).map_or(0, |(began, ended)| (ended - began).as_nanos());
    let counts: Vec<usize> = parts.iter().map(|part| part.borrows).collect();
    let borrows: usize = counts.iter().sum();
    let waits = parts.into_iter().flat_map(|part| part.waits).collect();
    Round { nanos: wall as f64 / borrows.max(1) as f64, counts, waits }
}
