//! Threads that start together, and how long they took.

use std::sync::Barrier;
use std::time::Instant;

/// Runs `work(thread)` on each of `threads` at once; returns the wall time for one of `operations` in all, in ns.
///
/// From the first thread's start to the last one's end, by the clocks of the threads: with as many threads as cores, a
/// main thread that read the clock would get its turn too late.
pub(crate) fn time(threads: usize, operations: usize, work: impl Fn(usize) + Sync) -> f64 {
    let spans = run(threads, |thread| {
        let began = Instant::now();
        work(thread);
        (began, Instant::now())
    });
    let began = spans.iter().map(|&(began, _)| began).min();
    let ended = spans.iter().map(|&(_, ended)| ended).max();
    let wall = began.zip(ended).map_or(0, |(began, ended)| (ended - began).as_nanos());
    wall as f64 / operations as f64
}

/// Runs `work(thread)` on each of `threads` at once and returns what they return.
pub(crate) fn run<T: Send>(threads: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let barrier = Barrier::new(threads);
    let (barrier, work) = (&barrier, &work);
    std::thread::scope(|scope| {
        let start = |thread| {
            scope.spawn(move || {
                barrier.wait();
                work(thread)
            })
        };
        let workers: Vec<_> = (0..threads).map(start).collect();
        let finish = |worker: std::thread::ScopedJoinHandle<'_, T>| {
            worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        workers.into_iter().map(finish).collect()
    })
}

/// 1, 2, 4, 8 and as many as there are cores.
pub(crate) fn default_threads() -> Vec<usize> {
    let mut threads = vec![1, 2, 4, 8, cores()];
    threads.sort_unstable();
    threads.dedup();
    threads
}

/// Cores that this process may use.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
