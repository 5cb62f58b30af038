//! Statistics: exact at rest.

use std::thread;
use std::time::Duration;

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

#[test]
fn weights_and_rejections_are_counted() {
    let clock = std::sync::Arc::new(millpond_cache::ManualClock::new());
    let cache: Cache<u64, u64> = Cache::builder()
        .max_weight(100)
        .weigher(|_, &weight| u32::try_from(weight).unwrap())
        .time_to_live(Duration::from_secs(1))
        .clock(clock.clone())
        .shards(1)
        .record_stats()
        .build()
        .unwrap();
    cache.insert(1, 60);
    cache.insert(2, 30);
    cache.insert(3, 101);
    let stats = cache.stats();
    assert_eq!((stats.rejected(), stats.evictions(), stats.evicted_weight()), (1, 1, 0));
    let before = cache.weighted_size();
    cache.insert(4, 90);
    cache.insert(4, 80);
    let stats = cache.stats() - &stats;
    assert_eq!(stats.evicted_weight() + cache.weighted_size() + 90 * stats.replaced(), before + 90 + 80);
    assert!(stats.evictions() > 0 && stats.rejected() == 0);
    clock.advance(Duration::from_secs(1));
    let held = cache.weighted_size();
    cache.run_pending_tasks();
    assert_eq!(cache.stats().expired_weight(), held);
    cache.check_invariants();
}

/// However a dead entry is found, its weight is counted with it.
#[test]
fn the_weight_of_all_that_has_expired_is_counted() {
    type Pairs = Cache<u64, u64>;
    type Way = (&'static str, fn(&Pairs));
    let ways: [Way; 16] = [
        ("insert", |c| c.insert(1, 2)),
        ("too heavy", |c| c.insert(1, 1_001)),
        ("insert of another", |c| c.insert(2, 2)),
        ("insert that needs the room", |c| c.insert(2, 999)),
        ("remove", |c| assert_eq!(c.remove(&1), None)),
        ("invalidate", |c| c.invalidate(&1)),
        ("invalidate_if", |c| assert_eq!(c.invalidate_if(|_, _| true), 0)),
        ("invalidate_tag", |c| assert_eq!(c.invalidate_tag("t"), 0)),
        ("invalidate_all", Pairs::invalidate_all),
        ("load", |c| assert_eq!(c.get_or_insert_with(1, || 2), 2)),
        ("heavy load", |c| assert_eq!(c.get_or_insert_with(1, || 1_001), 1_001)),
        ("load of nothing", |c| assert_eq!(c.optionally_get_with(1, || None), None)),
        ("compute", |c| {
            let _now = c.entry(1).and_upsert_with(|old| old.map_or(3, |_| 4));
        }),
        ("heavy compute", |c| {
            let _now = c.entry(1).and_upsert_with(|_| 1_001);
        }),
        ("resize", |c| c.set_max_weight(1).unwrap()),
        ("maintenance", Pairs::run_pending_tasks),
    ];
    for (name, way) in ways {
        for grace in [false, true] {
            let clock = std::sync::Arc::new(millpond_cache::ManualClock::new());
            let mut builder = Cache::builder()
                .max_weight(1_000)
                .weigher(|_, &weight: &u64| u32::try_from(weight).unwrap())
                .time_to_live(Duration::from_secs(1))
                .clock(clock.clone())
                .shards(1)
                .record_stats();
            if grace {
                builder = builder.stale_if_error(Duration::from_secs(100));
            }
            let cache: Pairs = builder.build().unwrap();
            cache.insert_with_tags(1, 500, &["t"]);
            clock.advance(Duration::from_secs(1));
            way(&cache);
            clock.advance(Duration::from_secs(100));
            cache.run_pending_tasks();
            let stats = cache.stats();
            let late = stats.expired() - 1;
            assert!(late <= 1, "{name}: what it wrote expires too");
            let weights = stats.expired_weight() - 500;
            assert!(
                if late == 0 { weights == 0 } else { (2..1_000).contains(&weights) },
                "{name}, {grace}: {stats:?}"
            );
            cache.check_invariants();
        }
    }
}

#[test]
fn loads_are_timed_one_by_one() {
    let cache: Cache<u64, u64> = Cache::builder().record_stats().build().unwrap();
    for key in 0..10 {
        cache.get_or_insert_with(key, || key);
    }
    let _failed = cache.try_get_or_insert_with(11, || Err::<u64, _>("no"));
    let stats = cache.stats();
    assert_eq!((stats.loads(), stats.load_times().count()), (11, 11));
    let [least, most] = [0.0, 1.0].map(|quantile| stats.load_times().quantile(quantile).unwrap());
    assert!(least <= most && most.as_nanos() * 17 / 16 >= stats.load_time().as_nanos() / 11);
    assert_eq!(stats.load_times().buckets().map(|(_, count)| count).sum::<u64>(), 11);
    let since = cache.stats() - &stats;
    assert_eq!((since.loads(), since.misses(), since.load_time()), (0, 0, Duration::ZERO));
    assert_eq!((since.load_times().count(), since.load_times().quantile(0.5)), (0, None));
}

#[test]
fn b16_each_event_is_in_the_result_of_one_reset() {
    let cache: Cache<u64, u64> = Cache::builder().record_stats().build().unwrap();
    cache.insert(1, 1);
    let reset: u64 = thread::scope(|scope| {
        let readers: Vec<_> = (0..3)
            .map(|_| {
                let cache = &cache;
                scope.spawn(move || {
                    (0..20_000).for_each(|key| assert_eq!(cache.get(&(key % 2)).is_some(), key % 2 == 1))
                })
            })
            .collect();
        let mut sum = 0;
        while readers.iter().any(|reader| !reader.is_finished()) {
            sum += cache.reset_stats().requests();
            thread::yield_now();
        }
        sum
    });
    let last = cache.reset_stats();
    assert_eq!(reset + last.requests(), 60_000);
    assert_eq!(cache.stats().requests(), 0);
}
