//! Many callers, failures, leavers and resizes at once; the manager counts with us.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use millpond_pool::Guard;

use crate::support::{Act, pool};

/// T3, T4, T5, T8, T15: under all of it, never above the limit, and nothing left over at the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn t04_counts_agree_after_a_storm() {
    let (pool, control) = pool(|b| {
        let b = b.max_size(8).validation_bypass(Duration::ZERO).acquire_timeout(Duration::from_secs(20));
        b.validation_timeout(Duration::from_millis(50)).connect_timeout(Duration::from_millis(50))
    });
    let stop = Arc::new(AtomicBool::new(false));
    let chaos = {
        let (pool, control, stop) = (pool.clone(), Arc::clone(&control), Arc::clone(&stop));
        tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                control.connect.set([Act::Work, Act::Work, Act::Fail][fastrand::usize(..3)]);
                control.validate.set([Act::Work, Act::Work, Act::Fail, Act::Panic][fastrand::usize(..4)]);
                if fastrand::u8(..) < 3 {
                    pool.reset();
                }
                tokio::task::yield_now().await;
            }
        })
    };
    let callers: Vec<_> = (0..32)
        .map(|n| {
            let (pool, control) = (pool.clone(), Arc::clone(&control));
            tokio::spawn(async move {
                for step in 0..300 {
                    match (n + step) % 7 {
                        0 => drop(tokio::time::timeout(Duration::from_micros(50), pool.get()).await),
                        1 => drop(pool.try_get()),
                        2 => {
                            if let Ok(held) = pool.get().await {
                                Guard::discard(held);
                            }
                        }
                        _ => {
                            let held = pool.get().await;
                            tokio::task::yield_now().await;
                            drop(held);
                        }
                    }
                    assert!(pool.stats().status.total() <= 8);
                    assert!(control.live() <= 8);
                }
            })
        })
        .collect();
    for caller in callers {
        tokio::time::timeout(Duration::from_secs(60), caller).await.expect("nobody is forgotten").unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    chaos.await.unwrap();
    control.connect.set(Act::Work);
    control.validate.set(Act::Work);
    pool.reset();
    let mut held = Vec::new();
    while held.len() < 8 {
        // The breaker may still be open for an instant.
        match pool.get().await {
            Ok(guard) => held.push(guard),
            Err(_) => tokio::task::yield_now().await,
        }
    }
    assert_eq!(control.live(), 8);
    held.clear();
    assert_eq!(pool.close(Duration::from_secs(5)).await, 0);
    let stats = pool.stats();
    assert_eq!(stats.status.total() - stats.status.opening, 0);
    assert_eq!(stats.opened, stats.retired + stats.discarded + stats.detached, "{stats:?}");
    assert_eq!(control.live(), 0);
}
