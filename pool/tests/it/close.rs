//! Closing: waiters are told, borrowed connections are awaited, the deadline holds.

use std::time::Duration;

use millpond_pool::{Error, Guard};
use tokio::time::Instant;

use crate::support::{Act, pool, settle};

/// T14: close tells all who wait, and those who come later.
#[tokio::test]
async fn t14_close_wakes_all_waiters() {
    let (pool, control) = pool(|b| b.max_size(1));
    let held = pool.get().await.unwrap();
    let waiting: Vec<_> = (0..5)
        .map(|_| {
            let pool = pool.clone();
            tokio::spawn(async move { pool.get().await.map(drop) })
        })
        .collect();
    settle().await;
    assert_eq!(pool.close(Duration::ZERO).await, 1);
    for waiter in waiting {
        assert!(matches!(waiter.await.unwrap(), Err(Error::Closed)));
    }
    assert!(pool.get().await.unwrap_err().is_closed());
    assert!(pool.get_timeout(Duration::ZERO).await.unwrap_err().is_closed());
    drop(held);
    assert_eq!((control.live(), pool.close(Duration::ZERO).await), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn close_waits_for_what_is_out() {
    let (pool, control) = pool(|b| b);
    let held = pool.get().await.unwrap();
    let closing = {
        let pool = pool.clone();
        tokio::spawn(async move { pool.close(Duration::from_secs(10)).await })
    };
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!closing.is_finished());
    drop(held);
    assert_eq!(closing.await.unwrap(), 0);
    assert_eq!(control.live(), 0);
}

/// T6: a detached connection does not hold up close, nor does one that is being opened.
#[tokio::test(start_paused = true)]
async fn t06_detached_and_opening_connections_do_not_hold_up_close() {
    let (pool, control) = pool(|b| b);
    let detached = Guard::detach(pool.get().await.unwrap());
    control.connect.set(Act::Slow);
    assert!(pool.get_timeout(Duration::from_millis(1)).await.is_err());
    assert_eq!(pool.close(Duration::from_secs(1)).await, 0);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(control.live(), 1, "what was being opened is not kept");
    drop(detached);
}

#[tokio::test(start_paused = true)]
async fn drain_waits_for_returns_and_keeps_what_is_idle() {
    let (pool, control) = pool(|b| b);
    let held = pool.get().await.unwrap();
    assert_eq!(pool.drain(Duration::from_millis(10)).await, 1, "still out");
    let draining = {
        let pool = pool.clone();
        tokio::spawn(async move { pool.drain(Duration::from_secs(10)).await })
    };
    settle().await;
    let mut waiting = Box::pin(pool.get());
    assert!(futures::poll!(&mut waiting).is_pending());
    drop(held);
    assert_eq!(draining.await.unwrap(), 0);
    assert!(futures::poll!(&mut waiting).is_pending(), "nothing is lent");
    assert_eq!(control.live(), 1);
    pool.resume();
    assert!(waiting.await.is_ok());
    assert_eq!(control.connects(), 1);
}

/// What is dead or unclean is still a connection to the target until it is closed: no other takes its place before, but for
/// 250 ms at most.
#[tokio::test(start_paused = true)]
async fn what_is_still_being_closed_counts() {
    let second = Duration::from_secs(1);
    for (close, least, most) in
        [(Act::Slow, second / 10, second / 8), (Act::Hang, second / 4, second * 3 / 10)]
    {
        let (pool, control) = pool(|b| b.validation_bypass(second / 100));
        control.close.set(close);
        let held = (pool.get().await.unwrap(), pool.get().await.unwrap());
        Guard::discard(held.0);
        assert_eq!(pool.stats().status.closing, 1);
        let began = Instant::now();
        let third = pool.get().await.unwrap();
        let took = began.elapsed();
        assert!((least..=most).contains(&took), "{close:?}: {took:?}");
        pool.check_invariants();
        // The same with a check that fails.
        drop((held.1, third));
        tokio::time::sleep(second / 20).await;
        control.validate.set(Act::Fail);
        let began = Instant::now();
        let _another = pool.get().await.unwrap();
        let took = began.elapsed();
        assert!((least..=most).contains(&took), "{close:?}: {took:?}");
        assert_eq!(control.most(), 2);
        control.validate.set(Act::Work);
    }
}
