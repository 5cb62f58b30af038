//! The classes of bugs that hit other caches, one short test for each. The numbers are used all over the tests: others that are
//! called `bNN_…` look at the same class from other sides, in the file of their behaviour.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::task::{Context, Waker};
use std::thread;
use std::time::Duration;

use futures::executor::block_on;
use millpond_cache::compute::Op;
use millpond_cache::{Cache, ManualClock, RemovalCause};
use parking_lot::Mutex;

use crate::support::{
    Census, FewBits, Key, Place, Random, Value, called, clear_hook, defuse, eventually, scaled, set_fuse,
    set_hook, watchdog,
};

type Pairs = Cache<Key, Value>;

/// moka#298, quick_cache's `entry` under its shard lock, dashmap#369: a callback that uses the cache waits for itself.
#[test]
fn b01_callbacks_that_use_the_cache() {
    watchdog(30, || {
        let handle: Arc<Mutex<Option<Cache<u64, u64>>>> = Arc::default();
        let inner = Arc::clone(&handle);
        let cache: Cache<u64, u64> = Cache::builder()
            .max_capacity(4)
            .shards(1)
            .eviction_listener(move |&key, _, _| {
                let cache = inner.lock().clone();
                if let Some(cache) = cache.filter(|_| key < 1_000) {
                    cache.get_or_insert_with(key + 1_000, || key);
                    cache.invalidate(&(key + 2));
                    cache.entry(key + 2_000).or_insert(1);
                    cache.run_pending_tasks();
                }
            })
            .build()
            .unwrap();
        *handle.lock() = Some(cache.clone());
        cache.extend((0..100).map(|key| (key, key)));
        cache.check_invariants();
        handle.lock().take();
    });
}

/// caffeine#672: a loader that asks for the key that it loads hung for ever.
#[test]
fn b02_a_load_of_its_own_key() {
    watchdog(30, || {
        let cache: Cache<u64, u64> = Cache::new(10);
        let panics = |call: &dyn Fn() -> u64| assert!(catch_unwind(AssertUnwindSafe(call)).is_err());
        panics(&|| cache.get_or_insert_with(1, || cache.get_or_insert_with(1, || 1)));
        panics(&|| cache.get_or_insert_with(1, || cache.entry(1).and_upsert_with(|_| 1).into_value()));
        panics(&|| block_on(cache.get_or_insert_with_async(1, async { cache.get_or_insert_with(1, || 1) })));
        assert_eq!((cache.get_or_insert_with(1, || 5), cache.loads_in_flight()), (5, 0));
    });
}

/// moka#240, pingora#931: the one who loads is cancelled, and those who wait wait for ever.
#[test]
fn b03_the_leader_is_dropped() {
    watchdog(30, || {
        let cache: Cache<u64, u64> = Cache::new(10);
        let mut leader = Box::pin(cache.get_or_insert_with_async(1, std::future::pending()));
        assert!(leader.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        thread::scope(|scope| {
            let waiter = scope.spawn(|| cache.get_or_insert_with(1, || 7));
            let task = scope.spawn(|| block_on(cache.get_or_insert_with_async(1, async { 7 })));
            thread::yield_now();
            drop(leader);
            assert_eq!((waiter.join().unwrap(), task.join().unwrap()), (7, 7));
        });
    });
}

/// guava#1881, otter#137; moka's and foyer's loads store what they read before the invalidation.
#[test]
fn b04_load_vs_invalidate() {
    let overtakes: [fn(&Cache<u64, u64>); 6] = [
        |cache| cache.invalidate(&1),
        |cache| assert_eq!(cache.remove(&1), None),
        |cache| cache.invalidate_all(),
        |cache| cache.insert(1, 20),
        |cache| cache.insert_with_ttl(1, 20, Duration::from_secs(9)),
        |cache| assert_eq!(cache.remove_entry(&1), None),
    ];
    for overtake in overtakes {
        let cache: Cache<u64, u64> = Cache::new(10);
        let loaded = cache.get_or_insert_with(1, || {
            thread::scope(|scope| scope.spawn(|| overtake(&cache)).join()).unwrap();
            10
        });
        assert_eq!(loaded, 10, "whoever asked has an answer");
        assert!(cache.get(&1).is_none_or(|value| value == 20), "the load is older than the write");
    }
}

/// caffeine#193, #714: a refresh that was overtaken puts the older value back; two refreshes of one key at once.
#[test]
fn b05_a_refresh_by_hand() {
    watchdog(30, || {
        let cache: Cache<u64, u64> = Cache::new(10);
        cache.insert(1, 1);
        let refreshed = cache.entry(1).or_insert_with_if(
            || {
                cache.insert(1, 30);
                2
            },
            |&old| old == 1,
        );
        assert_eq!((refreshed.into_value(), cache.get(&1)), (2, Some(30)));
        let loads = AtomicU64::new(0);
        let barrier = Barrier::new(4);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    barrier.wait();
                    let load = || {
                        loads.fetch_add(1, Ordering::Relaxed);
                        31
                    };
                    assert_eq!(cache.entry(1).or_insert_with_if(load, |&old| old < 31).into_value(), 31);
                });
            }
        });
        assert_eq!(loads.into_inner(), 1, "who waited looks again before it loads");
    });
}

/// quick_cache#120: placeholders of abandoned loads took 10 GiB in ten hours.
#[test]
fn b06_abandoned_loads_leave_nothing() {
    let census = Census::default();
    let cache: Pairs = Cache::builder().max_capacity(10).build().unwrap();
    for id in 0..scaled(500, 20) {
        let load = cache.get_or_insert_with_async(Key::new(id, &census), std::future::pending());
        let mut load = Box::pin(load);
        assert!(load.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        let failed = cache.try_get_or_insert_with(Key::new(id + 1_000, &census), || Err::<Value, _>(()));
        assert!(failed.is_err());
        let compute = cache.entry(Key::new(id + 2_000, &census)).and_compute_with(|_| Op::Nop);
        drop((load, compute));
        assert_eq!(cache.loads_in_flight(), 0);
    }
    assert_eq!(census.alive(), 0, "not even keys");
}

/// moka#348, #574: a compute that another write got in between.
#[test]
fn b07_no_increment_is_lost() {
    let cache: Cache<u64, u64> = Cache::new(100);
    let rounds = scaled(2_000, 40);
    thread::scope(|scope| {
        for number in 0..4u64 {
            let cache = &cache;
            scope.spawn(move || {
                for round in 0..rounds {
                    if number % 2 == 0 {
                        cache.entry(1).and_upsert_with(|old| old.map_or(0, |old| old.into_value()) + 1);
                    } else {
                        let add = |old: Option<millpond_cache::compute::Entry<u64>>| async move {
                            Op::Put(old.map_or(0, |old| old.into_value()) + 1)
                        };
                        block_on(cache.entry(1).and_compute_with_async(add));
                    }
                    cache.insert(2 + round % 50, round);
                }
            });
        }
    });
    assert_eq!(cache.get(&1), Some(4 * rounds));
}

/// moka sets an entry's own deadline after it has shown the entry; moka#363, caffeine#568: a dead value is returned.
#[test]
fn b08_nobody_sees_a_dead_value() {
    let clock = Arc::new(ManualClock::new());
    let now = AtomicU64::new(0);
    let cache: Cache<u64, u64> = Cache::builder().max_capacity(8).clock(Arc::clone(&clock)).build().unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for tick in 1..scaled(20_000, 300) {
                // The value is its own end.
                cache.insert_with_ttl(tick % 3, tick + tick % 4, Duration::from_nanos(1 + tick % 4));
                clock.set(Duration::from_nanos(tick));
                now.store(tick, Ordering::Release);
            }
            done.store(true, Ordering::Release);
        });
        while !done.load(Ordering::Acquire) {
            let before = now.load(Ordering::Acquire);
            for key in 0..3 {
                assert!(cache.get(&key).is_none_or(|end| end >= before), "dead before the call began");
            }
        }
    });
}

/// moka#549, #52: an end that is never cleared, a duration that overflows.
#[test]
fn b09_ends_of_every_size() {
    let clock = Arc::new(ManualClock::new());
    let cache: Cache<u64, u64> =
        Cache::builder().max_capacity(100).clock(Arc::clone(&clock)).build().unwrap();
    let lives = [0, 1, u64::MAX / 2, u64::MAX - 1].map(Duration::from_nanos);
    for at in [0, 1, u64::MAX / 2, u64::MAX - 2].map(Duration::from_nanos) {
        clock.set(at);
        for life in lives.into_iter().chain([Duration::MAX]) {
            cache.insert_with_ttl(1, 1, life);
            assert_eq!(cache.get(&1).is_some(), !life.is_zero(), "{life:?} at {at:?}");
            cache.insert(1, 2);
            assert_eq!((cache.get(&1), cache.expires_after(&1)), (Some(2), None), "an update has no end");
            assert!(cache.set_expires_after(&1, life));
            assert_eq!(cache.get(&1).is_some(), !life.is_zero());
            cache.check_invariants();
        }
    }
}

/// moka#376: clocks that stand still, jump, and go back.
#[test]
fn b10_a_clock_that_jumps_both_ways() {
    let clock = Arc::new(ManualClock::new());
    let ttl = Duration::from_nanos(1_000);
    let cache: Cache<u64, u64> =
        Cache::builder().max_capacity(50).time_to_live(ttl).clock(Arc::clone(&clock)).build().unwrap();
    let mut random = Random::new(10);
    for step in 0..scaled(2_000, 60) {
        clock.set(Duration::from_nanos(random.next() >> (8 + random.below(50))));
        cache.insert(random.below(100), step);
        cache.get(&random.below(100));
        if step % 16 == 0 {
            cache.run_pending_tasks();
            cache.check_invariants();
        }
    }
    clock.set(Duration::from_nanos(u64::MAX - 10));
    cache.run_pending_tasks();
    assert!(cache.entry_count() <= 1, "all but what was written at the very end are over");
}

/// moka#548, #566, #570: the timer wheel frees a node that is linked, or links it twice.
#[test]
fn b11_timers_of_cells_that_are_used_again() {
    let clock = Arc::new(ManualClock::new());
    let census = Census::default();
    let cache: Pairs = Cache::builder().max_capacity(20).shards(1).clock(Arc::clone(&clock)).build().unwrap();
    let mut random = Random::new(11);
    for step in 0..scaled(3_000, 100) {
        let key = Key::new(random.below(40), &census);
        let life = Duration::from_nanos(random.next() >> (20 + random.below(44)));
        match random.below(8) {
            0 => drop(cache.remove(&key)),
            1 => cache.insert(key, Value::new(step, &census)),
            2 => drop(cache.set_expires_after(&key, life)),
            3 => clock.advance(life),
            4 => cache.run_pending_tasks(),
            _ => cache.insert_with_ttl(key, Value::new(step, &census), life),
        }
        cache.check_invariants();
    }
    drop(cache);
    assert_eq!(census.alive(), 0);
}

/// moka#414, foyer's `&mut` under a read lock: a reader holds what a writer changes. Miri runs this with many seeds.
#[test]
fn b12_what_is_borrowed_does_not_change() {
    let cache: Cache<u64, Vec<u64>> = Cache::new(4);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for step in 0..scaled(5_000, 150) {
                cache.insert(step % 8, vec![step; 16]);
            }
            done.store(true, Ordering::Release);
        });
        while !done.load(Ordering::Acquire) {
            let pin = cache.pin();
            let held: Vec<_> = (0..8).filter_map(|key| pin.get(&key)).collect();
            thread::yield_now();
            assert!(held.iter().all(|value| value.len() == 16 && value.iter().all(|&v| v == value[0])));
        }
    });
}

/// moka's 16 bits of generation stick when they wrap: the entry is skipped by eviction for ever.
#[test]
fn b13_more_writes_than_16_bits() {
    let cache: Cache<u64, u64> = Cache::builder().max_capacity(8).shards(1).build().unwrap();
    for step in 0..scaled(70_000, 200) {
        cache.insert(1, step);
    }
    for key in 100..100 + scaled(4_000, 200) {
        cache.insert(key, key);
        cache.get(&key);
    }
    assert_eq!(cache.get(&1), None, "it is evicted as any other");
    cache.check_invariants();
}

/// moka's list of predicates: one that is registered while another finishes is lost.
#[test]
fn b14_predicates_at_once() {
    for _ in 0..scaled(50, 3) {
        let cache: Cache<u64, u64> = Cache::new(1_000);
        cache.extend((0..100).map(|key| (key, key)));
        let barrier = Barrier::new(4);
        let removed: u64 = thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|rest| {
                    let (cache, barrier) = (&cache, &barrier);
                    scope.spawn(move || {
                        barrier.wait();
                        cache.invalidate_if(|key, _| key % 4 == rest)
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!((removed, cache.entry_count()), (100, 0));
    }
}

/// caffeine#1044, quick_cache#25: weights that overflow, or change with an update.
#[test]
fn b15_weights_of_every_size() {
    let max = 3 * u64::from(u32::MAX);
    let cache: Cache<u64, u32> =
        Cache::builder().max_weight(max).weigher(|_, &weight| weight).shards(4).build().unwrap();
    let mut random = Random::new(15);
    for _ in 0..scaled(5_000, 200) {
        let weight = [0, 1, u32::MAX, u32::MAX - 1, random.next() as u32][random.below(5) as usize];
        cache.insert(random.below(20), weight);
        assert!(cache.weighted_size() <= max);
    }
    cache.check_invariants();
    let sum: u64 = cache.iter().map(|(_, weight)| u64::from(weight)).sum();
    assert_eq!(cache.weighted_size(), sum);
}

/// foyer#1264, moka#345: statistics that do not add up.
#[test]
fn b16_what_came_in_went_out_or_is_there() {
    let clock = Arc::new(ManualClock::new());
    let cache: Cache<u64, u64> = Cache::builder()
        .max_capacity(20)
        .time_to_live(Duration::from_nanos(200))
        .clock(Arc::clone(&clock))
        .record_stats()
        .build()
        .unwrap();
    let (mut random, mut gets, mut inserts) = (Random::new(16), 0, 0);
    for step in 0..scaled(5_000, 300) {
        let key = random.below(50);
        match random.below(4) {
            0 => {
                cache.get(&key);
                gets += 1;
            }
            1 => cache.invalidate(&key),
            _ => {
                cache.insert(key, step);
                inserts += 1;
            }
        }
        clock.advance(Duration::from_nanos(random.below(10)));
    }
    let stats = cache.stats();
    assert_eq!((stats.hits() + stats.misses(), stats.requests()), (gets, gets));
    let gone = stats.removed() + stats.replaced() + stats.expired() + stats.evictions();
    assert_eq!(inserts, gone + cache.entry_count());
}

/// ristretto#30: two keys with one hash, and the value of the other is returned.
#[test]
fn b17_keys_with_one_hash() {
    let cache = Cache::builder().max_capacity(200).hasher(FewBits::<0>::default()).build().unwrap();
    for key in 0..scaled(300, 60) {
        cache.insert(key, key);
        cache.entry(key).and_upsert_with(|old| old.map_or(key, |old| old.into_value()) + 1_000);
    }
    assert!(cache.iter().count() > 0 && cache.iter().all(|(key, value)| value == key + 1_000));
    for key in 0..300 {
        assert!(cache.get(&key).is_none_or(|value| value == key + 1_000));
    }
    cache.check_invariants();
}

/// moka#383, #384: values live on in the bags of threads that are idle or gone.
#[test]
fn b18_values_go_with_the_cache() {
    let census = Census::default();
    let cache: Pairs = Cache::builder().max_capacity(50).build().unwrap();
    let fill = |cache: &Pairs| {
        for id in 0..200 {
            cache.insert(Key::new(id, &census), Value::new(id, &census));
            drop(cache.remove(&Key::new(id / 2, &census)));
        }
    };
    thread::scope(|scope| drop(scope.spawn(|| fill(&cache)).join()));
    fill(&cache);
    cache.invalidate_all();
    eventually(|| {
        cache.run_pending_tasks();
        census.alive() == 0
    });
    fill(&cache);
    drop(cache);
    assert_eq!(census.alive(), 0);
}

/// quick_cache drops values under its shard lock; moka#391: a drop that panics.
#[test]
fn b19_drops_that_call_back_and_panic() {
    watchdog(30, || {
        let census = Census::default();
        let cache: Rc<Pairs> = Rc::new(Cache::builder().max_capacity(4).shards(1).build().unwrap());
        let (inner, counted, calls) = (Rc::clone(&cache), census.clone(), Rc::new(Cell::new(0)));
        let count = Rc::clone(&calls);
        set_hook(Place::DropValue, move || {
            count.set(count.get() + 1);
            inner.insert(Key::new(1, &counted), Value::new(1, &counted));
            drop(inner.remove(&Key::new(2, &counted)));
        });
        eventually(|| {
            for id in 0..20 {
                cache.insert(Key::new(id, &census), Value::new(id, &census));
            }
            cache.run_pending_tasks();
            calls.get() > 10
        });
        clear_hook();
        for nth in 1..10 {
            set_fuse(Place::DropValue, nth);
            let _ = catch_unwind(AssertUnwindSafe(|| {
                (0..20).for_each(|id| cache.insert(Key::new(id, &census), Value::new(id, &census)));
                cache.run_pending_tasks();
            }));
            defuse();
            cache.check_invariants();
        }
        drop(Rc::into_inner(cache));
        assert_eq!(census.alive(), 0);
    });
}

/// moka catches panics of the loader only: one in the weigher or in a clone leaves a waiter that fails all later loads.
#[test]
fn b20_a_panic_after_the_loader_has_returned() {
    let census = Census::default();
    let cache: Pairs = Cache::builder()
        .max_weight(10)
        .weigher(|_, _| {
            called(Place::Weigher);
            1
        })
        .build()
        .unwrap();
    for place in [Place::Weigher, Place::CloneValue] {
        set_fuse(place, 1);
        let load = || cache.get_or_insert_with(Key::new(1, &census), || Value::new(1, &census)).0;
        assert!(catch_unwind(AssertUnwindSafe(load)).is_err());
        assert!(!defuse(), "it was called");
        assert_eq!((load(), cache.loads_in_flight()), (1, 0));
        cache.invalidate_all();
    }
}

/// quick_cache#98: nothing may be evicted, and eviction looks for ever.
#[test]
fn b21_nothing_to_evict() {
    watchdog(30, || {
        let cache: Cache<u64, u32> =
            Cache::builder().max_weight(5).weigher(|_, &weight| weight).shards(2).build().unwrap();
        cache.extend((0..1_000).map(|key| (key, 0)));
        cache.insert(2_000, 5);
        cache.insert(2_001, 5);
        assert!(cache.weighted_size() <= 5);
        assert!((0..1_000).all(|key| cache.contains_key(&key)), "what weighs nothing is pinned");
        cache.check_invariants();
    });
}

/// moka#412, caffeine#130: writers flood the cache, and housekeeping or a reader never gets its turn.
#[test]
fn b22_a_flood_of_writes_starves_nobody() {
    watchdog(60, || {
        let cache: Cache<u64, u64> = Cache::new(1_000);
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            for number in 0..3u64 {
                let (cache, done) = (&cache, &done);
                scope.spawn(move || {
                    let mut random = Random::new(number + 1);
                    while !done.load(Ordering::Relaxed) {
                        cache.insert(random.next(), 1);
                    }
                });
            }
            for key in 0..scaled(30, 3) {
                cache.run_pending_tasks();
                assert_eq!(cache.get_or_insert_with(u64::MAX - key, || key), key);
                assert!(cache.iter().count() <= 1_000);
            }
            done.store(true, Ordering::Relaxed);
        });
    });
}

/// caffeine#1820 on aarch64: a reader sees an entry before what is in it. loom has the proof (`just loom`).
#[test]
fn b23_what_is_seen_is_whole() {
    let cache: Cache<u64, Box<[u64; 8]>> = Cache::new(64);
    let steps = scaled(20_000, 300);
    thread::scope(|scope| {
        scope.spawn(|| (0..steps).for_each(|step| cache.insert(step % 100, Box::new([step; 8]))));
        scope.spawn(|| {
            for step in 0..steps {
                let whole = cache.read(&(step % 100), |value| value.iter().all(|&part| part == value[0]));
                assert!(whole.is_none_or(|whole| whole));
            }
        });
    });
}

/// moka#155, otter#139: an insert that was complete before everything was cleared is seen after it.
#[test]
fn b24_clear_vs_insert() {
    let cache: Cache<u64, u64> = Cache::new(1_000);
    let done = AtomicU64::new(0);
    let steps = scaled(10_000, 100);
    thread::scope(|scope| {
        scope.spawn(|| {
            for step in 1..=steps {
                cache.insert(step % 20, step);
                done.store(step, Ordering::Release);
            }
        });
        while done.load(Ordering::Acquire) < steps {
            let complete = done.load(Ordering::Acquire);
            cache.invalidate_all();
            assert!(cache.iter().all(|(_, step)| step > complete));
        }
    });
}

/// RUSTSEC-2025-0024, a double free in crossbeam-channel that reached many caches. `just deny` looks at the whole list; this one
/// tells even where that is not installed.
#[test]
fn b25_no_dependency_with_a_known_double_free() {
    let lock = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.lock"));
    // Not where the crate is tested from its package.
    for package in lock.unwrap_or_default().split("[[package]]") {
        let bad = ["0.5.11", "0.5.12", "0.5.13", "0.5.14"].map(|version| format!("version = \"{version}\""));
        let is_it = package.contains("name = \"crossbeam-channel\"");
        assert!(!is_it || bad.iter().all(|version| !package.contains(version)), "{package}");
    }
}

/// caffeine#412, moka#266: a listener that is told twice, never, or of the wrong cause.
#[test]
fn b26_each_value_once_with_its_cause() {
    let told: Arc<Mutex<Vec<(u64, RemovalCause)>>> = Arc::default();
    let log = Arc::clone(&told);
    let clock = Arc::new(ManualClock::new());
    let cache: Cache<u64, u64> = Cache::builder()
        .max_capacity(2)
        .shards(1)
        .time_to_live(Duration::from_secs(1))
        .clock(Arc::clone(&clock))
        .eviction_listener(move |_, &value, cause| log.lock().push((value, cause)))
        .build()
        .unwrap();
    cache.insert(1, 1);
    cache.insert(1, 2);
    cache.entry(1).and_upsert_with(|_| 3);
    cache.entry(1).and_compute_with(|_| Op::Remove);
    cache.insert(1, 4);
    clock.advance(Duration::from_secs(1));
    cache.insert(1, 5);
    cache.retain(|_, _| false);
    cache.extend([(1, 6), (2, 7), (3, 8)]);
    let mut left: Vec<_> = cache.iter().map(|(_, value)| value).collect();
    let told = told.lock().clone();
    let causes = [
        (1, RemovalCause::Replaced),
        (2, RemovalCause::Replaced),
        (3, RemovalCause::Explicit),
        (4, RemovalCause::Expired),
        (5, RemovalCause::Explicit),
    ];
    assert_eq!(told[..5], causes);
    assert_eq!(told[5].1, RemovalCause::Size);
    left.push(told[5].0);
    left.sort_unstable();
    assert_eq!((left, told.len()), (vec![6, 7, 8], 6), "one of three had to go");
}

/// quick_cache 993f4f3: a resize loses entries, or readers miss them while it lasts.
#[test]
fn b27_growth_loses_nothing() {
    let cache: Cache<u64, u64> = Cache::builder().shards(1).build().unwrap();
    let shown = AtomicU64::new(0);
    let count = scaled(60_000, 500);
    thread::scope(|scope| {
        scope.spawn(|| {
            for key in 1..=count {
                cache.insert(key, key);
                shown.store(key, Ordering::Release);
            }
        });
        let mut random = Random::new(27);
        while shown.load(Ordering::Acquire) < count {
            let key = 1 + random.below(shown.load(Ordering::Acquire).max(1));
            assert!(shown.load(Ordering::Acquire) == 0 || cache.get(&key) == Some(key), "{key} is there");
        }
    });
    cache.check_invariants();
}

/// ehcache3#580: writes reach the source in another order than the cache. There is no write-behind here; a write-through is a
/// compute that writes the source first, and computes of one key are one after the other.
#[test]
fn b28_writing_through_keeps_the_order() {
    let cache: Cache<u64, u64> = Cache::new(100);
    let source = Mutex::new(vec![0; 4]);
    let failures = AtomicU64::new(0);
    thread::scope(|scope| {
        for number in 0..4u64 {
            let (cache, source, failures) = (&cache, &source, &failures);
            scope.spawn(move || {
                for step in 0..scaled(500, 20) {
                    let (key, value) = (step % 4, number * 1_000 + step);
                    let written = cache.entry(key).and_try_compute_with(|_| {
                        if value % 7 == 0 {
                            return Err("the source is down");
                        }
                        source.lock()[key as usize] = value;
                        Ok(Op::Put(value))
                    });
                    failures.fetch_add(u64::from(written.is_err()), Ordering::Relaxed);
                }
            });
        }
    });
    assert!(failures.into_inner() > 0);
    for (key, &value) in (0..).zip(source.lock().iter()) {
        assert_eq!(cache.get(&key), Some(value), "the last write of both is the same");
    }
    // Dropped in the middle, it has written neither.
    let mut write = pin!(cache.entry(1).and_upsert_with_async(|_| std::future::pending()));
    assert!(write.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    assert_eq!(cache.get(&1), Some(source.lock()[1]));
}
