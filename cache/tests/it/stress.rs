//! Everything at once, on more threads than cores, with the invariants at the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use millpond_cache::{Cache, ManualClock};

use crate::support::{Census, Counted, Random, eventually, scaled, watchdog};

fn mixed(threads: u64, steps: u64, weighted: bool, shards: usize) {
    let census = Census::default();
    let clock = Arc::new(ManualClock::new());
    let reported = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&reported);
    let builder = Cache::<u64, (u64, Counted)>::builder()
        .shards(shards)
        .time_to_live(Duration::from_secs(50))
        .time_to_idle(Duration::from_secs(20))
        .clock(Arc::clone(&clock))
        .record_stats()
        .eviction_listener(move |key, (value, _), _| {
            assert_eq!(key, value);
            count.fetch_add(1, Ordering::Relaxed);
        });
    let builder = if weighted {
        builder.max_weight(2_000).weigher(|key, _| (*key % 50) as u32)
    } else {
        builder.max_capacity(100)
    };
    let cache = builder.build().unwrap();
    thread::scope(|scope| {
        for t in 0..threads {
            let (cache, census, clock) = (&cache, &census, &clock);
            scope.spawn(move || {
                let mut random = Random::new(t + 1);
                for _ in 0..steps {
                    let key = random.below(400);
                    match random.below(100) {
                        0..35 => assert!(cache.get(&key).is_none_or(|(v, _)| v == key)),
                        35..40 => assert!(cache.read(&key, |(v, _)| *v == key) != Some(false)),
                        40..45 => {
                            let pin = cache.pin();
                            let held = pin.get(&key);
                            thread::yield_now();
                            assert!(held.is_none_or(|(v, _)| *v == key));
                        }
                        45..70 => cache.insert(key, (key, census.one())),
                        70..73 => {
                            cache.insert_with_ttl(
                                key,
                                (key, census.one()),
                                Duration::from_secs(random.below(9)),
                            );
                        }
                        73..78 => assert!(cache.remove(&key).is_none_or(|(v, _)| v == key)),
                        78..83 => cache.invalidate(&key),
                        83..93 => {
                            let (v, _) = cache.get_or_insert_with(key, || (key, census.one()));
                            assert_eq!(v, key);
                        }
                        93..95 => {
                            let load = cache.try_get_or_insert_with(key, || Err::<(u64, Counted), u64>(key));
                            assert!(load.is_ok_and(|(v, _)| v == key) || !cache.contains_key(&u64::MAX));
                        }
                        95 => clock.advance(Duration::from_secs(1)),
                        96 => assert!(cache.iter().all(|(k, (v, _))| k == v)),
                        97 => cache.run_pending_tasks(),
                        98 if random.below(4) == 0 => cache.invalidate_all(),
                        _ => drop(cache.contains_key(&key)),
                    }
                }
            });
        }
    });
    cache.check_invariants();
    assert_eq!(cache.loads_in_flight(), 0);
    // After maintenance only the entries are alive; pins of other tests may hold it back for a moment.
    eventually(|| {
        cache.run_pending_tasks();
        census.alive() == cache.entry_count() as isize
    });
    cache.check_invariants();
    let stats = cache.stats();
    assert_eq!(
        reported.load(Ordering::Relaxed),
        stats.evictions() + stats.removed() + stats.replaced() + stats.expired() + stats.cleared()
    );
    assert_eq!(stats.listener_panics(), 0);
    drop(cache);
    assert_eq!(census.alive(), 0);
}

#[test]
fn eight_threads_by_count() {
    watchdog(120, || mixed(8, scaled(2_500, 20), false, 4));
}

#[test]
fn eight_threads_by_weight() {
    watchdog(120, || mixed(8, scaled(2_500, 20), true, 4));
}

#[test]
fn eight_threads_on_one_shard() {
    watchdog(120, || mixed(8, scaled(1_500, 20), false, 1));
}

#[test]
fn b22_many_more_threads_than_cores() {
    watchdog(120, || mixed(48, scaled(250, 3), false, 2));
}

#[test]
fn b24_after_invalidate_all_nothing_older_is_seen() {
    let cache: Cache<u64, u64> = Cache::builder().max_capacity(1_000).shards(8).build().unwrap();
    let generation = AtomicU64::new(0);
    thread::scope(|scope| {
        for t in 0..3u64 {
            let (cache, generation) = (&cache, &generation);
            scope.spawn(move || {
                let mut random = Random::new(t + 1);
                for _ in 0..scaled(4_000, 50) {
                    let key = random.below(100);
                    // The insert is complete before the generation it carries can be seen as old by the clearer.
                    let born = generation.load(Ordering::SeqCst);
                    if random.below(2) == 0 {
                        cache.insert(key, born);
                    } else {
                        cache.get_or_insert_with(key, || born);
                    }
                }
            });
        }
        let (cache, generation) = (&cache, &generation);
        scope.spawn(move || {
            for round in 1..scaled(200, 5) {
                // Two steps, so that a writer that read the generation two rounds ago has long returned, or not begun.
                generation.store(round, Ordering::SeqCst);
                cache.invalidate_all();
            }
        });
    });
    // At rest it is exact.
    cache.insert(1, 1);
    cache.invalidate_all();
    assert_eq!((cache.entry_count(), cache.iter().count(), cache.get(&1)), (0, 0, None));
    cache.check_invariants();
}

#[test]
fn b24_completed_inserts_are_gone_after_invalidate_all() {
    // The writer says which inserts have returned; the clearer must not see any of those afterwards.
    let cache: Cache<u64, u64> = Cache::builder().shards(4).build().unwrap();
    let returned = AtomicU64::new(0);
    let stop = AtomicU64::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            for stamp in 1..scaled(30_000, 100) {
                cache.insert(stamp % 97, stamp);
                returned.store(stamp, Ordering::SeqCst);
            }
            stop.store(1, Ordering::SeqCst);
        });
        while stop.load(Ordering::SeqCst) == 0 {
            let complete = returned.load(Ordering::SeqCst);
            cache.invalidate_all();
            for (key, stamp) in cache.iter() {
                assert!(
                    stamp > complete,
                    "key {key}: {stamp} was inserted before {complete} and cleared after"
                );
            }
        }
    });
}
