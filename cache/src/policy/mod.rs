//! The eviction policy: adaptive W-TinyLFU with one reference bit an entry.
//!
//! A new entry joins a small *window*. When the cache is full, the window's oldest entry meets the oldest of *main*, and
//! the one that was used more often lately stays (G. Einziger, R. Friedman, B. Manes, "TinyLFU: A highly efficient cache
//! admission policy", ACM ToS 2017; the window and its adaptation: G. Einziger, O. Eytan, R. Friedman, B. Manes,
//! "Adaptive software cache management", Middleware 2018). Main is segmented: entries used again while on *probation* are
//! *protected*. All queues are FIFO with a second chance, so a hit moves nothing: it sets the entry's reference bit, and
//! only if that is clear. What the hands find when they come round feeds the frequency sketch.
//!
//! The policy knows slots, hashes and weights: no key, no value, no lock, no clock. It decides *what* to evict, the
//! engine decides *when*; each call does bounded work.
//!
//! # Contents
//! - `Header`: what the policy keeps in an entry; the hit path. `Activity`: what hits report.
//! - `Policy`: `state` and what the engine calls; `evict`: hands and duels; `resize`: quotas on the move; `view`, `check`.
//! - `Entries`: how the policy sees the engine's entries.
//! - `quota`: the shares of window and main. `region`: where an entry can be.
//! - `sketch`: how often a key was used. `ghost`: what was evicted lately. `climber`: how large the window should be.
//! - `kind`, `dispatch`: which rule evicts. `av`: admission by weight. `lru`: in the order of use.
//! - `judged`: what a victim that waits was found to be worth.
//! - `lists`, `chunked`: intrusive queues by slot. `random`: hash spreading, a coin.

mod activity;
mod av;
mod check;
mod chunked;
mod climber;
mod dispatch;
mod entries;
mod evict;
mod ghost;
mod header;
mod judged;
mod kind;
mod lists;
mod lru;
mod quota;
mod random;
mod region;
mod resize;
#[cfg(feature = "snapshot")]
mod restore;
mod sketch;
mod state;
#[cfg(test)]
mod tests;
mod view;

pub use activity::Activity;
pub(crate) use chunked::Chunked;
pub use entries::Entries;
pub use header::{Header, Mark, Marks, Place, Seen};
pub use kind::Kind;
pub(crate) use random::Random;
#[cfg(feature = "snapshot")]
pub(crate) use restore::PLACES;
pub use state::{Config, Policy};
pub use view::{Held, Parts};
