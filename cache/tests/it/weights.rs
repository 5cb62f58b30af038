//! Weights: any `u32`, changed by updates, refused where they can't fit. See `bound` for what is never exceeded.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use millpond_cache::{Admission, Cache, Rejected, RemovalCause};

use crate::support::{Census, Counted, Random, scaled, watchdog};

type Log = Arc<parking_lot::Mutex<Vec<(u64, RemovalCause)>>>;

fn logged(max: u64, shards: usize) -> (Cache<u64, u32>, Log) {
    let log = Log::default();
    let told = Arc::clone(&log);
    let cache = Cache::builder()
        .max_weight(max)
        .weigher(|_, &weight| weight)
        .shards(shards)
        .eviction_listener(move |&key, _, cause| told.lock().push((key, cause)))
        .build()
        .unwrap();
    (cache, log)
}

#[test]
fn b15_the_growth_of_one_entry_evicts_others_at_once() {
    for shards in [1, 4] {
        let (cache, log) = logged(100, shards);
        for key in 0..10 {
            cache.insert(key, 10);
        }
        assert_eq!((cache.weighted_size(), log.lock().len()), (100, 0));
        for weight in [20, 35, 60, 99, 100] {
            // What is written again and again is wanted.
            for _ in 0..4 {
                cache.insert(3, weight);
                cache.check_invariants();
                assert!(cache.weighted_size() <= 100);
                assert!(cache.get(&3).is_none_or(|held| held == weight), "never with its old weight");
            }
        }
        let evicted = log.lock().iter().filter(|(_, cause)| *cause == RemovalCause::Size).count();
        assert!(evicted >= 9, "{evicted} told of before the writes returned, {shards} shards");
        assert_eq!(cache.get(&3), Some(100));
        assert_eq!((cache.weighted_size(), cache.entry_count()), (100, 1));
        // And shrinking gives the room back at once.
        cache.insert(3, 1);
        assert_eq!(cache.weighted_size(), 1);
        log.lock().clear();
        for key in 10..19 {
            cache.insert(key, 11);
        }
        assert_eq!((cache.weighted_size(), cache.entry_count()), (100, 10));
        assert_eq!(log.lock().len(), 0, "all of it fits");
    }
}

#[test]
fn b15_entries_that_grow_and_shrink_on_eight_threads_stay_within_the_bound() {
    const MAX: u64 = 1_000;
    for shards in [1, 8] {
        let (cache, _) = logged(MAX, shards);
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    assert!(cache.weighted_size() <= MAX);
                }
            });
            let writers: Vec<_> = (0..8)
                .map(|thread| {
                    let cache = &cache;
                    scope.spawn(move || {
                        let mut random = Random::new(thread + 1);
                        for round in 0..scaled(3_000, 30) {
                            // Few keys, so that nearly every write changes the weight of an entry that others change too.
                            let key = random.below(16);
                            let weight = if round % 7 == 0 { 0 } else { random.below(400) as u32 };
                            cache.insert(key, weight);
                            assert!(cache.weighted_size() <= MAX);
                        }
                    })
                })
                .collect();
            for writer in writers {
                writer.join().unwrap();
            }
            done.store(true, Ordering::Relaxed);
        });
        cache.check_invariants();
        let held: HashMap<u64, u32> = cache.iter().collect();
        assert_eq!(held.values().map(|&weight| u64::from(weight)).sum::<u64>(), cache.weighted_size());
    }
}

#[test]
fn what_can_not_fit_is_handed_back_and_changes_nothing() {
    let census = Census::default();
    let cache: Cache<u64, (u32, Counted)> = Cache::builder()
        .max_weight(100)
        .weigher(|_, (weight, _)| *weight)
        .eviction_listener(|_, _, cause| panic!("nothing leaves for {cause:?}"))
        .record_stats()
        .build()
        .unwrap();
    let one = |weight| (weight, census.one());
    assert!(cache.try_insert(1, one(60)).is_ok());
    assert!(cache.try_insert(2, one(0)).is_ok());
    let Rejected { key, value, weight, max, .. } = cache.try_insert(1, one(101)).unwrap_err();
    assert_eq!((key, value.0, weight, max), (1, 101, 101, 100));
    drop(value);
    let rejected = cache.try_insert(9, one(u32::MAX)).unwrap_err();
    assert_eq!(rejected.to_string(), "the entry weighs 4294967295, the whole cache may weigh 100");
    drop(rejected);
    assert_eq!(census.alive(), 2, "the refused values were not kept");
    assert_eq!(cache.read(&1, |(weight, _)| *weight), Some(60), "the older value stays");
    assert_eq!((cache.weighted_size(), cache.entry_count()), (60, 2));
    assert_eq!((cache.stats().evictions(), cache.stats().listener_panics()), (0, 0));
    cache.check_invariants();
}

#[test]
fn a_refused_insert_leaves_a_load_of_the_key_alone() {
    let cache: Cache<u64, u32> =
        Cache::builder().max_weight(10).weigher(|_, &weight| weight).build().unwrap();
    let loaded = cache.get_or_insert_with(1, || {
        assert!(cache.try_insert(1, 11).is_err());
        5
    });
    assert_eq!((loaded, cache.get(&1)), (5, Some(5)), "the load was stored");
}

#[test]
fn nothing_fits_a_cache_of_no_room() {
    let cache: Cache<u64, u64> = Cache::new(0);
    let rejected = cache.try_insert(1, 2).unwrap_err();
    assert_eq!((rejected.value, rejected.weight, rejected.max), (2, 1, 0));
    let cache: Cache<u64, u32> = Cache::builder().max_weight(0).weigher(|_, &w| w).build().unwrap();
    assert!(cache.try_insert(1, 1).is_err());
    assert!(cache.try_insert(1, 0).is_ok(), "what weighs nothing takes no room");
    assert_eq!(cache.get(&1), Some(0));
}

#[test]
fn b21_a_cache_of_pinned_entries_still_answers_each_write() {
    watchdog(60, || {
        let (cache, log) = logged(50, 4);
        for key in 0..scaled(2_000, 100) {
            cache.insert(key, 0);
        }
        // One entry has all the room; what comes next either takes it or gives way.
        cache.insert(10_000, 50);
        for key in 20_000..20_100 {
            cache.insert(key, 50);
            assert!(cache.weighted_size() <= 50);
            cache.insert(key % 7, 51);
            assert!(
                !cache.contains_key(&(key % 7)),
                "too heavy: evicted at once, and the pinned value with it"
            );
            cache.insert(key % 7, 0);
            cache.check_invariants();
        }
        let sizes = log.lock().iter().filter(|(_, cause)| *cause == RemovalCause::Size).count();
        assert_eq!(sizes, 100 + 100, "each of them had to go, or was refused");
        assert_eq!(cache.entry_count(), scaled(2_000, 100) + 1);
    });
}

#[test]
fn b15_an_unbounded_weight_adds_up() {
    let cache: Cache<u64, u32> =
        Cache::builder().max_weight(u64::MAX).weigher(|_, &weight| weight).build().unwrap();
    for key in 0..100 {
        cache.insert(key, u32::MAX);
        cache.insert(key % 5, u32::MAX - 1);
    }
    assert_eq!(cache.weighted_size(), 100 * u64::from(u32::MAX) - 5);
    cache.check_invariants();
}

#[test]
fn admission_by_size_keeps_the_bound_and_what_fits() {
    let cache: Cache<u64, u32> = Cache::builder()
        .max_weight(10_000)
        .weigher(|_, &weight| weight)
        .admission(Admission::SizeAware)
        .shards(4)
        .seed(1)
        .build()
        .unwrap();
    for key in 0..100 {
        cache.insert(key, 100);
    }
    assert_eq!(cache.entry_count(), 100, "what fits stays");
    let mut random = Random::new(3);
    for round in 0..scaled(20_000, 200) {
        let key = random.below(300);
        let weight = if key % 10 == 0 { 2_000 + key as u32 } else { 20 };
        if cache.get(&key).is_none() {
            cache.insert(key, weight);
        }
        assert!(cache.weighted_size() <= 10_000);
        if round % 64 == 0 {
            cache.check_invariants();
        }
    }
    cache.check_invariants();
}

#[test]
fn admission_by_size_lets_no_heavy_entry_push_out_many_wanted_ones() {
    let light_ones = |admission| {
        let cache: Cache<u64, u32> = Cache::builder()
            .max_weight(1_000)
            .weigher(|_, &weight| weight)
            .admission(admission)
            .shards(1)
            .seed(1)
            .build()
            .unwrap();
        for round in 0..400 {
            for key in (round % 3..90).step_by(3) {
                if cache.get(&key).is_none() {
                    cache.insert(key, 10);
                }
            }
            // Later three heavy ones, each asked for more often than any light one.
            for key in 1_000..if round < 30 { 1_000 } else { 1_003 } {
                if cache.get(&key).is_none() {
                    cache.insert(key, 450);
                }
            }
        }
        cache.check_invariants();
        (0..90).filter(|key| cache.contains_key(key)).count()
    };
    let (frequency, size_aware) = (light_ones(Admission::Frequency), light_ones(Admission::SizeAware));
    assert!(size_aware >= 85 && size_aware > frequency, "{size_aware} of 90, {frequency} without");
}
