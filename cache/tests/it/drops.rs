//! Keys and values are dropped once, soon, and never while somebody reads them.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;

use millpond_cache::Cache;

use crate::support::{Census, Counted, Key, Random, Value, eventually, eventually_within, scaled, watchdog};

/// Runs maintenance until `holds`. Once is enough when no pin is alive, but tests run side by side and pins are of the
/// process.
fn settles<K: std::hash::Hash + Eq, V>(cache: &Cache<K, V>, holds: impl Fn() -> bool) {
    eventually(|| {
        cache.run_pending_tasks();
        holds()
    });
}

type Pairs = Cache<Key, Value>;

fn churn(cache: &Pairs, keys: &Census, values: &Census, seed: u64, steps: u64, range: u64) {
    let mut random = Random::new(seed);
    for step in 0..steps {
        let id = random.below(range);
        match random.below(8) {
            0 => drop(cache.remove(&Key::new(id, keys))),
            1 => drop(cache.get_or_insert_with(Key::new(id, keys), || Value::new(step, values))),
            2 => drop(cache.get(&Key::new(id, keys))),
            _ => cache.insert(Key::new(id, keys), Value::new(step, values)),
        }
    }
}

#[test]
fn b18_nothing_leaks_under_churn_updates_and_clear() {
    let (keys, values) = (Census::default(), Census::default());
    for shards in [1, 4] {
        let cache: Pairs = Cache::builder().max_capacity(64).shards(shards).build().unwrap();
        churn(&cache, &keys, &values, 1, scaled(5_000, 400), 200);
        settles(&cache, || (keys.alive(), values.alive()) == (64, 64));
        for round in 0..scaled(1_000, 50) {
            cache.insert(Key::new(1, &keys), Value::new(round, &values));
        }
        settles(&cache, || keys.alive() <= 64 && values.alive() <= 64);
        cache.invalidate_all();
        settles(&cache, || (keys.alive(), values.alive()) == (0, 0));
        churn(&cache, &keys, &values, 2, scaled(1_000, 100), 200);
        drop(cache);
        assert_eq!(
            (keys.alive(), values.alive()),
            (0, 0),
            "the cache drops what it holds and what is in limbo"
        );
    }
}

#[test]
fn b18_garbage_is_bounded_without_maintenance() {
    let (keys, values) = (Census::default(), Census::default());
    let cache: Pairs = Cache::builder().max_capacity(64).shards(1).build().unwrap();
    let seed = std::cell::Cell::new(0);
    // Pins of other tests hold our garbage back too, so a good round must come, not only good ones. On a machine with much else to
    // do that may take long: a thread that is pinned may not run for a while.
    eventually_within(60, || {
        seed.set(seed.get() + 1);
        churn(&cache, &keys, &values, seed.get(), scaled(1_000, 300), 500);
        values.alive() < 64 + 128
    });
}

#[test]
fn b18_threads_that_end_leave_nothing_behind() {
    watchdog(60, || {
        let (keys, values) = (Census::default(), Census::default());
        let cache: Pairs = Cache::builder().max_capacity(32).shards(2).build().unwrap();
        for round in 0..scaled(20, 2) {
            thread::scope(|scope| {
                for t in 0..8 {
                    let (cache, keys, values) = (&cache, &keys, &values);
                    scope.spawn(move || churn(cache, keys, values, round * 8 + t, scaled(60, 20), 100));
                }
            });
        }
        let entries = cache.entry_count() as isize;
        settles(&cache, || (keys.alive(), values.alive()) == (entries, entries));
        cache.check_invariants();
    });
}

#[test]
fn after_maintenance_no_removed_value_is_alive() {
    let (keys, values) = (Census::default(), Census::default());
    let cache: Pairs = Cache::new(1_000);
    for id in 0..100 {
        cache.insert(Key::new(id, &keys), Value::new(id, &values));
    }
    for id in 0..50 {
        cache.invalidate(&Key::new(id, &keys));
    }
    settles(&cache, || (keys.alive(), values.alive()) == (50, 50));
}

#[test]
fn a_pin_keeps_what_it_sees_and_nothing_longer() {
    let values = Census::default();
    let cache: Cache<u64, (u64, Counted)> = Cache::builder().max_capacity(8).shards(1).build().unwrap();
    cache.insert(1, (1, values.one()));
    {
        let pin = cache.pin();
        let (seen, _) = pin.get(&1).unwrap();
        cache.invalidate(&1);
        cache.run_pending_tasks();
        for key in 0..500 {
            cache.insert(key % 100, (key % 100, values.one()));
        }
        cache.run_pending_tasks();
        assert_eq!(*seen, 1, "still readable after its cell could have been used again");
        assert!(values.alive() > 8, "a pin holds back what left under it");
        // A second pin inside the first, and reads that come and go, do not let go of it.
        drop(cache.pin());
        cache.get(&1);
        cache.run_pending_tasks();
        assert_eq!(*seen, 1);
    }
    settles(&cache, || values.alive() as u64 == cache.entry_count());
    cache.check_invariants();
}

#[test]
fn a_pin_on_another_thread_keeps_what_it_sees() {
    watchdog(60, || {
        let values = Census::default();
        let cache: Cache<u64, (u64, Counted)> = Cache::builder().max_capacity(8).shards(1).build().unwrap();
        cache.insert(1, (77, values.one()));
        thread::scope(|scope| {
            let (pinned, is_pinned) = mpsc::channel();
            let (go, goes) = mpsc::channel::<()>();
            let cache = &cache;
            scope.spawn(move || {
                let pin = cache.pin();
                let held = pin.get(&1).unwrap();
                pinned.send(()).unwrap();
                goes.recv().unwrap();
                assert_eq!(held.0, 77);
            });
            is_pinned.recv().unwrap();
            let inserts = scaled(1_000, 150);
            for key in 0..inserts {
                cache.insert(key % 50, (key % 50, values.one()));
            }
            cache.run_pending_tasks();
            assert!(values.alive() as u64 > inserts * 9 / 10, "all that left waits for the other thread");
            go.send(()).unwrap();
        });
        settles(&cache, || values.alive() as u64 == cache.entry_count());
    });
}

/// Reads that check what they borrow, against writers that reuse cells as fast as they can.
#[test]
fn b12_borrowed_values_are_never_torn_or_reused() {
    /// Poisoned by its drop, so that a use after it shows.
    #[derive(Debug)]
    struct Canary([u64; 8]);
    impl Drop for Canary {
        fn drop(&mut self) {
            self.0 = [0xdead; 8];
        }
    }
    let cache: Cache<u64, Canary> = Cache::builder().max_capacity(16).shards(1).build().unwrap();
    let done = AtomicBool::new(false);
    let hits = AtomicU64::new(0);
    thread::scope(|scope| {
        for t in 0..3u64 {
            let (cache, done, hits) = (&cache, &done, &hits);
            scope.spawn(move || {
                let mut random = Random::new(t + 1);
                while !done.load(Ordering::Relaxed) {
                    let pin = cache.pin();
                    let held: Vec<_> = (0..4)
                        .filter_map(|_| {
                            let key = random.below(32);
                            pin.get(&key).map(|canary| (key, canary))
                        })
                        .collect();
                    thread::yield_now();
                    for (key, canary) in held {
                        assert!(canary.0.iter().all(|&v| v == key), "{key}: {canary:?}");
                        hits.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        for step in 0..scaled(30_000, 300) {
            let key = step.wrapping_mul(7) % 32;
            if step % 5 == 0 {
                cache.invalidate(&key);
            }
            cache.insert(key, Canary([key; 8]));
            if step % 64 == 0 {
                cache.run_pending_tasks();
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(hits.load(Ordering::Relaxed) > 0);
    cache.check_invariants();
}

#[test]
fn the_cache_works_in_thread_local_destructors() {
    /// Uses the cache when its thread ends, which may be after the cache's own thread-locals are gone.
    struct AtExit(Arc<Cache<u64, (u64, Counted)>>, Census, Arc<AtomicU64>);
    impl Drop for AtExit {
        fn drop(&mut self) {
            let Self(cache, census, done) = self;
            for key in 0..50 {
                cache.insert(key, (key, census.one()));
                let pin = cache.pin();
                let first = pin.get(&key);
                // Nested pins at this late hour.
                assert!(cache.get(&key).is_none_or(|(v, _)| v == key));
                assert!(first.is_none_or(|(v, _)| *v == key));
            }
            cache.run_pending_tasks();
            done.fetch_add(1, Ordering::SeqCst);
        }
    }
    thread_local! {
        static BEFORE: RefCell<Option<AtExit>> = const { RefCell::new(None) };
        static AFTER: RefCell<Option<AtExit>> = const { RefCell::new(None) };
    }
    watchdog(60, || {
        let census = Census::default();
        let done = Arc::new(AtomicU64::new(0));
        let cache = Arc::new(Cache::<u64, (u64, Counted)>::new(16));
        let rounds = scaled(20, 2);
        for round in 0..rounds {
            let at_exit = || AtExit(Arc::clone(&cache), census.clone(), Arc::clone(&done));
            let (early, late) = (at_exit(), at_exit());
            let cache = Arc::clone(&cache);
            let census = census.clone();
            thread::spawn(move || {
                // Destructors run in the reverse order of first use on most systems: have one on each side of ours.
                BEFORE.with_borrow_mut(|slot| *slot = Some(early));
                cache.insert(round, (round, census.one()));
                AFTER.with_borrow_mut(|slot| *slot = Some(late));
            })
            .join()
            .unwrap();
        }
        assert_eq!(done.load(Ordering::SeqCst), 2 * rounds);
        settles(&cache, || census.alive() as u64 == cache.entry_count());
        cache.check_invariants();
    });
}

#[test]
fn a_long_pin_delays_drops_and_nothing_else() {
    let values = Census::default();
    let cache: Cache<u64, (u64, Counted)> = Cache::builder().max_capacity(8).shards(1).build().unwrap();
    let pin = cache.pin();
    for key in 0..200 {
        cache.insert(key, (key, values.one()));
    }
    cache.run_pending_tasks();
    assert!(values.alive() > 8);
    cache.check_invariants();
    drop(pin);
    settles(&cache, || values.alive() == 8);
}

#[test]
fn b18_a_dropped_cache_does_not_wait_for_pins_of_others() {
    let values = Census::default();
    let other: Cache<u64, u64> = Cache::new(8);
    let pin = other.pin();
    let cache: Cache<u64, Counted> = Cache::new(8);
    for key in 0..100 {
        cache.insert(key, values.one());
    }
    drop(cache);
    assert_eq!(values.alive(), 0);
    drop(pin);
}

#[test]
fn b19_a_slow_drop_holds_nobody_up() {
    watchdog(60, || {
        struct Slow(Arc<(AtomicBool, AtomicBool)>);
        impl Drop for Slow {
            fn drop(&mut self) {
                self.0.0.store(true, Ordering::SeqCst);
                eventually(|| self.0.1.load(Ordering::SeqCst));
            }
        }
        let state = Arc::new((AtomicBool::new(false), AtomicBool::new(false)));
        let cache: Cache<u64, Option<Slow>> = Cache::builder().max_capacity(8).shards(1).build().unwrap();
        cache.insert(1, Some(Slow(Arc::clone(&state))));
        thread::scope(|scope| {
            scope.spawn(|| {
                cache.invalidate(&1);
                settles(&cache, || state.0.load(Ordering::SeqCst));
            });
            eventually(|| state.0.load(Ordering::SeqCst));
            for key in 0..scaled(1_000, 100) {
                cache.insert(key, None);
                assert!(cache.read(&key, |_| ()).is_none_or(|()| true));
            }
            state.1.store(true, Ordering::SeqCst);
        });
    });
}

#[test]
#[cfg_attr(miri, ignore = "too many steps to interpret")]
fn b18_garbage_of_heavy_entries_is_bounded_too() {
    // The bound is in weight, and few entries fit: what waits to be dropped must stay in proportion to them.
    let values = Census::default();
    let cache: Cache<u64, Counted> =
        Cache::builder().max_weight(1 << 30).weigher(|_, _| 1 << 20).shards(8).build().unwrap();
    // Pins of other tests hold back more now and then, so a good round must come, not only good ones.
    let next = std::cell::Cell::new(0);
    let round = || {
        let mut alive: Vec<isize> = (0..5_000)
            .map(|_| {
                next.set(next.get() + 1);
                cache.insert(next.get(), values.one());
                values.alive()
            })
            .collect();
        alive.sort_unstable();
        alive[alive.len() / 2]
    };
    round();
    assert_eq!(cache.entry_count(), 1_024);
    eventually(|| round() < 1_024 + 512);
}
