//! Bug classes of other pools that no other file covers: T3, T5, T7, T8, T12, T15, T21, T24, T27, T28, T37.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use millpond_pool::{Error, Guard, ManualClock};

use crate::support::{Act, pool, settle};

const MILLI: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// T3: whatever resizes, failures and leavers do, the manager never sees more than the limit.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn t03_never_above_the_limit() {
    let (pool, control) = pool(|b| b.max_size(10).acquire_timeout(SECOND * 20));
    // An empty pool that shrinks and grows lets in ten, not fifteen.
    pool.resize(5);
    pool.resize(10);
    let mut held = Vec::new();
    for _ in 0..10 {
        held.push(pool.get().await.unwrap());
    }
    assert!(pool.get_timeout(MILLI).await.is_err());
    // One in use, none allowed, five allowed: five, not six.
    held.truncate(1);
    pool.resize(0);
    pool.resize(5);
    while held.len() < 5 {
        held.push(pool.get().await.unwrap());
    }
    assert!(pool.get_timeout(MILLI).await.is_err());
    assert_eq!(control.live(), 5);
    held.clear();
    let storm: Vec<_> = (0..16)
        .map(|n| {
            let (pool, control) = (pool.clone(), Arc::clone(&control));
            tokio::spawn(async move {
                for step in 0..200 {
                    match (n + step) % 8 {
                        0 => pool.resize([5, 10, 7][step % 3]),
                        1 => drop(tokio::time::timeout(Duration::from_micros(40), pool.get()).await),
                        2 => {
                            let got = pool.get().await.unwrap();
                            drop(Guard::detach(got));
                        }
                        _ => drop(pool.get().await.unwrap()),
                    }
                    // What was detached is the caller's, and is ended at once here.
                    assert!(pool.stats().status.total() <= 10);
                    let _ = control.live();
                }
            })
        })
        .collect();
    for caller in storm {
        caller.await.unwrap();
    }
    pool.check_invariants();
    pool.resize(3);
    let mut held = Vec::new();
    while let Ok(guard) = pool.get_timeout(MILLI * 50).await {
        held.push(guard);
    }
    assert_eq!(held.len(), 3);
}

/// T5: when all is quiet, all levels are where they began, and what was lent was given back.
#[tokio::test(start_paused = true)]
async fn t05_counts_balance_when_all_is_quiet() {
    let (pool, control) = pool(|b| b.acquire_timeout(SECOND));
    let held = (pool.get().await.unwrap(), pool.get().await.unwrap());
    for _ in 0..5 {
        assert!(pool.get().await.unwrap_err().is_timeout());
    }
    let mut leaver = Box::pin(pool.get());
    assert!(futures::poll!(&mut leaver).is_pending());
    drop(leaver);
    drop(held);
    drop(Guard::detach(pool.get().await.unwrap()));
    Guard::discard(pool.get().await.unwrap());
    drop(pool.get().await.unwrap());
    assert!(pool.close(SECOND).await == 0);
    settle().await;
    let stats = pool.stats();
    let status = stats.status;
    assert_eq!((status.total(), status.waiting, control.live()), (0, 0, 0), "{status:?}");
    assert_eq!((stats.acquired, stats.timeouts), (5, 5), "a caller that left is neither");
    assert_eq!(stats.opened, stats.retired + stats.discarded + stats.detached, "{stats:?}");
}

/// T7: a pool that is gone with connections out leaves nothing behind: no task, no cycle of references.
#[tokio::test(start_paused = true)]
async fn t07_nothing_stays_after_the_last_handle() {
    let (pool, control) = pool(|b| b.max_size(3).min_idle(1).leak_threshold(SECOND));
    let held = pool.get().await.unwrap();
    let waiting = {
        let pool = pool.clone();
        tokio::spawn(async move { pool.get().await.map(drop) })
    };
    control.connect.set(Act::Slow);
    pool.warm_up();
    settle().await;
    drop(pool);
    waiting.await.unwrap().unwrap();
    drop(held);
    tokio::time::sleep(SECOND * 60).await;
    assert_eq!(control.live(), 0);
    assert_eq!(Arc::strong_count(&control), 1, "the manager is gone, and with it the pool");
}

/// T8: no wake-up is lost between looking and sleeping; with the return a hair before, at and after the wait begins.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn t08_no_wake_up_is_lost() {
    let (pool, _) = pool(|b| b.max_size(2).acquire_timeout(SECOND * 30));
    let racers: Vec<_> = (0..8)
        .map(|n| {
            let pool = pool.clone();
            tokio::spawn(async move {
                for step in 0..2000_usize {
                    let held = pool.get().await.expect("nobody sleeps beside an idle connection");
                    for _ in 0..(step * 7 + n) % 30 {
                        std::hint::spin_loop();
                    }
                    drop(held);
                }
            })
        })
        .collect();
    for racer in racers {
        racer.await.unwrap();
    }
    assert_eq!(pool.stats().timeouts, 0);
}

/// T12: a task that waits for a second connection while it holds the only one is told so, by name and place.
#[tokio::test(start_paused = true)]
async fn t12_a_nested_acquire_is_named() {
    let told = Arc::new(AtomicBool::new(false));
    let listener = Arc::clone(&told);
    let (pool, _) = pool(|b| {
        b.max_size(1).warn_nested(true).acquire_timeout(SECOND).on_event(move |event| {
            if matches!(event, millpond_pool::Event::Nested { .. }) {
                assert!(!listener.swap(true, Ordering::SeqCst), "once for each pair of places");
            }
        })
    });
    let nested = pool.clone();
    let task = tokio::spawn(async move {
        let line = line!() + 1;
        let _held = nested.get().await.unwrap();
        let (mut error, mut holds) = (String::new(), 0);
        for _ in 0..2 {
            let Err(timeout) = nested.get().await else { panic!("it holds the only one") };
            error = timeout.to_string();
            let Error::Timeout { holds: Some(place), .. } = timeout else { panic!("{error}") };
            holds = place.line();
        }
        assert_eq!(holds, line);
        assert!(error.contains("the same task holds a connection borrowed at"), "{error}");
    });
    task.await.unwrap();
    assert!(told.load(Ordering::SeqCst));
    assert_eq!(pool.stats().nested, 2);
    // Another task that waits holds nothing.
    let held = pool.get().await.unwrap();
    let other = pool.clone();
    let waiting = tokio::spawn(async move { other.get().await.map(drop) });
    settle().await;
    drop(held);
    waiting.await.unwrap().unwrap();
    assert_eq!(pool.stats().nested, 2);
}

/// T15: an idle connection and somebody who waits are never there at the same time.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn t15_nobody_waits_beside_an_idle_connection() {
    let (pool, _) = pool(|b| b.max_size(3).acquire_timeout(SECOND * 30));
    let done = Arc::new(AtomicBool::new(false));
    let watcher = {
        let (pool, done) = (pool.clone(), Arc::clone(&done));
        tokio::spawn(async move {
            let (mut looks, mut fine) = (0, Instant::now());
            while !done.load(Ordering::Relaxed) {
                let status = pool.stats().status;
                // One that is on its way back counts as idle for an instant.
                if status.idle == 0 || status.waiting == 0 {
                    fine = Instant::now();
                }
                assert!(fine.elapsed() < SECOND, "{status:?}");
                looks += 1;
                tokio::task::yield_now().await;
            }
            looks
        })
    };
    let callers: Vec<_> = (0..12)
        .map(|_| {
            let pool = pool.clone();
            tokio::spawn(async move {
                for _ in 0..500 {
                    let held = pool.get().await.unwrap();
                    tokio::task::yield_now().await;
                    drop(held);
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap();
    }
    done.store(true, Ordering::Relaxed);
    assert!(watcher.await.unwrap() > 0);
}

/// T21: an old connection is replaced before it goes: the minimum is there at every moment, and the limit is kept.
#[tokio::test(start_paused = true)]
async fn t21_replaced_before_it_is_closed() {
    let (pool, control) = pool(|b| b.max_size(4).min_idle(2).max_lifetime(SECOND * 60).idle_timeout(None));
    pool.warm_up();
    settle().await;
    tokio::time::sleep(SECOND).await;
    let before = control.connects();
    let mut least = usize::MAX;
    for _ in 0..2400 {
        tokio::time::sleep(MILLI * 100).await;
        least = least.min(control.live());
        assert!(control.live() <= 4);
    }
    assert!(control.connects() - before >= 6, "several generations in four minutes: {}", control.connects());
    assert!(least >= 2, "the minimum was there all the time: {least}");
}

/// T24: use keeps a connection from being idle for too long.
#[tokio::test(start_paused = true)]
async fn t24_use_resets_the_idle_clock() {
    let (pool, control) = pool(|b| b.idle_timeout(SECOND * 60));
    for _ in 0..15 {
        drop(pool.get().await.unwrap());
        tokio::time::sleep(SECOND * 40).await;
    }
    assert_eq!((control.connects(), control.live()), (1, 1));
    tokio::time::sleep(SECOND * 62).await;
    assert_eq!(control.live(), 0);
}

/// T27: while checks of idle connections hang, the rest of them are lent at once.
#[tokio::test(start_paused = true)]
async fn t27_the_sweeper_holds_back_few_at_a_time() {
    let (pool, control) =
        pool(|b| b.max_size(8).keepalive(SECOND * 10).validation_timeout(SECOND * 5).idle_timeout(None));
    let mut held = Vec::new();
    for _ in 0..8 {
        held.push(pool.get().await.unwrap());
    }
    held.clear();
    control.validate.set(Act::Hang);
    let mut began = tokio::time::Instant::now();
    while pool.stats().status.checking == 0 {
        tokio::time::sleep(MILLI * 50).await;
        assert!(began.elapsed() < SECOND * 20);
    }
    let status = pool.stats().status;
    assert!(status.checking <= 2 && status.idle >= 6, "a quarter at a time: {status:?}");
    began = tokio::time::Instant::now();
    let first = pool.stats().status.idle;
    // Those that lie there were not used for longer than the bypass window, so borrowers check them: that is not the
    // sweeper's doing.
    assert!(first >= 6 && began.elapsed() == Duration::ZERO);
}

/// T28: limits shorter than the usual period of maintenance are kept.
#[tokio::test(start_paused = true)]
async fn t28_limits_shorter_than_a_period_are_kept() {
    let (pool, control) = pool(|b| b.idle_timeout(MILLI * 80).max_lifetime(None).keepalive(None));
    drop(pool.get().await.unwrap());
    tokio::time::sleep(MILLI * 110).await;
    assert_eq!(control.live(), 0, "idle for 80 ms, looked at each 20 ms");
}

/// T37: after a suspension of eight hours nothing is taken on trust.
#[tokio::test]
async fn t37_a_jump_of_the_clock_means_a_check() {
    let clock = Arc::new(ManualClock::new());
    let (pool, control) = pool(|b| {
        let b = b.clock(Arc::clone(&clock)).idle_timeout(None).max_lifetime(None);
        b.keepalive(None)
    });
    let id = pool.get().await.unwrap().id;
    drop(pool.get().await.unwrap());
    assert_eq!(control.validations.load(Ordering::SeqCst), 0, "used a moment ago");
    clock.advance(SECOND * 8 * 3600);
    assert_eq!(pool.get().await.unwrap().id, id);
    assert_eq!(control.validations.load(Ordering::SeqCst), 1);
    control.validate.set(Act::Fail);
    clock.advance(SECOND * 8 * 3600);
    assert_ne!(pool.get().await.unwrap().id, id, "dead, and nobody saw it");
    let began = Instant::now();
    drop(pool.try_get());
    assert!(began.elapsed() < SECOND);
}
