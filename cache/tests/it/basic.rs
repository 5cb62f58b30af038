//! Insert, read, remove, and the bound.

use millpond_cache::Cache;

use crate::support::scaled;

#[test]
fn insert_get_remove() {
    let cache: Cache<String, u32> = Cache::new(100);
    cache.insert("a".into(), 1);
    cache.insert("b".into(), 2);
    cache.check_invariants();
    assert_eq!(cache.get("a"), Some(1));
    cache.insert("a".into(), 3);
    cache.check_invariants();
    assert_eq!(cache.read("a", |v| v + 1), Some(4));
    assert_eq!(cache.remove("a"), Some(3));
    assert_eq!(cache.remove("a"), None);
    cache.check_invariants();
    assert_eq!(cache.entry_count(), 1);
    cache.invalidate_all();
    cache.check_invariants();
    assert_eq!(cache.entry_count(), 0);
}

#[test]
fn holds_exactly_its_capacity_through_growth_and_churn() {
    for capacity in [0, 1, 2, 3, 10, scaled(300, 20), scaled(5_000, 40)] {
        let cache: Cache<u64, u64> = Cache::new(capacity);
        for key in 0..3 * capacity + 10 {
            cache.insert(key, key);
            assert!(cache.entry_count() <= capacity);
            assert!(cache.get(&key).is_none_or(|v| v == key));
        }
        cache.check_invariants();
        assert_eq!(cache.entry_count(), capacity);
        assert_eq!(cache.iter().count() as u64, capacity);
        assert!(cache.iter().all(|(k, v)| k == v));
        cache.run_pending_tasks();
        cache.check_invariants();
    }
}

#[test]
fn an_unbounded_cache_keeps_everything() {
    let cache: Cache<u64, u64> = Cache::builder().build().unwrap();
    let keys = scaled(200_000, 300);
    for key in 0..keys {
        cache.insert(key, key);
    }
    cache.check_invariants();
    assert!((0..keys).all(|key| cache.get(&key) == Some(key)));
}
