//! For those who run the service: health, statistics, metrics.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use serde_json::{Value, json};

use super::App;
use crate::cluster::Cluster;
use crate::problem::Problem;

const HEALTH_WITHIN: Duration = Duration::from_secs(2);

pub(super) async fn health(State(app): State<Arc<App>>) -> Result<Json<Value>, Problem> {
    match tokio::time::timeout(HEALTH_WITHIN, app.store.count()).await {
        Ok(count) => Ok(Json(json!({ "status": "ok", "airports": count? }))),
        Err(_elapsed) => Err(Problem::unavailable("the database does not answer")),
    }
}

pub(super) async fn stats(State(app): State<Arc<App>>) -> Json<Value> {
    let pool = app.store.stats();
    let caches: serde_json::Map<String, Value> = app
        .caches
        .stats()
        .into_iter()
        .map(|(name, stats, entries)| {
            let figures = json!({
                "entries": entries,
                "hits": stats.hits(),
                "misses": stats.misses(),
                "hit_ratio": stats.hit_ratio(),
                "loads": stats.load_successes(),
                "load_failures": stats.load_failures(),
                "load_seconds": stats.load_time().as_secs_f64(),
                "refreshes": stats.refreshes(),
                "evictions": stats.evictions(),
                "expired": stats.expired(),
                "removed": stats.removed(),
            });
            (name.to_owned(), figures)
        })
        .collect();
    let views = app.views.as_ref().map(|views| {
        let stats = views.stats();
        json!({
            "accepted": stats.accepted(),
            "coalesced": stats.coalesced(),
            "written": stats.written(),
            "statements": stats.batches(),
            "queued": stats.queue_length(),
            "retried": stats.retried(),
            "dead": stats.dead(),
        })
    });
    Json(json!({
        "views": views,
        "cluster": app.cluster.as_ref().map(Cluster::stats),
        "cache": caches,
        "pool": {
            "max_size": pool.status.max_size,
            "idle": pool.status.idle,
            "in_use": pool.status.in_use,
            "opening": pool.status.opening,
            "checking": pool.status.checking,
            "waiting": pool.status.waiting,
            "acquired": pool.acquired,
            "waited": pool.waited,
            "wait_seconds": pool.wait_time.as_secs_f64(),
            "timeouts": pool.timeouts,
            "opened": pool.opened,
            "connect_failures": pool.connect_failures,
            "validations": pool.validations,
            "validation_failures": pool.validation_failures,
            "retired": pool.retired,
            "discarded": pool.discarded,
        },
    }))
}

pub(super) async fn metrics(State(app): State<Arc<App>>) -> impl IntoResponse {
    let text = app.metrics.render(&app.caches, &app.store);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text)
}
