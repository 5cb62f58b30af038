//! Several instances on one database: airports in a Redis that all share, and word of what each of them writes.
//!
//! Near caches hold answers, the shared tier holds airports. A write is told to the other instances before it goes to the database and
//! when that has answered; they then forget the airport, all lists and all searches for the nearest. Not only the lists of its
//! countries: where it was before, nobody knows when the write is announced. An instance that can't tell the others refuses writes
//! (`--when-cut refuse`), so that none of them is behind for longer than `--max-staleness` or `--write-limit`.

use std::sync::{Arc, Weak};
use std::time::Duration;

use anyhow::Context;
use millpond_cache::backing::{self, StoreError, Write};
use millpond_cache::nodes::{
    Coherence, CoherenceStats, Forget, Invalidations, RedisBus, RedisTier, Tier, TierStats, WhenCut,
};
use serde_json::{Value, json};

use crate::airport::Airport;
use crate::cached::Caches;
use crate::config::{Config, OnCut};
use crate::problem::Problem;
use crate::store::{self, Store};

/// Changes when [`Airport`] does.
const VERSION: u8 = 1;

/// What a database may take on top of its own limit.
const GRACE: Duration = Duration::from_secs(1);

/// How often it is looked whether Redis is there.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The other instances.
#[derive(Debug)]
pub struct Cluster {
    tier: Arc<RedisTier<Rows>>,
    changes: Invalidations<RedisBus>,
}

/// The table, as what a shared tier reads from.
#[derive(Debug)]
struct Rows(Store);

impl backing::Store<String, Airport> for Rows {
    type Error = store::Error;

    async fn load(&self, icao: &String) -> Result<Option<Airport>, StoreError<store::Error>> {
        Ok(self.0.airport(icao).await?)
    }

    async fn load_many(&self, codes: &[String]) -> Result<Vec<(usize, Airport)>, StoreError<store::Error>> {
        let found = self.0.several(codes).await?;
        let place = |airport: &Airport| codes.iter().position(|icao| *icao == airport.icao);
        Ok(found.into_iter().filter_map(|airport| Some((place(&airport)?, airport))).collect())
    }

    /// Writes have conditions, and tell what was there: they go to the table themselves, inside [`Cluster::writing`].
    async fn write(
        &self,
        _: &[Write<String, Airport>],
    ) -> Result<backing::Written<store::Error>, StoreError<store::Error>> {
        Err(StoreError::Permanent(store::Error::Statement(sqlx::Error::InvalidArgument(
            "airports are not written through the tier".to_owned(),
        ))))
    }
}

impl Cluster {
    /// The other instances, if there are to be some. Connects later.
    ///
    /// # Errors
    /// If the address is none.
    pub fn new(config: &Config, store: &Store) -> anyhow::Result<Option<Self>> {
        let Some(address) = &config.cluster else { return Ok(None) };
        // Not the address itself: it may have a password in it.
        let client = redis::Client::open(address.as_str()).context("--cluster: it is not redis://…")?;
        let tier = Tier::new(client.clone(), format!("{}:airports", config.cluster_name))
            .version(VERSION)
            .time_to_live(config.ttl)
            .negative_time_to_live(config.negative_ttl)
            .jitter(config.ttl_jitter)
            .write_lease(config.write_limit + GRACE);
        let settings = Coherence::new()
            .max_staleness(config.max_staleness)
            .write_lease(config.write_limit + GRACE)
            .when_cut(match config.when_cut {
                OnCut::Refuse => WhenCut::Refuse,
                OnCut::Write => WhenCut::Write,
            });
        let bus = RedisBus::new(&client, format!("{}:changes", config.cluster_name))?;
        Ok(Some(Self {
            tier: Arc::new(RedisTier::new(Rows(store.clone()), tier)),
            changes: Invalidations::new(bus, settings),
        }))
    }

    /// Has the caches of this instance hear what the others write.
    pub fn attach(&self, caches: &Arc<Caches>) {
        self.changes.attach_to(Instance { caches: Arc::downgrade(caches), tier: Arc::clone(&self.tier) });
    }

    /// One airport, from Redis or the database.
    ///
    /// # Errors
    /// The database's.
    pub async fn airport(&self, icao: &String) -> Result<Option<Airport>, store::Error> {
        backing::Store::load(&self.tier, icao).await.map_err(StoreError::into_inner)
    }

    /// Those of several airports that there are.
    ///
    /// # Errors
    /// The database's.
    pub async fn several(&self, codes: &[String]) -> Result<Vec<Airport>, store::Error> {
        let found = backing::Store::load_many(&self.tier, codes).await.map_err(StoreError::into_inner)?;
        Ok(found.into_iter().map(|(_, airport)| airport).collect())
    }

    /// Runs a write of an airport so that all instances see it.
    ///
    /// # Errors
    /// 503 if the others can't be told; then nothing was done.
    pub async fn writing<T>(&self, icao: &str, write: impl Future<Output = T>) -> Result<T, Problem> {
        let written = self.changes.writing(&[icao], self.tier.writing(&[icao], write)).await;
        written.map_err(|cut| Problem::unavailable(cut.to_string()))
    }

    /// Figures.
    #[must_use]
    pub fn stats(&self) -> Value {
        let (mut tier, mut changes) = (tier(&self.tier.stats()), changes(&self.changes.stats()));
        tier["last_error"] = json!(self.tier.last_error().as_deref());
        changes["last_error"] = json!(self.changes.last_error().as_deref());
        json!({ "tier": tier, "changes": changes })
    }

    /// Tells the log when Redis is away, and why, and when it is back. Does not end.
    pub async fn watch(&self) {
        let (mut was_connected, mut was_down) = (true, false);
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let (is_connected, is_down) = (self.changes.stats().is_connected(), self.tier.stats().is_down());
            if is_connected != was_connected {
                if is_connected {
                    tracing::info!("other instances are heard again");
                } else {
                    tracing::warn!(
                        error = self.changes.last_error().as_deref(),
                        "other instances are not heard"
                    );
                }
            }
            if is_down != was_down {
                if is_down {
                    tracing::warn!(error = self.tier.last_error().as_deref(), "the shared tier is not used");
                } else {
                    tracing::info!("the shared tier is used again");
                }
            }
            (was_connected, was_down) = (is_connected, is_down);
        }
    }
}

fn tier(stats: &TierStats) -> Value {
    json!({
        "hits": stats.hits(),
        "loads": stats.loads(),
        "fills": stats.fills(),
        "refused_fills": stats.refused_fills(),
        "waits": stats.waits(),
        "failures": stats.failures(),
        "skipped": stats.skipped(),
        "foreign": stats.foreign(),
        "owed": stats.owed(),
        "is_down": stats.is_down(),
    })
}

fn changes(stats: &CoherenceStats) -> Value {
    json!({
        "is_connected": stats.is_connected(),
        "sent": stats.sent(),
        "send_failures": stats.send_failures(),
        "refused": stats.refused(),
        "received": stats.received(),
        "forgotten": stats.forgotten(),
        "forgot_all": stats.forgot_all(),
        "overdue": stats.overdue(),
        "cuts": stats.cuts(),
    })
}

/// What is made to forget. It does not keep the caches alive.
struct Instance {
    caches: Weak<Caches>,
    tier: Arc<RedisTier<Rows>>,
}

impl Forget<String> for Instance {
    fn forget(&self, icao: &String) {
        if let Some(caches) = self.caches.upgrade() {
            caches.written_elsewhere(icao);
        }
    }

    fn doubt(&self, codes: &[String]) {
        self.tier.doubt(codes);
    }

    fn doubt_all(&self) {
        self.tier.doubt_all();
    }

    fn is_settled(&self) -> bool {
        self.tier.is_settled()
    }

    fn forget_all(&self) {
        if let Some(caches) = self.caches.upgrade() {
            caches.in_doubt();
        }
    }

    fn is_gone(&self) -> bool {
        self.caches.strong_count() == 0
    }
}
