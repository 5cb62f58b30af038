//! Private PostgreSQL and Redis servers for tests and demos.
//!
//! A test of a connection pool is only worth something against the real server: one that can be killed, frozen
//! and brought back. This crate starts such servers from the binaries already on the machine. There is no Docker,
//! no fixed port and no network but loopback. Every server
//!
//! - lives in its own temporary folder, on a free port of 127.0.0.1, behind a random password;
//! - is answering when `start()` returns;
//! - can be killed (`kill -9` of every process it has), paused, resumed and restarted on the same port;
//! - is gone, folder and all, when its value is dropped, when the test panics, and also when the whole test
//!   process is killed or keeps the server in a `static` (a small watcher process sees to that).
//!
//! PostgreSQL refuses to run as root. A root caller's servers therefore run as another user (`postgres` or
//! `redis`, else `nobody`); everyone else's run as the caller.
//!
//! All calls block. In async code call them through `spawn_blocking`, or where blocking does no harm.
//!
//! ```
//! use servers::Postgres;
//!
//! # fn main() -> Result<(), servers::Error> {
//! // `require` skips, loudly, where PostgreSQL is not installed.
//! let Some(postgres) = servers::require(Postgres::start()) else { return Ok(()) };
//! assert!(postgres.url().starts_with("postgres://postgres:"));
//! postgres.kill()?;
//! assert!(!postgres.is_running());
//! postgres.restart()?;
//! assert!(postgres.is_running());
//! # Ok(())
//! # }
//! ```
//!
//! # Where is what
//!
//! | file | concept |
//! |---|---|
//! | `postgres.rs`, `redis.rs` | the two servers: their builders, settings, and the question that shows they answer |
//! | `require.rs` | skipped or failed: what a test does where the binary is missing |
//! | `daemon.rs` | the life of one server process: start, stop, kill, pause, resume, restart, drop |
//! | `template.rs` | `initdb` once per machine and user, a copy each time after |
//! | `binaries.rs` | where binaries are looked for |
//! | `account.rs` | whom a server runs as |
//! | `tree.rs` | signals to a whole process tree |
//! | `watcher.rs` | the process that cleans up when ours cannot |

mod account;
mod binaries;
mod daemon;
mod error;
mod poll;
mod port;
mod postgres;
mod redis;
mod require;
mod secret;
mod template;
mod tree;
mod watcher;

pub use error::Error;
pub use postgres::{Postgres, PostgresBuilder};
pub use redis::{Redis, RedisBuilder};
pub use require::require;
