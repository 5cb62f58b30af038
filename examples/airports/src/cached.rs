//! The caches: serialized answers, and what a write makes of them.
//!
//! Cache-aside: a handler asks the cache, which loads through the store on a miss, once for all who ask. A write goes to
//! the database first and then invalidates. Single airports are invalidated by key. Lists and searches carry a version in
//! their key: a write moves on the versions of the countries it touches, so that lists of those countries, loads in flight
//! included, are never asked for again and leave by eviction.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::http::HeaderValue;
use bytes::Bytes;
use millpond_cache::{Cache, Stats};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::config::Config;
use crate::problem::Problem;

/// A serialized answer and its entity tag; cloning copies no bytes.
#[derive(Clone, Debug)]
pub struct Answer {
    /// JSON.
    pub body: Bytes,
    /// A weak tag: the same content may be sent compressed.
    pub etag: HeaderValue,
}

impl Answer {
    /// Serializes a value.
    ///
    /// # Errors
    /// If it can't be, which would be a bug.
    pub fn new(value: &impl Serialize) -> Result<Self, Problem> {
        let body = serde_json::to_vec(value).map_err(|error| Problem::internal(&error))?;
        let digest = Sha256::digest(&body);
        let tag: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        let etag =
            HeaderValue::try_from(format!("W/\"{tag}\"")).map_err(|error| Problem::internal(&error))?;
        Ok(Self { body: body.into(), etag })
    }
}

/// What is known of a key: an answer, or that there is none.
pub type Known = Option<Answer>;

/// What a cached list or search answers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct QueryKey {
    /// The version of what it was asked of; see [`Caches::version`].
    pub version: u64,
    /// The normalized question.
    pub question: String,
}

/// All caches of the service; `None` inside means that caching is off.
#[derive(Debug)]
pub struct Caches {
    airports: Option<Cache<String, Known>>,
    queries: Option<Cache<QueryKey, Known>>,
    negative_ttl: Duration,
    /// One version for each two-letter country, and one for all.
    versions: Box<[AtomicU64]>,
}

const LETTERS: usize = 26;
const ALL: usize = LETTERS * LETTERS;

impl Caches {
    /// Caches as configured.
    ///
    /// # Errors
    /// If the settings are wrong.
    pub fn new(config: &Config) -> anyhow::Result<Self> {
        Ok(Self {
            airports: cache("airports", config, |_, _| 1)?,
            // A page may be a hundred times as long as an airport, and there are as many as anyone likes to ask for.
            queries: cache("queries", config, |key: &QueryKey, known| {
                let bytes = key.question.len() + known.as_ref().map_or(0, |answer| answer.body.len());
                u32::try_from(1 + bytes / 1024).unwrap_or(u32::MAX)
            })?,
            negative_ttl: config.negative_ttl,
            versions: (0..=ALL).map(|_| AtomicU64::new(0)).collect(),
        })
    }

    /// The answer for one airport, loaded once for all who ask at a time.
    ///
    /// # Errors
    /// The loader's.
    pub async fn airport(
        &self,
        icao: String,
        load: impl Future<Output = Result<Known, Problem>>,
    ) -> Result<Known, Arc<Problem>> {
        self.through(self.airports.as_ref(), icao, load).await
    }

    /// The answer of a list or search.
    ///
    /// # Errors
    /// The loader's.
    pub async fn query(
        &self,
        key: QueryKey,
        load: impl Future<Output = Result<Known, Problem>>,
    ) -> Result<Known, Arc<Problem>> {
        self.through(self.queries.as_ref(), key, load).await
    }

    async fn through<K: std::hash::Hash + Eq>(
        &self,
        cache: Option<&Cache<K, Known>>,
        key: K,
        load: impl Future<Output = Result<Known, Problem>>,
    ) -> Result<Known, Arc<Problem>> {
        let Some(cache) = cache else { return load.await.map_err(Arc::new) };
        let load = async {
            let known = load.await?;
            // Absence is cached for a shorter time.
            let ttl = known.is_none().then_some(self.negative_ttl);
            Ok((known, ttl))
        };
        cache.try_get_or_insert_with_ttl_async(key, load).await
    }

    /// The version of a country's airports, or of all. Ask for it before the database.
    #[must_use]
    pub fn version(&self, country: Option<&str>) -> u64 {
        self.versions[index(country)].load(Ordering::Acquire)
    }

    /// Forgets what a committed write has made wrong.
    pub fn written(&self, icao: &str, countries: &[&str]) {
        for country in countries {
            self.versions[index(Some(country))].fetch_add(1, Ordering::AcqRel);
        }
        self.versions[ALL].fetch_add(1, Ordering::AcqRel);
        if let Some(airports) = &self.airports {
            airports.invalidate(icao);
        }
    }

    /// Forgets everything: nobody knows what a write has done that failed in the middle.
    pub fn in_doubt(&self) {
        for version in &self.versions {
            version.fetch_add(1, Ordering::AcqRel);
        }
        if let Some(airports) = &self.airports {
            airports.invalidate_all();
        }
    }

    /// Name, statistics and number of entries of each cache.
    #[must_use]
    pub fn stats(&self) -> Vec<(&'static str, Stats, u64)> {
        let airports = self.airports.as_ref().map(|cache| ("airports", cache.stats(), cache.entry_count()));
        let queries = self.queries.as_ref().map(|cache| ("queries", cache.stats(), cache.entry_count()));
        airports.into_iter().chain(queries).collect()
    }
}

fn cache<K: std::hash::Hash + Eq>(
    name: &str,
    config: &Config,
    weigher: impl Fn(&K, &Known) -> u32 + Send + Sync + 'static,
) -> anyhow::Result<Option<Cache<K, Known>>> {
    if config.cache_capacity == 0 {
        return Ok(None);
    }
    let cache = Cache::builder()
        .max_weight(config.cache_capacity)
        .weigher(weigher)
        .time_to_live(config.ttl)
        .record_stats()
        .name(name)
        .build()?;
    Ok(Some(cache))
}

/// Where a country's version stands; anything that is not two letters counts as all.
fn index(country: Option<&str>) -> usize {
    match country.map(str::as_bytes) {
        Some([a @ b'A'..=b'Z', b @ b'A'..=b'Z']) => usize::from(a - b'A') * LETTERS + usize::from(b - b'A'),
        _ => ALL,
    }
}
