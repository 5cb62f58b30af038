//! T35: a panic in a manager's method costs that connection and nothing else.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use millpond_pool::Error;

use crate::support::{Act, pool, settle};

#[tokio::test(start_paused = true)]
async fn t35_every_method_may_panic() {
    let (pool, control) = pool(|b| b.validation_bypass(Duration::ZERO));
    control.connect.set(Act::Panic);
    let error = pool.get().await.unwrap_err();
    assert!(matches!(error, Error::Connect { .. }) && error.to_string().contains("panicked"), "{error}");
    control.connect.set(Act::Work);
    tokio::time::sleep(Duration::from_secs(1)).await;
    drop((pool.get().await.unwrap(), pool.get().await.unwrap()));
    control.validate.set(Act::Panic);
    drop(pool.get().await.unwrap());
    control.validate.set(Act::Work);
    control.on_return.set(Act::Panic);
    drop(pool.get().await.unwrap());
    control.on_return.set(Act::Slow);
    control.reset.set(Act::Panic);
    drop(pool.get().await.unwrap());
    settle().await;
    control.on_return.set(Act::Work);
    drop((pool.get().await.unwrap(), pool.get().await.unwrap()));
    settle().await;
    assert!(control.most() <= 2);
    pool.check_invariants();
}

#[tokio::test]
async fn a_connection_held_through_a_panic_is_not_lent_again() {
    let (pool, control) = pool(|b| b);
    let held = pool.get().await.unwrap();
    let id = held.id;
    let unwound = catch_unwind(AssertUnwindSafe(move || {
        let _held = held;
        panic!("in the middle of a transaction");
    }));
    assert!(unwound.is_err());
    assert_ne!(pool.get().await.unwrap().id, id);
    assert_eq!(control.live(), 1);
}

/// T35: so do the user's hooks, listener and probe-like look.
#[tokio::test(start_paused = true)]
async fn t35_every_hook_may_panic() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    let calls = Arc::new(AtomicUsize::new(0));
    let (connect, acquire, release) = (Arc::clone(&calls), Arc::clone(&calls), Arc::clone(&calls));
    // Every third call of any hook panics, at once or later.
    let (pool, control) = pool(|b| {
        let b = b.on_event(|_| panic!("told to")).acquire_timeout(Duration::from_secs(20));
        let b = b.after_connect(move |_| {
            assert!(connect.fetch_add(1, Ordering::SeqCst) % 3 != 0, "told to");
            Box::pin(async { Ok(()) })
        });
        let b = b.before_acquire(move |_| {
            let number = acquire.fetch_add(1, Ordering::SeqCst);
            Box::pin(async move {
                assert!(number % 3 != 0, "told to");
                Ok(())
            })
        });
        b.after_release(move |_| {
            let number = release.fetch_add(1, Ordering::SeqCst);
            Box::pin(async move {
                assert!(number % 3 != 0, "told to");
                Ok(())
            })
        })
    });
    let mut served = 0;
    for _ in 0..60 {
        served += usize::from(pool.get().await.is_ok());
        settle().await;
        pool.check_invariants();
    }
    assert!(served >= 40, "{served} of 60");
    assert!(control.most() <= 2);
    settle().await;
    assert_eq!(pool.stats().status.in_use, 0);
}
