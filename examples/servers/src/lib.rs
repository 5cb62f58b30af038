//! Private PostgreSQL and Redis servers for tests and demos, started from the binaries on this machine.
//!
//! No Docker, no fixed ports, nothing but loopback. Each server has its own temporary folder and dies with its handle.
//!
//! ```no_run
//! let Some(server) = servers::require(servers::Postgres::start()) else { return };
//! println!("{}", server.url());
//! ```
//!
//! - [`Postgres`], [`Redis`]: the servers.
//! - [`require`]: turns a missing binary into a loud skip, or into a failure under `MILLPOND_REQUIRE_SERVERS=1`.
//! - [`process`]: what both share: start, wait, kill, freeze, thaw.

mod binaries;
mod error;
mod postgres;
pub mod process;
mod redis;

pub use crate::error::{Error, require};
pub use crate::postgres::{Postgres, PostgresBuilder};
pub use crate::redis::Redis;
