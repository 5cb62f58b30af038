//! First come, first served; a returned connection never waits for a dial.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::support::{Act, pool, settle};

/// T9: newcomers do not pass those who wait.
#[tokio::test]
async fn t09_newcomers_queue_behind_waiters() {
    let (pool, _) = pool(|b| b.max_size(1));
    let held = pool.get().await.unwrap();
    let mut first = Box::pin(pool.get());
    assert!(futures::poll!(&mut first).is_pending());
    drop(held);
    assert!(pool.try_get().is_none(), "it belongs to the first");
    let mut second = Box::pin(pool.get());
    assert!(futures::poll!(&mut second).is_pending());
    let held = first.await.unwrap();
    assert!(futures::poll!(&mut second).is_pending());
    drop(held);
    assert!(second.await.is_ok());
}

/// T10: the head keeps its rank when its connection proves dead.
#[tokio::test(start_paused = true)]
async fn t10_the_head_keeps_its_rank() {
    let (pool, control) = pool(|b| b.max_size(1).validation_bypass(Duration::ZERO));
    drop(pool.get().await.unwrap());
    control.validate.set(Act::Fail);
    control.connect.set(Act::Slow);
    let mut first = Box::pin(pool.get());
    assert!(futures::poll!(&mut first).is_pending());
    let mut second = Box::pin(pool.get());
    assert!(futures::poll!(&mut second).is_pending());
    let held = first.await.unwrap();
    assert!(futures::poll!(&mut second).is_pending());
    drop(held);
    second.await.unwrap();
}

/// T17: a returned connection serves the one whose own connection is still being opened.
#[tokio::test(start_paused = true)]
async fn t17_a_return_beats_a_dial() {
    let (pool, control) = pool(|b| b);
    let held = pool.get().await.unwrap();
    control.connect.set(Act::Hang);
    let mut waiting = Box::pin(pool.get());
    assert!(futures::poll!(&mut waiting).is_pending());
    settle().await;
    assert_eq!(pool.stats().status.opening, 1);
    let id = held.id;
    drop(held);
    assert_eq!(waiting.await.unwrap().id, id);
}

/// T16: a burst is served by few connections, not by a herd.
#[tokio::test(start_paused = true)]
async fn t16_a_burst_opens_few_connections() {
    let (pool, control) = pool(|b| b.max_size(50));
    control.connect.set(Act::Slow);
    let callers = (0..50).map(|_| {
        let pool = pool.clone();
        async move {
            let _held = pool.get().await.unwrap();
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    futures::future::join_all(callers).await;
    assert!(control.connects() <= 8, "{} connections for 50 requests", control.connects());
    assert!(control.most_connecting.load(Ordering::SeqCst) <= 3);
}

/// T11: leaving the queue is O(1), and returning stays cheap behind thousands who left.
#[tokio::test(start_paused = true)]
async fn t11_thousands_who_left_hold_up_nobody() {
    let (pool, _) = pool(|b| b.max_size(1));
    let held = pool.get().await.unwrap();
    let mut leavers: Vec<_> = (0..10_000).map(|_| Box::pin(pool.get())).collect();
    for leaver in &mut leavers {
        assert!(futures::poll!(leaver).is_pending());
    }
    let mut last = Box::pin(pool.get());
    assert!(futures::poll!(&mut last).is_pending());
    drop(leavers);
    assert_eq!(pool.stats().status.waiting, 1);
    drop(held);
    assert!(last.await.is_ok());
}

/// T13: a waker that uses the pool does not deadlock.
#[tokio::test]
async fn t13_wakers_run_outside_the_lock() {
    use std::sync::Arc;
    use std::task::{Context, Wake, Waker};

    struct Nosy(millpond_pool::Pool<crate::support::Fake>);
    impl Wake for Nosy {
        fn wake(self: Arc<Self>) {
            let _ = self.0.stats();
            drop(self.0.try_get());
        }
    }
    let (pool, _) = pool(|b| b.max_size(1));
    let held = pool.get().await.unwrap();
    let waker = Waker::from(Arc::new(Nosy(pool.clone())));
    let mut waiting = Box::pin(pool.get());
    assert!(waiting.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    drop(held);
    assert!(waiting.await.is_ok());
}
