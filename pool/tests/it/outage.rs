//! The target is down, hangs or refuses: real errors, soon, and few dials.

use std::time::Duration;

use millpond_pool::{Error, Guard};
use tokio::time::Instant;

use crate::support::{Act, pool, settle};

/// T18, T19: all waiters get the real error soon; one prober dials, and service is back soon after the target.
#[tokio::test(start_paused = true)]
async fn t18_an_outage_costs_few_dials_and_ends_by_itself() {
    let (pool, control) = pool(|b| b.max_size(10).acquire_timeout(Duration::from_secs(30)));
    control.connect.set(Act::Fail);
    let began = Instant::now();
    let errors = futures::future::join_all((0..32).map(|_| pool.get())).await;
    assert!(began.elapsed() < Duration::from_millis(150), "{:?}", began.elapsed());
    for error in errors {
        let Err(Error::Connect { failure, .. }) = error else { panic!("{error:?}") };
        assert!(failure.to_string().contains("down"), "{failure}");
    }
    while began.elapsed() < Duration::from_secs(5) {
        let asked = Instant::now();
        assert!(pool.get().await.is_err());
        assert!(asked.elapsed() < Duration::from_millis(100), "{:?}", asked.elapsed());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let dials = control.connects();
    assert!(dials <= 25, "{dials} dials in 5 s");
    control.connect.set(Act::Work);
    let back = Instant::now();
    while pool.get().await.is_err() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(back.elapsed() <= Duration::from_millis(255), "{:?}", back.elapsed());
    pool.check_invariants();
}

/// T19: a permanent error is told at once, by its own name.
#[tokio::test(start_paused = true)]
async fn t19_a_permanent_error_is_told_at_once() {
    let (pool, control) = pool(|b| b.acquire_timeout(Duration::from_secs(30)));
    control.connect.set(Act::Refuse);
    let began = Instant::now();
    let error = pool.get().await.unwrap_err();
    assert!(error.to_string().contains("refused"), "{error}");
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert_eq!(std::error::Error::source(&error).unwrap().to_string(), "refused");
}

/// Long after the last request nobody dials a dead target; the next request does.
#[tokio::test(start_paused = true)]
async fn an_unused_pool_stops_dialling() {
    let (pool, control) = pool(|b| b);
    control.connect.set(Act::Fail);
    assert!(pool.get().await.is_err());
    tokio::time::sleep(Duration::from_secs(60)).await;
    let dials = control.connects();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(control.connects(), dials);
    control.connect.set(Act::Work);
    assert!(pool.get().await.is_ok());
}

/// T2: connects that hang give their slots back after their timeout.
#[tokio::test(start_paused = true)]
async fn t02_hanging_connects_leak_no_slot() {
    let (pool, control) = pool(|b| b.max_size(4).connect_timeout(Duration::from_secs(1)));
    control.connect.set(Act::Hang);
    for _ in 0..4 {
        assert!(pool.get_timeout(Duration::from_millis(100)).await.is_err());
    }
    control.connect.set(Act::Work);
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(pool.get().await.unwrap());
    }
    assert_eq!(control.most(), 4);
}

/// T30, T31: `get` returns within its timeout though every check hangs.
#[tokio::test(start_paused = true)]
async fn t30_a_black_hole_does_not_hold_callers() {
    let (pool, control) =
        pool(|b| b.validation_bypass(Duration::ZERO).validation_timeout(Duration::from_secs(20)));
    drop((pool.get().await.unwrap(), pool.get().await.unwrap()));
    control.validate.set(Act::Hang);
    control.connect.set(Act::Hang);
    let began = Instant::now();
    assert!(pool.get_timeout(Duration::from_secs(1)).await.unwrap_err().is_timeout());
    assert!(began.elapsed() <= Duration::from_millis(1010), "{:?}", began.elapsed());
}

/// T32: with all idle connections dead, one caller pays one check, not one for each.
#[tokio::test(start_paused = true)]
async fn t32_dead_connections_are_found_together() {
    let limit = Duration::from_secs(1);
    let (pool, control) =
        pool(|b| b.max_size(20).validation_bypass(Duration::ZERO).validation_timeout(limit));
    let mut held = Vec::new();
    for _ in 0..20 {
        held.push(pool.get().await.unwrap());
    }
    drop(held);
    control.validate.set(Act::Hang);
    let began = Instant::now();
    let caller = pool.get();
    let caller = tokio::time::timeout(limit * 4, caller).await.expect("far less than 20 checks").unwrap();
    assert!(began.elapsed() <= limit * 2 + Duration::from_millis(50), "{:?}", began.elapsed());
    drop(caller);
    settle().await;
    pool.check_invariants();
}

/// Connections in use may come back: while there are any, waiters are not told off by a failing dial.
#[tokio::test(start_paused = true)]
async fn a_failing_dial_does_not_dismiss_those_who_can_be_served() {
    let (pool, control) = pool(|b| b);
    let held = pool.get().await.unwrap();
    control.connect.set(Act::Fail);
    let mut waiting = Box::pin(pool.get());
    assert!(futures::poll!(&mut waiting).is_pending());
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(futures::poll!(&mut waiting).is_pending());
    drop(held);
    assert!(waiting.await.is_ok());
}

/// After a borrower found its connection broken, the others must prove themselves before they are lent, used recently or
/// not; those that do are trusted again.
#[tokio::test(start_paused = true)]
async fn a_discarded_connection_makes_the_others_prove_themselves() {
    let (pool, control) = pool(|b| b.max_size(3));
    let (first, second, third) =
        (pool.get().await.unwrap(), pool.get().await.unwrap(), pool.get().await.unwrap());
    drop(second);
    Guard::discard(first);
    let validations = || control.validations.load(std::sync::atomic::Ordering::SeqCst);
    let checked = pool.get().await.unwrap();
    assert_eq!(validations(), 1, "idle since before");
    drop(third);
    settle().await;
    assert_eq!(validations(), 2, "borrowed since before");
    drop(checked);
    let again = (pool.get().await.unwrap(), pool.get().await.unwrap());
    assert_eq!(validations(), 2, "trusted again");
    drop(again);
}

/// Cleaning is no proof of life: what was returned under suspicion is checked after its reset.
#[tokio::test(start_paused = true)]
async fn a_reset_does_not_prove_a_connection_alive() {
    let (pool, control) = pool(|b| b.max_size(2));
    let (first, second) = (pool.get().await.unwrap(), pool.get().await.unwrap());
    let id = second.id;
    Guard::discard(first);
    control.on_return.set(Act::Slow); // asks for a reset, which works
    control.validate.set(Act::Fail);
    drop(second);
    settle().await;
    control.validate.set(Act::Work);
    assert_ne!(pool.get().await.unwrap().id, id);
}
