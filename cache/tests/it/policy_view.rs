//! `cache.policy()`: what can be seen of the policy, and that looking changes nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use millpond_cache::{Admission, Cache, CacheBuilder, EvictionPolicy, Expiry, ManualClock};

use crate::support::{Random, scaled};

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

#[test]
fn an_lru_cache_shows_its_order_of_use() {
    let cache: Cache<u64, u64> =
        Cache::builder().max_capacity(10).eviction_policy(EvictionPolicy::Lru).shards(1).build().unwrap();
    (0..10).for_each(|key| cache.insert(key, 10 * key));
    for key in [3, 0, 7] {
        cache.get(&key);
    }
    let policy = cache.policy();
    let keys = |entries: Vec<(u64, u64)>| -> Vec<u64> {
        assert!(entries.iter().all(|&(key, value)| value == 10 * key));
        entries.into_iter().map(|(key, _)| key).collect()
    };
    assert_eq!(keys(policy.coldest(100)), [1, 2, 4, 5, 6, 8, 9, 3, 0, 7]);
    assert_eq!(keys(policy.hottest(4)), [7, 0, 3, 9]);
    assert!(keys(policy.coldest(0)).is_empty());
    // Looking is no use: the next to go is the one that was shown as coldest.
    cache.insert(10, 100);
    assert!(!cache.contains_key(&1) && cache.contains_key(&2));
    assert_eq!((policy.eviction_policy(), policy.admission()), (EvictionPolicy::Lru, Admission::Frequency));
    assert_eq!((policy.regions().window.entries, policy.regions().window_max), (10, 10));
}

#[test]
fn what_is_used_often_is_hotter_than_what_is_not() {
    for shards in [1, 4] {
        let cache: Cache<u64, u64> =
            Cache::builder().max_capacity(400).shards(shards).seed(3).build().unwrap();
        for round in 0..50u64 {
            for key in 0..100 {
                if cache.get(&key).is_none() {
                    cache.insert(key, key);
                }
            }
            (0..200).for_each(|n| cache.insert(1_000 + 200 * round + n, n));
        }
        let often = |entries: Vec<(u64, u64)>| entries.iter().filter(|(key, _)| *key < 100).count();
        let policy = cache.policy();
        assert!(often(policy.hottest(50)) >= 45, "{shards} shards: {:?}", policy.hottest(50));
        assert_eq!(often(policy.coldest(50)), 0, "{shards} shards");
        let mut all: Vec<u64> = policy.coldest(usize::MAX).into_iter().map(|(key, _)| key).collect();
        assert_eq!(all.len(), 400);
        let mut reversed: Vec<u64> = policy.hottest(usize::MAX).into_iter().map(|(key, _)| key).collect();
        all.sort_unstable();
        reversed.sort_unstable();
        assert_eq!(all, reversed, "the same entries, each once");
        cache.check_invariants();
    }
}

#[test]
fn regions_add_up_to_what_is_held() {
    let cache: Cache<u64, u32> = Cache::builder()
        .max_weight(1_000)
        .weigher(|_, &weight| weight)
        .admission(Admission::SizeAware)
        .shards(4)
        .build()
        .unwrap();
    let policy = cache.policy();
    assert!(policy.is_weighted());
    assert_eq!(
        (policy.admission(), policy.eviction_policy()),
        (Admission::SizeAware, EvictionPolicy::TinyLfu)
    );
    let mut random = Random::new(1);
    for _ in 0..scaled(3_000, 100) {
        let key = random.below(300);
        if cache.get(&key).is_none() {
            cache.insert(key, (key % 20) as u32);
        }
        let regions = policy.regions();
        let all = [regions.window, regions.probation, regions.protected, regions.pinned];
        assert_eq!(all.iter().map(|region| region.entries).sum::<u64>(), cache.entry_count());
        assert_eq!(all.iter().map(|region| region.weight).sum::<u64>(), cache.weighted_size());
        assert_eq!(regions.pinned.weight, 0);
        assert!((4..=1_000).contains(&regions.window_max));
    }
    assert!(policy.regions().pinned.entries > 0);
    for (key, weight) in &cache {
        assert_eq!(policy.weight_of(&key), Some(weight));
    }
    assert_eq!(policy.weight_of(&9_999), None);
    cache.insert(5, 17);
    cache.set_max_weight(500).unwrap();
    assert_eq!((policy.max_capacity(), cache.clone().policy().max_capacity()), (Some(500), Some(500)));
    assert!(format!("{policy:?}").contains("window_max"));
}

#[test]
fn times_are_told_where_they_are_known_and_the_dead_are_not_shown() {
    let clock = Arc::new(ManualClock::new());
    let cache: Cache<u64, u64> = Cache::builder()
        .max_capacity(100)
        .time_to_idle(seconds(64))
        .clock(Arc::clone(&clock))
        .shards(1)
        .build()
        .unwrap();
    let policy = cache.policy();
    cache.insert_with_ttl(1, 1, seconds(30));
    cache.insert(2, 2);
    clock.advance(seconds(10));
    assert_eq!((policy.idle_for(&1), policy.idle_for(&2)), (Some(seconds(10)), Some(seconds(10))));
    assert_eq!((policy.expires_after(&1), policy.expires_after(&2)), (Some(seconds(20)), Some(seconds(54))));
    cache.get(&2);
    clock.advance(seconds(20));
    assert_eq!(
        (policy.idle_for(&1), policy.idle_for(&2), policy.idle_for(&3)),
        (None, Some(seconds(20)), None)
    );
    assert_eq!((policy.weight_of(&1), policy.weight_of(&2)), (None, Some(1)), "its time is over");
    assert_eq!((policy.coldest(9), policy.hottest(9)), (vec![(2, 2)], vec![(2, 2)]));
    let untimed: Cache<u64, u64> = Cache::new(10);
    untimed.insert_with_ttl(1, 1, seconds(5));
    assert_eq!(untimed.policy().idle_for(&1), None, "nobody keeps track");
}

/// Lives for a minute after each read.
struct Minute;

impl Expiry<u64, u64> for Minute {
    fn expire_after_create(&self, _: &u64, _: &u64) -> Option<Duration> {
        Some(seconds(60))
    }

    fn expire_after_read(&self, _: &u64, _: &u64, _: Option<Duration>) -> Option<Duration> {
        Some(seconds(60))
    }
}

#[test]
fn the_age_of_an_entry_is_the_time_since_its_value_was_written() {
    type Builder = CacheBuilder<u64, u64>;
    type Setting = (&'static str, fn(Builder) -> Builder);
    let settings: [Setting; 8] = [
        ("ttl", |b| b.time_to_live(seconds(60))),
        ("ttl, tti", |b| b.time_to_live(seconds(60)).time_to_idle(seconds(50))),
        ("jitter", |b| b.time_to_live(seconds(60)).time_to_live_jitter(0.1)),
        ("rule", |b| b.expire_after(Minute)),
        ("refresh", |b| b.refresh_after(seconds(30))),
        ("ttl, refresh", |b| b.refresh_after(seconds(30)).time_to_live(seconds(60))),
        ("ttl, negative", |b| {
            b.time_to_live(seconds(60)).negative_time_to_live(seconds(45), |&value| value == 0)
        }),
        ("for ever", |b| b.time_to_live(Duration::from_nanos(u64::MAX - 1))),
    ];
    for (name, set) in settings {
        let clock = Arc::new(ManualClock::new());
        clock.advance(seconds(1_000));
        let cache = set(Cache::builder().clock(Arc::clone(&clock)).shards(1)).build().unwrap();
        let age = |key: u64| cache.policy().age_of(&key).map(|age| age.as_secs());
        for round in 0..4 {
            // In other cells in each round, so that what one round has noted would be found by the next.
            let first = 10 * round;
            cache.insert(first, 1);
            cache.insert_with_ttl(first + 1, 1, seconds(59));
            cache.insert_with_ttl(first + 2, 1, Duration::MAX);
            cache.insert(first + 3, 0);
            clock.advance(seconds(5));
            cache.get_or_insert_with(first + 4, || 1);
            assert!(cache.set_expires_after(&first, seconds(40)));
            assert!(cache.set_expires_after(&(first + 1), Duration::MAX));
            clock.advance(seconds(5));
            let _now = cache.entry(first + 3).and_upsert_with(|_| 1);
            let (reads, ages) = (cache.get(&first), [0, 1, 2, 3, 4, 5].map(|key| age(first + key)));
            assert_eq!(reads, Some(1));
            assert_eq!(ages, [Some(10), Some(10), Some(10), Some(0), Some(5), None], "{name}, {round}");
            // A life as configured after one of its own.
            for key in 0..3 {
                cache.insert(first + key, 2);
            }
            clock.advance(seconds(1));
            assert_eq!([0, 1, 2].map(|key| age(first + key)), [Some(1); 3], "{name}, {round}");
            clock.set(seconds(500));
            assert_eq!(age(first), Some(0), "the clock went back");
            clock.set(seconds(1_000 + 100 * (round + 1)));
            (0..5).for_each(|key| cache.invalidate(&(first + key)));
            cache.run_pending_tasks();
            cache.check_invariants();
        }
        cache.insert(1, 1);
        clock.advance(seconds(30));
        if let Some(refresh) = cache.claim_refresh(&1) {
            clock.advance(seconds(5));
            assert!(refresh.complete(2));
            clock.advance(seconds(3));
            assert_eq!(age(1), Some(3), "{name}");
        }
    }
    for set in [|b: Builder| b, |b: Builder| b.time_to_idle(seconds(60))] {
        let cache = set(Cache::builder()).build().unwrap();
        cache.insert(1, 1);
        cache.insert_with_ttl(2, 1, seconds(60));
        assert!(cache.set_expires_after(&1, seconds(60)));
        assert_eq!([1, 2].map(|key| cache.policy().age_of(&key)), [None; 2], "nobody keeps track");
    }
}

#[test]
fn looking_while_others_write_shows_whole_entries() {
    let cache: Cache<u64, String> = Cache::builder().max_capacity(200).shards(4).build().unwrap();
    let writing = AtomicBool::new(true);
    thread::scope(|scope| {
        for thread in 0..4 {
            let (cache, writing) = (&cache, &writing);
            scope.spawn(move || {
                let mut random = Random::new(thread + 1);
                while writing.load(Ordering::Relaxed) {
                    let key = random.below(400);
                    if random.below(8) == 0 {
                        cache.invalidate(&key);
                    } else {
                        cache.insert(key, key.to_string());
                    }
                }
            });
        }
        for round in 0..scaled(300, 5) {
            let policy = cache.policy();
            let entries = if round % 2 == 0 { policy.hottest(50) } else { policy.coldest(50) };
            assert!(entries.len() <= 50);
            assert!(entries.iter().all(|(key, value)| key.to_string() == *value));
            let regions = policy.regions();
            assert!(regions.window.entries <= 400);
        }
        writing.store(false, Ordering::Relaxed);
    });
    cache.check_invariants();
}
