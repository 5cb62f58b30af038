//! Loads by tasks: cancellation at every point, wakers that change, and threads beside tasks.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;

use futures::FutureExt;
use futures::channel::oneshot;
use futures::executor::block_on;
use millpond_cache::Cache;

use crate::support::{Alarm, Census, Counted, Random, poll, watchdog};

/// A name, what is done to key 1 while it is loaded, and what is in the cache then.
type Overtaker = (&'static str, fn(&Cache<u64, u64>), Option<u64>);

type Load<'c> = Pin<Box<dyn Future<Output = u64> + Send + 'c>>;

fn load<'c>(cache: &'c Cache<u64, u64>, key: u64, loader: impl Future<Output = u64> + Send + 'c) -> Load<'c> {
    Box::pin(cache.get_or_insert_with_async(key, loader))
}

fn never() -> std::future::Pending<u64> {
    std::future::pending()
}

#[test]
fn waiters_get_the_leaders_value() {
    let cache: Cache<u64, u64> = Cache::new(10);
    let (answer, answers) = oneshot::channel();
    let mut leader = load(&cache, 1, answers.map(Result::unwrap));
    let alarm = Arc::new(Alarm::default());
    assert!(poll(&mut leader, &alarm).is_pending());
    let mut waiters: Vec<_> =
        (0..10).map(|_| (load(&cache, 1, never()), Arc::new(Alarm::default()))).collect();
    for (waiter, alarm) in &mut waiters {
        assert!(poll(waiter, alarm).is_pending());
        assert!(poll(waiter, alarm).is_pending(), "polling twice is fine");
    }
    answer.send(5).unwrap();
    assert_eq!(alarm.rings(), 1);
    assert_eq!(poll(&mut leader, &alarm), Poll::Ready(5));
    for (waiter, alarm) in &mut waiters {
        assert_eq!(alarm.rings(), 1);
        assert_eq!(poll(waiter, alarm), Poll::Ready(5));
    }
    cache.check_invariants();
}

#[test]
fn sixty_four_threads_and_tasks_are_one_load() {
    watchdog(60, || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).build().unwrap();
        for key in 0..5u64 {
            let cache: Cache<u64, u64> = Cache::new(10);
            let (calls, barrier) = (Arc::new(AtomicU64::new(0)), Arc::new(Barrier::new(32)));
            let tasks: Vec<_> = (0..32)
                .map(|_| {
                    let (cache, calls) = (cache.clone(), Arc::clone(&calls));
                    runtime.spawn(async move {
                        let loader = async {
                            calls.fetch_add(1, Ordering::Relaxed);
                            tokio::task::yield_now().await;
                            key
                        };
                        cache.get_or_insert_with_async(key, loader).await
                    })
                })
                .collect();
            thread::scope(|scope| {
                for _ in 0..32 {
                    scope.spawn(|| {
                        barrier.wait();
                        let value = cache.get_or_insert_with(key, || {
                            calls.fetch_add(1, Ordering::Relaxed);
                            thread::yield_now();
                            key
                        });
                        assert_eq!(value, key);
                    });
                }
            });
            for task in tasks {
                assert_eq!(runtime.block_on(task).unwrap(), key);
            }
            assert_eq!(calls.load(Ordering::Relaxed), 1);
            assert_eq!(cache.loads_in_flight(), 0);
            cache.check_invariants();
        }
    });
}

#[test]
fn b03_a_cancelled_leader_hands_over() {
    let cache: Cache<u64, u64> = Cache::new(10);
    let alarms: Vec<_> = (0..3).map(|_| Arc::new(Alarm::default())).collect();
    let mut leader = load(&cache, 1, never());
    let mut second = load(&cache, 1, async { 2 });
    let mut third = load(&cache, 1, async { 3 });
    assert!(poll(&mut leader, &alarms[0]).is_pending());
    assert!(poll(&mut second, &alarms[1]).is_pending());
    assert!(poll(&mut third, &alarms[2]).is_pending());
    drop(leader);
    assert!(alarms[1].rings() + alarms[2].rings() >= 1, "somebody is told");
    assert_eq!(poll(&mut third, &alarms[2]), Poll::Ready(3));
    assert_eq!(poll(&mut second, &alarms[1]), Poll::Ready(3));
    assert_eq!((cache.get(&1), cache.loads_in_flight()), (Some(3), 0));
    cache.check_invariants();
}

#[test]
fn b03_a_cancelled_leader_hands_over_to_a_thread() {
    watchdog(30, || {
        let cache: Cache<u64, u64> = Cache::new(10);
        let mut leader = load(&cache, 1, never());
        assert!(poll(&mut leader, &Arc::default()).is_pending());
        thread::scope(|scope| {
            let waiter = scope.spawn(|| cache.get_or_insert_with(1, || 9));
            thread::yield_now();
            drop(leader);
            assert_eq!(waiter.join().unwrap(), 9);
        });
        assert_eq!(cache.get(&1), Some(9));
    });
}

#[test]
fn b03_the_one_told_may_be_cancelled_too() {
    // If only one waiter were woken, its death would lose the wake-up.
    let cache: Cache<u64, u64> = Cache::new(10);
    let alarms: Vec<_> = (0..6).map(|_| Arc::new(Alarm::default())).collect();
    let mut loads: Vec<_> = (0..6).map(|i| load(&cache, 1, async move { i })).collect();
    let mut leader = load(&cache, 1, never());
    assert!(poll(&mut leader, &Arc::default()).is_pending());
    for (load, alarm) in loads.iter_mut().zip(&alarms) {
        assert!(poll(load, alarm).is_pending());
    }
    drop(leader);
    let told: Vec<_> = (0..6).filter(|&i| alarms[i].rings() > 0).collect();
    let dies = *told.first().expect("somebody is told");
    drop(loads.remove(dies));
    let (woken, mut last) = loads
        .into_iter()
        .zip(alarms.iter().enumerate().filter(|(i, _)| *i != dies).map(|(_, a)| a))
        .filter(|(_, alarm)| alarm.rings() > 0)
        .map(|(load, alarm)| (alarm, load))
        .next()
        .expect("another one is told");
    assert!(poll(&mut last, woken).is_ready());
    assert_eq!(cache.loads_in_flight(), 0);
}

#[test]
fn b03_a_leader_that_is_never_polled_again_blocks_until_it_is_dropped_or_overtaken() {
    let cache: Cache<u64, u64> = Cache::new(10);
    let alarm = Arc::new(Alarm::default());
    let mut parked = load(&cache, 1, async {
        tokio::task::yield_now().await;
        1
    });
    // `yield_now` outside of a runtime wakes at once; we just never poll again.
    assert!(poll(&mut parked, &Arc::default()).is_pending());
    let mut waiter = load(&cache, 1, async { 2 });
    assert!(poll(&mut waiter, &alarm).is_pending());
    // Other keys go on, and the key itself can be written.
    assert_eq!(block_on(cache.get_or_insert_with_async(2, async { 3 })), 3);
    cache.insert(1, 4);
    assert_eq!(cache.get(&1), Some(4));
    assert_eq!(block_on(cache.get_or_insert_with_async(1, async { 5 })), 4);
    drop(parked);
    assert_eq!(alarm.rings(), 1);
    assert_eq!(poll(&mut waiter, &alarm), Poll::Ready(4));
    assert_eq!(cache.loads_in_flight(), 0);
}

#[test]
fn b03_cancel_at_every_await() {
    /// Pending `n` times.
    struct Steps(u32);
    impl Future for Steps {
        type Output = ();
        fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
            if self.0 == 0 {
                return Poll::Ready(());
            }
            self.0 -= 1;
            context.waker().wake_by_ref();
            Poll::Pending
        }
    }
    let census = Census::default();
    for overtaken in [false, true] {
        for polls in 0..6 {
            let cache: Cache<u64, Counted> = Cache::new(10);
            let alarm = Arc::new(Alarm::default());
            let loader = async {
                Steps(2).await;
                let value = census.one();
                Steps(2).await;
                value
            };
            let mut leader = Box::pin(cache.get_or_insert_with_async(1, loader));
            let mut waiter = Box::pin(cache.get_or_insert_with_async(1, async { census.one() }));
            let mut ended = false;
            for done in 0..polls {
                ended |= poll(&mut leader, &alarm).is_ready();
                if done == 0 {
                    assert!(poll(&mut waiter, &alarm).is_pending());
                }
            }
            if overtaken {
                cache.invalidate(&1);
            }
            drop(leader);
            assert_eq!(ended, polls == 5);
            assert!(poll(&mut waiter, &alarm).is_ready(), "after {polls} polls of the leader");
            drop(waiter);
            assert_eq!(cache.loads_in_flight(), 0);
            cache.check_invariants();
            drop(cache);
            assert_eq!(census.alive(), 0);
        }
    }
}

#[test]
fn a_future_that_is_never_polled_does_nothing() {
    let cache: Cache<u64, u64> = Cache::new(10);
    drop(load(&cache, 1, async { unreachable!() }));
    assert_eq!(cache.loads_in_flight(), 0);
}

#[test]
fn b06_a_cancelled_waiter_leaves_the_queue() {
    let cache: Cache<u64, u64> = Cache::new(10);
    let (answer, answers) = oneshot::channel();
    let mut leader = load(&cache, 1, answers.map(Result::unwrap));
    assert!(poll(&mut leader, &Arc::default()).is_pending());
    let alarm = Arc::new(Alarm::default());
    for _ in 0..1_000 {
        let mut waiter = load(&cache, 1, never());
        assert!(poll(&mut waiter, &alarm).is_pending());
    }
    assert_eq!(Arc::strong_count(&alarm), 1, "no waker is kept for those who left");
    answer.send(1).unwrap();
    assert_eq!(poll(&mut leader, &Arc::default()), Poll::Ready(1));
    assert_eq!(alarm.rings(), 0);
}

#[test]
fn b06_the_last_waker_is_the_one_that_rings() {
    let cache: Cache<u64, u64> = Cache::new(10);
    let (answer, answers) = oneshot::channel();
    let mut leader = load(&cache, 1, answers.map(Result::unwrap));
    assert!(poll(&mut leader, &Arc::default()).is_pending());
    let mut waiter = load(&cache, 1, never());
    let alarms: Vec<_> = (0..5).map(|_| Arc::new(Alarm::default())).collect();
    for alarm in &alarms {
        assert!(poll(&mut waiter, alarm).is_pending());
    }
    answer.send(1).unwrap();
    assert!(poll(&mut leader, &Arc::default()).is_ready());
    assert_eq!(alarms.iter().map(|alarm| alarm.rings()).collect::<Vec<_>>(), [0, 0, 0, 0, 1]);
    assert!(alarms[..4].iter().all(|alarm| Arc::strong_count(alarm) == 1), "replaced wakers are dropped");
}

#[test]
fn b04_async_load_vs_write_or_removal() {
    let overtakers: [Overtaker; 4] = [
        ("insert", |c| c.insert(1, 2), Some(2)),
        ("invalidate", |c| c.invalidate(&1), None),
        ("remove", |c| assert_eq!(c.remove(&1), None), None),
        ("invalidate_all", |c| c.invalidate_all(), None),
    ];
    for (name, overtake, after) in overtakers {
        let cache: Cache<u64, u64> = Cache::new(10);
        let (answer, answers) = oneshot::channel();
        let alarm = Arc::new(Alarm::default());
        let mut leader = load(&cache, 1, answers.map(Result::unwrap));
        assert!(poll(&mut leader, &alarm).is_pending());
        let mut waiter = load(&cache, 1, never());
        assert!(poll(&mut waiter, &alarm).is_pending());
        overtake(&cache);
        answer.send(1).unwrap();
        assert_eq!(poll(&mut leader, &alarm), Poll::Ready(1), "{name}");
        assert_eq!(poll(&mut waiter, &alarm), Poll::Ready(1), "{name}: who waited gets the answer");
        assert_eq!(cache.get(&1), after, "{name}");
        cache.check_invariants();
    }
}

#[test]
fn b02_async_recursion_panics_and_does_not_hang() {
    watchdog(30, || {
        let cache: Cache<u64, u64> = Cache::new(10);
        let direct =
            catch_unwind(AssertUnwindSafe(|| {
                block_on(cache.get_or_insert_with_async(1, async {
                    cache.get_or_insert_with_async(1, async { 2 }).await
                }))
            }));
        assert!(direct.is_err());
        assert_eq!(cache.loads_in_flight(), 0);
        let deeper = catch_unwind(AssertUnwindSafe(|| {
            block_on(cache.get_or_insert_with_async(1, async {
                tokio::task::yield_now().await;
                let inner = async {
                    tokio::task::yield_now().await;
                    cache.get_or_insert_with_async(1, async { 3 }).await
                };
                cache.get_or_insert_with_async(2, inner).await
            }))
        }));
        assert!(deeper.is_err());
        assert_eq!(cache.loads_in_flight(), 0);
        assert_eq!(block_on(cache.get_or_insert_with_async(1, async { 5 })), 5);
        cache.check_invariants();
    });
}

#[test]
fn b03_an_async_leader_that_panics_hands_over() {
    let cache: Cache<u64, u64> = Cache::new(10);
    let alarm = Arc::new(Alarm::default());
    let (die, dies) = oneshot::channel::<()>();
    let mut leader = load(&cache, 1, async {
        dies.await.unwrap();
        panic!("loader")
    });
    assert!(poll(&mut leader, &Arc::default()).is_pending());
    let mut waiter = load(&cache, 1, async { 2 });
    assert!(poll(&mut waiter, &alarm).is_pending());
    die.send(()).unwrap();
    assert!(catch_unwind(AssertUnwindSafe(|| poll(&mut leader, &Arc::default()))).is_err());
    assert_eq!(alarm.rings(), 1, "even before the panicked future is dropped");
    assert_eq!(poll(&mut waiter, &alarm), Poll::Ready(2));
    assert_eq!(cache.loads_in_flight(), 0);
}

#[test]
fn async_errors_are_shared_and_typed() {
    let cache: Cache<u64, u64> = Cache::new(10);
    let alarm = Arc::new(Alarm::default());
    let (fail, fails) = oneshot::channel::<()>();
    let mut leader = Box::pin(cache.try_get_or_insert_with_async(1, async {
        fails.await.unwrap();
        Err::<u64, _>("no")
    }));
    assert!(poll(&mut leader, &alarm).is_pending());
    let mut same = Box::pin(cache.try_get_or_insert_with_async(1, async { Err::<u64, _>("own") }));
    let mut other = Box::pin(cache.try_get_or_insert_with_async(1, async { Err::<u64, _>(404) }));
    let mut infallible = load(&cache, 1, async { 7 });
    assert!(poll(&mut same, &alarm).is_pending());
    assert!(poll(&mut other, &alarm).is_pending());
    assert!(poll(&mut infallible, &alarm).is_pending());
    fail.send(()).unwrap();
    let Poll::Ready(Err(first)) = poll(&mut leader, &alarm) else { panic!("the leader fails") };
    let Poll::Ready(Err(second)) = poll(&mut same, &alarm) else { panic!("the same error type shares it") };
    assert!(Arc::ptr_eq(&first, &second));
    assert_eq!(poll(&mut other, &alarm), Poll::Ready(Err(Arc::new(404))), "another type loads for itself");
    assert_eq!(poll(&mut infallible, &alarm), Poll::Ready(7));
    assert_eq!((cache.get(&1), cache.loads_in_flight()), (Some(7), 0));
}

#[test]
fn tasks_that_are_aborted_at_random() {
    watchdog(60, || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(3).build().unwrap();
        let census = Census::default();
        let cache: Cache<u64, Counted> = Cache::builder().max_capacity(8).shards(2).build().unwrap();
        runtime.block_on(async {
            let mut random = Random::new(9);
            let mut tasks = Vec::new();
            for _ in 0..3_000 {
                let (handle, census) = (cache.clone(), census.clone());
                let (key, yields) = (random.below(12), random.below(4));
                tasks.push(tokio::spawn(async move {
                    let loader = async {
                        for _ in 0..yields {
                            tokio::task::yield_now().await;
                        }
                        census.one()
                    };
                    drop(handle.get_or_insert_with_async(key, loader).await);
                }));
                if random.below(2) == 0 {
                    let victim = random.below(tasks.len() as u64) as usize;
                    tasks.swap_remove(victim).abort();
                }
                match random.below(12) {
                    0 => cache.invalidate(&key),
                    1 => tokio::task::yield_now().await,
                    _ => {}
                }
            }
            for task in tasks {
                task.await.unwrap();
            }
        });
        drop(runtime);
        assert_eq!(cache.loads_in_flight(), 0);
        cache.check_invariants();
        drop(cache);
        assert_eq!(census.alive(), 0);
    });
}

#[test]
fn b20_a_waker_that_panics_leaves_nobody_asleep() {
    struct Bomb;
    impl Wake for Bomb {
        fn wake(self: Arc<Self>) {
            panic!("waker")
        }
    }
    let cache: Cache<u64, u64> = Cache::new(10);
    let (answer, answers) = oneshot::channel();
    let mut leader = load(&cache, 1, answers.map(Result::unwrap));
    assert!(poll(&mut leader, &Arc::default()).is_pending());
    let bomb = Waker::from(Arc::new(Bomb));
    let mut first = load(&cache, 1, never());
    assert!(first.as_mut().poll(&mut Context::from_waker(&bomb)).is_pending());
    let alarm = Arc::new(Alarm::default());
    let mut second = load(&cache, 1, never());
    assert!(poll(&mut second, &alarm).is_pending());
    answer.send(1).unwrap();
    assert!(catch_unwind(AssertUnwindSafe(|| poll(&mut leader, &Arc::default()))).is_err());
    assert_eq!(alarm.rings(), 1);
    assert_eq!(poll(&mut second, &alarm), Poll::Ready(1));
    assert_eq!((cache.get(&1), cache.loads_in_flight()), (Some(1), 0));
}

#[test]
fn wakers_run_outside_of_locks() {
    /// Uses the cache when woken.
    struct Reentrant(Cache<u64, u64>);
    impl Wake for Reentrant {
        fn wake(self: Arc<Self>) {
            self.0.insert(1, 100);
            self.0.get_or_insert_with(2, || 2);
            self.0.invalidate_all();
        }
    }
    watchdog(30, || {
        let cache: Cache<u64, u64> = Cache::builder().shards(1).build().unwrap();
        let (answer, answers) = oneshot::channel();
        let mut leader = load(&cache, 1, answers.map(Result::unwrap));
        assert!(poll(&mut leader, &Arc::default()).is_pending());
        let waker = Waker::from(Arc::new(Reentrant(cache.clone())));
        let mut waiter = pin!(cache.get_or_insert_with_async(1, never()));
        assert!(waiter.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        answer.send(1).unwrap();
        assert_eq!(poll(&mut leader, &Arc::default()), Poll::Ready(1));
        assert_eq!(waiter.as_mut().poll(&mut Context::from_waker(&waker)), Poll::Ready(1));
        cache.check_invariants();
    });
}
