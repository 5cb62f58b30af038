//! Panics of user code that go no further.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs user code; none if it panicked.
pub(crate) fn contain<R>(run: impl FnOnce() -> R) -> Option<R> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(result) => Some(result),
        Err(payload) => {
            dispose(payload);
            None
        }
    }
}

/// Drops what somebody panicked with. It is a value of the user's, whose drop may panic as well.
#[cold]
pub(crate) fn dispose(payload: Box<dyn Any + Send>) {
    if let Err(another) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        // That may go on for ever; one that panics twice is not worth its memory.
        #[expect(clippy::mem_forget, reason = "its drop might panic again")]
        std::mem::forget(another);
    }
}

#[cfg(test)]
mod tests {
    use std::panic::panic_any;

    use super::*;

    /// Panics when it is dropped, with another one of its kind.
    struct Bomb(u32);

    impl Drop for Bomb {
        fn drop(&mut self) {
            if self.0 > 0 {
                panic_any(Self(self.0 - 1));
            }
        }
    }

    #[test]
    fn what_was_panicked_with_goes_no_further_either() {
        assert_eq!(contain(|| 7), Some(7));
        for depth in 0..4 {
            assert_eq!(contain(|| -> u32 { panic_any(Bomb(depth)) }), None);
        }
    }
}
