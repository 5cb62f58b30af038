//! Where entries live: cells that never move, a table that finds them, and a shard that holds both under one lock.
//!
//! - [`cells`]: fixed-size cells of raw memory, addressed by a `u32`; knows neither keys nor values.
//! - [`node`]: the typed view of a cell.
//! - [`table`]: hash to cell, read without a lock.
//! - [`limbo`]: cells that a reader may still see.
//! - [`times`]: deadlines, allocated only for shards that have one. [`wheel`]: whose comes next.
//!   [`timers`]: both, as writers use them.
//! - [`shard`]: all of it behind one mutex for writers, and the lock-free lookup. [`locked`]: what writers do.
//! - [`cleared`]: a shard that is emptied at once.
//! - [`tags`]: which entries carry which tag; [`tagged`]: as writers use it.
//! - `restore`: what a snapshot takes and puts back.
//! - [`shards`]: all of them.
//! - [`swap`]: a new value in the place of an old one, the short way.

pub(crate) mod cells;
pub(crate) mod cleared;
pub(crate) mod limbo;
pub(crate) mod locked;
pub(crate) mod node;
mod ranks;
#[cfg(feature = "snapshot")]
mod restore;
pub(crate) mod shard;
pub(crate) mod shards;
pub(crate) mod swap;
pub(crate) mod table;
mod tagged;
pub(crate) mod tags;
mod timers;
pub(crate) mod times;
pub(crate) mod wheel;
