//! Prometheus metrics of one instance of the service.

use std::fmt;
use std::time::Duration;

use ::metrics::{counter, gauge, histogram, with_local_recorder};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use crate::cached::Caches;
use crate::store::Store;

/// A recorder of its own, so that several instances can live in one process.
pub struct Metrics {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
}

impl Default for Metrics {
    fn default() -> Self {
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        Self { recorder, handle }
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

impl Metrics {
    /// Folds the samples since the last time into the histograms; without it, or a scrape, they would heap up.
    pub fn fold(&self) {
        self.handle.run_upkeep();
    }

    /// Counts a request.
    pub fn request(&self, route: &str, status: u16, took: Duration) {
        with_local_recorder(&self.recorder, || {
            let labels = [("route", route.to_owned()), ("status", status.to_string())];
            counter!("http_requests_total", &labels).increment(1);
            histogram!("http_request_seconds", "route" => route.to_owned()).record(took.as_secs_f64());
        });
    }

    /// The text of a scrape.
    #[must_use]
    pub fn render(&self, caches: &Caches, store: &Store) -> String {
        with_local_recorder(&self.recorder, || {
            for (name, stats, entries) in caches.stats() {
                counter!("cache_hits_total", "cache" => name).absolute(stats.hits());
                counter!("cache_misses_total", "cache" => name).absolute(stats.misses());
                counter!("cache_evictions_total", "cache" => name).absolute(stats.evictions());
                counter!("cache_loads_total", "cache" => name).absolute(stats.load_successes());
                counter!("cache_load_failures_total", "cache" => name).absolute(stats.load_failures());
                counter!("cache_refreshes_total", "cache" => name).absolute(stats.refreshes());
                gauge!("cache_entries", "cache" => name).set(entries as f64);
            }
            let pool = store.stats();
            let states = [
                ("idle", pool.status.idle),
                ("in_use", pool.status.in_use),
                ("opening", pool.status.opening),
                ("checking", pool.status.checking),
            ];
            for (state, connections) in states {
                gauge!("pool_connections", "state" => state).set(connections as f64);
            }
            gauge!("pool_waiting").set(pool.status.waiting as f64);
            counter!("pool_acquired_total").absolute(pool.acquired);
            counter!("pool_timeouts_total").absolute(pool.timeouts);
            counter!("pool_opened_total").absolute(pool.opened);
            counter!("pool_connect_failures_total").absolute(pool.connect_failures);
        });
        self.handle.render()
    }
}
