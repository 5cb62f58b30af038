//! Single flight for tasks, and for tasks and threads together. Futures are polled by hand.

use std::cell::Cell;
use std::future::{pending, ready};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use futures::channel::oneshot;
use futures::executor::block_on;
use futures::{FutureExt, poll};
use millpond_cache::Cache;

/// Lets others run, and comes back.
async fn step_aside() {
    let mut aside = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut aside, true) {
            return std::task::Poll::Ready(());
        }
        context.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}

#[test]
fn many_tasks_one_load() {
    let cache: Cache<u32, u32> = Cache::new(100);
    let loads = Cell::new(0);
    let callers = (0..64).map(|_| {
        cache.get_or_insert_with_async(1, async {
            loads.set(loads.get() + 1);
            for _ in 0..10 {
                step_aside().await;
            }
            7
        })
    });
    let values = block_on(futures::future::join_all(callers));
    assert_eq!((values, loads.get()), (vec![7; 64], 1));
    cache.check_invariants();
}

/// B3: a leader dropped at any await hands over to one who waits.
#[test]
fn b03_a_dropped_leader_hands_over() {
    for polls in 0..4 {
        let cache: Cache<u32, u32> = Cache::new(100);
        block_on(async {
            let slow = async {
                for _ in 0..10 {
                    futures::pending!();
                }
                1
            };
            let mut leader = Box::pin(cache.get_or_insert_with_async(1, slow));
            let mut waiter = pin!(cache.get_or_insert_with_async(1, ready(2)));
            for _ in 0..polls {
                assert!(poll!(&mut leader).is_pending());
            }
            if polls > 0 {
                assert!(poll!(&mut waiter).is_pending());
            }
            drop(leader);
            assert_eq!(waiter.await, 2);
        });
        assert_eq!((cache.get(&1), cache.loads_in_flight()), (Some(2), 0));
        cache.check_invariants();
    }
}

/// Waiters that leave are forgotten; those that stay are served, also with a waker that changed between polls.
#[test]
fn b06_waiters_may_leave_and_change_their_wakers() {
    let cache: Cache<u32, u32> = Cache::new(100);
    block_on(async {
        let (send, receive) = oneshot::channel();
        let mut leader = Box::pin(cache.get_or_insert_with_async(1, async { receive.await.unwrap() }));
        assert!(poll!(&mut leader).is_pending());
        let mut leaving: Vec<_> =
            (0..10).map(|_| Box::pin(cache.get_or_insert_with_async(1, pending()))).collect();
        let mut staying = Box::pin(cache.get_or_insert_with_async(1, pending()));
        for waiter in &mut leaving {
            assert!(poll!(waiter).is_pending());
        }
        assert!(staying.as_mut().now_or_never().is_none(), "polled with another waker");
        assert!(poll!(&mut staying).is_pending());
        drop(leaving);
        send.send(5).unwrap();
        assert_eq!(leader.await, 5);
        assert_eq!(staying.await, 5);
    });
    cache.check_invariants();
}

/// B4: writes during an async load win.
#[test]
fn b04_load_vs_insert_and_clear() {
    type Write = fn(&Cache<u32, u32>);
    let writes: [(Write, Option<u32>); 4] = [
        (|cache| cache.insert(1, 5), Some(5)),
        (|cache| cache.invalidate(&1), None),
        (Cache::invalidate_all, None),
        (|cache| assert_eq!(cache.get(&1), None), Some(10)),
    ];
    for (write, cached) in writes {
        let cache: Cache<u32, u32> = Cache::new(100);
        block_on(async {
            let (send, receive) = oneshot::channel();
            let mut leader = Box::pin(cache.get_or_insert_with_async(1, async { receive.await.unwrap() }));
            let mut waiter = Box::pin(cache.get_or_insert_with_async(1, pending()));
            assert!(poll!(&mut leader).is_pending() && poll!(&mut waiter).is_pending());
            write(&cache);
            send.send(10).unwrap();
            assert_eq!((leader.await, waiter.await), (10, 10));
        });
        assert_eq!(cache.get(&1), cached);
        cache.check_invariants();
    }
}

/// Errors reach the tasks that wait; the next caller loads again.
#[test]
fn errors_are_shared_and_not_cached() {
    let cache: Cache<u32, u32> = Cache::new(100);
    block_on(async {
        let (send, receive) = oneshot::channel::<()>();
        let failing = async {
            receive.await.unwrap();
            Err::<u32, _>("down")
        };
        let mut leader = Box::pin(cache.try_get_or_insert_with_async(1, failing));
        let mut waiter = Box::pin(cache.try_get_or_insert_with_async(1, async { Ok::<u32, &str>(2) }));
        assert!(poll!(&mut leader).is_pending() && poll!(&mut waiter).is_pending());
        send.send(()).unwrap();
        assert_eq!(*leader.await.unwrap_err(), "down");
        assert_eq!(*waiter.await.unwrap_err(), "down");
        let again = cache.try_get_or_insert_with_async(1, async { Ok::<u32, &str>(3) });
        assert_eq!(again.await.unwrap(), 3);
    });
}

/// A loader may give its value a life of its own.
#[test]
fn absence_lives_shorter() {
    let clock = Arc::new(millpond_cache::ManualClock::new());
    let cache: Cache<u32, Option<u32>> =
        Cache::builder().time_to_live(Duration::from_secs(60)).clock(Arc::clone(&clock)).build().unwrap();
    block_on(async {
        let short = Some(Duration::from_secs(1));
        let absent =
            cache.try_get_or_insert_with_ttl_async(1, async move { Ok::<_, ()>((None, short)) }).await;
        let present = cache.try_get_or_insert_with_ttl_async(2, async { Ok::<_, ()>((Some(2), None)) }).await;
        assert_eq!((absent, present), (Ok(None), Ok(Some(2))));
    });
    clock.advance(Duration::from_secs(2));
    assert_eq!((cache.get(&1), cache.get(&2)), (None, Some(Some(2))));
}

/// Threads and tasks share one flight.
#[test]
fn threads_and_tasks_together() {
    for _ in 0..50 {
        let cache: Cache<u32, u32> = Cache::new(100);
        let loads = AtomicUsize::new(0);
        let load = || {
            loads.fetch_add(1, Ordering::SeqCst);
            thread::yield_now();
            7
        };
        thread::scope(|scope| {
            for n in 0..8 {
                let (cache, load) = (&cache, &load);
                scope.spawn(move || {
                    let value = if n % 2 == 0 {
                        cache.get_or_insert_with(1, load)
                    } else {
                        block_on(cache.get_or_insert_with_async(1, async { load() }))
                    };
                    assert_eq!(value, 7);
                });
            }
        });
        assert_eq!(loads.into_inner(), 1);
        cache.check_invariants();
    }
}
