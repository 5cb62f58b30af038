//! Threads that start together, and what their times say.

use std::sync::Barrier;
use std::time::Instant;

/// Runs `work(thread)` on each of `threads` at once; returns the wall time for one of `operations` in all, in ns.
pub(crate) fn time(threads: usize, operations: usize, work: impl Fn(usize) + Sync) -> f64 {
    let barrier = Barrier::new(threads + 1);
    let (barrier, work) = (&barrier, &work);
    let elapsed = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|thread| {
                scope.spawn(move || {
                    barrier.wait();
                    work(thread);
                })
            })
            .collect();
        barrier.wait();
        let began = Instant::now();
        for worker in workers {
            if let Err(panic) = worker.join() {
                std::panic::resume_unwind(panic);
            }
        }
        began.elapsed()
    });
    elapsed.as_nanos() as f64 / operations as f64
}

/// Median, least and greatest.
pub(crate) fn spread(mut values: Vec<f64>) -> (f64, f64, f64) {
    values.sort_by(f64::total_cmp);
    let last = values.len() - 1;
    (values[last / 2], values[0], values[last])
}
