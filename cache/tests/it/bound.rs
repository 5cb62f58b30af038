//! The bound, in entries and in weight: exact, at each instant, whatever is written.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use millpond_cache::{BuildError, Cache, RemovalCause};

use crate::support::{Fixed, Random, watchdog};

fn weighted(max: u64, shards: usize) -> Cache<u64, (u64, u32)> {
    Cache::builder().max_weight(max).weigher(|_, &(_, w)| w).shards(shards).build().unwrap()
}

/// Inserts, overwrites and removes on eight threads while a sampler looks.
fn sampled_churn(shards: usize, capacity: u64) {
    let cache: Cache<u64, u64> = Cache::builder().max_capacity(capacity).shards(shards).build().unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let sampler = scope.spawn(|| {
            let mut samples = 0;
            while !done.load(Ordering::Relaxed) || samples == 0 {
                assert!(cache.entry_count() <= capacity);
                assert!(cache.weighted_size() <= capacity);
                if shards == 1 {
                    // One shard is seen as a whole. Several are seen one after the other, so an entry may leave one that
                    // was counted and its room go to one that was not.
                    assert!(cache.iter().count() as u64 <= capacity);
                }
                samples += 1;
            }
            samples
        });
        let writers: Vec<_> = (0..8)
            .map(|t| {
                let cache = &cache;
                scope.spawn(move || {
                    let mut random = Random::new(t + 1);
                    for _ in 0..4_000 {
                        let key = random.below(4 * capacity);
                        match random.below(10) {
                            0 => cache.invalidate(&key),
                            1..4 => assert!(cache.get(&key).is_none_or(|v| v == key)),
                            _ => cache.insert(key, key),
                        }
                        assert!(cache.entry_count() <= capacity);
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.join().unwrap();
        }
        done.store(true, Ordering::Relaxed);
        assert!(sampler.join().unwrap() > 0);
    });
    cache.check_invariants();
}

#[test]
fn no_sample_is_over_the_bound_with_one_shard() {
    sampled_churn(1, 100);
}

#[test]
fn no_sample_is_over_the_bound_with_many_shards() {
    sampled_churn(16, 1_000);
}

#[test]
fn no_sample_is_over_the_bound_with_more_shards_than_entries() {
    sampled_churn(64, 10);
}

#[test]
fn b15_no_sample_is_over_the_weight() {
    const MAX: u64 = 10_000;
    for shards in [1, 8] {
        let cache = weighted(MAX, shards);
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    assert!(cache.weighted_size() <= MAX);
                    if shards == 1 {
                        assert!(cache.iter().map(|(_, (_, w))| u64::from(w)).sum::<u64>() <= MAX);
                    }
                }
            });
            let writers: Vec<_> = (0..8)
                .map(|t| {
                    let cache = &cache;
                    scope.spawn(move || {
                        let mut random = Random::new(t + 1);
                        for _ in 0..2_000 {
                            let key = random.below(200);
                            let weight = match random.below(20) {
                                0 => 0,
                                1 => MAX as u32,
                                2 => MAX as u32 + 1,
                                3 => u32::MAX,
                                4 => MAX as u32 / 2,
                                _ => random.below(300) as u32,
                            };
                            cache.insert(key, (key, weight));
                            assert!(cache.weighted_size() <= MAX);
                            assert!(cache.get(&key).is_none_or(|(k, _)| k == key));
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
        let sum: u64 = cache.iter().map(|(_, (_, w))| u64::from(w)).sum();
        assert_eq!(sum, cache.weighted_size());
        assert_eq!(cache.iter().count() as u64, cache.entry_count());
    }
}

#[test]
fn capacity_0_keeps_nothing_and_still_answers() {
    let seen = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&seen);
    let cache: Cache<u64, u64> = Cache::builder()
        .max_capacity(0)
        .eviction_listener(move |_, _, cause| {
            assert_eq!(cause, RemovalCause::Size);
            count.fetch_add(1, Ordering::Relaxed);
        })
        .build()
        .unwrap();
    for key in 0..100 {
        cache.insert(key, key);
        assert_eq!(cache.get(&key), None);
        assert_eq!(cache.get_or_insert_with(key, || key + 1), key + 1);
        cache.check_invariants();
    }
    assert_eq!((cache.entry_count(), cache.iter().count()), (0, 0));
    assert_eq!(seen.load(Ordering::Relaxed), 200, "each value that did not stay was reported");
}

#[test]
fn capacities_1_and_2_hold_exactly_that_many() {
    for capacity in [1, 2] {
        for shards in [1, 2, 8] {
            let cache: Cache<u64, u64> =
                Cache::builder().max_capacity(capacity).shards(shards).build().unwrap();
            for key in 0..500 {
                cache.insert(key, key);
                cache.insert(key % 3, key);
                cache.check_invariants();
                assert!(cache.entry_count() <= capacity);
            }
            assert_eq!(cache.entry_count(), capacity, "{shards} shards");
            assert_eq!(cache.iter().count() as u64, capacity, "{shards} shards");
        }
    }
}

#[test]
fn what_fits_is_never_evicted() {
    // As many keys as the capacity: nothing may leave, however the keys fall on the shards, and overwriting is free.
    for seed in 0..20u64 {
        let capacity = 64;
        let cache: Cache<u64, u64, Fixed> =
            Cache::builder().max_capacity(capacity).shards(16).hasher(Fixed::default()).build().unwrap();
        for round in 0..4 {
            for key in 0..capacity {
                cache.insert(seed << 32 | key, round);
                cache.check_invariants();
            }
            for key in 0..capacity {
                assert_eq!(
                    cache.get(&(seed << 32 | key)),
                    Some(round),
                    "seed {seed}, round {round}, key {key}"
                );
            }
        }
    }
}

#[test]
fn b15_overwriting_by_the_same_weight_evicts_nothing() {
    let cache: Cache<u64, u32, Fixed> = Cache::builder()
        .max_weight(1_000)
        .weigher(|_, &w| w)
        .shards(16)
        .hasher(Fixed::default())
        .build()
        .unwrap();
    let weights: Vec<u32> = (0..40).map(|i| [1, 2, 3, 5, 9, 30, 50, 100][i % 8]).collect();
    assert_eq!(weights.iter().sum::<u32>(), 1_000);
    for _ in 0..3 {
        for (key, &weight) in weights.iter().enumerate() {
            cache.insert(key as u64, weight);
            cache.check_invariants();
        }
        assert_eq!(cache.weighted_size(), 1_000);
        assert_eq!(cache.entry_count(), 40);
    }
}

#[test]
fn b15_a_heavy_entry_may_use_the_whole_weight() {
    for shards in [1, 8] {
        let cache = weighted(1_000, shards);
        cache.insert(1, (1, 1_000));
        assert_eq!(cache.get(&1), Some((1, 1_000)), "nothing competes with it");
        assert_eq!(cache.weighted_size(), 1_000);
        cache.insert(2, (2, 1));
        assert!(cache.weighted_size() <= 1_000);
        cache.check_invariants();
        cache.invalidate_all();
        assert_eq!(cache.weighted_size(), 0);
        // Light entries first, spread over all shards, then a heavy one that is wanted again and again.
        for key in 10..110 {
            cache.insert(key, (key, 10));
        }
        let mut kept = false;
        for _ in 0..200 {
            cache.insert(1, (1, 1_000));
            cache.check_invariants();
            assert!(cache.weighted_size() <= 1_000);
            kept |= cache.get(&1).is_some();
        }
        assert!(kept, "an entry as heavy as the cache gets in, {shards} shards");
    }
}

#[test]
fn b15_heavier_than_the_cache_is_refused_and_takes_the_old_value_with_it() {
    let seen = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let cache: Cache<u64, (u64, u32)> = Cache::builder()
        .max_weight(100)
        .weigher(|_, &(_, w)| w)
        .eviction_listener(move |&k, &(v, _), cause| log.lock().push((k, v, cause)))
        .record_stats()
        .build()
        .unwrap();
    cache.insert(1, (10, 50));
    cache.insert(1, (11, 101));
    assert_eq!(cache.get(&1), None, "the old value is outdated");
    assert_eq!(*seen.lock(), [(1, 10, RemovalCause::Replaced), (1, 11, RemovalCause::Size)]);
    cache.insert(2, (20, u32::MAX));
    assert_eq!(cache.get(&2), None);
    seen.lock().clear();
    // A load gives its caller the value all the same.
    assert_eq!(cache.get_or_insert_with(3, || (30, 101)), (30, 101));
    assert_eq!(cache.get(&3), None);
    assert_eq!(
        *seen.lock(),
        [(3, 30, RemovalCause::Size)],
        "a refused load is reported like a refused insert"
    );
    assert_eq!((cache.weighted_size(), cache.entry_count(), cache.loads_in_flight()), (0, 0, 0));
    assert_eq!(cache.stats().evictions(), 3);
    cache.check_invariants();
}

#[test]
fn b15_weights_change_on_update() {
    for shards in [1, 4] {
        let cache = weighted(1_000, shards);
        let mut random = Random::new(7);
        for _ in 0..3_000 {
            let key = random.below(12);
            let weight = [0, 0, 1, 5, 80, 400, 999, 1_000, 1_001, u32::MAX][random.below(10) as usize];
            cache.insert(key, (key, weight));
            cache.check_invariants();
            assert!(cache.get(&key).is_none_or(|v| v == (key, weight)), "an older value never shows");
        }
    }
}

#[test]
fn b15_the_sum_of_weights_may_pass_4_gib() {
    let cache = weighted(u64::MAX - 1, 4);
    for key in 0..10 {
        cache.insert(key, (key, u32::MAX));
    }
    assert_eq!(cache.weighted_size(), 10 * u64::from(u32::MAX));
    assert_eq!(cache.entry_count(), 10);
    cache.check_invariants();
}

#[test]
fn b21_all_pinned_makes_progress() {
    watchdog(30, || {
        let cache = weighted(100, 4);
        for key in 0..5_000 {
            cache.insert(key, (key, 0));
        }
        assert_eq!(cache.entry_count(), 5_000, "weight 0 is never evicted");
        for key in 10_000..11_000 {
            cache.insert(key, (key, 60));
            assert!(cache.weighted_size() <= 100);
        }
        assert!((0..5_000).all(|key| cache.contains_key(&key)));
        cache.check_invariants();
        // Pinned and unpinned by update.
        cache.insert(1, (1, 100));
        cache.insert(2, (2, 100));
        cache.insert(1, (1, 0));
        cache.insert(2, (2, 0));
        cache.check_invariants();
        assert_eq!((cache.get(&1), cache.get(&2)), (Some((1, 0)), Some((2, 0))));
    });
}

#[test]
fn unbalanced_shards_use_the_whole_capacity() {
    // Keys of one shard only: it may fill the cache, and gives way when the others come.
    let cache: Cache<u64, u64, crate::support::FewBits<6>> =
        Cache::builder().max_capacity(256).shards(16).hasher(Default::default()).build().unwrap();
    for key in 0..256 {
        cache.insert(key, key);
    }
    assert_eq!(cache.entry_count(), 256);
    assert!((0..256).all(|key| cache.get(&key) == Some(key)));
    for key in 256..1_000 {
        cache.insert(key, key);
        assert!(cache.entry_count() <= 256);
    }
    cache.check_invariants();
    assert_eq!(cache.entry_count(), 256);
}

#[test]
fn b13_a_key_updated_200_000_times_can_be_evicted() {
    let cache: Cache<u64, u64> = Cache::builder().max_capacity(16).shards(1).build().unwrap();
    for round in 0..200_000 {
        cache.insert(0, round);
    }
    cache.check_invariants();
    assert_eq!(cache.get(&0), Some(199_999));
    // Nobody asks for it any more, while others come and are used.
    let mut gone = false;
    for round in 0..2_000u64 {
        for key in 1..=32 {
            cache.insert(key + (round / 100) * 32, round);
            cache.get(&(key + (round / 100) * 32));
        }
        gone |= !cache.contains_key(&0);
    }
    assert!(gone, "an old favourite leaves in the end");
    cache.check_invariants();
}

#[test]
fn bad_configurations_are_typed_errors() {
    type B = Cache<u64, u64>;
    let both = B::builder().max_capacity(1).max_weight(1).weigher(|_, _| 1).build();
    assert_eq!(both.err(), Some(BuildError::TwoBounds));
    assert_eq!(B::builder().max_weight(1).build().err(), Some(BuildError::NoWeigher));
    assert_eq!(B::builder().weigher(|_, _| 1).build().err(), Some(BuildError::NoMaxWeight));
    let size_aware = B::builder().max_capacity(1).admission(millpond_cache::Admission::SizeAware).build();
    assert_eq!(size_aware.err(), Some(BuildError::AdmissionNeedsWeigher));
    let both = B::builder()
        .max_weight(1)
        .weigher(|_, _| 1)
        .admission(millpond_cache::Admission::SizeAware)
        .eviction_policy(millpond_cache::EvictionPolicy::Lru)
        .build();
    assert_eq!(both.err(), Some(BuildError::AdmissionUnderLru));
    for shards in [0, 3, 1 << 17] {
        assert_eq!(B::builder().shards(shards).build().err(), Some(BuildError::Shards(shards)));
    }
}

#[test]
fn a_scan_does_not_flush_what_is_used() {
    let cache: Cache<u64, u64> = Cache::new(1_000);
    for round in 0..20u64 {
        for key in 0..500 {
            if cache.get(&key).is_none() {
                cache.insert(key, key);
            }
        }
        for n in 0..500 {
            cache.insert(1_000_000 + round * 500 + n, n);
        }
    }
    let kept = (0..500).filter(|key| cache.contains_key(key)).count();
    assert!(kept >= 480, "{kept} of 500");
}
