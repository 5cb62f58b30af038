//! Who waits is told at its own deadline: one alarm for each runtime, whoever's runtime ends or stands still.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use futures::FutureExt as _;
use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;

use crate::support::{Fake, pool};

const MILLIS: Duration = Duration::from_millis(1);

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// What a thread of its own answers, within a minute.
fn answer<R: Send + 'static>(ask: impl FnOnce() -> R + Send + 'static) -> mpsc::Receiver<R> {
    let (send, receive) = mpsc::channel();
    thread::spawn(move || send.send(ask()));
    receive
}

#[tokio::test(start_paused = true)]
async fn each_is_told_at_its_own_deadline() {
    let (pool, _) = pool(|b| b.max_size(1));
    let held = pool.get().await.unwrap();
    let began = Instant::now();
    let wait = |millis: u32| {
        let pool = pool.clone();
        tokio::spawn(async move {
            assert!(pool.get_timeout(MILLIS * millis).await.unwrap_err().is_timeout());
            let late = began.elapsed() - MILLIS * millis;
            assert!(late <= 5 * MILLIS, "{late:?} late");
        })
    };
    // The later ones first and last: the alarm moves to an earlier deadline, and stays for a later one.
    let tasks: Vec<_> = [3000, 100, 2000, 101, 5, 700].into_iter().map(wait).collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(pool.stats().timeouts, 6);
    drop(held);
    // The alarm has ended; a new one begins.
    let _held = pool.get().await.unwrap();
    let began = Instant::now();
    assert!(pool.get_timeout(40 * MILLIS).await.unwrap_err().is_timeout());
    assert!(began.elapsed() <= 45 * MILLIS);
}

#[tokio::test(start_paused = true)]
async fn who_does_not_wait_silences_nobody() {
    let (pool, _) = pool(|b| b.max_size(1));
    let _held = pool.get().await.unwrap();
    // With the alarm of that wait, which is set to five seconds; without any; and with one that is set.
    for millis in [1000, 20_000, 30_000] {
        assert!(pool.get_timeout(Duration::ZERO).await.unwrap_err().is_timeout());
        let began = Instant::now();
        assert!(pool.get_timeout(MILLIS * millis).await.unwrap_err().is_timeout());
        let late = began.elapsed() - MILLIS * millis;
        assert!(late <= 5 * MILLIS, "{late:?} late");
        tokio::time::sleep(10_000 * MILLIS).await;
    }
}

#[test]
fn a_runtime_that_stands_still_holds_up_nobody_elses_timeout() {
    let (pool, _) = pool(|b| b.max_size(1));
    let still = runtime();
    let held = still.block_on(pool.get()).unwrap();
    let mut waits = Box::pin(pool.get_timeout(60_000 * MILLIS));
    still.block_on(async { assert!(waits.as_mut().now_or_never().is_none()) });
    let other = pool.clone();
    let told = answer(move || runtime().block_on(other.get_timeout(50 * MILLIS)).unwrap_err().is_timeout());
    assert_eq!(told.recv_timeout(60_000 * MILLIS), Ok(true));
    drop((held, waits, still));
}

#[test]
fn an_alarm_outlives_its_runtime_where_somebody_waits() {
    let ending = runtime();
    let (pool, _) = pool(|b| b.max_size(1).runtime(ending.handle().clone()));
    let held = ending.block_on(pool.get()).unwrap();
    let other = pool.clone();
    let told = answer(move || {
        // No runtime of its own: the pool's wakes it.
        futures::executor::block_on(other.get_timeout(300 * MILLIS)).unwrap_err().is_timeout()
    });
    while pool.stats().status.waiting == 0 {
        thread::yield_now();
    }
    // The alarm's task begins, and is dropped.
    ending.block_on(tokio::task::yield_now());
    drop(ending);
    assert_eq!(told.recv_timeout(60_000 * MILLIS), Ok(true));
    drop::<millpond_pool::Guard<Fake>>(held);
}
