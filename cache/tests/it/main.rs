//! One binary, one file per behaviour. Tests named `bNN_…` stand for a class of bugs that hit other caches.

mod basic;
mod bound;
mod clock;
mod compute;
mod compute_async;
mod drops;
mod expiry;
mod expiry_rule;
mod facts;
mod growth;
mod history;
mod iter;
mod janitor;
mod listener;
mod loading;
mod loading_async;
mod model;
mod panics;
mod reentrance;
mod reference;
mod removal;
#[cfg(millpond_shuttle)]
mod schedules;
mod stats;
mod stress;
mod support;
