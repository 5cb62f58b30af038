//! The handlers and their table.

mod admin;
mod conditional;
mod ops;
mod read;
mod several;
mod views;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;

use crate::airport::Airport;
use crate::cached::Caches;
use crate::cluster::Cluster;
use crate::metrics::Metrics;
use crate::problem::Problem;
use crate::store::{self, Store};
use crate::views::Views;
use crate::warm::Snapshot;

/// What the handlers share.
#[derive(Debug)]
pub struct App {
    /// The database.
    pub store: Store,
    /// The caches.
    pub caches: Arc<Caches>,
    /// The other instances, if there are some.
    pub cluster: Option<Cluster>,
    /// How often airports are looked at; nothing where the database takes no table for it.
    pub views: Option<Views>,
    /// How they outlive the process.
    pub snapshot: Snapshot,
    /// Counters of this instance.
    pub metrics: Metrics,
    /// The token for writes.
    pub admin_token: Option<String>,
    /// Seconds for `Cache-Control`.
    pub max_age: u64,
    /// How long a body may take to arrive.
    pub slow_client: Duration,
}

impl App {
    /// One airport, past the caches.
    pub(crate) async fn airport(&self, icao: &String) -> Result<Option<Airport>, store::Error> {
        match &self.cluster {
            None => self.store.airport(icao).await,
            Some(cluster) => cluster.airport(icao).await,
        }
    }

    /// Those of several airports that there are, past the caches.
    pub(crate) async fn several(&self, codes: &[String]) -> Result<Vec<Airport>, store::Error> {
        match &self.cluster {
            None => self.store.several(codes).await,
            Some(cluster) => cluster.several(codes).await,
        }
    }
}

/// All routes.
pub fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/airports", get(read::list))
        .route("/airports/{icao}", get(read::airport).put(admin::put).delete(admin::delete))
        .route("/airports/{icao}/nearest", get(read::nearest))
        .route("/airports/{icao}/views", get(views::show).post(views::count))
        .route("/health", get(ops::health))
        .route("/stats", get(ops::stats))
        .route("/metrics", get(ops::metrics))
        .fallback(async || Problem::new(StatusCode::NOT_FOUND, "there is nothing at this address"))
        .method_not_allowed_fallback(async || {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this address does not know that method")
        })
        .with_state(app)
}
