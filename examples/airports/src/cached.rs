//! The caches: serialized answers, and what a write makes of them.
//!
//! Cache-aside: a handler asks the cache, which loads through the store on a miss, once for all who ask. A write goes to
//! the database first and then invalidates: the airport by its key, the lists that may show it by tags, all searches for the nearest.
//! Each of these also keeps loads and refreshes in flight from storing what they read before the write, and from answering those who
//! ask after it.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderValue;
use axum::http::header::InvalidHeaderValue;
use bytes::Bytes;
use millpond_cache::{Cache, CacheBuilder, Stats};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::config::Config;
use crate::problem::Problem;

/// A serialized answer and its entity tag; cloning copies no bytes. In a snapshot it is its bytes alone.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "Bytes", into = "Bytes")]
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
        Self::of(body.into())
    }

    /// Of JSON.
    ///
    /// # Errors
    /// None that anybody knows of.
    pub fn of(body: Bytes) -> Result<Self, Problem> {
        Self::try_from(body).map_err(|error| Problem::internal(&error))
    }
}

impl TryFrom<Bytes> for Answer {
    type Error = InvalidHeaderValue;

    fn try_from(body: Bytes) -> Result<Self, Self::Error> {
        let digest = Sha256::digest(&body);
        let tag: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { body, etag: HeaderValue::try_from(format!("W/\"{tag}\""))? })
    }
}

impl From<Answer> for Bytes {
    fn from(answer: Answer) -> Self {
        answer.body
    }
}

/// What is known of a key: an answer, or that there is none.
pub type Known = Option<Answer>;

/// A search for the nearest.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct NearestKey {
    /// Of which airport.
    pub icao: String,
    /// How many.
    pub n: usize,
}

/// All caches of the service; `None` inside means that caching is off.
#[derive(Debug)]
pub struct Caches {
    pub(crate) all: Option<All>,
}

/// The caches, where caching is on.
#[derive(Debug)]
pub(crate) struct All {
    pub(crate) airports: Cache<String, Known>,
    pub(crate) lists: Cache<String, Known>,
    pub(crate) nearest: Cache<NearestKey, Known>,
}

const A_DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The tag of lists of all countries; no country has two letters like these.
const EVERYWHERE: &str = "*";

impl Caches {
    /// Caches as configured.
    ///
    /// # Errors
    /// If the settings are wrong.
    pub fn new(config: &Config) -> anyhow::Result<Self> {
        if config.cache_capacity == 0 {
            return Ok(Self { all: None });
        }
        let refresh_after = config.refresh_after.unwrap_or((config.ttl / 2).min(A_DAY));
        Ok(Self {
            all: Some(All {
                airports: builder("airports", config, |_, _| 1).build()?,
                lists: builder("lists", config, |key: &String, known| kib(key.len(), known)).build()?,
                // The dear ones: nobody waits for a popular one that has become old.
                nearest: builder("nearest", config, |key: &NearestKey, known| kib(key.icao.len(), known))
                    .refresh_after(refresh_after)
                    .build()?,
            }),
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
        let Some(all) = &self.all else { return load.await.map_err(Arc::new) };
        all.airports.try_get_or_insert_with_async(icao, load).await
    }

    /// The answers for several airports; those that are missing are loaded together.
    ///
    /// # Errors
    /// The loader's.
    pub async fn airports<F>(
        &self,
        codes: &[String],
        load: impl Fn(Vec<String>) -> F,
    ) -> Result<HashMap<String, Known>, Arc<Problem>>
    where
        F: Future<Output = Result<Vec<(String, Known)>, Problem>>,
    {
        let Some(all) = &self.all else {
            return Ok(load(codes.to_vec()).await.map_err(Arc::new)?.into_iter().collect());
        };
        all.airports.try_get_many_with_async(codes.iter().cloned(), load).await
    }

    /// The answer of a list, by its address. It is forgotten when an airport of the country is written, or any if it has none.
    ///
    /// # Errors
    /// The loader's.
    pub async fn list(
        &self,
        address: String,
        country: Option<&str>,
        load: impl Future<Output = Result<Known, Problem>>,
    ) -> Result<Known, Arc<Problem>> {
        let Some(all) = &self.all else { return load.await.map_err(Arc::new) };
        all.lists.try_get_or_insert_with_tags_async(address, &[country.unwrap_or(EVERYWHERE)], load).await
    }

    /// The answer of a search for the nearest. One that is old is given as it is, and searched for again in the background.
    ///
    /// # Errors
    /// The loader's.
    pub async fn nearest(
        &self,
        key: NearestKey,
        load: impl Future<Output = Result<Known, Problem>> + Send + 'static,
    ) -> Result<Known, Arc<Problem>> {
        let Some(all) = &self.all else { return load.await.map_err(Arc::new) };
        all.nearest.try_get_or_refresh_with_async(key, load).await
    }

    /// Forgets what a committed write has made wrong.
    pub fn written(&self, icao: &str, countries: &[&str]) {
        let Some(all) = &self.all else { return };
        all.airports.invalidate(icao);
        for country in countries {
            all.lists.invalidate_tag(country);
        }
        all.lists.invalidate_tag(EVERYWHERE);
        // Any may show it, or show another in its place.
        all.nearest.invalidate_all();
    }

    /// Forgets what another instance has written: it does not say in which countries.
    pub fn written_elsewhere(&self, icao: &str) {
        let Some(all) = &self.all else { return };
        all.airports.invalidate(icao);
        all.lists.invalidate_all();
        all.nearest.invalidate_all();
    }

    /// Forgets everything: nobody knows what a write has done that failed in the middle.
    pub fn in_doubt(&self) {
        let Some(all) = &self.all else { return };
        all.airports.invalidate_all();
        all.lists.invalidate_all();
        all.nearest.invalidate_all();
    }

    /// Name, statistics and number of entries of each cache.
    #[must_use]
    pub fn stats(&self) -> Vec<(&'static str, Stats, u64)> {
        let Some(All { airports, lists, nearest }) = &self.all else { return Vec::new() };
        vec![
            ("airports", airports.stats(), airports.entry_count()),
            ("lists", lists.stats(), lists.entry_count()),
            ("nearest", nearest.stats(), nearest.entry_count()),
        ]
    }
}

/// What all caches have in common.
fn builder<K: Hash + Eq>(
    name: &str,
    config: &Config,
    weigher: impl Fn(&K, &Known) -> u32 + Send + Sync + 'static,
) -> CacheBuilder<K, Known> {
    Cache::builder()
        .max_weight(config.cache_capacity)
        .weigher(weigher)
        .time_to_live(config.ttl)
        .time_to_live_jitter(config.ttl_jitter)
        // Absence is cached for a shorter time.
        .negative_time_to_live(config.negative_ttl, Option::is_none)
        .record_stats()
        .name(name)
}

/// A page may be a hundred times as long as an airport, and there are as many as anyone likes to ask for.
fn kib(key: usize, known: &Known) -> u32 {
    let bytes = key + known.as_ref().map_or(0, |answer| answer.body.len());
    u32::try_from(1 + bytes / 1024).unwrap_or(u32::MAX)
}
