//! Waiting for something outside this process, with a deadline.
//!
//! Another process's state changes without telling us, so it is asked again and again. This is the crate's only
//! place that sleeps.

use std::time::{Duration, Instant};

const STEP: Duration = Duration::from_millis(5);

/// Asks `done` every 5 ms until it gives a value or `limit` has passed. It is asked at least once.
pub(crate) fn until<T>(limit: Duration, mut done: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(value) = done() {
            return Some(value);
        }
        if Instant::now() >= deadline {
            return None;
        }
        #[expect(
            clippy::disallowed_methods,
            reason = "the one polling step; nothing can be waited on instead"
        )]
        std::thread::sleep(STEP);
    }
}
