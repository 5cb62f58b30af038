//! A panic in user code ends that piece of work, not ours.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

/// The panic of user code, its payload dropped.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Panicked;

/// Runs a closure of the user's.
#[inline]
pub(crate) fn call<R>(f: impl FnOnce() -> R) -> Result<R, Panicked> {
    catch_unwind(AssertUnwindSafe(f)).map_err(|payload| {
        // A payload may panic as it is dropped; that one is leaked rather than let out.
        if let Err(another) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            #[expect(clippy::mem_forget, reason = "its drop may panic again, without end")]
            std::mem::forget(another);
        }
        Panicked
    })
}

/// Awaits a future of the user's. It is not polled again after a panic.
pub(crate) async fn future<F: Future>(make: impl FnOnce() -> F) -> Result<F::Output, Panicked> {
    let mut future = pin!(call(make)?);
    std::future::poll_fn(|context| match call(|| future.as_mut().poll(context)) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
        Err(panicked) => Poll::Ready(Err(panicked)),
    })
    .await
}
