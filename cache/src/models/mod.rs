//! Models of the lock-free protocols: loom runs them in every interleaving, and with every value that a load may return,
//! up to a bound on preemptions.
//!
//! Run: `just loom`. What they cover, and what they cannot, is in docs/unsafe.md. Memory that the protocols protect is
//! loom's `UnsafeCell` here, told of each access, so that a use after reuse and a missing happens-before fail the model.
//!
//! One file for each protocol.

mod flights;
mod grace;
mod growth;
#[cfg(feature = "store")]
mod hand_over;
mod table;

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

/// `preemptions`: how often a thread is interrupted where it need not be; `LOOM_MAX_PREEMPTIONS` lowers it, not more. Says
/// how many executions there were, and how long they took.
#[expect(clippy::print_stdout, reason = "a count that nobody sees proves nothing")]
fn model(preemptions: usize, test: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.max_branches = 100_000;
    builder.preemption_bound =
        Some(builder.preemption_bound.map_or(preemptions, |bound| bound.min(preemptions)));
    let (executions, began) = (std::sync::Arc::new(AtomicUsize::new(0)), Instant::now());
    let counted = std::sync::Arc::clone(&executions);
    builder.check(move || {
        counted.fetch_add(1, Relaxed);
        test();
    });
    let name = std::thread::current().name().map(String::from).unwrap_or_default();
    let (count, seconds) = (executions.load(Relaxed), began.elapsed().as_secs_f64());
    println!("{count:>9} executions, {seconds:>5.1} s: {name}");
}
