//! Computes by tasks: dropped at every await, and beside threads.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::thread;

use futures::FutureExt;
use futures::channel::oneshot;
use futures::executor::block_on;
use futures::task::noop_waker_ref;
use millpond_cache::Cache;
use millpond_cache::compute::{CompResult, Entry, Op};

use crate::support::{Census, Key, Value, watchdog};

type Numbers = Cache<u64, u64>;

fn poll<F: Future + ?Sized>(future: &mut Pin<Box<F>>) -> Poll<F::Output> {
    future.as_mut().poll(&mut Context::from_waker(noop_waker_ref()))
}

fn next(old: Option<Entry<u64>>) -> u64 {
    old.map_or(0, Entry::into_value) + 1
}

/// Is pending once.
async fn pause() {
    let mut paused = false;
    std::future::poll_fn(
        |_| if std::mem::replace(&mut paused, true) { Poll::Ready(()) } else { Poll::Pending },
    )
    .await;
}

#[test]
fn the_futures_are_send_and_answer_like_the_blocking_ones() {
    fn send<T: Send>(value: T) -> T {
        value
    }
    let cache: Numbers = Cache::new(10);
    block_on(async {
        assert_eq!(send(cache.entry(1).and_upsert_with_async(async |old| next(old))).await.into_value(), 1);
        assert_eq!(
            send(cache.entry(1).and_try_compute_with_async(async |_| Err::<Op<u64>, _>("no"))).await,
            Err("no")
        );
        let seen = send(cache.entry(1).and_compute_with_async(async |_| Op::Nop)).await;
        assert!(matches!(seen, CompResult::Unchanged(entry) if *entry.value() == 1));
        let removed = cache.entry(1).and_compute_with_async(async |_| Op::Remove).await;
        assert!(matches!(removed, CompResult::Removed(_)));
        let entry = send(cache.entry(1).or_insert_with_async(async { 4 })).await;
        assert_eq!((entry.is_fresh(), entry.into_value()), (true, 4));
        let entry = cache.entry(1).or_insert_with_async(async { unreachable!() }).await;
        assert_eq!((entry.is_fresh(), entry.into_value()), (false, 4));
        let failed = send(cache.entry(2).or_try_insert_with_async(async { Err::<u64, _>("no") })).await;
        assert_eq!(*failed.unwrap_err(), "no");
        let entry = cache.entry(2).or_try_insert_with_async(async { Ok::<_, ()>(5) }).await.unwrap();
        assert_eq!((entry.is_fresh(), entry.into_value()), (true, 5));
        let entry = send(cache.entry(2).or_insert_with_if_async(async { 6 }, |&old| old == 5)).await;
        assert_eq!((entry.is_old_value_replaced(), entry.into_value()), (true, 6));
        let entry = cache.entry(2).or_insert_with_if_async(async { 7 }, |&old| old == 5).await;
        assert_eq!((entry.is_fresh(), entry.into_value()), (false, 6));
    });
    assert_eq!(cache.loads_in_flight(), 0);
    cache.check_invariants();
}

#[test]
fn b03_dropped_at_every_await() {
    // A compute that is overtaken once, so that it runs twice: drop it after each number of polls.
    let (keys, values) = (Census::default(), Census::default());
    let mut longest = 0;
    for polls in 0.. {
        let cache: Cache<Key, Value> = Cache::new(10);
        cache.insert(Key::new(1, &keys), Value::new(1, &values));
        let mut ended = false;
        {
            let mut compute = Box::pin(cache.entry(Key::new(1, &keys)).and_upsert_with_async(|old| {
                let values = &values;
                async move {
                    pause().await;
                    let seen = old.map_or(0, |old| old.value().0);
                    pause().await;
                    Value::new(seen + 10, values)
                }
            }));
            // In line behind it: a compute and a load.
            let mut second =
                Box::pin(cache.entry(Key::new(1, &keys)).and_compute_with_async(async |_| Op::Nop));
            for turn in 0..polls {
                if poll(&mut compute).is_ready() {
                    ended = true;
                    longest = turn + 1;
                    break;
                }
                if turn == 0 {
                    assert!(poll(&mut second).is_pending(), "it waits for the first");
                    cache.insert(Key::new(1, &keys), Value::new(2, &values));
                }
            }
            drop(compute);
            let seen = poll(&mut second);
            let Poll::Ready(CompResult::Unchanged(entry)) = seen else {
                panic!("after {polls} polls: whoever waited goes on, not {seen:?}")
            };
            let expected = match polls {
                0 => 1,
                _ if ended => 12,
                _ => 2,
            };
            assert_eq!(entry.value().0, expected, "after {polls} polls");
        }
        assert_eq!(cache.loads_in_flight(), 0);
        cache.check_invariants();
        drop(cache);
        assert_eq!((keys.alive(), values.alive()), (0, 0), "after {polls} polls");
        if ended {
            break;
        }
    }
    assert_eq!(longest, 5, "two rounds of two pauses");
}

#[test]
fn b03_one_who_waits_is_dropped() {
    let cache: Numbers = Cache::new(10);
    let (answer, answers) = oneshot::channel::<u64>();
    let mut answers = Some(answers.map(Result::unwrap));
    let mut first = Box::pin(cache.entry(1).and_upsert_with_async(|_| answers.take().unwrap()));
    assert!(poll(&mut first).is_pending());
    let mut second = Box::pin(cache.entry(1).and_upsert_with_async(async |old| next(old)));
    let mut third = Box::pin(cache.entry(1).or_insert_with_if_async(async { 90 }, |&old| old == 5));
    assert!(poll(&mut second).is_pending());
    assert!(poll(&mut third).is_pending());
    drop(second);
    answer.send(5).unwrap();
    assert_eq!(poll(&mut first).map(Entry::into_value), Poll::Ready(5));
    assert_eq!(poll(&mut third).map(Entry::into_value), Poll::Ready(90));
    assert_eq!((cache.get(&1), cache.loads_in_flight()), (Some(90), 0));
}

#[test]
fn b03_a_replacement_dropped_while_it_loads_leaves_the_old_value() {
    let cache: Numbers = Cache::new(10);
    cache.insert(1, 1);
    let mut replacement =
        Box::pin(cache.entry(1).or_insert_with_if_async(std::future::pending::<u64>(), |_| true));
    assert!(poll(&mut replacement).is_pending());
    assert_eq!((cache.get(&1), cache.loads_in_flight()), (Some(1), 1), "served while it is replaced");
    drop(replacement);
    assert_eq!((cache.get(&1), cache.loads_in_flight()), (Some(1), 0));
}

#[test]
fn b02_recursion_of_tasks_panics() {
    watchdog(30, || {
        let cache: Numbers = Cache::new(10);
        let inner = || async { cache.entry(1).and_upsert_with_async(async |_| 1).await.into_value() };
        let nested = catch_unwind(AssertUnwindSafe(|| {
            block_on(cache.entry(1).and_upsert_with_async(|_| inner()));
        }));
        assert!(nested.is_err());
        let write = catch_unwind(AssertUnwindSafe(|| {
            block_on(cache.entry(1).and_upsert_with_async(|_| async {
                pause_awake().await;
                cache.insert(1, 9);
                2
            }));
        }));
        assert!(write.is_err());
        assert_eq!((cache.get(&1), cache.loads_in_flight()), (Some(9), 0));
    });
}

/// Is pending once, and wakes at once.
async fn pause_awake() {
    let mut paused = false;
    std::future::poll_fn(|context| {
        context.waker().wake_by_ref();
        if std::mem::replace(&mut paused, true) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

#[test]
fn no_update_of_threads_and_tasks_is_lost() {
    watchdog(60, || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
        let cache: Numbers = Cache::new(1_000);
        let tasks: Vec<_> = (0..16)
            .map(|_| {
                let cache = cache.clone();
                runtime.spawn(async move {
                    for _ in 0..50 {
                        cache
                            .entry(1)
                            .and_upsert_with_async(|old| async {
                                tokio::task::yield_now().await;
                                next(old)
                            })
                            .await;
                    }
                })
            })
            .collect();
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        cache.entry(1).and_upsert_with(next);
                    }
                });
            }
        });
        for task in tasks {
            runtime.block_on(task).unwrap();
        }
        assert_eq!((cache.get(&1), cache.loads_in_flight()), (Some(1_000), 0));
        cache.check_invariants();
    });
}
