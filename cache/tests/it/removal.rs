//! Removal by predicate.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use millpond_cache::{Cache, ManualClock, RemovalCause};
use parking_lot::Mutex;

use crate::support::{eventually, scaled, watchdog};

type Numbers = Cache<u64, u64>;

#[test]
fn removes_what_is_picked_and_tells_why() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let (log, clock) = (Arc::clone(&told), Arc::new(ManualClock::new()));
    let cache: Numbers = Cache::builder()
        .shards(4)
        .clock(Arc::clone(&clock))
        .eviction_listener(move |&key, _: &u64, cause| log.lock().push((key, cause)))
        .build()
        .unwrap();
    let keys = scaled(1_000, 100);
    cache.extend((0..keys).map(|key| (key, key)));
    cache.insert_with_ttl(5_000, 0, Duration::from_secs(1));
    clock.advance(Duration::from_secs(1));
    let mut asked = 0;
    let removed = cache.invalidate_if(|&key, &value| {
        assert_eq!(key, value, "the dead one is not asked about");
        asked += 1;
        key % 4 != 0
    });
    assert_eq!((asked, removed), (keys, keys / 4 * 3));
    assert!((0..keys).all(|key| cache.contains_key(&key) == (key % 4 == 0)));
    let explicit = told.lock().iter().filter(|(_, cause)| *cause == RemovalCause::Explicit).count();
    assert_eq!(explicit as u64, keys / 4 * 3);
    cache.retain(|&key, _| key == 8);
    assert_eq!(cache.iter().collect::<Vec<_>>(), [(8, 8)]);
    assert_eq!(cache.remove_entry(&8), Some((8, 8)));
    assert_eq!((cache.remove_entry(&8), cache.invalidate_if(|_, _| true)), (None, 0));
    cache.check_invariants();
}

#[test]
fn b04_what_is_written_after_it_was_asked_about_stays() {
    let cache: Numbers = Cache::builder().shards(1).build().unwrap();
    let keys = scaled(100, 20);
    cache.extend((0..keys).map(|key| (key, 0)));
    // The predicate may use the cache: it replaces, removes, and removes and inserts again.
    let removed = cache.invalidate_if(|&key, &value| {
        match key % 4 {
            0 => cache.insert(key, 1),
            1 => cache.invalidate(&key),
            2 => {
                cache.invalidate(&key);
                cache.run_pending_tasks();
                cache.insert(key, 2);
            }
            _ => {}
        }
        value == 0
    });
    assert_eq!(removed, keys / 4);
    for key in 0..keys {
        assert_eq!(cache.get(&key), [Some(1), None, Some(2), None][key as usize % 4], "{key}");
    }
    cache.check_invariants();
}

#[test]
fn b01_a_predicate_that_removes_everything_or_asks_again() {
    watchdog(30, || {
        let cache: Numbers = Cache::builder().shards(2).build().unwrap();
        cache.extend((0..50).map(|key| (key, 0)));
        let inner = cache.clone();
        assert_eq!(cache.invalidate_if(|_, _| inner.invalidate_if(|_, _| true) < 51), 0, "all gone by then");
        cache.extend((0..50).map(|key| (key, 0)));
        cache.retain(|_, _| {
            inner.invalidate_all();
            inner.entry(1).and_upsert_with(|_| 7);
            false
        });
        assert!(cache.entry_count() <= 1);
        cache.check_invariants();
    });
}

#[test]
fn b20_a_predicate_that_panics() {
    let cache: Numbers = Cache::builder().shards(1).build().unwrap();
    cache.extend((0..50).map(|key| (key, key)));
    let result = catch_unwind(AssertUnwindSafe(|| {
        cache.invalidate_if(
            |&key, _| if key == 30 { std::panic::resume_unwind(Box::new("die")) } else { true },
        )
    }));
    assert!(result.is_err());
    assert_eq!(cache.entry_count(), 50);
    cache.check_invariants();
    assert_eq!(cache.invalidate_if(|_, _| true), 50);
    assert_eq!((cache.entry_count(), cache.weighted_size()), (0, 0));
}

#[test]
fn a_compute_whose_entry_is_removed_by_a_predicate_is_asked_again() {
    let cache: Numbers = Cache::new(10);
    cache.insert(1, 1);
    let mut saw = Vec::new();
    cache.entry(1).and_upsert_with(|old| {
        saw.push(old.map(|old| old.into_value()));
        cache.retain(|_, _| false);
        9
    });
    assert_eq!((saw, cache.get(&1)), (vec![Some(1), None], Some(9)));
}

#[test]
fn beside_writers_no_newer_value_is_lost() {
    watchdog(60, || {
        let cache: Numbers = Cache::builder().shards(2).build().unwrap();
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    // Odd values are doomed. The writer below ends each key with an even one.
                    cache.invalidate_if(|_, &value| value % 2 == 1);
                }
            });
            for round in 0..scaled(200, 2) {
                for key in 0..50 {
                    cache.insert(key, 2 * round + 1);
                    cache.insert(key, 2 * round + 2);
                    assert_eq!(cache.get(&key), Some(2 * round + 2));
                }
            }
            done.store(true, Ordering::Relaxed);
        });
        assert_eq!(cache.invalidate_if(|_, &value| value % 2 == 1), 0);
        assert_eq!(cache.entry_count(), 50);
        cache.invalidate_all();
        eventually(|| cache.entry_count() == 0);
        cache.check_invariants();
    });
}
