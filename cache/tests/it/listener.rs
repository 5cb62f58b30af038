//! The listener hears of each value once, with the cause, outside of all locks.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::thread;

use millpond_cache::{Cache, RemovalCause};
use parking_lot::Mutex;

/// B26: each value that leaves is told exactly once.
#[test]
fn b26_each_value_is_told_once() {
    let told: Arc<Mutex<HashMap<(u64, u64), RemovalCause>>> = Arc::default();
    let cache: Cache<u64, u64> = {
        let told = Arc::clone(&told);
        Cache::builder()
            .max_capacity(500)
            .record_stats()
            .eviction_listener(move |key, value, cause| {
                assert!(told.lock().insert((*key, *value), cause).is_none(), "told twice");
            })
            .build()
            .unwrap()
    };
    thread::scope(|scope| {
        for thread in 0..4u64 {
            let cache = &cache;
            scope.spawn(move || {
                for n in 0..5000u64 {
                    let key = n * 7 % 1000;
                    if n % 11 == 0 {
                        cache.invalidate(&key);
                    } else {
                        cache.insert(key, thread << 32 | n);
                    }
                }
            });
        }
    });
    cache.check_invariants();
    let left = cache.entry_count();
    let told = told.lock();
    let inserted = 4 * (5000 - 5000_u64.div_ceil(11));
    assert_eq!(told.len() as u64 + left, inserted);
    let stats = cache.stats();
    let of = |cause| told.values().filter(|told| **told == cause).count() as u64;
    assert_eq!(stats.replaced(), of(RemovalCause::Replaced));
    assert_eq!(stats.removed(), of(RemovalCause::Explicit));
    assert_eq!(stats.evictions(), of(RemovalCause::Size));
}

/// B1: a listener may use the cache in every way.
#[test]
fn b01_a_listener_may_use_the_cache() {
    let slot: Arc<OnceLock<Cache<u32, u32>>> = Arc::default();
    let inside = Arc::clone(&slot);
    let depth = Mutex::new(0);
    let cache: Cache<u32, u32> = Cache::builder()
        .max_capacity(10)
        .eviction_listener(move |key, _, _| {
            let Some(cache) = inside.get() else { return };
            let level = {
                let mut depth = depth.lock();
                *depth += 1;
                *depth
            };
            if level < 20 {
                cache.insert(*key + 100, 1);
                cache.get(key);
                cache.invalidate(&(*key + 3));
                cache.get_or_insert_with(*key + 50, || 5);
                cache.run_pending_tasks();
                let _ = cache.iter().count();
                cache.invalidate_all();
            }
        })
        .build()
        .unwrap();
    slot.set(cache.clone()).unwrap();
    for key in 0..100 {
        cache.insert(key, key);
    }
    cache.check_invariants();
}

/// B20: a listener that panics is heard of, and nothing else happens.
#[test]
fn b20_a_panicking_listener_is_contained() {
    let cache: Cache<u32, u32> = Cache::builder()
        .max_capacity(10)
        .record_stats()
        .eviction_listener(|_, _, _| panic!("told to"))
        .build()
        .unwrap();
    for key in 0..100 {
        cache.insert(key, key);
    }
    cache.check_invariants();
    assert_eq!(cache.stats().listener_panics(), 90);
    assert_eq!(cache.entry_count(), 10);
}
