//! Loads that outlive the caller who began them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::FutureExt;
use millpond_cache::Cache;
use tokio::sync::oneshot;
use tokio::task::yield_now;

use crate::support::Census;

#[tokio::test]
async fn a_load_ends_although_its_caller_left() {
    let cache: Cache<u64, u64> = Cache::new(10);
    let (answer, answers) = oneshot::channel();
    let mut leader = Box::pin(cache.get_or_insert_with_detached(1, async { answers.await.unwrap() }));
    assert!((&mut leader).now_or_never().is_none());
    let mut waiter = Box::pin(cache.get_or_insert_with_async(1, async { unreachable!() }));
    assert!((&mut waiter).now_or_never().is_none());
    drop(leader);
    yield_now().await;
    answer.send(5).unwrap();
    assert_eq!(waiter.await, 5);
    assert_eq!(cache.get(&1), Some(5));
    assert_eq!(cache.get_or_insert_with_detached(1, async { unreachable!() }).await, 5);
    assert_eq!(cache.loads_in_flight(), 0);
    cache.check_invariants();
}

#[tokio::test]
async fn a_write_meanwhile_wins_over_a_load_whose_caller_left() {
    let cache: Cache<u64, u64> = Cache::new(10);
    let (answer, answers) = oneshot::channel();
    assert!(cache.get_or_insert_with_detached(1, async { answers.await.unwrap() }).now_or_never().is_none());
    cache.insert(1, 7);
    answer.send(5).unwrap();
    yield_now().await;
    yield_now().await;
    assert_eq!(cache.get(&1), Some(7));
    cache.check_invariants();
}

#[tokio::test]
async fn errors_and_panics_come_to_the_caller_and_waiters_go_on() {
    let cache: Cache<u64, u64> = Cache::new(10);
    let error = cache.try_get_or_insert_with_detached(1, async { Err("down") }).await.unwrap_err();
    assert_eq!(*error, "down");
    let loader = cache.clone();
    let leader = tokio::spawn(async move {
        loader
            .get_or_insert_with_detached(1, async {
                yield_now().await;
                panic!("boom")
            })
            .await
    });
    yield_now().await;
    let waiter = cache.get_or_insert_with_detached(1, async { 3 });
    let (leader, waiter) = tokio::join!(leader, waiter);
    let panic = leader.unwrap_err().into_panic();
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"boom"));
    assert_eq!(waiter, 3);
    let inner = cache.clone();
    let recursive = tokio::spawn(async move {
        let again = inner.clone();
        inner.get_or_insert_with_detached(2, async move { again.get_or_insert_with(2, || 1) }).await
    });
    assert!(recursive.await.unwrap_err().is_panic(), "recursion is found in the task, too");
    assert_eq!(cache.loads_in_flight(), 0);
    cache.check_invariants();
}

#[test]
fn a_runtime_that_ends_drops_the_load_and_the_cache() {
    let census = Census::default();
    let polls = Arc::new(AtomicU64::new(0));
    let cache: Cache<u64, crate::support::Counted> = Cache::new(10);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (value, counter) = (census.one(), Arc::clone(&polls));
    runtime.block_on(async {
        let load = async move {
            counter.fetch_add(1, Ordering::Relaxed);
            std::future::pending::<()>().await;
            value
        };
        assert!(cache.get_or_insert_with_detached(1, load).now_or_never().is_none());
        yield_now().await;
    });
    assert_eq!((polls.load(Ordering::Relaxed), cache.loads_in_flight()), (1, 1));
    drop(runtime);
    assert_eq!((census.alive(), cache.loads_in_flight()), (0, 0));
    let again = cache.get_or_insert_with(1, || census.one());
    drop((again, cache));
    assert_eq!(census.alive(), 0);
}
