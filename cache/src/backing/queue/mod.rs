//! The queue of write-behind, as a state machine: no lock, no task, no I/O, no clock. `driver` moves it.
//!
//! A *change* is what a key is to become. Each key has at most two: one in flight, which the store is being told, and the next
//! one, into which all later writes are folded. So a key is never in two batches at once, and its writes reach the store
//! in the order in which they were accepted.
//!
//! ```text
//!            accept                 take_batch              land: written
//!  (nothing) ──────▶ in line ─────────────────▶ in flight ───────────────▶ (nothing)
//!                     ▲  ▲                        │  │  land: refused
//!                     │  └── resting ◀────────────┘  └────────▶ a letter ──reported──▶ (nothing)
//!                     └──────── its time is over    land: transient
//! ```
//!
//! A change is *unresolved* from `accept` until the store has it, or it was reported. Its number is that of the oldest write
//! in it; a flush waits until no number up to its own is left.
//!
//! Hashes come from outside, and keys and values that are no longer needed go there ([`Garbage`]), so that of the user's code
//! only `K: Eq` runs in here. Times are ticks of the cache's clock.

mod change;
mod check;
mod depart;
mod enter;
mod land;
mod state;

pub(crate) use self::change::{Accept, Batch, Departed, Landed, Landing, Letter, Limits, Verdict};
pub(crate) use self::state::Queue;
