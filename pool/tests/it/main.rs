//! One binary, one file per behaviour. T1..T38 are the bug classes that hit other pools; tests carry their numbers.

mod basic;
mod blocking;
mod cancellation;
mod close;
mod fairness;
mod maintenance;
mod model;
mod outage;
mod panics;
#[cfg(feature = "sqlx-postgres")]
mod postgres;
#[cfg(feature = "sqlx-sqlite")]
mod sqlite;
mod stress;
mod support;
