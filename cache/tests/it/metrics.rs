//! What the recorder of the `metrics` crate gets to see.

use std::collections::HashMap;

use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use millpond_cache::Cache;

/// All metrics of the cache "c" by name and labels besides. The recorder hands each figure out once.
fn metrics_of(snapshotter: &Snapshotter) -> HashMap<String, DebugValue> {
    let name = |key: &metrics::Key| {
        let labels: Vec<_> = key.labels().map(metrics::Label::value).collect();
        assert_eq!(labels[0], "c");
        [key.name()].iter().chain(&labels[1..]).copied().collect::<Vec<_>>().join(" ")
    };
    snapshotter.snapshot().into_vec().into_iter().map(|(key, .., value)| (name(key.key()), value)).collect()
}

#[test]
fn all_is_told_and_kept_up_to_date_by_maintenance() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let cache: Cache<u64, u64> =
        Cache::builder().max_capacity(10).shards(1).name("c").record_stats().build().unwrap();
    cache.insert(1, 1);
    cache.get(&1);
    metrics::with_local_recorder(&recorder, || cache.publish_metrics());
    assert_eq!(metrics_of(&snapshotter)["cache_hits_total"], DebugValue::Counter(1));
    assert_eq!(cache.reset_stats().hits(), 1);
    for key in 0..20 {
        cache.get_or_insert_with(key, || key);
    }
    let _failed = cache.try_get_or_insert_with(100, || Err::<u64, _>("no"));
    // No recorder is installed here: the handles of the first call are used.
    cache.run_pending_tasks();
    let stats = cache.stats();
    let told = metrics_of(&snapshotter);
    let counts = [
        // A reset does not set it back.
        ("cache_hits_total", 1 + stats.hits()),
        ("cache_misses_total", stats.misses()),
        ("cache_loads_total success", stats.load_successes()),
        ("cache_loads_total failure", 1),
        ("cache_removals_total size", stats.evictions()),
        ("cache_evicted_weight_total", stats.evictions()),
        ("cache_rejected_total", 0),
    ];
    for (name, count) in counts {
        assert_eq!(told[name], DebugValue::Counter(count), "{name}");
    }
    assert!(stats.evictions() > 0 && stats.load_successes() >= 19);
    assert_eq!(told["cache_entries"], DebugValue::Gauge((cache.entry_count() as f64).into()));
    let times = |told: &HashMap<String, DebugValue>| match &told["cache_load_seconds"] {
        DebugValue::Histogram(times) => times.len() as u64,
        other => panic!("{other:?}"),
    };
    assert_eq!(times(&told), stats.loads());
    cache.publish_metrics();
    assert_eq!(times(&metrics_of(&snapshotter)), 0, "each load is told once");
}
