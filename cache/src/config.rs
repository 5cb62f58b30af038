//! Settings of a cache as they stand in a configuration file. With the feature `serde`.

use std::time::Duration;

use jiff::fmt::serde::unsigned_duration::friendly::compact::optional;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};

use crate::builder::CacheBuilder;
use crate::eviction::{Admission, EvictionPolicy};

/// The settings of a cache that a file can hold; [`builder`](Self::builder) makes a [`CacheBuilder`] of them.
///
/// Each is that of the builder's method of the same name, and so is its default. Durations are written as `"10m"`, `"1h 30m"` or
/// `"1.5s"`. A field that does not exist is an error that names it, so a slip of the pen does not go unnoticed; a value that can't be
/// honoured is an error of [`build`](CacheBuilder::build), which names the field.
///
/// ```
/// use millpond_cache::{Cache, CacheConfig};
/// let config: CacheConfig = serde_json::from_str(
///     r#"{ "name": "airports", "max_capacity": 10000, "time_to_live": "10m", "time_to_live_jitter": 0.1 }"#,
/// )?;
/// let cache: Cache<u32, String> = config.builder().build()?;
/// assert_eq!((cache.name(), cache.max_capacity()), (Some("airports"), Some(10_000)));
///
/// let wrong: CacheConfig = serde_json::from_str(r#"{ "max_capacity": 100, "shards": 3 }"#)?;
/// let error = wrong.builder::<u32, String>().build().unwrap_err();
/// assert!(error.to_string().starts_with("shards: 3"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct CacheConfig {
    /// See [`CacheBuilder::name`].
    pub name: Option<String>,
    /// See [`CacheBuilder::max_capacity`].
    pub max_capacity: Option<u64>,
    /// See [`CacheBuilder::max_weight`]; the weigher is code and is set on the builder.
    pub max_weight: Option<u64>,
    /// See [`CacheBuilder::time_to_live`].
    #[serde(serialize_with = "optional::serialize", deserialize_with = "time_to_live")]
    pub time_to_live: Option<Duration>,
    /// See [`CacheBuilder::time_to_live_jitter`].
    pub time_to_live_jitter: Option<f64>,
    /// See [`CacheBuilder::time_to_idle`].
    #[serde(serialize_with = "optional::serialize", deserialize_with = "time_to_idle")]
    pub time_to_idle: Option<Duration>,
    /// See [`CacheBuilder::eviction_policy`]: `tiny_lfu` or `lru`.
    pub eviction_policy: EvictionPolicy,
    /// See [`CacheBuilder::admission`]: `frequency` or `size_aware`.
    pub admission: Admission,
    /// See [`CacheBuilder::record_stats`].
    pub record_stats: bool,
    /// See [`CacheBuilder::shards`].
    pub shards: Option<usize>,
    /// See [`CacheBuilder::expected_entries`].
    pub expected_entries: Option<u64>,
}

impl CacheConfig {
    /// A builder with these settings, for what a file can't hold: weigher, listener, expiry, hasher.
    pub fn builder<K, V>(&self) -> CacheBuilder<K, V> {
        // By name, so that a new field is not forgotten here.
        let Self {
            name,
            max_capacity,
            max_weight,
            time_to_live,
            time_to_live_jitter,
            time_to_idle,
            eviction_policy,
            admission,
            record_stats,
            shards,
            expected_entries,
        } = self;
        let mut builder = CacheBuilder::default().eviction_policy(*eviction_policy).admission(*admission);
        if let Some(name) = name {
            builder = builder.name(name);
        }
        if let Some(max) = *max_capacity {
            builder = builder.max_capacity(max);
        }
        if let Some(max) = *max_weight {
            builder = builder.max_weight(max);
        }
        if let Some(life) = *time_to_live {
            builder = builder.time_to_live(life);
        }
        if let Some(fraction) = *time_to_live_jitter {
            builder = builder.time_to_live_jitter(fraction);
        }
        if let Some(idle) = *time_to_idle {
            builder = builder.time_to_idle(idle);
        }
        if *record_stats {
            builder = builder.record_stats();
        }
        if let Some(shards) = *shards {
            builder = builder.shards(shards);
        }
        if let Some(entries) = *expected_entries {
            builder = builder.expected_entries(entries);
        }
        builder
    }
}

fn time_to_live<'d, D: Deserializer<'d>>(from: D) -> Result<Option<Duration>, D::Error> {
    duration(from, "time_to_live")
}

fn time_to_idle<'d, D: Deserializer<'d>>(from: D) -> Result<Option<Duration>, D::Error> {
    duration(from, "time_to_idle")
}

fn duration<'d, D: Deserializer<'d>>(from: D, field: &str) -> Result<Option<Duration>, D::Error> {
    optional::deserialize(from)
        .map_err(|error| D::Error::custom(format_args!("{field}: not a duration such as \"10m\": {error}")))
}
