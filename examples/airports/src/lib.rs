//! A REST service over 28,298 airports: what `millpond-cache` and `millpond-pool` look like in a real program.
//!
//! - [`config`]: options and their environment twins.
//! - [`airport`]: the data, and what makes it valid. [`import`]: the bundled CSV.
//! - [`store`]: every statement, through a pool, on SQLite or PostgreSQL.
//! - [`nearest`]: the search for the nearest.
//! - [`cached`]: the caches, and what a write invalidates. [`warm`]: how they outlive the process.
//! - [`views`]: counters, written behind.
//! - [`cluster`]: other instances, and what they tell each other.
//! - [`routes`]: the handlers. [`problem`]: errors as RFC 9457 documents. [`layers`]: the middleware.
//! - [`serve`]: from a configuration to a running server, and its clean end. [`connections`]: what it accepts.

pub mod airport;
pub mod cached;
pub mod cluster;
pub mod config;
pub mod connections;
pub mod import;
pub mod layers;
pub mod metrics;
pub mod nearest;
pub mod problem;
pub mod routes;
pub mod serve;
pub mod store;
pub mod views;
pub mod warm;

/// The examples of README.md, compiled and run with the doc tests.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
pub struct ReadmeDoctests;
