//! Borrow, return, limits, errors.

use std::time::Duration;

use millpond_pool::{BuildError, Error, Guard, Pool, Step};

use crate::support::{Act, Fake, pool, settle};

#[tokio::test]
async fn a_returned_connection_is_lent_again() {
    let (pool, control) = pool(|b| b);
    let first = pool.get().await.unwrap();
    let id = first.id;
    drop(first);
    assert_eq!(pool.get().await.unwrap().id, id);
    assert_eq!(pool.try_get().unwrap().id, id);
    assert_eq!(control.connects(), 1);
    pool.check_invariants();
}

#[tokio::test(start_paused = true)]
async fn the_timeout_says_which_step_and_the_counts() {
    let (pool, control) = pool(|b| b.acquire_timeout(Duration::from_millis(50)));
    let held = (pool.get().await.unwrap(), pool.get().await.unwrap());
    let error = pool.get().await.unwrap_err();
    assert!(error.to_string().contains("the same task holds a connection borrowed at"), "{error}");
    let Error::Timeout { step, waited, status, last_connect_error, .. } = error else { panic!() };
    assert_eq!((step, status.in_use, status.waiting, status.max_size), (Step::Queue, 2, 1, 2));
    assert!(waited >= Duration::from_millis(50) && last_connect_error.is_none());
    drop(held);
    pool.reset();
    control.connect.set(Act::Hang);
    let error = pool.get().await.unwrap_err();
    assert!(matches!(error, Error::Timeout { step: Step::Connect, .. }), "{error}");
    assert!(error.to_string().contains("1 opening"), "{error}");
    assert_eq!(pool.stats().timeouts, 2);
}

#[tokio::test]
async fn try_get_and_zero_never_wait() {
    let (pool, _) = pool(|b| b.max_size(1));
    assert!(pool.try_get().is_none());
    let held = pool.get().await.unwrap();
    assert!(pool.try_get().is_none());
    assert!(pool.get_timeout(Duration::ZERO).await.unwrap_err().is_timeout());
    drop(held);
    assert!(pool.try_get().is_some());
}

#[tokio::test]
async fn detached_and_discarded_connections_make_room() {
    let (pool, control) = pool(|b| b.max_size(1));
    let kept = Guard::detach(pool.get().await.unwrap());
    Guard::discard(pool.get().await.unwrap());
    assert_eq!(control.live(), 1, "the detached one");
    let again = pool.get().await.unwrap();
    assert_ne!(again.id, kept.id);
    let stats = pool.stats();
    assert_eq!((stats.detached, stats.discarded, stats.opened), (1, 1, 3));
}

#[test]
fn wrong_settings_are_named() {
    let builder = || Pool::builder(Fake::default());
    assert_eq!(builder().max_size(0).build().unwrap_err(), BuildError::MaxSize);
    assert_eq!(builder().max_opening(0).build().unwrap_err(), BuildError::MaxOpening);
    assert_eq!(builder().max_waiters(0).build().unwrap_err(), BuildError::MaxWaiters);
    assert_eq!(builder().leak_backtraces(0).build().unwrap_err(), BuildError::LeakBacktraces);
    let error = builder().max_size(2).min_idle(3).build().unwrap_err();
    assert_eq!(error, BuildError::MinIdle { min_idle: 3, max_size: 2 });
    let error = builder().validation_timeout(Duration::ZERO).build().unwrap_err();
    assert!(error.to_string().contains("validation_timeout"));
    let longest =
        builder().acquire_timeout(Duration::MAX).max_lifetime(Duration::MAX).idle_timeout(Duration::MAX);
    longest.keepalive(Duration::MAX).connect_timeout(Duration::MAX).build().unwrap();
}

#[tokio::test]
async fn the_longest_durations_do_not_overflow() {
    let (pool, _) = pool(|b| {
        let b = b.acquire_timeout(Duration::MAX).max_lifetime(Duration::MAX).idle_timeout(Duration::MAX);
        b.keepalive(Duration::MAX).connect_timeout(Duration::MAX).validation_timeout(Duration::MAX)
    });
    drop(pool.get().await.unwrap());
    drop(pool.get().await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn t38_resize_both_ways_under_load() {
    let (pool, control) = pool(|b| b.max_size(10));
    let mut held = Vec::new();
    for _ in 0..10 {
        held.push(pool.get().await.unwrap());
    }
    pool.resize(5);
    assert!(pool.get_timeout(Duration::from_millis(1)).await.is_err());
    held.truncate(5);
    assert_eq!(control.live(), 5);
    held.truncate(4);
    held.push(pool.get().await.unwrap());
    pool.resize(0);
    held.clear();
    assert_eq!(control.live(), 0);
    assert!(pool.get_timeout(Duration::from_millis(1)).await.is_err());
    pool.resize(10);
    for _ in 0..10 {
        held.push(pool.get().await.unwrap());
    }
    assert!(pool.get_timeout(Duration::from_millis(1)).await.is_err(), "T3: 10 and not more");
    settle().await;
    assert_eq!(control.most(), 10);
    pool.check_invariants();
}
