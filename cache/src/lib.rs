//! An in-process cache with W-TinyLFU eviction, lock-free reads, expiry and single-flight loading.
//!
//! ```
//! use millpond_cache::Cache;
//! use std::time::Duration;
//!
//! let cache: Cache<u32, String> = Cache::builder()
//!     .max_capacity(10_000)
//!     .time_to_live(Duration::from_secs(600))
//!     .record_stats()
//!     .build()?;
//!
//! cache.insert(1, String::from("one"));
//! assert_eq!(cache.get(&1).as_deref(), Some("one"));
//! // On a miss, one caller loads and all others wait for it:
//! let two = cache.get_or_insert_with(2, || String::from("two"));
//! assert_eq!(two, "two");
//! assert_eq!(cache.stats().hits(), 1);
//! # Ok::<(), millpond_cache::BuildError>(())
//! ```
//!
//! # Contents
//! - [`Cache`]: all operations, and what they promise about locks, drops and panics.
//! - [`CacheBuilder`]: every setting, its unit and its default.
//! - Reading: [`Cache::get`] clones, [`Cache::read`] and [`Cache::pin`] do not.
//! - Loading: [`Cache::get_or_insert_with`] and its fallible and async twins.
//! - Loaders that find nothing: [`Cache::optionally_get_with`]; loaders that fail:
//!   [`CacheBuilder::stale_if_error`].
//! - Values that are loaded again while the old ones are served: [`CacheBuilder::refresh_after`], [`Refresh`].
//! - Many keys at once: [`Cache::get_all`], and [`Cache::get_many_with`] with one load for what is missing.
//! - With the feature `tokio`: [`BatchLoader`], which gathers single misses into bulk loads, and loads that outlive their
//!   caller, [`Cache::get_or_insert_with_detached`].
//! - With the feature `store`: [`backing`], caches that read through to a database and write through or behind to it.
//! - With the features `redis` and `postgres-bus`: `nodes`, a shared cache behind the caches of several processes, and what keeps them
//!   coherent.
//! - Read, decide, write as one step: [`Cache::entry`] and [`EntrySelector`].
//! - Weights in bytes for common types: [`weighers`].
//! - The bound and who leaves: [`Cache::set_max_capacity`], [`EvictionPolicy`], [`Admission`], [`Cache::policy`].
//! - [`RemovalCause`], [`Stats`], [`LoadTimes`]: what left, what was counted. [`Notifications`]: what left, on another thread or in a task.
//! - Entries removed together, by tag: [`Cache::insert_with_tags`], [`Cache::invalidate_tag`].
//! - With the feature `serde`: `CacheConfig`, settings from a file.
//! - With the feature `snapshot`: `Cache::save_snapshot`, `Cache::load_snapshot`, so that a restart is a warm one.
//! - [`Expiry`], [`Cache::set_expires_after`]: a life of its own for each entry.
//! - [`Cache::spawn_janitor`]: housekeeping while nobody writes; as a tokio task with the feature `tokio`.
//! - `Cache::publish_metrics`: statistics for the recorder of the `metrics` crate, with the feature `metrics`.
//! - A span of `tracing` called `cache_load` around each load, at the level of debug, with the feature `tracing`.
//! - [`Clock`], [`ManualClock`]: time, and tests that move it by hand.

#[cfg(feature = "store")]
pub mod backing;
#[cfg(feature = "tokio")]
mod batch;
mod builder;
mod bulk;
mod cache;
mod capacity;
mod clock;
pub mod compute;
#[cfg(feature = "serde")]
mod config;
mod contain;
mod core;
mod counter;
mod counters;
#[cfg(feature = "tokio")]
mod detached;
mod entry;
mod error;
mod eviction;
mod expiry;
mod flight;
mod freshness;
mod freshness_settings;
mod iter;
mod janitor;
mod listener;
mod load_times;
mod loading;
mod metrics;
#[cfg(all(test, millpond_loom))]
mod models;
#[cfg(feature = "nodes")]
pub mod nodes;
mod notifications;
mod optional;
mod pin;
/// The eviction policy: knows slots, hashes and weights; no key, no value, no lock, no clock.
#[doc(hidden)]
pub mod policy;
mod policy_view;
mod prefetch;
mod reclaim;
mod refresh;
mod refresher;
mod rejected;
mod removal;
mod shard_count;
#[cfg(feature = "snapshot")]
mod snapshot;
mod span;
mod stats;
mod store;
mod sync;
mod tags;
mod waiter;
pub mod weighers;
mod zeroed;

#[cfg(feature = "tokio")]
pub use crate::batch::BatchLoader;
pub use crate::builder::CacheBuilder;
pub use crate::cache::Cache;
pub use crate::clock::{Clock, ManualClock};
#[cfg(feature = "serde")]
pub use crate::config::CacheConfig;
pub use crate::entry::EntrySelector;
pub use crate::error::{BuildError, ResizeError};
pub use crate::eviction::{Admission, EvictionPolicy};
pub use crate::expiry::Expiry;
pub use crate::iter::Iter;
pub use crate::load_times::LoadTimes;
pub use crate::notifications::{Notifications, Removal, WhenFull};
pub use crate::pin::PinGuard;
pub use crate::policy_view::{PolicyView, Region, Regions};
pub use crate::refresh::Refresh;
pub use crate::refresher::RefreshJob;
pub use crate::rejected::Rejected;
pub use crate::removal::RemovalCause;
#[cfg(feature = "snapshot")]
pub use crate::snapshot::{SnapshotError, SnapshotReport};
pub use crate::stats::Stats;
