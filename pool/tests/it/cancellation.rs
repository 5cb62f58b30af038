//! A caller may leave at any await; nobody else notices. Steps and acts are crossed, as deadpool's test does for its own.

use std::time::Duration;

use futures::FutureExt;

use crate::support::{Act, pool, settle};

const ACTS: [Act; 5] = [Act::Work, Act::Fail, Act::Hang, Act::Panic, Act::Slow];

/// T1, T2, T31: after callers that left in the middle of any combination of steps, all slots are usable.
#[tokio::test(start_paused = true)]
async fn t01_nothing_is_lost_whatever_the_steps_do() {
    for connect in ACTS {
        for validate in ACTS {
            for reset in ACTS {
                for polls in 0..4 {
                    leave_in_the_middle(connect, validate, reset, polls).await;
                }
            }
        }
    }
}

async fn leave_in_the_middle(connect: Act, validate: Act, reset: Act, polls: usize) {
    let case = format!("{connect:?} {validate:?} {reset:?} {polls}");
    let (pool, control) = pool(|b| {
        let b = b.validation_bypass(Duration::ZERO).connect_timeout(Duration::from_secs(1));
        b.validation_timeout(Duration::from_secs(1))
    });
    // One connection that is to be reset, or will need its check.
    control.on_return.set(Act::Slow);
    control.reset.set(reset);
    drop(pool.get().await.unwrap());
    control.connect.set(connect);
    control.validate.set(validate);
    let mut callers: Vec<_> = (0..4).map(|_| Box::pin(pool.get().fuse())).collect();
    for _ in 0..polls {
        for caller in &mut callers {
            let _ = futures::poll!(caller);
        }
        settle().await;
    }
    drop(callers);
    control.connect.set(Act::Work);
    control.validate.set(Act::Work);
    control.reset.set(Act::Work);
    let held = (pool.get().await.unwrap(), pool.get().await.unwrap());
    assert!(control.most() <= 2, "T3: {case}");
    drop(held);
    settle().await;
    let status = pool.stats().status;
    assert_eq!((status.in_use, status.checking, status.waiting), (0, 0, 0), "{case}");
    pool.check_invariants();
}

/// A connect goes on when its caller leaves, and serves the next.
#[tokio::test(start_paused = true)]
async fn a_dial_outlives_its_caller() {
    let (pool, control) = pool(|b| b);
    control.connect.set(Act::Slow);
    assert!(pool.get_timeout(Duration::from_millis(50)).await.is_err());
    assert!(pool.get_timeout(Duration::from_millis(80)).await.is_ok());
    assert_eq!(control.connects(), 1);
}

/// T11: a connection handed to a waiter who has left goes to the next.
#[tokio::test]
async fn t11_a_late_delivery_goes_on() {
    let (pool, control) = pool(|b| b.max_size(1));
    let held = pool.get().await.unwrap();
    let mut first = Box::pin(pool.get());
    let mut second = Box::pin(pool.get());
    assert!(futures::poll!(&mut first).is_pending());
    assert!(futures::poll!(&mut second).is_pending());
    drop(held); // delivered to the first, which is never polled again
    drop(first);
    assert!(futures::poll!(&mut second).is_ready());
    assert_eq!(control.connects(), 1);
}

/// T31: a caller that leaves interrupts no check; a check that times out discards.
#[tokio::test(start_paused = true)]
async fn t31_a_check_outlives_its_caller_and_is_bounded() {
    let (pool, control) =
        pool(|b| b.validation_bypass(Duration::ZERO).validation_timeout(Duration::from_secs(1)));
    let id = pool.get().await.unwrap().id;
    control.validate.set(Act::Slow);
    let mut caller = Box::pin(pool.get());
    assert!(futures::poll!(&mut caller).is_pending());
    settle().await;
    drop(caller);
    assert_eq!(pool.stats().status.checking, 1);
    tokio::time::sleep(Duration::from_millis(110)).await;
    assert_eq!((pool.stats().status.idle, pool.stats().validations), (1, 1), "it passed all the same");
    control.validate.set(Act::Hang);
    let mut caller = Box::pin(pool.get());
    assert!(futures::poll!(&mut caller).is_pending());
    settle().await;
    drop(caller);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!((control.live(), pool.stats().validation_failures), (0, 1));
    control.validate.set(Act::Work);
    assert_ne!(pool.get().await.unwrap().id, id);
}
