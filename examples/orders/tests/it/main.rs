//! The service over a real channel, on SQLite and PostgreSQL.

mod crash;
mod input;
mod outage;
mod placing;
mod stopping;
mod support;
