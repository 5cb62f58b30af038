//! The settings of a pool.

use std::time::Duration;

/// The settings of a pool; see the setters of [`PoolBuilder`](crate::PoolBuilder).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// See [`PoolBuilder::max_size`](crate::PoolBuilder::max_size).
    pub max_size: usize,
    /// See [`PoolBuilder::min_idle`](crate::PoolBuilder::min_idle).
    pub min_idle: usize,
    /// See [`PoolBuilder::max_opening`](crate::PoolBuilder::max_opening).
    pub max_opening: usize,
    /// See [`PoolBuilder::acquire_timeout`](crate::PoolBuilder::acquire_timeout).
    pub acquire_timeout: Duration,
    /// See [`PoolBuilder::connect_timeout`](crate::PoolBuilder::connect_timeout).
    pub connect_timeout: Duration,
    /// See [`PoolBuilder::validation_timeout`](crate::PoolBuilder::validation_timeout).
    pub validation_timeout: Duration,
    /// See [`PoolBuilder::validation_bypass`](crate::PoolBuilder::validation_bypass).
    pub validation_bypass: Duration,
    /// See [`PoolBuilder::idle_timeout`](crate::PoolBuilder::idle_timeout).
    pub idle_timeout: Option<Duration>,
    /// See [`PoolBuilder::max_lifetime`](crate::PoolBuilder::max_lifetime).
    pub max_lifetime: Option<Duration>,
    /// See [`PoolBuilder::keepalive`](crate::PoolBuilder::keepalive).
    pub keepalive: Option<Duration>,
    /// See [`PoolBuilder::name`](crate::PoolBuilder::name).
    pub name: Option<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_size: 10,
            min_idle: 0,
            max_opening: 3,
            acquire_timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(10),
            validation_timeout: Duration::from_secs(5),
            validation_bypass: Duration::from_millis(500),
            idle_timeout: Some(Duration::from_secs(10 * 60)),
            max_lifetime: Some(Duration::from_secs(30 * 60)),
            keepalive: Some(Duration::from_secs(2 * 60)),
            name: None,
        }
    }
}
