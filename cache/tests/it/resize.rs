//! Another bound while the cache is in use: exact once the call has returned, whatever others do.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;

use millpond_cache::{Admission, Cache, EvictionPolicy, RemovalCause, ResizeError};

use crate::support::{Census, Random, scaled, watchdog};

#[test]
fn a_smaller_bound_evicts_and_a_larger_one_is_used() {
    for shards in [1, 4] {
        let evicted = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&evicted);
        let cache: Cache<u64, u64> = Cache::builder()
            .max_capacity(1_000)
            .shards(shards)
            .eviction_listener(move |_, _, cause| {
                count.fetch_add(u64::from(cause == RemovalCause::Size), Ordering::Relaxed);
            })
            .build()
            .unwrap();
        (0..1_000).for_each(|key| cache.insert(key, key));
        for (bound, left) in [(999, 999), (300, 300), (300, 300), (1, 1), (0, 0)] {
            cache.set_max_capacity(bound).unwrap();
            assert_eq!((cache.entry_count(), cache.max_capacity()), (left, Some(bound)));
            assert_eq!(evicted.load(Ordering::Relaxed), 1_000 - left, "told before the call returned");
            cache.check_invariants();
        }
        cache.insert(1, 1);
        assert_eq!(cache.get(&1), None, "nothing fits any more");
        evicted.store(0, Ordering::Relaxed);
        cache.set_max_capacity(500).unwrap();
        (0..500).for_each(|key| cache.insert(key, key));
        assert_eq!((cache.entry_count(), evicted.load(Ordering::Relaxed)), (500, 0), "what fits stays");
        cache.set_max_capacity(u64::MAX).unwrap();
        (0..5_000).for_each(|key| cache.insert(key, key));
        assert_eq!((cache.entry_count(), cache.max_capacity()), (5_000, None));
        cache.set_max_capacity(100).unwrap();
        assert_eq!(cache.entry_count(), 100);
        cache.check_invariants();
    }
}

#[test]
fn weights_are_resized_in_weight_and_what_is_pinned_stays() {
    let cache: Cache<u64, u32> =
        Cache::builder().max_weight(1_000).weigher(|_, &weight| weight).shards(4).build().unwrap();
    cache.insert(0, 0);
    cache.insert(1, 600);
    (10..30).for_each(|key| cache.insert(key, 20));
    cache.set_max_weight(500).unwrap();
    assert!(cache.weighted_size() <= 500 && !cache.contains_key(&1), "heavier than the new bound");
    assert!(cache.try_insert(2, 501).is_err());
    cache.set_max_weight(0).unwrap();
    assert_eq!((cache.entry_count(), cache.get(&0)), (1, Some(0)));
    cache.set_max_weight(700).unwrap();
    cache.insert(1, 700);
    assert_eq!(cache.get(&1), Some(700));
    cache.check_invariants();
    assert_eq!(cache.set_max_capacity(5), Err(ResizeError::CountsWeight));
    assert_eq!(Cache::<u64, u64>::new(5).set_max_weight(5), Err(ResizeError::CountsEntries));
}

#[test]
fn what_is_evicted_is_dropped() {
    let census = Census::default();
    let cache = Cache::builder().max_capacity(1_000).shards(2).build().unwrap();
    for key in 0..1_000u64 {
        cache.insert(key, census.one());
    }
    cache.set_max_capacity(10).unwrap();
    cache.run_pending_tasks();
    assert_eq!(cache.entry_count(), 10);
    // Other tests of this process may hold a pin for a moment.
    crate::support::eventually(|| {
        cache.run_pending_tasks();
        census.alive() == 10
    });
}

/// Writes on six threads while one resizes and looks right after each call.
fn resized_churn(cache: &Cache<u64, u32>, resize: impl Fn(u64) + Sync, largest: u64) {
    let writing = AtomicBool::new(true);
    thread::scope(|scope| {
        for thread in 0..6 {
            let writing = &writing;
            scope.spawn(move || {
                let mut random = Random::new(thread + 1);
                while writing.load(Ordering::Relaxed) {
                    let key = random.below(2_000);
                    match random.below(8) {
                        0 => cache.invalidate(&key),
                        1 | 2 => drop(cache.get(&key)),
                        _ => cache.insert(key, random.below(40) as u32),
                    }
                    assert!(cache.weighted_size() <= largest);
                }
            });
        }
        let mut random = Random::new(99);
        for _ in 0..scaled(400, 10) {
            let bound = match random.below(4) {
                0 => random.below(3),
                1 => largest,
                _ => random.below(largest),
            };
            resize(bound);
            for _ in 0..50 {
                let held = cache.weighted_size();
                assert!(held <= bound, "{held} after a resize to {bound}");
            }
        }
        writing.store(false, Ordering::Relaxed);
    });
    cache.check_invariants();
    resize(10);
    assert!(cache.weighted_size() <= 10);
    cache.check_invariants();
}

#[test]
fn the_bound_holds_on_return_while_others_write() {
    watchdog(120, || {
        for shards in [1, 8] {
            let cache = Cache::builder().max_capacity(1_000).shards(shards).build().unwrap();
            resized_churn(&cache, |bound| cache.set_max_capacity(bound).unwrap(), 1_000);
        }
    });
}

#[test]
fn the_bound_in_weight_holds_on_return_while_others_write() {
    watchdog(120, || {
        for (shards, kind) in [(1, 0), (8, 0), (4, 1), (4, 2)] {
            let builder = Cache::builder()
                .max_weight(3_000)
                .weigher(|_, &weight| weight)
                .eviction_listener(|_, _, _| ())
                .shards(shards);
            let builder = match kind {
                0 => builder,
                1 => builder.admission(Admission::SizeAware),
                _ => builder.eviction_policy(EvictionPolicy::Lru),
            };
            let cache = builder.build().unwrap();
            resized_churn(&cache, |bound| cache.set_max_weight(bound).unwrap(), 3_000);
        }
    });
}

#[test]
fn several_may_resize_at_once() {
    watchdog(60, || {
        let cache: Cache<u64, u64> = Cache::builder().max_capacity(500).shards(4).build().unwrap();
        thread::scope(|scope| {
            for thread in 0..4 {
                let cache = &cache;
                scope.spawn(move || {
                    let mut random = Random::new(thread + 1);
                    for _ in 0..scaled(300, 10) {
                        cache.set_max_capacity(random.below(500)).unwrap();
                        (0..20).for_each(|_| cache.insert(random.below(1_000), 0));
                        assert!(cache.entry_count() <= 500);
                    }
                });
            }
        });
        cache.check_invariants();
        let bound = cache.max_capacity().unwrap();
        assert!(cache.entry_count() <= bound);
        (0..1_000).for_each(|key| cache.insert(key, 0));
        assert_eq!(cache.entry_count(), bound, "the shards' shares belong to the bound that won");
        cache.check_invariants();
    });
}

#[test]
fn a_listener_may_resize() {
    watchdog(60, || {
        for shards in [1, 8] {
            let own = Arc::new(OnceLock::<Cache<u64, u64>>::new());
            let handle = Arc::clone(&own);
            let told = AtomicU64::new(0);
            let cache: Cache<u64, u64> = Cache::builder()
                .max_capacity(64)
                .shards(shards)
                .eviction_listener(move |_, _, _| {
                    let count = told.fetch_add(1, Ordering::Relaxed);
                    if let Some(cache) = handle.get() {
                        let bound = [64, 3, 0, 40, 100][count as usize % 5];
                        cache.set_max_capacity(bound).unwrap();
                        assert!(cache.max_capacity().is_some());
                    }
                })
                .build()
                .unwrap();
            own.set(cache.clone()).unwrap();
            let mut random = Random::new(1);
            for _ in 0..scaled(3_000, 50) {
                cache.insert(random.below(300), 0);
                assert!(cache.entry_count() <= 100);
            }
            cache.check_invariants();
        }
    });
}

/// Hits in percent of requests for a skewed choice of keys among 40,000, while one in four is never asked for again.
fn hit_ratio(cache: &Cache<u64, u64>, random: &mut Random, requests: u64) -> f64 {
    let mut hits = 0;
    for _ in 0..requests {
        let (a, b, c) = (random.below(40_000), random.below(40_000), random.below(40_000));
        let key = if random.below(4) == 0 { 1 << 40 | random.next() } else { a.min(b).min(c) };
        match cache.get(&key) {
            Some(_) => hits += 1,
            None => cache.insert(key, key),
        }
    }
    100.0 * hits as f64 / requests as f64
}

#[test]
#[cfg_attr(miri, ignore = "a figure of many requests")]
fn a_cache_that_changed_its_bound_hits_as_a_new_one_of_that_bound() {
    for (before, after) in [(1_000, 8_000), (8_000, 1_000)] {
        // The same run each time: between hashes, ratios differ by a point.
        let hasher = ahash::RandomState::with_seeds(1, 2, 3, 4);
        let builder = || Cache::builder().shards(1).seed(5).hasher(hasher.clone());
        let cache = |capacity| builder().max_capacity(capacity).build().unwrap();
        let (changed, new) = (cache(before), cache(after));
        hit_ratio(&changed, &mut Random::new(7), 60_000);
        changed.set_max_capacity(after).unwrap();
        let [changed, new] = [changed, new].map(|cache| {
            let mut random = Random::new(8);
            hit_ratio(&cache, &mut random, 80_000);
            let ratio = hit_ratio(&cache, &mut random, 150_000);
            cache.check_invariants();
            ratio
        });
        assert!(changed > new - 1.0, "{before} to {after}: {changed:.2}, a new one {new:.2}");
    }
}

#[test]
fn the_room_of_what_was_cleared_is_taken_first() {
    watchdog(60, || {
        for (bound, shards) in [(0, 1), (5, 4), (700, 4)] {
            let seen = Arc::new(parking_lot::Mutex::new(Vec::new()));
            let log = Arc::clone(&seen);
            let cache: Cache<u64, u64> = Cache::builder()
                .max_capacity(1_000)
                .shards(shards)
                .eviction_listener(move |_, _, cause| log.lock().push(cause))
                .build()
                .unwrap();
            (0..1_000).for_each(|key| cache.insert(key, key));
            cache.invalidate_all();
            cache.set_max_capacity(bound).unwrap();
            cache.check_invariants();
            (0..bound).for_each(|key| cache.insert(key, key));
            assert_eq!(cache.entry_count(), bound);
            cache.run_pending_tasks();
            let causes = std::mem::take(&mut *seen.lock());
            assert_eq!(causes.len(), 1_000);
            assert!(causes.iter().all(|&cause| cause == RemovalCause::Cleared), "nobody else had to go");
            cache.check_invariants();
        }
    });
}
