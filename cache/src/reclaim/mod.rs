//! When may memory that a reader might still see be reused? Grace periods, with the cost on the side that frees.
//!
//! - [`domain`]: who is pinned, in which period, and what is safe to free.
//! - [`local`]: this thread's participant; [`pin`].
//! - [`barrier`]: the pair of fences, cheap for readers and dear for the one that frees.

mod barrier;
pub(crate) mod domain;
mod local;

pub(crate) use local::{advance, pin, safe, seal};
#[cfg(all(test, millpond_loom))]
pub(crate) use local::{join, pin_as};

pub(crate) use domain::Pinned;
