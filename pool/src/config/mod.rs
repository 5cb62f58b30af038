//! The settings as one value: to keep, to compare, to read from a file, and the rules between them.

mod text;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::clock::{Ticks, ticks};
use crate::core::Limits;
use crate::error::{BuildError, ConfigError};

pub(crate) use text::{parse, spell};

/// Who gets a connection that comes back while others wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "String", into = "String"))]
#[non_exhaustive]
pub enum Fairness {
    /// The first of those who wait, always. The connection is idle until that one has woken up.
    #[default]
    Strict,
    /// Whoever is quickest, newcomers included, until somebody has waited for this long; then as [`Strict`](Self::Strict).
    /// More throughput where connections are held for microseconds, longer tails. `parking_lot` calls its like eventual
    /// fairness. The time is that of the pool's clock, whose ticks are 1 to 4 ms on Linux: `eventual 0s` does not exist, and
    /// a limit below a tick means about one tick.
    Eventual(Duration),
}

impl fmt::Display for Fairness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Strict => f.write_str("strict"),
            Self::Eventual(limit) => write!(f, "eventual {}", spell(*limit)),
        }
    }
}

impl FromStr for Fairness {
    type Err = String;

    /// `strict`, or `eventual` and a limit: `eventual 2ms`.
    fn from_str(text: &str) -> Result<Self, String> {
        match text.trim().split_once(char::is_whitespace) {
            None if text.trim() == "strict" => Ok(Self::Strict),
            Some(("eventual", limit)) => parse(limit.trim()).map(Self::Eventual),
            _ => Err("expected `strict` or `eventual 2ms`".into()),
        }
    }
}

impl TryFrom<String> for Fairness {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Fairness> for String {
    fn from(fairness: Fairness) -> Self {
        fairness.to_string()
    }
}

/// The settings of a pool; see the setters of [`PoolBuilder`](crate::PoolBuilder).
///
/// With the feature `serde` it is read from a file: every field may be left out, an unknown one is an error, and durations are
/// text: `250ms`, `30s`, `1m30s`, `null` for an optional one. [`from_vars`](Self::from_vars) and
/// [`from_env`](Self::from_env) need no feature.
///
/// ```
/// use millpond_pool::Config;
/// let vars = [("DB_POOL_MAX_SIZE", "20"), ("DB_POOL_ACQUIRE_TIMEOUT", "2s"), ("DB_POOL_IDLE_TIMEOUT", "off")];
/// let config = Config::from_vars("DB_POOL_", vars)?;
/// assert_eq!((config.max_size, config.idle_timeout), (20, None));
/// let error = Config::from_vars("DB_POOL_", [("DB_POOL_MAX_SIZE", "many")]).unwrap_err();
/// assert!(error.to_string().starts_with("DB_POOL_MAX_SIZE: "));
/// # Ok::<(), millpond_pool::ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
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
    #[cfg_attr(feature = "serde", serde(with = "text::span"))]
    pub acquire_timeout: Duration,
    /// See [`PoolBuilder::connect_timeout`](crate::PoolBuilder::connect_timeout).
    #[cfg_attr(feature = "serde", serde(with = "text::span"))]
    pub connect_timeout: Duration,
    /// See [`PoolBuilder::validation_timeout`](crate::PoolBuilder::validation_timeout).
    #[cfg_attr(feature = "serde", serde(with = "text::span"))]
    pub validation_timeout: Duration,
    /// See [`PoolBuilder::validation_bypass`](crate::PoolBuilder::validation_bypass).
    #[cfg_attr(feature = "serde", serde(with = "text::span"))]
    pub validation_bypass: Duration,
    /// See [`PoolBuilder::idle_timeout`](crate::PoolBuilder::idle_timeout).
    #[cfg_attr(feature = "serde", serde(with = "text::optional_span"))]
    pub idle_timeout: Option<Duration>,
    /// See [`PoolBuilder::max_lifetime`](crate::PoolBuilder::max_lifetime).
    #[cfg_attr(feature = "serde", serde(with = "text::optional_span"))]
    pub max_lifetime: Option<Duration>,
    /// See [`PoolBuilder::keepalive`](crate::PoolBuilder::keepalive).
    #[cfg_attr(feature = "serde", serde(with = "text::optional_span"))]
    pub keepalive: Option<Duration>,
    /// See [`PoolBuilder::backoff`](crate::PoolBuilder::backoff).
    #[cfg_attr(feature = "serde", serde(with = "text::span"))]
    pub backoff_first: Duration,
    /// See [`PoolBuilder::backoff`](crate::PoolBuilder::backoff).
    #[cfg_attr(feature = "serde", serde(with = "text::span"))]
    pub backoff_most: Duration,
    /// See [`PoolBuilder::leak_threshold`](crate::PoolBuilder::leak_threshold).
    #[cfg_attr(feature = "serde", serde(with = "text::optional_span"))]
    pub leak_threshold: Option<Duration>,
    /// See [`PoolBuilder::leak_backtraces`](crate::PoolBuilder::leak_backtraces).
    pub leak_backtraces: Option<u32>,
    /// See [`PoolBuilder::warn_nested`](crate::PoolBuilder::warn_nested).
    pub warn_nested: bool,
    /// See [`PoolBuilder::record_hold_times`](crate::PoolBuilder::record_hold_times).
    pub record_hold_times: bool,
    /// See [`PoolBuilder::fairness`](crate::PoolBuilder::fairness).
    pub fairness: Fairness,
    /// See [`PoolBuilder::shed`](crate::PoolBuilder::shed).
    #[cfg_attr(feature = "serde", serde(with = "text::optional_span"))]
    pub shed_target: Option<Duration>,
    /// See [`PoolBuilder::shed`](crate::PoolBuilder::shed).
    #[cfg_attr(feature = "serde", serde(with = "text::span"))]
    pub shed_interval: Duration,
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
            backoff_most: Duration::from_millis(240),
            leak_threshold: None,
            leak_backtraces: None,
            warn_nested: cfg!(debug_assertions),
            record_hold_times: false,
            fairness: Fairness::Strict,
            shed_target: None,
            shed_interval: Duration::from_secs(1),
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
            ("shed_target", self.shed_target),
            ("shed_interval", Some(self.shed_interval)),
            (
                "fairness",
                match self.fairness {
                    Fairness::Strict => None,
                    Fairness::Eventual(limit) => Some(limit),
                },
            ),
        ];
        for (field, duration) in durations {
            if duration == Some(Duration::ZERO) {
                return Err(BuildError::Zero(field));
            }
        }
        if self.max_waiters == Some(0) {
            return Err(BuildError::MaxWaiters);
        }
        if self.leak_backtraces == Some(0) {
            return Err(BuildError::LeakBacktraces);
        }
        if self.backoff_most < self.backoff_first {
            return Err(BuildError::Backoff { first: self.backoff_first, most: self.backoff_most });
        }
        Ok(())
    }

    /// The settings that the process's environment has under names that begin with `prefix`; see
    /// [`from_vars`](Self::from_vars).
    ///
    /// # Errors
    /// As [`from_vars`](Self::from_vars). A value that is not Unicode is an error too.
    pub fn from_env(prefix: &str) -> Result<Self, ConfigError> {
        let vars = std::env::vars_os().filter_map(|(name, value)| {
            let name = name.into_string().ok()?;
            name.starts_with(prefix).then(|| (name, value.to_string_lossy().into_owned()))
        });
        Self::from_vars(prefix, vars)
    }

    /// The settings that these variables have under names that begin with `prefix`; the others are the defaults.
    ///
    /// The rest of a name is a field's, in capitals: `MAX_SIZE`. Durations are text: `250ms`, `30s`, `1m30s`. `off` or
    /// `none` turns an optional setting off.
    ///
    /// # Errors
    /// [`ConfigError`] names the variable: it is none of ours, can't be read, or does not go with the others.
    pub fn from_vars<N: AsRef<str>, V: AsRef<str>>(
        prefix: &str,
        vars: impl IntoIterator<Item = (N, V)>,
    ) -> Result<Self, ConfigError> {
        let mut config = Self::default();
        for (name, value) in vars {
            let (name, value) = (name.as_ref(), value.as_ref());
            let Some(field) = name.strip_prefix(prefix) else { continue };
            let set = config.set(&field.to_lowercase(), value.trim());
            set.map_err(|reason| ConfigError::Value { name: name.into(), reason })?;
        }
        config.validate().map_err(|error| ConfigError::Build { prefix: prefix.into(), error })?;
        Ok(config)
    }

    fn set(&mut self, field: &str, value: &str) -> Result<(), String> {
        match field {
            "max_size" => self.max_size = text::number(value)?,
            "min_idle" => self.min_idle = text::number(value)?,
            "max_opening" => self.max_opening = text::number(value)?,
            "max_waiters" => self.max_waiters = text::optional(value, text::number)?,
            "acquire_timeout" => self.acquire_timeout = parse(value)?,
            "connect_timeout" => self.connect_timeout = parse(value)?,
            "validation_timeout" => self.validation_timeout = parse(value)?,
            "validation_bypass" => self.validation_bypass = parse(value)?,
            "idle_timeout" => self.idle_timeout = text::optional(value, parse)?,
            "max_lifetime" => self.max_lifetime = text::optional(value, parse)?,
            "keepalive" => self.keepalive = text::optional(value, parse)?,
            "backoff_first" => self.backoff_first = parse(value)?,
            "backoff_most" => self.backoff_most = parse(value)?,
            "leak_threshold" => self.leak_threshold = text::optional(value, parse)?,
            "leak_backtraces" => self.leak_backtraces = text::optional(value, text::number)?,
            "warn_nested" => self.warn_nested = text::flag(value)?,
            "record_hold_times" => self.record_hold_times = text::flag(value)?,
            "fairness" => self.fairness = value.parse()?,
            "shed_target" => self.shed_target = text::optional(value, parse)?,
            "shed_interval" => self.shed_interval = parse(value)?,
            "name" => self.name = Some(value.into()),
            _ => return Err("no such setting".into()),
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
            // 292 years are for ever, too, and may be compared with a sign.
            bypass: ticks(self.validation_bypass).min(Ticks::MAX / 2),
            idle_timeout: span(self.idle_timeout),
            lifetime: span(self.max_lifetime),
            keepalive: span(self.keepalive),
            barging: match self.fairness {
                Fairness::Strict => 0,
                Fairness::Eventual(limit) => ticks(limit),
            },
            shedding: self.shed_target.map(|target| (ticks(target), ticks(self.shed_interval))),
        }
    }
}
