//! One binary, one file per behaviour. Tests named `bNN_…` stand for a class of bugs that hit other caches.

#[cfg(feature = "tokio")]
mod background;
#[cfg(feature = "store")]
mod backing;
mod basic;
#[cfg(feature = "tokio")]
mod batch;
mod bound;
mod bugs;
mod bulk;
mod circles;
mod clear;
mod clock;
mod compute;
mod compute_async;
#[cfg(feature = "serde")]
mod config;
mod drops;
mod expiry;
mod expiry_rule;
mod extremes;
mod facts;
mod growth;
mod history;
mod hostile;
mod iter;
mod janitor;
mod liars;
mod listener;
mod loading;
mod loading_async;
mod lru;
#[cfg(feature = "metrics")]
mod metrics;
mod model;
#[cfg(all(feature = "redis", feature = "postgres-bus", not(any(millpond_loom, millpond_shuttle))))]
mod nodes;
mod notifications;
mod panics;
mod payloads;
mod policy_view;
mod reentrance;
mod reference;
mod refresh;
#[cfg(feature = "tokio")]
mod refresh_async;
mod removal;
mod resize;
#[cfg(millpond_shuttle)]
mod schedules;
#[cfg(feature = "snapshot")]
mod snapshot;
#[cfg(feature = "tracing")]
mod spans;
mod stale;
mod stats;
#[cfg(feature = "serde")]
mod storm;
mod stress;
mod support;
mod tags;
mod weights;
