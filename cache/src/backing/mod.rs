//! Caches with a store behind them: read-through, write-through and write-behind.
//!
//! A [`StoreCache`] answers reads from the cache and asks its [`Store`] on a miss, once for all who ask for a key at a
//! time. What it promises about writes depends on how it was built:
//!
//! - [`read_through`](crate::CacheBuilder::read_through) alone: it does not write.
//! - [`write_through`](StoreCacheBuilder::write_through): `put` returns when the store has the value. Cache and store agree
//!   whatever fails.
//! - [`write_behind`](StoreCacheBuilder::write_behind): `put` returns when the value is in a queue, which is written in
//!   batches. Reads see it at once. A crash loses what was not flushed, unless there is a
//!   journal (`WriteBehind::journal`, feature `journal`).
//!
//! docs/guides/write-modes.md says which to choose and what each promises in which crash. Needs the feature `store`.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use millpond_cache::Cache;
//! use millpond_cache::backing::{Store, StoreError, Write, WriteBehind, Written};
//! use std::collections::HashMap;
//! use std::sync::{Arc, RwLock};
//! use std::time::Duration;
//!
//! #[derive(Default)]
//! struct Views(RwLock<HashMap<String, u64>>);
//!
//! impl Store<String, u64> for Views {
//!     type Error = String;
//!
//!     async fn load(&self, airport: &String) -> Result<Option<u64>, StoreError<String>> {
//!         Ok(self.0.read().unwrap().get(airport).copied())
//!     }
//!
//!     async fn write(&self, batch: &[Write<String, u64>]) -> Result<Written<String>, StoreError<String>> {
//!         let mut table = self.0.write().unwrap();
//!         for write in batch {
//!             match write.value() {
//!                 Some(&views) => table.insert(write.key().clone(), views),
//!                 None => table.remove(write.key()),
//!             };
//!         }
//!         Ok(Written::all())
//!     }
//! }
//!
//! let table = Arc::new(Views::default());
//! let views = Cache::builder()
//!     .max_capacity(10_000)
//!     .negative_time_to_live(Duration::from_secs(5), Option::is_none)
//!     .read_through(Arc::clone(&table))
//!     .write_behind(WriteBehind::new(|letter| eprintln!("lost: {letter:?}")))
//!     .build()?;
//!
//! for n in 1..=1000 {
//!     views.put(String::from("KJFK"), n).await?;
//! }
//! assert_eq!(views.get("KJFK").await?, Some(1000));
//! views.flush().await;
//! assert_eq!(table.0.read().unwrap()["KJFK"], 1000);
//! assert!(views.stats().written() < 10, "and 1000 puts were few writes");
//! views.close(Duration::from_secs(10)).await?;
//! # Ok(())
//! # }
//! ```

mod behind;
mod blocking;
pub(crate) mod breaker;
mod builder;
mod dead_letter;
pub(crate) mod driven;
mod driver;
mod error;
mod face;
pub(crate) mod inner;
#[cfg(feature = "journal")]
mod journal;
mod journal_error;
mod log;
mod many;
pub(crate) mod queue;
mod settings;
mod stats;
mod store;
mod turns;
mod write_behind;
mod write_through;

#[cfg(test)]
mod queue_model;

pub use self::blocking::{Blocking, BlockingStore};
pub use self::builder::StoreCacheBuilder;
pub use self::dead_letter::{DeadCause, DeadLetter};
pub use self::error::{CloseError, StoreCacheError};
pub use self::face::StoreCache;
#[cfg(feature = "journal")]
pub use self::journal::{Journal, JournalOptions, JournalReport, JournalSync};
pub use self::journal_error::JournalError;
pub use self::many::PutManyError;
pub use self::settings::{WhenFull, WriteBehind};
pub use self::stats::StoreStats;
pub use self::store::{Lasting, Store, StoreError, Write, Written};
