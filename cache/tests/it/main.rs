//! One binary, one file per behaviour. Tests named `bNN_…` stand for a class of bugs that hit other caches.

#[cfg(feature = "tokio")]
mod background;
#[cfg(feature = "store")]
mod backing;
mod basic;
#[cfg(feature = "tokio")]
mod batch;
mod bound;
mod bulk;
mod compute;
mod compute_async;
mod drops;
mod expiry;
mod expiry_rule;
mod facts;
mod growth;
mod history;
mod hostile;
mod iter;
mod janitor;
mod listener;
mod loading;
mod loading_async;
mod lru;
mod model;
mod panics;
mod reentrance;
mod reference;
mod removal;
#[cfg(millpond_shuttle)]
mod schedules;
mod stale;
mod stats;
mod stress;
mod support;
mod weights;
