//! Single flight for threads.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, mpsc};
use std::thread;

use millpond_cache::Cache;

#[test]
fn many_threads_one_load() {
    let cache: Cache<u32, u32> = Cache::new(100);
    let loads = AtomicUsize::new(0);
    let barrier = Barrier::new(64);
    thread::scope(|scope| {
        for _ in 0..64 {
            scope.spawn(|| {
                barrier.wait();
                let value = cache.get_or_insert_with(1, || {
                    loads.fetch_add(1, Ordering::SeqCst);
                    for _ in 0..100 {
                        thread::yield_now();
                    }
                    7
                });
                assert_eq!(value, 7);
            });
        }
    });
    assert_eq!(loads.into_inner(), 1);
    assert_eq!(cache.loads_in_flight(), 0);
    cache.check_invariants();
}

/// Runs `during` while a load of key 1 is under way; returns what the loader's caller got and what is cached then.
fn overtaken(during: impl FnOnce(&Cache<u32, u32>) + Send) -> (u32, Option<u32>) {
    let cache: Cache<u32, u32> = Cache::new(100);
    let (started, starts) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let loaded = thread::scope(|scope| {
        let cache = &cache;
        let loader = scope.spawn(move || {
            cache.get_or_insert_with(1, || {
                started.send(()).unwrap();
                released.recv().unwrap();
                10
            })
        });
        starts.recv().unwrap();
        during(cache);
        release.send(()).unwrap();
        loader.join().unwrap()
    });
    cache.check_invariants();
    (loaded, cache.get(&1))
}

/// B4: a write or invalidation during a load wins; the loader's caller gets its value all the same.
#[test]
fn b04_load_vs_invalidate() {
    assert_eq!(overtaken(|_| ()), (10, Some(10)));
    assert_eq!(overtaken(|cache| cache.invalidate(&1)), (10, None));
    assert_eq!(overtaken(|cache| assert_eq!(cache.remove(&1), None)), (10, None));
    assert_eq!(overtaken(Cache::invalidate_all), (10, None));
    assert_eq!(overtaken(|cache| cache.insert(1, 5)), (10, Some(5)));
    assert_eq!(overtaken(|cache| cache.insert(2, 5)), (10, Some(10)), "another key is another matter");
    let after = |cache: &Cache<u32, u32>| {
        cache.invalidate(&1);
        assert_eq!(cache.get_or_insert_with(1, || 11), 11, "a new load starts at once");
    };
    assert_eq!(overtaken(after), (10, Some(11)));
}

/// B3: a leader that panics hands over; only its own caller sees the panic.
#[test]
fn b03_a_panicking_leader_hands_over() {
    let cache: Cache<u32, u32> = Cache::new(100);
    let (started, starts) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    thread::scope(|scope| {
        let cache = &cache;
        let leader = scope.spawn(move || {
            cache.get_or_insert_with(1, || {
                started.send(()).unwrap();
                released.recv().unwrap();
                panic!("told to")
            })
        });
        starts.recv().unwrap();
        let waiters: Vec<_> =
            (0..8).map(|n| scope.spawn(move || cache.get_or_insert_with(1, || n))).collect();
        release.send(()).unwrap();
        assert!(leader.join().is_err());
        let values: Vec<u32> = waiters.into_iter().map(|waiter| waiter.join().unwrap()).collect();
        assert!(values.iter().all(|value| *value == values[0]), "{values:?}");
    });
    assert_eq!(cache.loads_in_flight(), 0);
    cache.check_invariants();
}

/// An error reaches all who waited, is not cached, and is shared only with those who expect its type.
#[test]
fn errors_are_shared_and_not_cached() {
    let cache: Cache<u32, u32> = Cache::new(100);
    let (started, starts) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    thread::scope(|scope| {
        let cache = &cache;
        let leader = scope.spawn(move || {
            cache.try_get_or_insert_with(1, || {
                started.send(()).unwrap();
                released.recv().unwrap();
                Err::<u32, String>("down".into())
            })
        });
        starts.recv().unwrap();
        let same = scope.spawn(|| cache.try_get_or_insert_with(1, || Ok::<u32, String>(2)));
        let other = scope.spawn(|| cache.try_get_or_insert_with(1, || Ok::<u32, i64>(3)));
        release.send(()).unwrap();
        assert_eq!(*leader.join().unwrap().unwrap_err(), "down");
        // Each either waited for the error or came later and loaded.
        if let Err(error) = same.join().unwrap() {
            assert_eq!(*error, "down");
        }
        assert!(other.join().unwrap().is_ok());
    });
    assert!(cache.try_get_or_insert_with(9, || Err::<u32, _>("again")).is_err());
    assert_eq!(cache.try_get_or_insert_with(9, || Ok::<u32, String>(4)).unwrap(), 4);
    cache.check_invariants();
}

/// B2: a loader that asks for its own key panics, and does not hang; other keys are fine.
#[test]
#[should_panic(expected = "recursive load")]
fn b02_same_key_recursion_is_an_error() {
    let cache: Cache<u32, u32> = Cache::new(100);
    assert_eq!(cache.get_or_insert_with(1, || cache.get_or_insert_with(2, || 5) + 1), 6);
    cache.get_or_insert_with(3, || cache.get_or_insert_with(3, || 1));
}

/// B1: a loader may use the cache in every other way, also for its own key.
#[test]
fn b01_a_loader_may_use_the_cache() {
    let cache: Cache<u32, u32> = Cache::new(100);
    let value = cache.get_or_insert_with(1, || {
        cache.insert(2, 2);
        cache.insert(1, 3);
        cache.invalidate_all();
        cache.run_pending_tasks();
        assert_eq!(cache.get(&1), None);
        4
    });
    assert_eq!((value, cache.get(&1)), (4, None), "it was overtaken by its own writes");
    cache.check_invariants();
}

/// A value heavier than the cache is returned and not kept.
#[test]
fn a_value_too_heavy_to_keep_is_returned() {
    let cache: Cache<u32, Arc<str>> =
        Cache::builder().max_weight(3).weigher(|_, value: &Arc<str>| value.len() as u32).build().unwrap();
    assert_eq!(&*cache.get_or_insert_with(1, || "long".into()), "long");
    assert_eq!(cache.entry_count(), 0);
    assert_eq!(&*cache.get_or_insert_with(1, || "abc".into()), "abc");
    assert_eq!(cache.entry_count(), 1);
    cache.check_invariants();
}
