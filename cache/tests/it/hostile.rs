//! What a hostile user of the newer calls would try: keys and values whose drops call back, loads and computes that die at
//! any point, values that are too heavy, ends that move meanwhile.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use millpond_cache::compute::Op;
use millpond_cache::{Cache, Expiry, ManualClock, RemovalCause};
use parking_lot::Mutex;

use crate::support::{
    Census, Key, Place, Rule, Value, called, clear_hook, defuse, set_fuse, set_hook, unfused, watchdog,
};

type Pairs = Cache<Key, Value>;
type Reports = Arc<Mutex<Vec<(u64, u64, RemovalCause)>>>;

fn pairs() -> (Pairs, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new());
    let cache = Cache::builder()
        .max_weight(100)
        .weigher(|_, _| {
            called(Place::Weigher);
            1
        })
        .expire_after(Rule)
        .clock(Arc::clone(&clock))
        .shards(1)
        .build()
        .unwrap();
    (cache, clock)
}

/// Polls a future so often and drops it.
fn abandon(polls: u32, future: impl Future) {
    let mut future = Box::pin(future);
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..polls {
        if future.as_mut().poll(&mut context).is_ready() {
            return;
        }
    }
}

async fn pause() {
    let mut before = true;
    std::future::poll_fn(|_| {
        if std::mem::replace(&mut before, false) {
            std::task::Poll::Pending
        } else {
            std::task::Poll::Ready(())
        }
    })
    .await;
}

#[test]
fn b01_a_drop_may_load_the_key_whose_load_dies() {
    // Whoever asks for a key from a drop while a load of it is being thrown away must not wait for that very load.
    watchdog(60, || {
        type Dying = fn(&Pairs, &Census);
        let deaths: [Dying; 14] = [
            |c, n| {
                let value = Value::new(1, n);
                abandon(
                    1,
                    c.get_or_insert_with_async(Key::new(1, n), async {
                        pause().await;
                        value
                    }),
                );
            },
            |c, n| {
                abandon(
                    1,
                    c.entry(Key::new(1, n)).and_upsert_with_async(|old| async {
                        let value = Value::new(2, n);
                        pause().await;
                        drop(old);
                        value
                    }),
                );
            },
            |c, n| {
                let value = Value::new(1, n);
                abandon(
                    1,
                    c.entry(Key::new(1, n)).or_insert_with_if_async(
                        async {
                            pause().await;
                            value
                        },
                        |_| true,
                    ),
                );
            },
            |c, n| {
                abandon(
                    1,
                    c.entry(Key::new(1, n)).and_compute_with_async(|old| {
                        let held = Value::new(3, n);
                        async move {
                            pause().await;
                            drop((old, held));
                            Op::Remove
                        }
                    }),
                );
            },
            |c, n| {
                drop(
                    c.entry(Key::new(1, n))
                        .and_try_compute_with(|old| Err::<Op<Value>, _>((old, Value::new(4, n)))),
                )
            },
            |c, n| drop(c.get_or_insert_with(Key::new(1, n), || Value::new(5, n))),
            |c, n| {
                // What a closure drops is its own affair: it may not ask for its key.
                let mut seen = Vec::new();
                drop(c.entry(Key::new(1, n)).and_upsert_with(|old| {
                    seen.push(old);
                    Value::new(6, n)
                }));
            },
            |c, n| {
                drop(c.entry(Key::new(1, n)).or_insert_with_if(|| Value::new(7, n), |old| old.0 != 7));
            },
            |c, n| {
                let load = c.get_or_insert_with_async(Key::new(1, n), async { Value::new(8, n) });
                drop(futures::executor::block_on(load));
            },
            |c, n| {
                let value = Value::new(9, n);
                abandon(
                    1,
                    c.optionally_get_with_async(Key::new(1, n), async {
                        pause().await;
                        Some(value)
                    }),
                );
            },
            |c, n| drop(c.optionally_get_with(Key::new(1, n), || Some(Value::new(10, n)))),
            |c, n| {
                let mut value = Some(Value::new(11, n));
                let load = |keys: Vec<Key>| {
                    let value = value.take();
                    async {
                        pause().await;
                        keys.into_iter().zip(value).collect::<Vec<_>>()
                    }
                };
                abandon(1, c.get_many_with_async([2, 1].map(|id| Key::new(id, n)), load));
            },
            |c, n| {
                // One that nobody asked for, one that is absent, one that comes twice.
                let load = |_| [7, 1, 1, 3].map(|id| (Key::new(id, n), Value::new(id, n)));
                drop(c.get_many_with([3, 2, 1].map(|id| Key::new(id, n)), load));
            },
            |c, n| {
                let load = async |_| [7, 3, 1, 1].map(|id| (Key::new(id, n), Value::new(id, n)));
                let load = c.get_many_with_async([1, 2, 3].map(|id| Key::new(id, n)), load);
                drop(futures::executor::block_on(load));
            },
        ];
        let census = Census::default();
        let fuses =
            [None, Some(Place::Weigher), Some(Place::Expiry), Some(Place::CloneValue), Some(Place::Eq)];
        for (number, dying) in deaths.into_iter().enumerate() {
            let mut dropped = 0;
            for (fuse, there) in fuses.into_iter().flat_map(|fuse| [(fuse, false), (fuse, true)]) {
                for nth in 1..8 {
                    let cache = Rc::new(pairs().0);
                    if there {
                        cache.insert(Key::new(1, &census), Value::new(0, &census));
                    }
                    let (inner, counted) = (Rc::clone(&cache), census.clone());
                    let asked = Rc::new(Cell::new(0));
                    let count = Rc::clone(&asked);
                    set_hook(Place::DropValue, move || {
                        count.set(count.get() + 1);
                        unfused(|| {
                            let key = || Key::new(1, &counted);
                            drop(inner.get_or_insert_with(key(), || Value::new(100, &counted)));
                            drop(inner.entry(key()).and_upsert_with(|_| Value::new(101, &counted)));
                        });
                    });
                    if let Some(place) = fuse {
                        set_fuse(place, nth);
                    }
                    let died = catch_unwind(AssertUnwindSafe(|| dying(&cache, &census))).is_err();
                    defuse();
                    clear_hook();
                    dropped += asked.get();
                    assert_eq!(cache.loads_in_flight(), 0);
                    cache.check_invariants();
                    if fuse.is_none() || !died {
                        break;
                    }
                }
            }
            assert!(dropped > 0, "way {number} to die drops a value");
        }
        assert_eq!(census.alive(), 0);
    });
}

fn heavy() -> (Cache<u64, u64>, Reports, Arc<ManualClock>) {
    let reports = Reports::default();
    let log = Arc::clone(&reports);
    let clock = Arc::new(ManualClock::new());
    let cache = Cache::builder()
        .max_weight(10)
        .weigher(|_, &value| u32::try_from(value).unwrap())
        .time_to_live(Duration::from_secs(10))
        .clock(Arc::clone(&clock))
        .record_stats()
        .eviction_listener(move |&key, &value, cause| log.lock().push((key, value, cause)))
        .build()
        .unwrap();
    (cache, reports, clock)
}

#[test]
fn b15_a_replacement_that_is_too_heavy_takes_the_old_value_with_it() {
    for asynchronous in [false, true] {
        let (cache, reports, _) = heavy();
        cache.insert(1, 5);
        let entry = if asynchronous {
            futures::executor::block_on(cache.entry(1).or_insert_with_if_async(async { 11 }, |_| true))
        } else {
            cache.entry(1).or_insert_with_if(|| 11, |_| true)
        };
        assert_eq!((*entry.value(), entry.is_old_value_replaced()), (11, true));
        assert_eq!(cache.get(&1), None, "the caller was told that 5 was replaced");
        assert_eq!(*reports.lock(), [(1, 5, RemovalCause::Replaced), (1, 11, RemovalCause::Size)]);
        assert_eq!((cache.stats().replaced(), cache.stats().evictions()), (1, 1));
        cache.check_invariants();
    }
}

#[test]
fn b15_a_heavy_load_after_the_end_of_the_old_value() {
    let (cache, reports, clock) = heavy();
    cache.insert(1, 5);
    clock.advance(Duration::from_secs(10));
    assert_eq!(cache.get_or_insert_with(1, || 11), 11);
    assert_eq!(*reports.lock(), [(1, 5, RemovalCause::Expired), (1, 11, RemovalCause::Size)]);
    assert_eq!((cache.entry_count(), cache.weighted_size()), (0, 0));
    cache.check_invariants();
}

#[test]
fn b26_a_load_that_was_overtaken_is_not_reported_however_heavy() {
    let (cache, reports, _) = heavy();
    let loaded = cache.get_or_insert_with(1, || {
        cache.insert(1, 3);
        11
    });
    assert_eq!((loaded, cache.get(&1)), (11, Some(3)), "the write wins");
    assert_eq!(*reports.lock(), [], "what was never meant to stay did not leave");
    assert_eq!(cache.stats().evictions(), 0);
}

#[test]
fn b19_nothing_is_dropped_under_a_lock_when_a_comparison_panics() {
    // Key and value of an insert into a cache of which nothing is asked; their drops write to the same shard.
    watchdog(30, || {
        let census = Census::default();
        for place in [Place::DropKey, Place::DropValue] {
            for there in [false, true] {
                for nth in 1..6 {
                    let cache: Rc<Pairs> =
                        Rc::new(Cache::builder().max_capacity(64).shards(1).build().unwrap());
                    for id in 0..10 {
                        cache.insert(Key::new(id, &census), Value::new(id, &census));
                    }
                    let (inner, counted) = (Rc::clone(&cache), census.clone());
                    set_hook(place, move || {
                        unfused(|| inner.insert(Key::new(50, &counted), Value::new(50, &counted)));
                    });
                    set_fuse(Place::Eq, nth);
                    let _ = catch_unwind(AssertUnwindSafe(|| {
                        let id = if there { 5 } else { 60 };
                        cache.insert(Key::new(id, &census), Value::new(100, &census));
                        drop(cache.remove(&Key::new(5, &census)));
                    }));
                    defuse();
                    clear_hook();
                    cache.check_invariants();
                }
            }
        }
        assert_eq!(census.alive(), 0);
    });
}

#[test]
fn b01_a_drop_may_load_the_key_whose_refresh_dies() {
    watchdog(60, || {
        let census = Census::default();
        for fuse in
            [None, Some(Place::Weigher), Some(Place::CloneValue), Some(Place::Eq), Some(Place::Listener)]
        {
            for nth in 1..8 {
                let clock = Arc::new(ManualClock::new());
                let cache: Pairs = Cache::builder()
                    .max_weight(100)
                    .weigher(|_, _| {
                        called(Place::Weigher);
                        1
                    })
                    .eviction_listener(|_, _, _| called(Place::Listener))
                    .time_to_live(Duration::from_secs(2))
                    .refresh_after(Duration::from_secs(1))
                    .clock(Arc::clone(&clock))
                    .shards(1)
                    .build()
                    .unwrap();
                cache.insert(Key::new(1, &census), Value::new(0, &census));
                clock.advance(Duration::from_secs(1));
                let refresh = cache.claim_refresh(&Key::new(1, &census)).unwrap();
                // Now a load has to wait for the refresh.
                clock.advance(Duration::from_secs(1));
                let (inner, counted) = (cache.clone(), census.clone());
                set_hook(Place::DropValue, move || {
                    unfused(|| {
                        drop(inner.get_or_insert_with(Key::new(1, &counted), || Value::new(1, &counted)))
                    });
                });
                if let Some(place) = fuse {
                    set_fuse(place, nth);
                }
                let value = Value::new(2, &census);
                let _ = catch_unwind(AssertUnwindSafe(|| refresh.complete(value)));
                defuse();
                clear_hook();
                assert_eq!((cache.refreshes_in_flight(), cache.loads_in_flight()), (0, 0), "{fuse:?} {nth}");
                cache.check_invariants();
                drop(cache);
            }
        }
        assert_eq!(census.alive(), 0);
    });
}

/// Reads end a life after ten seconds, which without them has no end.
struct OnceRead;

impl Expiry<u64, u64> for OnceRead {
    fn expire_after_read(&self, _: &u64, _: &u64, remaining: Option<Duration>) -> Option<Duration> {
        remaining.is_none().then_some(Duration::from_secs(10))
    }
}

#[test]
fn b08_housekeeping_finds_a_life_that_a_read_shortened_however_often_it_looked_before() {
    let reports = Reports::default();
    let log = Arc::clone(&reports);
    let clock = Arc::new(ManualClock::new());
    let cache: Cache<u64, u64> = Cache::builder()
        .expire_after(OnceRead)
        .clock(Arc::clone(&clock))
        .eviction_listener(move |&key, &value, cause| log.lock().push((key, value, cause)))
        .build()
        .unwrap();
    cache.insert(1, 1);
    assert_eq!(cache.get(&1), Some(1));
    for _ in 0..3 {
        cache.run_pending_tasks();
        clock.advance(Duration::from_secs(3));
    }
    assert_eq!((cache.get(&1), cache.entry_count()), (Some(1), 1));
    clock.advance(Duration::from_secs(1));
    cache.run_pending_tasks();
    assert_eq!((cache.entry_count(), &reports.lock()[..]), (0, &[(1, 1, RemovalCause::Expired)][..]));
    cache.check_invariants();
}
