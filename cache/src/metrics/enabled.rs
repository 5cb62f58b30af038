//! What a cache tells the recorder of the `metrics` crate, and when: never while an entry is looked up.

use std::sync::OnceLock;

use ::metrics::{Counter, Gauge, Histogram, Label, counter, gauge, histogram};
use parking_lot::Mutex;

use crate::cache::Cache;
use crate::core::Core;
use crate::counters::Counters;
use crate::load_times::LoadTimes;
use crate::stats::Stats;

impl<K, V, S> Cache<K, V, S> {
    /// Hands the statistics to the recorder of the [`metrics`](::metrics) crate, under a label `cache` with the cache's
    /// [name](crate::CacheBuilder::name).
    ///
    /// The first call registers with the recorder that is installed then; later ones, and from then on each
    /// [`run_pending_tasks`](Self::run_pending_tasks) and so each round of a [janitor](Self::spawn_janitor), bring it up to date.
    /// Lookups and writes do nothing for it. Cost: some microseconds.
    ///
    /// | metric | kind | label besides |
    /// |---|---|---|
    /// | `cache_entries`, `cache_weight` | gauge | |
    /// | `cache_hits_total`, `cache_misses_total` | counter | |
    /// | `cache_loads_total` | counter | `result`: `success`, `failure` |
    /// | `cache_load_seconds` | histogram | |
    /// | `cache_removals_total` | counter | `cause`: `explicit`, `replaced`, `expired`, `size`, `cleared` |
    /// | `cache_evicted_weight_total` | counter | |
    /// | `cache_rejected_total` | counter | |
    /// | `cache_refreshes_total` | counter | `result`: `success`, `failure`, `discarded` |
    ///
    /// All but the gauges stay 0 unless [`record_stats`](crate::CacheBuilder::record_stats) is on. A
    /// [reset](Self::reset_stats) does not set them back.
    ///
    /// ```
    /// use metrics_util::debugging::{DebugValue, DebuggingRecorder};
    /// let recorder = DebuggingRecorder::new();
    /// let snapshotter = recorder.snapshotter();
    /// recorder.install()?;
    ///
    /// let cache = millpond_cache::Cache::builder().name("airports").record_stats().build()?;
    /// cache.insert("KJFK", 13);
    /// cache.get("KJFK");
    /// cache.publish_metrics();
    ///
    /// let metrics = snapshotter.snapshot().into_vec();
    /// let hits = metrics.iter().find(|(key, ..)| key.key().name() == "cache_hits_total").unwrap();
    /// assert_eq!(hits.3, DebugValue::Counter(1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn publish_metrics(&self) {
        let core = &*self.core;
        core.published.handles.get_or_init(|| Handles::register(core.name.as_deref().unwrap_or_default()));
        core.published.renew(core);
    }
}

/// What was registered, once it is.
pub(crate) struct Published {
    handles: OnceLock<Handles>,
}

impl Published {
    pub(crate) fn new() -> Self {
        Self { handles: OnceLock::new() }
    }

    /// Brings what was registered up to date.
    pub(crate) fn renew<K, V, S>(&self, core: &Core<K, V, S>) {
        if let Some(handles) = self.handles.get() {
            let stats = core.counters.as_ref().map(Counters::total).unwrap_or_default();
            handles.publish(&stats, core.entry_count(), core.budget.used());
        }
    }
}

/// A counter, and the count that it shows.
type Shown = (Counter, fn(&Stats) -> u64);

struct Handles {
    entries: Gauge,
    weight: Gauge,
    counters: Vec<Shown>,
    load_seconds: Histogram,
    /// What `load_seconds` has been told.
    told: Mutex<LoadTimes>,
}

impl Handles {
    fn register(cache: &str) -> Self {
        let name = Label::new("cache", cache.to_owned());
        let plain = |metric: &'static str| counter!(metric, vec![name.clone()]);
        let by = |metric: &'static str, key, value| {
            counter!(metric, vec![name.clone(), Label::from_static_parts(key, value)])
        };
        let removals = |cause| by("cache_removals_total", "cause", cause);
        let refreshes = |result| by("cache_refreshes_total", "result", result);
        Self {
            entries: gauge!("cache_entries", vec![name.clone()]),
            weight: gauge!("cache_weight", vec![name.clone()]),
            counters: vec![
                (plain("cache_hits_total"), Stats::hits),
                (plain("cache_misses_total"), Stats::misses),
                (by("cache_loads_total", "result", "success"), Stats::load_successes),
                (by("cache_loads_total", "result", "failure"), Stats::load_failures),
                (removals("explicit"), Stats::removed),
                (removals("replaced"), Stats::replaced),
                (removals("expired"), Stats::expired),
                (removals("size"), Stats::evictions),
                (removals("cleared"), Stats::cleared),
                (plain("cache_evicted_weight_total"), Stats::evicted_weight),
                (plain("cache_rejected_total"), Stats::rejected),
                (refreshes("success"), Stats::refreshes),
                (refreshes("failure"), Stats::refresh_failures),
                (refreshes("discarded"), Stats::refreshes_discarded),
            ],
            load_seconds: histogram!("cache_load_seconds", vec![name.clone()]),
            told: Mutex::default(),
        }
    }

    fn publish(&self, stats: &Stats, entries: u64, weight: u64) {
        self.entries.set(entries as f64);
        self.weight.set(weight as f64);
        for (counter, count) in &self.counters {
            counter.absolute(count(stats));
        }
        let mut told = self.told.lock();
        let mut new = stats.load_times().clone();
        new.subtract(&told);
        *told = stats.load_times().clone();
        for (time, count) in new.buckets() {
            self.load_seconds.record_many(time.as_secs_f64(), usize::try_from(count).unwrap_or(usize::MAX));
        }
    }
}
