//! Removals as a stream: each once, in order for each key, bounded, and ending with the cache.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use futures::FutureExt;
use millpond_cache::{Cache, ManualClock, Notifications, RemovalCause, WhenFull};

use crate::support::{
    Census, Key, Place, Random, Value, clear_hook, defuse, eventually, set_fuse, set_hook, watchdog,
};

type Numbers = Cache<u64, u64>;

fn all<K, V>(removals: &mut Notifications<K, V>) -> Vec<(K, V, RemovalCause)> {
    std::iter::from_fn(|| removals.try_recv()).map(|one| (one.key, one.value, one.cause)).collect()
}

#[test]
fn b26_each_cause_in_order() {
    let clock = Arc::new(ManualClock::new());
    let builder = Cache::builder().max_capacity(2).shards(1).clock(Arc::clone(&clock));
    let (builder, mut removals) = builder.notifications(100, WhenFull::Drop);
    let cache: Numbers = builder.build().unwrap();
    cache.insert(1, 10);
    cache.insert(1, 11);
    cache.invalidate(&1);
    cache.insert_with_ttl(2, 20, Duration::from_secs(1));
    clock.advance(Duration::from_secs(1));
    cache.insert(3, 30);
    cache.insert(4, 40);
    cache.insert(5, 50);
    cache.invalidate_all();
    assert_eq!(removals.len(), 6);
    let seen = all(&mut removals);
    let causes: Vec<_> = seen.iter().map(|&(_, _, cause)| cause).collect();
    use RemovalCause::{Cleared, Expired, Explicit, Replaced, Size};
    assert_eq!(causes, [Replaced, Explicit, Expired, Size, Cleared, Cleared]);
    assert_eq!(seen[..3], [(1, 10, Replaced), (1, 11, Explicit), (2, 20, Expired)]);
    assert!(removals.is_empty() && removals.try_recv().is_none());
    drop(cache);
    assert!(removals.recv().is_none() && removals.recv().is_none());
}

#[test]
fn b26_b31_exactly_once_and_in_order_for_each_key_whoever_removes() {
    let clock = Arc::new(ManualClock::new());
    let builder = Cache::builder().max_capacity(24).shards(2).clock(Arc::clone(&clock));
    let (builder, mut removals) = builder.notifications(1 << 20, WhenFull::Drop);
    let cache: Numbers = builder.build().unwrap();
    let written = AtomicU64::new(0);
    thread::scope(|scope| {
        for t in 0..4u64 {
            let (cache, clock, written) = (&cache, &clock, &written);
            scope.spawn(move || {
                let mut random = Random::new(t + 1);
                for stamp in 0..4_000 {
                    // Each key has one writer, whose values grow; everybody removes.
                    let own = 4 * random.below(12) + t;
                    match random.below(8) {
                        0..4 => {
                            written.fetch_add(1, Ordering::Relaxed);
                            cache.insert(own, stamp);
                        }
                        4 => {
                            written.fetch_add(1, Ordering::Relaxed);
                            cache.insert_with_ttl(own, stamp, Duration::from_secs(1));
                        }
                        5 => cache.invalidate(&random.below(48)),
                        6 => drop(cache.remove(&random.below(48))),
                        _ => clock.advance(Duration::from_millis(300)),
                    }
                }
            });
        }
    });
    cache.invalidate_all();
    drop(cache);
    let mut last: HashMap<u64, u64> = HashMap::new();
    let mut count = 0;
    while let Some(removal) = removals.recv() {
        count += 1;
        let before = last.insert(removal.key, removal.value);
        assert!(before.is_none_or(|before| before < removal.value), "{removal:?} after {before:?}");
    }
    assert_eq!((count, removals.dropped()), (written.into_inner(), 0));
}

#[test]
fn a_full_queue_loses_what_comes_and_counts_it() {
    let (builder, mut removals) = Cache::builder().notifications(4, WhenFull::Drop);
    let cache: Numbers = builder.build().unwrap();
    for value in 0..=10 {
        cache.insert(1, value);
    }
    assert_eq!((removals.len(), removals.dropped()), (4, 6));
    assert_eq!(all(&mut removals).iter().map(|&(_, value, _)| value).collect::<Vec<_>>(), [0, 1, 2, 3]);
    cache.insert(1, 11);
    assert_eq!((removals.try_recv().unwrap().value, removals.dropped()), (10, 6));
}

#[test]
fn a_writer_waits_for_the_receiver_where_it_is_to() {
    watchdog(60, || {
        let (builder, mut removals) = Cache::builder().notifications(2, WhenFull::Block);
        let cache: Numbers = builder.build().unwrap();
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            let (shared, over) = (cache.clone(), &done);
            scope.spawn(move || {
                (0..=100).for_each(|value| shared.insert(1, value));
                over.store(true, Ordering::SeqCst);
            });
            eventually(|| removals.len() == 3);
            for expected in 0..100 {
                assert!(removals.len() <= 3, "the capacity, and one that waits");
                assert_eq!(removals.recv().unwrap().value, expected);
            }
        });
        assert!(done.into_inner());
        assert_eq!(removals.dropped(), 0);
        // By who received last, nobody waits: it would be for itself.
        (0..10).for_each(|value| cache.insert(1, value));
        assert_eq!((removals.len(), removals.dropped()), (2, 8));
    });
}

#[test]
fn a_receiver_that_is_gone_holds_nobody_and_nothing() {
    watchdog(60, || {
        let census = Census::default();
        let (builder, removals) = Cache::builder().notifications(2, WhenFull::Block);
        let cache: Cache<u64, Value> = builder.build().unwrap();
        thread::scope(|scope| {
            let (shared, values) = (cache.clone(), &census);
            scope.spawn(move || (0..100).for_each(|n| shared.insert(1, Value::new(n, values))));
            eventually(|| removals.len() == 3);
            drop(removals);
        });
        cache.invalidate_all();
        eventually(|| {
            cache.run_pending_tasks();
            census.alive() == 0
        });
    });
}

#[test]
fn the_end_of_the_cache_is_the_end_of_the_events() {
    watchdog(60, || {
        for block in [WhenFull::Drop, WhenFull::Block] {
            let (builder, mut removals) = Cache::builder().shards(1).notifications(10_000, block);
            let cache: Numbers = builder.build().unwrap();
            let receiver = thread::spawn(move || {
                let mut count = 0;
                futures::executor::block_on(async {
                    while removals.next().await.is_some() {
                        count += 1;
                    }
                });
                (count, removals.dropped())
            });
            (0..1_000).for_each(|key| cache.insert(key, key));
            cache.invalidate_all();
            (0..10).for_each(|key| cache.insert(key, key));
            // What waits to be taken out is told of; what is in the cache is not.
            drop(cache);
            assert_eq!(receiver.join().unwrap(), (1_000, 0));
        }
    });
}

#[test]
fn a_future_that_is_dropped_loses_nothing() {
    let (builder, mut removals) = Cache::builder().notifications(10, WhenFull::Drop);
    let cache: Numbers = builder.build().unwrap();
    assert!(removals.next().now_or_never().is_none());
    cache.insert(1, 1);
    cache.invalidate(&1);
    assert_eq!(removals.next().now_or_never().flatten().unwrap().value, 1);
    assert!(removals.next().now_or_never().is_none());
    drop(cache);
    assert!(removals.next().now_or_never().unwrap().is_none());
}

#[test]
fn b20_an_event_whose_clone_panics_is_lost_and_holds_up_no_other() {
    let (keys, values) = (Census::default(), Census::default());
    let (builder, mut removals) = Cache::builder().record_stats().notifications(10, WhenFull::Drop);
    let cache: Cache<Key, Value> = builder.build().unwrap();
    cache.insert(Key::new(1, &keys), Value::new(0, &values));
    set_fuse(Place::CloneValue, 1);
    cache.insert(Key::new(1, &keys), Value::new(1, &values));
    assert!(!defuse());
    cache.insert(Key::new(1, &keys), Value::new(2, &values));
    assert_eq!((removals.dropped(), cache.stats().listener_panics()), (1, 1));
    assert_eq!(removals.try_recv().unwrap().value.0, 1);
    assert!(removals.is_empty());
    cache.check_invariants();
}

#[test]
fn b20_a_panic_between_removal_and_report_holds_up_no_event() {
    let (keys, values) = (Census::default(), Census::default());
    let clock = Arc::new(ManualClock::new());
    let builder = Cache::builder().shards(1).clock(Arc::clone(&clock));
    let (builder, mut removals) = builder.notifications(100, WhenFull::Drop);
    let cache: Cache<Key, Value> = builder.build().unwrap();
    cache.insert(Key::new(1, &keys), Value::new(1, &values));
    for n in 2..6 {
        cache.insert_with_ttl(Key::new(n, &keys), Value::new(n, &values), Duration::from_secs(1));
    }
    clock.advance(Duration::from_secs(1));
    // The write removes the expired first, and then compares keys.
    set_fuse(Place::Eq, 1);
    let result = catch_unwind(AssertUnwindSafe(|| cache.insert(Key::new(1, &keys), Value::new(9, &values))));
    assert!(result.is_err() && !defuse());
    cache.check_invariants();
    cache.invalidate(&Key::new(1, &keys));
    let seen = all(&mut removals);
    assert_eq!(seen.last().map(|(key, value, _)| (key.0, value.0)), Some((1, 1)), "later events come");
}

#[test]
fn b01_a_clone_that_uses_the_cache() {
    watchdog(60, || {
        for block in [WhenFull::Drop, WhenFull::Block] {
            let (keys, values) = (Census::default(), Census::default());
            let (builder, mut removals) = Cache::builder().shards(1).notifications(100, block);
            let cache: Cache<Key, Value> = builder.build().unwrap();
            cache.insert(Key::new(1, &keys), Value::new(1, &values));
            let (inner, k, v) = (cache.clone(), keys.clone(), values.clone());
            set_hook(Place::CloneValue, move || {
                inner.insert(Key::new(1, &k), Value::new(3, &v));
            });
            cache.insert(Key::new(1, &keys), Value::new(2, &values));
            clear_hook();
            let seen: Vec<u64> = all(&mut removals).iter().map(|(_, value, _)| value.0).collect();
            assert_eq!(seen, [1, 2], "in the order of removal, though the second was filled first");
        }
    });
}
