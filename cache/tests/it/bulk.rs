//! Many keys at once: one load for what is missing, single flight per key, beside single loads, writes and each other.

use std::collections::HashMap;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::task::Poll;
use std::thread;
use std::time::Duration;

use futures::channel::oneshot;
use futures::executor::block_on;
use millpond_cache::{Cache, ManualClock};

use crate::history::{self, Call, Event};
use crate::support::{
    Alarm, Census, Key, Place, Random, Value, defuse, eventually, poll, scaled, set_fuse, watchdog,
};

type Bulk<'c> = Pin<Box<dyn Future<Output = HashMap<u64, u64>> + Send + 'c>>;

/// A bulk load that ends when something is sent.
fn bulk<'c>(cache: &'c Cache<u64, u64>, keys: &[u64]) -> (oneshot::Sender<Vec<(u64, u64)>>, Bulk<'c>) {
    let (answer, answers) = oneshot::channel();
    let mut answers = Some(answers);
    let keys = keys.to_vec();
    let load = move |_: Vec<u64>| {
        let answers = answers.take();
        async move {
            match answers {
                Some(answers) => answers.await.unwrap(),
                None => std::future::pending().await,
            }
        }
    };
    (answer, Box::pin(cache.get_many_with_async(keys, load)))
}

fn squares(keys: Vec<u64>) -> impl Iterator<Item = (u64, u64)> {
    keys.into_iter().map(|key| (key, key * key))
}

#[test]
fn lookups_come_in_the_order_of_the_keys() {
    let clock = Arc::new(ManualClock::new());
    let cache: Cache<u64, u64> =
        Cache::builder().max_capacity(10).clock(Arc::clone(&clock)).record_stats().build().unwrap();
    cache.insert(1, 10);
    cache.insert_with_ttl(2, 20, Duration::from_secs(1));
    assert_eq!(cache.get_all(&[2, 7, 1, 2]), [Some(20), None, Some(10), Some(20)]);
    clock.advance(Duration::from_secs(1));
    assert_eq!(cache.get_all(&[2, 1]), [None, Some(10)]);
    assert_eq!(cache.get_all(std::iter::empty::<&u64>()), []);
    assert_eq!((cache.stats().hits(), cache.stats().misses()), (4, 2));
}

#[test]
fn one_load_for_what_is_missing() {
    let cache: Cache<u64, u64> = Cache::builder().max_capacity(100).record_stats().build().unwrap();
    cache.insert(1, 100);
    let mut calls = 0;
    let values = cache.get_many_with([3, 1, 4, 3, 5, 1], |missing| {
        calls += 1;
        assert_eq!(missing, [3, 4, 5], "each once, in order");
        // Nothing for 4, something that nobody asked for, and a key twice.
        [(5, 25), (9, 81), (3, 9), (3, 10)]
    });
    assert_eq!(calls, 1);
    assert_eq!(values, HashMap::from([(1, 100), (3, 9), (5, 25)]));
    assert_eq!(cache.get_all(&[1, 3, 4, 5, 9]), [Some(100), Some(9), None, Some(25), None]);
    let stats = cache.stats();
    assert_eq!((stats.load_successes(), stats.load_failures()), (1, 0), "one call is one load");
    assert_eq!(cache.get_many_with([5, 3], |_| -> [(u64, u64); 0] { unreachable!() }).len(), 2);
    assert_eq!(cache.get_many_with([], |_| -> [(u64, u64); 0] { unreachable!() }).len(), 0);
    assert_eq!(cache.loads_in_flight(), 0);
    cache.check_invariants();
}

#[test]
fn single_loads_wait_for_the_bulk_load_and_it_for_them() {
    let cache: Cache<u64, u64> = Cache::new(100);
    let alarm = Arc::new(Alarm::default());
    let (single_answer, answers) = oneshot::channel::<u64>();
    let mut single = Box::pin(cache.get_or_insert_with_async(3, async { answers.await.unwrap() }));
    assert!(poll(&mut single, &alarm).is_pending());
    let (answer, mut many) = bulk(&cache, &[1, 2, 3, 4]);
    assert!(poll(&mut many, &alarm).is_pending());
    assert_eq!(cache.loads_in_flight(), 4, "its keys are seen by others");
    let mut of_one = Box::pin(cache.get_or_insert_with_async(1, std::future::pending()));
    assert!(poll(&mut of_one, &alarm).is_pending());
    let mut of_absent = Box::pin(cache.get_or_insert_with_async(4, async { 44 }));
    assert!(poll(&mut of_absent, &alarm).is_pending());
    answer.send(vec![(1, 1), (2, 4), (3, 333)]).unwrap();
    assert!(poll(&mut many, &alarm).is_pending(), "3 is loaded by another");
    assert_eq!(cache.get_all(&[1, 2, 3, 4]), [Some(1), Some(4), None, None], "what came is there at once");
    assert_eq!(poll(&mut of_one, &alarm), Poll::Ready(1));
    assert_eq!(poll(&mut of_absent, &alarm), Poll::Ready(44), "whoever got nothing loads for itself");
    single_answer.send(9).unwrap();
    assert_eq!(poll(&mut single, &alarm), Poll::Ready(9));
    assert_eq!(poll(&mut many, &alarm), Poll::Ready(HashMap::from([(1, 1), (2, 4), (3, 9)])));
    assert_eq!(cache.loads_in_flight(), 0);
    cache.check_invariants();
}

#[test]
fn an_absence_is_an_answer_for_other_bulk_loads() {
    let cache: Cache<u64, u64> = Cache::new(100);
    let alarm = Arc::new(Alarm::default());
    let (answer, mut first) = bulk(&cache, &[1, 2]);
    assert!(poll(&mut first, &alarm).is_pending());
    let (_, mut second) = bulk(&cache, &[2, 1]);
    assert!(poll(&mut second, &alarm).is_pending());
    answer.send(vec![(1, 1)]).unwrap();
    assert_eq!(poll(&mut first, &alarm), Poll::Ready(HashMap::from([(1, 1)])));
    assert_eq!(poll(&mut second, &alarm), Poll::Ready(HashMap::from([(1, 1)])), "and its loader never ran");
}

#[test]
fn overlapping_bulk_loads_in_opposite_orders_end_and_load_each_key_once() {
    watchdog(60, || {
        const KEYS: u64 = 24;
        for round in 0..scaled(200, 3) {
            let cache: Cache<u64, u64> = Cache::new(1_000);
            let loads: Vec<AtomicU64> = (0..KEYS).map(|_| AtomicU64::new(0)).collect();
            let barrier = Barrier::new(4);
            thread::scope(|scope| {
                for t in 0..4 {
                    let (cache, loads, barrier) = (&cache, &loads, &barrier);
                    scope.spawn(move || {
                        let mut random = Random::new(round * 4 + t + 1);
                        let mut keys: Vec<u64> = (0..KEYS).filter(|_| random.below(3) > 0).collect();
                        if t % 2 == 1 {
                            keys.reverse();
                        }
                        let load = |missing: Vec<u64>| {
                            for &key in &missing {
                                loads[key as usize].fetch_add(1, Ordering::Relaxed);
                            }
                            thread::yield_now();
                            squares(missing)
                        };
                        barrier.wait();
                        let values = if t < 2 {
                            cache.get_many_with(keys.clone(), load)
                        } else {
                            block_on(cache.get_many_with_async(keys.clone(), async |missing| load(missing)))
                        };
                        assert_eq!(values, squares(keys).collect());
                    });
                }
            });
            assert!(loads.iter().all(|loads| loads.load(Ordering::Relaxed) <= 1), "single flight per key");
            assert_eq!(cache.loads_in_flight(), 0);
            cache.check_invariants();
        }
    });
}

#[test]
fn a_write_during_a_bulk_load_wins_for_its_key() {
    let cache: Cache<u64, u64> = Cache::new(100);
    cache.insert(5, 5);
    let alarm = Arc::new(Alarm::default());
    let (answer, mut many) = bulk(&cache, &[1, 2, 3, 4]);
    assert!(poll(&mut many, &alarm).is_pending());
    cache.insert(1, 111);
    cache.invalidate(&2);
    assert_eq!(cache.remove(&3), None);
    answer.send(squares(vec![1, 2, 3, 4]).collect()).unwrap();
    assert_eq!(poll(&mut many, &alarm), Poll::Ready(squares(vec![1, 2, 3, 4]).collect()));
    assert_eq!(cache.get_all(&[1, 2, 3, 4, 5]), [Some(111), None, None, Some(16), Some(5)]);
    let (answer, mut many) = bulk(&cache, &[2, 3]);
    assert!(poll(&mut many, &alarm).is_pending());
    cache.invalidate_all();
    answer.send(vec![(2, 4), (3, 9)]).unwrap();
    assert_eq!(poll(&mut many, &alarm), Poll::Ready(HashMap::from([(2, 4), (3, 9)])));
    assert_eq!(cache.get_all(&[2, 3, 4]), [None; 3]);
    cache.check_invariants();
}

#[test]
fn an_error_is_shared_and_nothing_is_stored() {
    let cache: Cache<u64, u64> = Cache::builder().max_capacity(100).record_stats().build().unwrap();
    let alarm = Arc::new(Alarm::default());
    let (answer, answers) = oneshot::channel::<()>();
    let mut answers = Some(answers);
    let mut many = Box::pin(cache.try_get_many_with_async([1, 2], |_| {
        let answers = answers.take().unwrap();
        async {
            answers.await.unwrap();
            Err::<Vec<_>, _>("down")
        }
    }));
    assert!(poll(&mut many, &alarm).is_pending());
    let mut same = Box::pin(cache.try_get_or_insert_with_async(1, async { Ok::<_, &str>(7) }));
    let mut other = Box::pin(cache.try_get_or_insert_with_async(2, async { Ok::<_, String>(8) }));
    let mut bulk_of_same =
        Box::pin(cache.try_get_many_with_async([2, 9], async |keys| Ok::<_, &str>(squares(keys))));
    assert!(poll(&mut same, &alarm).is_pending());
    assert!(poll(&mut other, &alarm).is_pending());
    assert!(poll(&mut bulk_of_same, &alarm).is_pending());
    answer.send(()).unwrap();
    let Poll::Ready(Err(error)) = poll(&mut many, &alarm) else { panic!("it failed") };
    assert_eq!(*error, "down");
    let Poll::Ready(Err(shared)) = poll(&mut same, &alarm) else { panic!("it waited") };
    assert!(Arc::ptr_eq(&error, &shared));
    assert_eq!(poll(&mut bulk_of_same, &alarm), Poll::Ready(Err(error)));
    assert_eq!(poll(&mut other, &alarm), Poll::Ready(Ok(8)), "an error of another type is not ours");
    assert_eq!(cache.get_all(&[1, 2, 9]), [None, Some(8), Some(81)]);
    assert_eq!((cache.stats().load_failures(), cache.stats().load_successes()), (1, 2));
    cache.check_invariants();
}

#[test]
fn a_panic_of_the_loader_lets_the_others_go_on() {
    watchdog(60, || {
        let cache: Cache<u64, u64> = Cache::new(100);
        thread::scope(|scope| {
            let waiter = |key| {
                let cache = &cache;
                scope.spawn(move || cache.get_many_with([key, 50 + key], squares))
            };
            let mut waiters = Vec::new();
            let panic = catch_unwind(AssertUnwindSafe(|| {
                cache.get_many_with([1, 2, 3], |keys| -> Vec<(u64, u64)> {
                    waiters.extend(keys.into_iter().map(waiter));
                    eventually(|| {
                        cache.contains_key(&51) && cache.contains_key(&52) && cache.contains_key(&53)
                    });
                    panic!("boom")
                })
            }));
            assert!(panic.is_err());
            for (key, waiter) in (1..).zip(waiters) {
                let values = waiter.join().unwrap();
                assert_eq!(values, HashMap::from([(key, key * key), (50 + key, (50 + key) * (50 + key))]));
            }
        });
        assert_eq!(cache.loads_in_flight(), 0);
        cache.check_invariants();
    });
}

#[test]
fn a_cancelled_bulk_load_hands_over_at_every_await() {
    let cache: Cache<u64, u64> = Cache::new(100);
    let alarm = Arc::new(Alarm::default());
    // While it loads.
    let (_answer, mut many) = bulk(&cache, &[1, 2]);
    assert!(poll(&mut many, &alarm).is_pending());
    let mut calls = 0;
    let mut second = Box::pin(cache.get_many_with_async([2, 3, 1], |missing| {
        calls += 1;
        async move { squares(missing) }
    }));
    assert!(poll(&mut second, &alarm).is_pending(), "3 is loaded, 1 and 2 are waited for");
    let mut single = Box::pin(cache.get_or_insert_with_async(1, async { 7 }));
    assert!(poll(&mut single, &alarm).is_pending());
    let before = alarm.rings();
    drop(many);
    assert!(alarm.rings() > before);
    assert_eq!(poll(&mut single, &alarm), Poll::Ready(7));
    assert_eq!(poll(&mut second, &alarm), Poll::Ready(HashMap::from([(1, 7), (2, 4), (3, 9)])));
    drop(second);
    assert_eq!(calls, 2, "once for its own, once for what was given up");
    // While it waits for another's.
    let mut leader = Box::pin(cache.get_or_insert_with_async(10, std::future::pending::<u64>()));
    assert!(poll(&mut leader, &alarm).is_pending());
    let mut many = Box::pin(cache.get_many_with_async([10, 11], async |missing| squares(missing)));
    assert!(poll(&mut many, &alarm).is_pending());
    assert_eq!(cache.get(&11), Some(121));
    drop(many);
    assert_eq!(cache.loads_in_flight(), 1);
    drop(leader);
    // Never polled.
    drop(cache.get_many_with_async([20], async |missing| squares(missing)));
    assert_eq!(cache.loads_in_flight(), 0);
    cache.check_invariants();
}

#[test]
fn a_loader_that_asks_for_its_own_keys_panics() {
    let cache: Cache<u64, u64> = Cache::new(100);
    let recursive = catch_unwind(AssertUnwindSafe(|| {
        cache.get_many_with([1, 2], |_| [(1, cache.get_or_insert_with(2, || 5))])
    }));
    assert!(recursive.is_err());
    let recursive = catch_unwind(AssertUnwindSafe(|| {
        cache.get_or_insert_with(1, || cache.get_many_with([3, 1], squares)[&1])
    }));
    assert!(recursive.is_err());
    let lazy = catch_unwind(AssertUnwindSafe(|| {
        cache.get_many_with([1, 2], |keys| {
            keys.into_iter().map(|key| (key, cache.get_or_insert_with(1, || 5)))
        })
    }));
    assert!(lazy.is_err(), "what it returns is still the loader");
    assert_eq!(cache.loads_in_flight(), 0);
    // Other keys are fine, also while the keys themselves are made.
    let keys = (1..4).map(|key| cache.get_or_insert_with(100 + key, || key));
    let values = cache.get_many_with(keys, |missing| {
        missing.into_iter().map(|key| (key, cache.get_or_insert_with(200 + key, || key))).collect::<Vec<_>>()
    });
    assert_eq!(values, HashMap::from([(1, 1), (2, 2), (3, 3)]));
    cache.check_invariants();
}

#[expect(clippy::mutable_key_type, reason = "what counts the keys is not part of them")]
#[test]
fn panics_of_keys_and_values_leave_no_flight() {
    for place in [Place::Hash, Place::Eq, Place::CloneKey, Place::CloneValue, Place::Weigher] {
        for nth in 1..40 {
            let census = Census::default();
            let cache: Cache<Key, Value> = Cache::builder()
                .max_weight(100)
                .weigher(|_, _| {
                    crate::support::called(Place::Weigher);
                    1
                })
                .shards(1)
                .build()
                .unwrap();
            cache.insert(Key::new(2, &census), Value::new(2, &census));
            let keys: Vec<Key> = [1, 2, 3, 1].map(|key| Key::new(key, &census)).into();
            set_fuse(place, nth);
            let result = catch_unwind(AssertUnwindSafe(|| {
                cache.get_many_with(keys, |missing| {
                    missing.into_iter().map(|key| {
                        let value = Value::new(key.0, &census);
                        (key, value)
                    })
                })
            }));
            assert_eq!(result.is_ok(), defuse(), "{place:?} {nth}");
            assert_eq!(cache.loads_in_flight(), 0, "{place:?} {nth}");
            cache.check_invariants();
            drop(result);
            let again = cache.get_many_with([1, 3].map(|key| Key::new(key, &census)), |missing| {
                missing.into_iter().map(|key| (key, Value::new(0, &census)))
            });
            assert_eq!(again.len(), 2);
            drop(again);
            drop(cache);
            assert_eq!(census.alive(), 0, "{place:?} {nth}");
        }
    }
}

/// Bulk loads of both keys beside all other calls: each is a load of either key.
#[test]
fn histories_of_bulk_loads_are_linearizable() {
    watchdog(120, || {
        let cache: Cache<u64, u64> = Cache::builder().shards(1).build().unwrap();
        let (time, values) = (AtomicU64::new(0), AtomicU64::new(1));
        let barrier = Barrier::new(3);
        let events: Vec<Vec<(u64, Event)>> = thread::scope(|scope| {
            let threads: Vec<_> = (0..3)
                .map(|t| {
                    let (cache, time, values, barrier) = (&cache, &time, &values, &barrier);
                    scope.spawn(move || {
                        let mut random = Random::new(t + 1);
                        let mut events = Vec::new();
                        for round in 0..scaled(1_500, 5) {
                            barrier.wait();
                            for _ in 0..6 {
                                let keys = [2 * round, 2 * round + 1];
                                let own = values.fetch_add(2, Ordering::Relaxed);
                                let began = time.fetch_add(1, Ordering::SeqCst);
                                let choice = random.below(16);
                                if choice < 10 {
                                    let key = keys[random.below(2) as usize];
                                    let (call, seen) =
                                        history::call(cache, key, own, choice, thread::yield_now);
                                    let ended = time.fetch_add(1, Ordering::SeqCst);
                                    events.push((key, Event { call, seen, began, ended }));
                                    continue;
                                }
                                let mut order = keys;
                                if random.below(2) == 0 {
                                    order.reverse();
                                }
                                let mut called = Vec::new();
                                let found = cache.get_many_with(order, |missing| {
                                    called.extend(missing.iter().copied());
                                    thread::yield_now();
                                    missing.into_iter().map(|key| (key, own + key % 2))
                                });
                                let ended = time.fetch_add(1, Ordering::SeqCst);
                                for key in keys {
                                    let call = Call::Load(own + key % 2, called.contains(&key));
                                    events.push((key, Event { call, seen: Some(found[&key]), began, ended }));
                                }
                            }
                        }
                        events
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        cache.check_invariants();
        history::check(events.into_iter().flatten(), false);
    });
}
