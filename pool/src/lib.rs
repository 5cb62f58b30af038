//! A generic connection pool: fair waiters, direct hand-off, checks off the hot path, calm in an outage.
//!
//! ```
//! use millpond_pool::{Manager, Pool};
//! use std::{convert::Infallible, time::Duration};
//!
//! struct Counter;
//! impl Manager for Counter {
//!     type Connection = u32;
//!     type Error = Infallible;
//!     async fn connect(&self) -> Result<u32, Infallible> {
//!         Ok(0)
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let pool = Pool::builder(Counter).max_size(4).acquire_timeout(Duration::from_secs(5)).build()?;
//! let mut connection = pool.get().await?;
//! *connection += 1;
//! drop(connection); // back to the pool
//! assert_eq!(*pool.get().await?, 1);
//! # Ok(()) }
//! ```
//!
//! # Contents
//! - [`Pool`]: borrow, close, resize, statistics. [`Guard`]: a borrowed connection.
//! - [`Manager`]: how to open, check, clean and close a connection; what each method may do.
//! - [`PoolBuilder`]: every setting, its unit and its default.
//! - [`Error`]: which step failed, the counts, and the last connect error.
//! - [`managers`]: ready-made ones, each behind a feature; adapters for managers of deadpool, bb8 and r2d2.
//! - [`multi`]: several targets: primaries and replicas, balancing, failover.
//!
//! # What it promises
//! - No more than `max_size` connections are open or being opened, at any time.
//! - Waiters are served in the order they came; a newcomer never passes one; a returned connection goes to the first of
//!   them directly. One who leaves loses nothing and holds up nobody.
//! - Connections are opened in the background, not by those who wait: a returned connection serves a waiter while another
//!   is still being opened, and a caller who gives up wastes no dial.
//! - `get` returns within its timeout, whatever hangs. The error tells the step and the cause.
//! - Returning needs no runtime, no task and no allocation, and works anywhere, also while unwinding.

mod acquire;
mod alarm;
mod builder;
mod call;
mod checker;
mod clock;
mod config;
mod contain;
mod core;
mod error;
mod event;
mod guard;
mod hooks;
mod inner;
mod maintenance;
mod manager;
pub mod managers;
mod meters;
#[cfg(all(test, millpond_loom))]
mod models;
pub mod multi;
mod opener;
mod pool;
mod request;
mod rt;
#[cfg(all(test, millpond_shuttle))]
mod schedules;
mod shelf;
mod stats;
mod sync;
mod timings;
mod waiters;
mod watch;

pub use crate::builder::PoolBuilder;
pub use crate::clock::{Clock, ManualClock, TokioClock};
pub use crate::config::{Config, Fairness};
pub use crate::error::{BuildError, ConfigError, ConnectError, ConnectFailure, Error, StartError, Step};
pub use crate::event::Event;
pub use crate::guard::{Guard, GuardRef};
pub use crate::hooks::HookFuture;
pub use crate::manager::{Manager, Verdict};
pub use crate::pool::Pool;
pub use crate::request::{Priority, Request};
pub use crate::stats::{Stats, Status};
pub use crate::timings::{Histogram, Timings};
pub use crate::watch::Borrow;
