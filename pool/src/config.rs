//! The settings as one value: to keep, to compare, to read from a file, and the rules between them.

use std::time::Duration;

use crate::clock::{Ticks, ticks};
use crate::core::Limits;
use crate::error::BuildError;

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
    /// See [`PoolBuilder::max_waiters`](crate::PoolBuilder::max_waiters).
    pub max_waiters: Option<usize>,
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
    /// See [`PoolBuilder::backoff`](crate::PoolBuilder::backoff).
    pub backoff_first: Duration,
    /// See [`PoolBuilder::backoff`](crate::PoolBuilder::backoff).
    pub backoff_most: Duration,
    /// See [`PoolBuilder::leak_threshold`](crate::PoolBuilder::leak_threshold).
    pub leak_threshold: Option<Duration>,
    /// See [`PoolBuilder::name`](crate::PoolBuilder::name).
    pub name: Option<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_size: 10,
            min_idle: 0,
            max_opening: 3,
            max_waiters: None,
            acquire_timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(10),
            validation_timeout: Duration::from_secs(5),
            validation_bypass: Duration::from_millis(500),
            idle_timeout: Some(Duration::from_secs(10 * 60)),
            max_lifetime: Some(Duration::from_secs(30 * 60)),
            keepalive: Some(Duration::from_secs(2 * 60)),
            backoff_first: Duration::from_millis(10),
            backoff_most: Duration::from_millis(200),
            leak_threshold: None,
            name: None,
        }
    }
}

impl Config {
    /// Whether a pool can be built with these settings.
    ///
    /// # Errors
    /// [`BuildError`] names the setting that can't be honoured.
    pub fn validate(&self) -> Result<(), BuildError> {
        let Self { max_size, min_idle, .. } = *self;
        if max_size == 0 {
            return Err(BuildError::MaxSize);
        }
        if min_idle > max_size {
            return Err(BuildError::MinIdle { min_idle, max_size });
        }
        if self.max_opening == 0 {
            return Err(BuildError::MaxOpening);
        }
        let durations = [
            ("connect_timeout", Some(self.connect_timeout)),
            ("validation_timeout", Some(self.validation_timeout)),
            ("idle_timeout", self.idle_timeout),
            ("max_lifetime", self.max_lifetime),
            ("keepalive", self.keepalive),
            ("backoff_first", Some(self.backoff_first)),
            ("leak_threshold", self.leak_threshold),
        ];
        for (field, duration) in durations {
            if duration == Some(Duration::ZERO) {
                return Err(BuildError::Zero(field));
            }
        }
        if self.backoff_most < self.backoff_first {
            return Err(BuildError::Backoff { first: self.backoff_first, most: self.backoff_most });
        }
        Ok(())
    }

    /// In the core's units.
    pub(crate) fn limits(&self) -> Limits {
        let span = |duration: Option<Duration>| duration.map_or(Ticks::MAX, ticks);
        Limits {
            min_idle: self.min_idle,
            max_opening: self.max_opening,
            max_waiters: self.max_waiters.unwrap_or(usize::MAX),
            bypass: ticks(self.validation_bypass),
            idle_timeout: span(self.idle_timeout),
            lifetime: span(self.max_lifetime),
            keepalive: span(self.keepalive),
        }
    }
}
