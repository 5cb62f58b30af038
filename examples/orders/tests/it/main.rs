//! The service over a real channel, on SQLite and PostgreSQL.

mod again;
#[path = "../../examples/client/run.rs"]
mod client;
mod crash;
mod input;
mod outage;
mod placing;
mod reflection;
mod stopping;
mod support;
