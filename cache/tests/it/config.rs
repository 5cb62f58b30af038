//! Settings from a file.

use std::time::Duration;

use millpond_cache::{Admission, Cache, CacheConfig, EvictionPolicy};

fn parse(text: &str) -> Result<CacheConfig, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

#[test]
fn every_field_goes_where_it_belongs() {
    let config = parse(
        r#"{
            "name": "airports", "max_weight": 5000, "time_to_live": "1h 30m", "time_to_live_jitter": 0.25,
            "time_to_idle": "90s", "eviction_policy": "tiny_lfu", "admission": "size_aware", "record_stats": true, "shards": 4,
            "expected_entries": 70000
        }"#,
    )
    .unwrap();
    assert_eq!(config.time_to_live, Some(Duration::from_secs(5_400)));
    assert_eq!(config.admission, Admission::SizeAware);
    assert_eq!(config.expected_entries, Some(70_000));
    assert!(format!("{:?}", config.builder::<u64, u64>()).contains("expected_entries: Some(70000)"));
    let written = serde_json::to_string(&config).unwrap();
    assert_eq!(parse(&written).as_ref(), Ok(&config), "{written}");
    let cache: Cache<u64, u64> = config.builder().weigher(|_, _| 7).build().unwrap();
    cache.insert(1, 1);
    cache.get(&2);
    assert_eq!(
        (cache.name(), cache.max_capacity(), cache.weighted_size()),
        (Some("airports"), Some(5_000), 7)
    );
    assert_eq!(cache.stats().misses(), 1);
    let left = cache.expires_after(&1).unwrap();
    assert!(left <= Duration::from_secs(90) && left > Duration::from_secs(60), "{left:?}");
}

#[test]
fn no_field_is_needed() {
    let config = parse("{}").unwrap();
    assert_eq!(config, CacheConfig::default());
    assert_eq!(config.eviction_policy, EvictionPolicy::TinyLfu);
    let cache: Cache<u64, u64> = config.builder().build().unwrap();
    assert_eq!(cache.max_capacity(), None);
}

#[test]
fn what_is_wrong_is_named() {
    for (text, named) in [
        (r#"{ "max_capacitty": 5 }"#, "max_capacitty"),
        (r#"{ "eviction_policy": "lifo" }"#, "lifo"),
        (r#"{ "time_to_live": "ten minutes" }"#, "time_to_live: "),
        (r#"{ "time_to_idle": "-5m" }"#, "time_to_idle: "),
        (r#"{ "max_capacity": -1 }"#, "-1"),
    ] {
        let error = parse(text).unwrap_err();
        assert!(error.contains(named), "{text}: {error}");
    }
    for (text, field) in [
        (r#"{ "max_capacity": 5, "max_weight": 5 }"#, "max_capacity: "),
        (r#"{ "max_weight": 5 }"#, "max_weight: "),
        (r#"{ "shards": 3 }"#, "shards: 3"),
        (r#"{ "time_to_live": "1m", "time_to_live_jitter": 1.5 }"#, "time_to_live_jitter: "),
        (r#"{ "time_to_live_jitter": 0.5 }"#, "time_to_live_jitter: "),
    ] {
        let error = parse(text).unwrap().builder::<u64, u64>().build().unwrap_err().to_string();
        assert!(error.starts_with(field), "{text}: {error}");
    }
}
