//! Statistics: exact at rest.

use std::thread;

use millpond_cache::{Cache, Stats};

use crate::support::Random;

#[test]
fn off_by_default() {
    let cache: Cache<u64, u64> = Cache::new(10);
    cache.insert(1, 1);
    cache.get(&1);
    assert_eq!(cache.stats(), Stats::default());
    assert_eq!(cache.stats().hit_ratio(), 1.0, "no lookup was counted");
}

#[test]
fn each_kind_is_counted() {
    let cache: Cache<u64, u64> = Cache::builder().record_stats().build().unwrap();
    cache.insert(1, 1);
    cache.get(&1);
    cache.read(&1, |_| ());
    cache.pin().get(&1);
    cache.get(&2);
    cache.contains_key(&1);
    cache.contains_key(&2);
    assert_eq!((cache.stats().hits(), cache.stats().misses()), (3, 1));
    cache.insert(1, 2);
    cache.remove(&1);
    cache.remove(&1);
    assert_eq!((cache.stats().replaced(), cache.stats().removed()), (1, 1));
    cache.get_or_insert_with(3, || 3);
    cache.get_or_insert_with(3, || 3);
    let _ = cache.try_get_or_insert_with(4, || Err::<u64, _>("no"));
    let stats = cache.stats();
    assert_eq!((stats.load_successes(), stats.load_failures()), (1, 1));
    assert_eq!((stats.hits(), stats.misses()), (4, 3));
    assert_eq!(stats.requests(), 7);
    assert!((stats.hit_ratio() - 4.0 / 7.0).abs() < 1e-12);
}

#[test]
fn b16_the_sums_agree_at_rest() {
    let cache: Cache<u64, u64> = Cache::builder().max_capacity(100).shards(4).record_stats().build().unwrap();
    let totals: Vec<(u64, u64)> = thread::scope(|scope| {
        let workers: Vec<_> = (0..8)
            .map(|t| {
                let cache = &cache;
                scope.spawn(move || {
                    let mut random = Random::new(t + 1);
                    let (mut gets, mut inserts) = (0, 0);
                    for _ in 0..3_000 {
                        let key = random.below(300);
                        match random.below(8) {
                            0..3 => {
                                cache.insert(key, key);
                                inserts += 1;
                            }
                            3 => cache.invalidate(&key),
                            4 => drop(cache.remove(&key)),
                            _ => {
                                cache.get(&key);
                                gets += 1;
                            }
                        }
                    }
                    (gets, inserts)
                })
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).collect()
    });
    let gets: u64 = totals.iter().map(|t| t.0).sum();
    let inserts: u64 = totals.iter().map(|t| t.1).sum();
    let stats = cache.stats();
    assert_eq!(stats.hits() + stats.misses(), gets);
    assert_eq!(stats.evictions() + stats.removed() + cache.entry_count(), inserts - stats.replaced());
    cache.check_invariants();
}

#[test]
fn b16_loads_count_too() {
    let cache: Cache<u64, u64> = Cache::builder().max_capacity(64).shards(2).record_stats().build().unwrap();
    let calls: u64 = thread::scope(|scope| {
        let workers: Vec<_> = (0..4)
            .map(|t| {
                let cache = &cache;
                scope.spawn(move || {
                    let mut random = Random::new(t + 1);
                    let mut calls = 0;
                    for _ in 0..2_000 {
                        let key = random.below(128);
                        cache.get_or_insert_with(key, || {
                            calls += 1;
                            key
                        });
                    }
                    calls
                })
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).sum()
    });
    let stats = cache.stats();
    assert_eq!(stats.load_successes(), calls);
    assert!(stats.requests() >= 8_000, "each call looks at least once");
    assert_eq!(
        stats.evictions() + stats.removed() + stats.replaced() + cache.entry_count(),
        calls,
        "every loaded value was stored, and left for a reason"
    );
}
