//! The listener: told of each value exactly once, with the right cause, and a panic in it goes no further.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use millpond_cache::{Cache, ManualClock, RemovalCause};
use parking_lot::Mutex;

use crate::support::Random;

type Log = Arc<Mutex<Vec<(u64, u64, RemovalCause)>>>;

fn logger() -> (Log, impl Fn(&u64, &u64, RemovalCause) + Send + Sync + 'static) {
    let log = Log::default();
    let into = Arc::clone(&log);
    (log, move |&key, &value, cause| into.lock().push((key, value, cause)))
}

#[test]
fn b26_each_cause() {
    let (log, listener) = logger();
    let cache: Cache<u64, u64> =
        Cache::builder().max_capacity(2).shards(1).eviction_listener(listener).build().unwrap();
    let take = || std::mem::take(&mut *log.lock());
    cache.insert(1, 10);
    assert_eq!(take(), []);
    cache.insert(1, 11);
    assert_eq!(take(), [(1, 10, RemovalCause::Replaced)]);
    cache.invalidate(&1);
    assert_eq!(take(), [(1, 11, RemovalCause::Explicit)]);
    cache.invalidate(&1);
    assert_eq!(take(), []);
    cache.insert(1, 12);
    assert_eq!(cache.remove(&1), Some(12));
    assert_eq!(take(), [(1, 12, RemovalCause::Explicit)]);
    cache.insert(1, 13);
    cache.insert(2, 20);
    cache.insert(3, 30);
    let evicted = take();
    assert_eq!(evicted.len(), 1);
    assert_eq!(evicted[0].2, RemovalCause::Size);
    assert!(!cache.contains_key(&evicted[0].0));
    cache.invalidate_all();
    let cleared = take();
    assert_eq!(cleared.len(), 2);
    assert!(cleared.iter().all(|(_, _, cause)| *cause == RemovalCause::Cleared));
}

#[test]
fn what_is_in_the_cache_at_its_end_is_not_reported() {
    let (log, listener) = logger();
    let cache: Cache<u64, u64> = Cache::builder().eviction_listener(listener).build().unwrap();
    cache.insert(1, 1);
    drop(cache);
    assert_eq!(*log.lock(), []);
}

#[test]
fn b26_each_value_exactly_once_under_threads() {
    let (log, listener) = logger();
    let clock = Arc::new(ManualClock::new());
    let cache: Cache<u64, u64> = Cache::builder()
        .max_capacity(32)
        .shards(4)
        .clock(Arc::clone(&clock))
        .record_stats()
        .eviction_listener(listener)
        .build()
        .unwrap();
    let next = AtomicU64::new(0);
    thread::scope(|scope| {
        for t in 0..4 {
            let (cache, next, clock) = (&cache, &next, &clock);
            scope.spawn(move || {
                let mut random = Random::new(t + 1);
                for _ in 0..4_000 {
                    let key = random.below(64);
                    // The value names its key and is unique.
                    let value = || next.fetch_add(1, Ordering::Relaxed) << 8 | key;
                    match random.below(100) {
                        0..50 => cache.insert(key, value()),
                        50..60 => {
                            cache.insert_with_ttl(key, value(), Duration::from_secs(1 + random.below(3)));
                        }
                        60..70 => cache.invalidate(&key),
                        70..80 => drop(cache.remove(&key)),
                        80..82 => cache.invalidate_all(),
                        82..84 => clock.advance(Duration::from_secs(1)),
                        84..86 => cache.run_pending_tasks(),
                        _ => drop(cache.get(&key)),
                    }
                }
            });
        }
    });
    let left = cache.iter().count();
    cache.run_pending_tasks();
    cache.invalidate_all();
    cache.check_invariants();
    let mut times: HashMap<u64, u32> = HashMap::new();
    let mut causes: HashMap<RemovalCause, u64> = HashMap::new();
    for &(key, value, cause) in log.lock().iter() {
        assert_eq!(value & 0xff, key, "key and value belong together");
        *times.entry(value).or_default() += 1;
        *causes.entry(cause).or_default() += 1;
    }
    assert!(left <= 32);
    assert_eq!(times.len() as u64, next.load(Ordering::Relaxed), "every value was reported");
    assert!(times.values().all(|&n| n == 1), "and none twice");
    let stats = cache.stats();
    let counted = |cause| causes.get(&cause).copied().unwrap_or(0);
    assert_eq!(stats.replaced(), counted(RemovalCause::Replaced));
    assert_eq!(stats.removed(), counted(RemovalCause::Explicit));
    assert_eq!(stats.cleared(), counted(RemovalCause::Cleared));
    assert_eq!(stats.evictions(), counted(RemovalCause::Size));
    assert_eq!(stats.expired(), counted(RemovalCause::Expired));
}

#[test]
fn an_overtaken_load_is_not_reported() {
    let (log, listener) = logger();
    let cache: Cache<u64, u64> = Cache::builder().eviction_listener(listener).build().unwrap();
    let loaded = cache.get_or_insert_with(1, || {
        cache.insert(1, 2);
        1
    });
    assert_eq!(loaded, 1);
    assert_eq!(cache.get(&1), Some(2));
    assert_eq!(*log.lock(), [], "the loaded value was never in the cache");
}

#[test]
fn b20_a_panic_in_the_listener_is_contained_and_counted() {
    let calls = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&calls);
    let cache: Cache<u64, u64> = Cache::builder()
        .max_capacity(10)
        .record_stats()
        .eviction_listener(move |_, _, _| {
            assert!(count.fetch_add(1, Ordering::Relaxed) % 2 == 0, "every second call panics");
        })
        .build()
        .unwrap();
    for key in 0..110 {
        cache.insert(key, key);
    }
    assert_eq!(calls.load(Ordering::Relaxed), 100);
    assert_eq!(cache.stats().listener_panics(), 50);
    cache.invalidate_all();
    assert_eq!(cache.stats().listener_panics(), 55);
    cache.check_invariants();
}

#[test]
fn a_listener_can_run_long_without_a_lock() {
    // The listener waits for another thread that uses the same key's shard.
    crate::support::watchdog(30, || {
        let cache: Arc<Mutex<Option<Cache<u64, u64>>>> = Arc::default();
        let inner = Arc::clone(&cache);
        let built: Cache<u64, u64> = Cache::builder()
            .shards(1)
            .eviction_listener(move |_, _, _| {
                let cache = inner.lock().clone().unwrap();
                thread::spawn(move || {
                    cache.get(&1);
                    cache.insert(2, 2);
                    cache.get_or_insert_with(3, || 3);
                })
                .join()
                .unwrap();
            })
            .build()
            .unwrap();
        *cache.lock() = Some(built.clone());
        built.insert(1, 1);
        built.invalidate(&1);
        assert_eq!((built.get(&2), built.get(&3)), (Some(2), Some(3)));
        cache.lock().take();
    });
}
