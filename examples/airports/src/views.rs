//! How often airports are looked at: counters written behind.
//!
//! Thousands of views a second become a few statements: each view only raises a number in memory and queues it, and the queue keeps
//! the newest number of each airport. A process that is killed loses the views of its last `max_delay`.
//!
//! A write must be one that can be done twice, so it is no increment. Each process has rows of its own, under a name that it
//! makes up at its start, and writes the number of views that it has counted. The sum of all rows is the answer. In an orderly end it adds its
//! rows to those that stand for all who have ended.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::time::Duration;

use anyhow::Context;
use millpond_cache::Cache;
use millpond_cache::backing::{self, StoreCache, StoreError, StoreStats, Write, WriteBehind, Written};
use tokio::sync::Mutex;

use crate::store::{Error, Store, is_outage};

/// Counters under one lock; more than threads.
const SHARDS: usize = 64;
/// How long a view waits for others, and what a kill loses.
const MAX_DELAY: Duration = Duration::from_millis(250);
/// Airports in one statement: three parameters each, and SQLite takes 32,766.
const BATCH: usize = 1000;
/// How long the views that other instances have counted are taken from the cache.
const OTHERS_FOR: Duration = Duration::from_secs(1);

/// The counters of this process.
#[derive(Debug)]
pub struct Views {
    /// What this process has counted. The lock is held while a number is queued, so that the queue's order is that of the numbers.
    own: Box<[Mutex<HashMap<String, u64>>]>,
    hasher: std::hash::RandomState,
    queue: StoreCache<String, u64, Rows>,
    /// What all others have counted.
    others: Cache<String, u64>,
}

/// This process's rows.
#[derive(Debug)]
struct Rows {
    store: Store,
    process: String,
}

impl backing::Store<String, u64> for Rows {
    type Error = Error;

    async fn load(&self, icao: &String) -> Result<Option<u64>, StoreError<Error>> {
        Ok(self.store.views_of(icao, &self.process).await?)
    }

    async fn write(&self, batch: &[Write<String, u64>]) -> Result<Written<Error>, StoreError<Error>> {
        let rows: Vec<(&str, u64)> =
            batch.iter().map(|write| (write.key().as_str(), write.value().copied().unwrap_or(0))).collect();
        match self.store.put_views(&self.process, &rows).await {
            Ok(()) => Ok(Written::all()),
            Err(Error::Statement(error)) if !is_outage(&error) => Err(StoreError::Permanent(error.into())),
            Err(error) => Err(StoreError::Transient(error)),
        }
    }
}

impl Views {
    /// Counters at zero.
    ///
    /// # Errors
    /// None that anybody knows of.
    pub fn new(store: &Store) -> anyhow::Result<Self> {
        let process = format!("{:032x}", rand::random::<u128>());
        let behind = WriteBehind::new(|letter| tracing::error!(?letter, "views were not written"))
            .max_delay(MAX_DELAY)
            .max_batch(BATCH);
        let queue = Cache::builder()
            .max_capacity(1)
            .read_through(Rows { store: store.clone(), process })
            .write_behind(behind)
            .build()?;
        let others = Cache::builder().max_capacity(10_000).time_to_live(OTHERS_FOR).build()?;
        let own = (0..SHARDS).map(|_| Mutex::default()).collect();
        Ok(Self { own, hasher: std::hash::RandomState::new(), queue, others })
    }

    fn shard(&self, icao: &str) -> &Mutex<HashMap<String, u64>> {
        let hash = self.hasher.hash_one(icao);
        &self.own[usize::try_from(hash % SHARDS as u64).unwrap_or(0)]
    }

    /// Counts a view. Waits only while too much is queued.
    ///
    /// # Errors
    /// After [`close`](Self::close).
    pub async fn count(&self, icao: &str) -> anyhow::Result<()> {
        let mut counters = self.shard(icao).lock().await;
        let views = counters.get(icao).copied().unwrap_or(0) + 1;
        self.queue.put(icao.to_owned(), views).await.map_err(|error| anyhow::anyhow!(error.to_string()))?;
        counters.insert(icao.to_owned(), views);
        Ok(())
    }

    /// All views of an airport: those that this process has counted at once, those of others a little later.
    ///
    /// # Errors
    /// If the database does not answer.
    pub async fn of(&self, icao: &str) -> Result<u64, std::sync::Arc<Error>> {
        let rows = self.queue.store();
        let others = rows.store.views_of_others(icao, &rows.process);
        let others = self.others.try_get_or_insert_with_async(icao.to_owned(), others).await?;
        let own = self.shard(icao).lock().await.get(icao).copied().unwrap_or(0);
        Ok(others + own)
    }

    /// Figures of the queue.
    #[must_use]
    pub fn stats(&self) -> StoreStats {
        self.queue.stats()
    }

    /// Writes what is queued, and counts no more.
    ///
    /// # Errors
    /// If the database does not take it in time.
    pub async fn close(&self, deadline: Duration) -> anyhow::Result<()> {
        self.queue.close(deadline).await?;
        let rows = self.queue.store();
        rows.store.retire_views(&rows.process).await.context("adding up views")
    }
}
