//! Iteration.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use millpond_cache::{Cache, ManualClock};

use crate::support::scaled;

#[test]
fn shows_every_live_entry_once() {
    let clock = Arc::new(ManualClock::new());
    let cache: Cache<u64, u64> = Cache::builder().shards(8).clock(clock.clone()).build().unwrap();
    let keys = scaled(1_000, 100);
    for key in 0..keys {
        if key % 5 == 0 {
            cache.insert_with_ttl(key, key, Duration::from_secs(1));
        } else {
            cache.insert(key, key);
        }
    }
    clock.advance(Duration::from_secs(1));
    cache.invalidate(&7);
    let seen: Vec<_> = cache.iter().collect();
    let map: HashMap<_, _> = seen.iter().copied().collect();
    assert_eq!(map.len(), seen.len(), "no key twice");
    let left = (keys - keys.div_ceil(5) - 1) as usize;
    assert_eq!(map.len(), left);
    assert!(map.keys().all(|key| key % 5 != 0 && *key != 7));
    assert_eq!((&cache).into_iter().count(), left);
}

#[test]
fn entries_that_stay_are_always_seen() {
    let cache: Cache<u64, u64> = Cache::builder().shards(4).build().unwrap();
    for key in 0..100 {
        cache.insert(key, 0);
    }
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            // Grows the tables, churns other keys, overwrites the stable ones.
            for key in 100..scaled(20_000, 200) {
                cache.insert(key, 1);
                cache.insert(key % 100, key);
                if key % 2 == 0 {
                    cache.invalidate(&(key - 50).max(100));
                }
            }
            done.store(true, Ordering::Relaxed);
        });
        while !done.load(Ordering::Relaxed) {
            let mut stable = [0; 100];
            for (key, _) in cache.iter() {
                if key < 100 {
                    stable[key as usize] += 1;
                }
            }
            assert!(stable.iter().all(|&times| times == 1), "{stable:?}");
        }
    });
    cache.check_invariants();
}

#[test]
fn is_no_use_for_policy_expiry_or_statistics() {
    let clock = Arc::new(ManualClock::new());
    let cache: Cache<u64, u64> = Cache::builder()
        .time_to_idle(Duration::from_secs(64))
        .clock(clock.clone())
        .record_stats()
        .build()
        .unwrap();
    cache.insert(1, 1);
    clock.advance(Duration::from_secs(63));
    assert_eq!(cache.iter().count(), 1);
    clock.advance(Duration::from_secs(1));
    assert_eq!(cache.iter().count(), 0);
    assert_eq!(cache.stats().requests(), 0);
}

#[test]
fn the_cache_may_change_under_the_iterator() {
    let cache: Cache<u64, u64> = Cache::builder().shards(4).build().unwrap();
    for key in 0..100 {
        cache.insert(key, key);
    }
    let mut rounds = 0;
    for (key, value) in cache.iter() {
        assert_eq!(key, value);
        cache.invalidate(&key);
        cache.insert(1_000 + key, 1_000 + key);
        rounds += 1;
        if rounds == 150 {
            break;
        }
    }
    cache.invalidate_all();
    assert_eq!(cache.iter().next(), None);
    cache.check_invariants();
}
