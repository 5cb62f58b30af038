//! Loads by threads: one at a time for each key, and nothing stale is stored.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier, mpsc};
use std::thread;
use std::time::Duration;

use millpond_cache::{Cache, ManualClock};

use crate::support::{Random, eventually, watchdog};

/// A name, what is done to key 1 while it is loaded, and what is in the cache then.
type Overtaker = (&'static str, fn(&Cache<u64, u64>), Option<u64>);

/// Starts a load of `key` that ends when the sender says with what.
fn parked_load<'s>(
    scope: &'s thread::Scope<'s, '_>,
    cache: &'s Cache<u64, u64>,
    key: u64,
) -> (mpsc::Sender<u64>, thread::ScopedJoinHandle<'s, u64>) {
    let (answer, answers) = mpsc::channel();
    let before = cache.loads_in_flight();
    let load = scope.spawn(move || cache.get_or_insert_with(key, || answers.recv().unwrap()));
    eventually(|| cache.loads_in_flight() == before + 1);
    (answer, load)
}

#[test]
fn sixty_four_callers_are_one_load() {
    watchdog(60, || {
        let cache: Cache<u64, u64> = Cache::builder().record_stats().build().unwrap();
        for key in 0..5 {
            let (calls, barrier) = (AtomicU64::new(0), Barrier::new(64));
            thread::scope(|scope| {
                for _ in 0..64 {
                    scope.spawn(|| {
                        barrier.wait();
                        let value = cache.get_or_insert_with(key, || {
                            thread::yield_now();
                            calls.fetch_add(1, Ordering::Relaxed);
                            key + 1
                        });
                        assert_eq!(value, key + 1);
                    });
                }
            });
            assert_eq!(calls.load(Ordering::Relaxed), 1);
        }
        assert_eq!(cache.stats().load_successes(), 5);
        assert_eq!(cache.loads_in_flight(), 0);
        cache.check_invariants();
    });
}

#[test]
fn b04_load_vs_write_or_removal() {
    // Each of these, while a load of the key is in flight, keeps its result out.
    let overtakers: [Overtaker; 7] = [
        ("insert", |c| c.insert(1, 2), Some(2)),
        ("insert_with_ttl", |c| c.insert_with_ttl(1, 2, Duration::MAX), Some(2)),
        ("invalidate", |c| c.invalidate(&1), None),
        ("remove", |c| assert_eq!(c.remove(&1), None), None),
        ("invalidate_all", |c| c.invalidate_all(), None),
        ("insert, invalidate", |c| (c.insert(1, 2), c.invalidate(&1)).1, None),
        ("a refused insert", |c| c.insert(1, 1_000), None),
    ];
    watchdog(60, move || {
        for (name, overtake, after) in overtakers {
            let cache: Cache<u64, u64> =
                Cache::builder().max_weight(100).weigher(|_, &v| v as u32).shards(2).build().unwrap();
            thread::scope(|scope| {
                let (answer, load) = parked_load(scope, &cache, 1);
                let waiter = scope.spawn(|| cache.get_or_insert_with(1, || 50));
                // The waiter cannot be seen waiting from outside; either it joins in time, or it comes late.
                thread::yield_now();
                overtake(&cache);
                assert_eq!(cache.get(&1).filter(|&v| v != 50), after, "{name}");
                answer.send(1).unwrap();
                assert_eq!(load.join().unwrap(), 1, "{name}: who asked gets an answer");
                let waited = waiter.join().unwrap();
                assert!([1, 2, 50].contains(&waited), "{name}: {waited}");
                let stored = cache.get(&1);
                assert_ne!(stored, Some(1), "{name}: the overtaken load was stored");
                assert!(stored == after || stored == Some(50) && waited == 50, "{name}: {stored:?}");
            });
            assert_eq!(cache.loads_in_flight(), 0, "{name}");
            cache.check_invariants();
        }
    });
}

#[test]
fn b04_a_new_load_does_not_join_one_that_was_overtaken() {
    watchdog(60, || {
        let cache: Cache<u64, u64> = Cache::new(10);
        thread::scope(|scope| {
            let (old, old_load) = parked_load(scope, &cache, 1);
            cache.invalidate(&1);
            assert_eq!(
                cache.get_or_insert_with(1, || 2),
                2,
                "asked after the invalidation, so answered anew"
            );
            old.send(1).unwrap();
            assert_eq!(old_load.join().unwrap(), 1);
            assert_eq!(cache.get(&1), Some(2));
        });
        cache.check_invariants();
    });
}

#[test]
fn b04_loads_of_other_keys_are_not_disturbed() {
    watchdog(60, || {
        let cache: Cache<u64, u64> = Cache::builder().shards(1).build().unwrap();
        thread::scope(|scope| {
            let loads: Vec<_> = (0..10).map(|key| parked_load(scope, &cache, key)).collect();
            cache.invalidate(&3);
            for (key, (answer, load)) in loads.into_iter().enumerate() {
                answer.send(key as u64 + 100).unwrap();
                load.join().unwrap();
            }
        });
        for key in 0..10 {
            assert_eq!(cache.get(&key), (key != 3).then_some(key + 100));
        }
    });
}

#[test]
fn b04_load_vs_expiry() {
    let clock = Arc::new(ManualClock::new());
    let cache: Cache<u64, u64> =
        Cache::builder().time_to_live(Duration::from_secs(1)).clock(Arc::clone(&clock)).build().unwrap();
    cache.insert(1, 1);
    clock.advance(Duration::from_secs(1));
    // The life of a loaded value begins when it was loaded, not when the load began.
    let loaded = cache.get_or_insert_with(1, || {
        clock.advance(Duration::from_secs(5));
        cache.run_pending_tasks();
        2
    });
    assert_eq!((loaded, cache.get(&1)), (2, Some(2)));
    clock.advance(Duration::from_secs(1));
    assert_eq!(cache.get(&1), None);
    assert_eq!(cache.get_or_insert_with(1, || 3), 3);
}

#[test]
fn b02_recursion_panics_and_does_not_hang() {
    watchdog(30, || {
        let cache: Cache<u64, u64> = Cache::new(10);
        let recursion = catch_unwind(AssertUnwindSafe(|| {
            cache.get_or_insert_with(1, || cache.get_or_insert_with(1, || 2) + 1)
        }));
        assert!(recursion.is_err());
        assert_eq!(cache.loads_in_flight(), 0);
        let deeper = catch_unwind(AssertUnwindSafe(|| {
            cache.get_or_insert_with(1, || cache.get_or_insert_with(2, || cache.get_or_insert_with(1, || 3)))
        }));
        assert!(deeper.is_err());
        assert_eq!(cache.get_or_insert_with(1, || 5), 5, "the key is usable afterwards");
        cache.check_invariants();
        // Other keys are fine, and so is the same key of another cache.
        let other: Cache<u64, u64> = Cache::new(10);
        assert_eq!(
            cache.get_or_insert_with(3, || cache.get_or_insert_with(4, || other.get_or_insert_with(3, || 7))),
            7
        );
        // Caught within the loader, it does no harm.
        let caught = cache.get_or_insert_with(9, || {
            let inner = catch_unwind(AssertUnwindSafe(|| cache.get_or_insert_with(9, || 1)));
            assert!(inner.is_err());
            8
        });
        assert_eq!((caught, cache.get(&9)), (8, Some(8)));
    });
}

#[test]
fn b02_recursion_across_the_two_worlds() {
    watchdog(30, || {
        let cache: Cache<u64, u64> = Cache::new(10);
        let into_async = catch_unwind(AssertUnwindSafe(|| {
            cache.get_or_insert_with(1, || {
                futures::executor::block_on(cache.get_or_insert_with_async(1, async { 2 }))
            })
        }));
        assert!(into_async.is_err());
        let into_sync = catch_unwind(AssertUnwindSafe(|| {
            futures::executor::block_on(
                cache.get_or_insert_with_async(1, async { cache.get_or_insert_with(1, || 2) }),
            )
        }));
        assert!(into_sync.is_err());
        assert_eq!(cache.loads_in_flight(), 0);
    });
}

#[test]
fn errors_are_shared_and_not_cached() {
    watchdog(30, || {
        let cache: Cache<u64, u64> = Cache::builder().record_stats().build().unwrap();
        let (calls, barrier) = (AtomicU64::new(0), Barrier::new(8));
        let errors: Vec<Arc<String>> = thread::scope(|scope| {
            let callers: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        barrier.wait();
                        cache
                            .try_get_or_insert_with(1, || {
                                calls.fetch_add(1, Ordering::Relaxed);
                                thread::yield_now();
                                Err::<u64, _>(String::from("no"))
                            })
                            .unwrap_err()
                    })
                })
                .collect();
            callers.into_iter().map(|caller| caller.join().unwrap()).collect()
        });
        assert!(errors.iter().all(|error| **error == "no"));
        assert_eq!(cache.stats().load_failures(), calls.load(Ordering::Relaxed));
        assert_eq!(cache.entry_count(), 0);
        assert_eq!(
            cache.try_get_or_insert_with(1, || Ok::<_, String>(4)),
            Ok(4),
            "the next caller may do better"
        );
        assert_eq!(cache.loads_in_flight(), 0);
        cache.check_invariants();
    });
}

#[test]
fn callers_with_different_error_types_do_not_mix() {
    watchdog(30, || {
        let cache: Cache<u64, u64> = Cache::new(10);
        let (fail, fails) = mpsc::channel::<()>();
        thread::scope(|scope| {
            let cache = &cache;
            let leader = scope.spawn(move || {
                cache.try_get_or_insert_with(1, || {
                    fails.recv().unwrap();
                    Err::<u64, _>("text")
                })
            });
            eventually(|| cache.loads_in_flight() == 1);
            let numbers = scope.spawn(move || cache.try_get_or_insert_with(1, || Err::<u64, u32>(404)));
            let infallible = scope.spawn(move || cache.get_or_insert_with(1, || 7));
            thread::yield_now();
            fail.send(()).unwrap();
            assert_eq!(leader.join().unwrap().map_err(|e| *e), Err("text"));
            let number = numbers.join().unwrap().map_err(|e| *e);
            assert!(number == Err(404) || number == Ok(7), "its own loader's answer or a value: {number:?}");
            assert_eq!(infallible.join().unwrap(), 7);
        });
        assert_eq!(cache.loads_in_flight(), 0);
    });
}

#[test]
fn loaders_choose_how_long_their_values_live() {
    let clock = Arc::new(ManualClock::new());
    let cache: Cache<u64, Option<u64>> =
        Cache::builder().time_to_live(Duration::from_secs(100)).clock(Arc::clone(&clock)).build().unwrap();
    let second = Duration::from_secs(1);
    let none = || Ok::<_, ()>((None, Some(second)));
    let some = || Ok::<_, ()>((Some(1), None));
    assert_eq!(cache.try_get_or_insert_with_ttl(1, none), Ok(None));
    assert_eq!(cache.try_get_or_insert_with_ttl(2, some), Ok(Some(1)));
    assert_eq!(
        cache.try_get_or_insert_with_ttl(3, || Ok::<_, ()>((Some(2), Some(Duration::ZERO)))),
        Ok(Some(2))
    );
    assert_eq!(cache.get(&3), None);
    assert_eq!(cache.get(&1), Some(None));
    clock.advance(second);
    assert_eq!(cache.get(&1), None);
    assert_eq!(cache.get(&2), Some(Some(1)));
    clock.advance(99 * second);
    assert_eq!(cache.get(&2), None);
}

#[test]
fn b06_no_flight_is_left_behind() {
    watchdog(60, || {
        let cache: Cache<u64, u64> = Cache::builder().max_capacity(20).shards(2).build().unwrap();
        thread::scope(|scope| {
            for t in 0..6 {
                let cache = &cache;
                scope.spawn(move || {
                    let mut random = Random::new(t + 1);
                    for _ in 0..800 {
                        let key = random.below(10);
                        match random.below(8) {
                            0 => cache.invalidate(&key),
                            1 => cache.insert(key, 0),
                            2 => cache.invalidate_all(),
                            3 => drop(cache.try_get_or_insert_with(key, || Err::<u64, _>(key))),
                            4 => drop(catch_unwind(AssertUnwindSafe(|| {
                                cache.get_or_insert_with(key, || std::panic::resume_unwind(Box::new("die")))
                            }))),
                            _ => drop(cache.get_or_insert_with(key, || {
                                thread::yield_now();
                                key
                            })),
                        }
                    }
                });
            }
        });
        assert_eq!(cache.loads_in_flight(), 0);
        cache.check_invariants();
    });
}
