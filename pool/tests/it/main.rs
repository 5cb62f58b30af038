//! One binary, one file per behaviour. T1..T38 are the bug classes that hit other pools; tests carry their numbers.

#[cfg(all(
    feature = "bb8",
    feature = "deadpool",
    feature = "r2d2",
    feature = "redis",
    feature = "tokio-postgres"
))]
mod adapters;
mod basic;
mod blocking;
mod bugs;
mod cancellation;
mod chaos;
mod close;
mod fairness;
#[cfg(all(feature = "redis", feature = "tokio-postgres"))]
mod faults;
mod features;
mod gates;
mod maintenance;
mod model;
mod multi;
#[cfg(all(unix, feature = "sqlx-mysql"))]
mod mysql;
mod outage;
mod panics;
#[cfg(feature = "sqlx-postgres")]
mod postgres;
#[cfg(all(feature = "redis", feature = "tokio-postgres"))]
mod proxy;
#[cfg(all(target_os = "linux", feature = "tokio-postgres"))]
mod replica;
#[cfg(feature = "sqlx-sqlite")]
mod sqlite;
mod stress;
mod support;
mod timeouts;
