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
