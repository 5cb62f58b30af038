//! Idle timeout, lifetime, keepalive, minimum; on tokio's paused clock.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::support::{Act, pool, settle};

const MINUTE: Duration = Duration::from_secs(60);

async fn fill(pool: &millpond_pool::Pool<crate::support::Fake>, n: usize) {
    let mut held = Vec::new();
    for _ in 0..n {
        held.push(pool.get().await.unwrap());
    }
}

/// T22, T25: surplus idle connections go, the minimum stays.
#[tokio::test(start_paused = true)]
async fn t25_idle_timeout_respects_the_minimum() {
    let (pool, control) = pool(|b| b.max_size(5).min_idle(2).idle_timeout(MINUTE));
    fill(&pool, 5).await;
    tokio::time::sleep(MINUTE / 2).await;
    assert_eq!(control.live(), 5);
    tokio::time::sleep(MINUTE).await;
    assert_eq!(control.live(), 2);
    assert_eq!(pool.stats().status.idle, 2);
    pool.check_invariants();
}

/// T22: a low steady load does not keep the surplus alive.
#[tokio::test(start_paused = true)]
async fn t22_the_pool_shrinks_under_light_load() {
    let (pool, control) = pool(|b| b.max_size(5).idle_timeout(MINUTE));
    fill(&pool, 5).await;
    for _ in 0..30 {
        drop(pool.get().await.unwrap());
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
    assert_eq!(control.live(), 1);
}

/// T23: a check does not count as use.
#[tokio::test(start_paused = true)]
async fn t23_keepalive_does_not_reset_the_idle_clock() {
    let (pool, control) = pool(|b| b.idle_timeout(MINUTE).keepalive(MINUTE / 4));
    fill(&pool, 2).await;
    tokio::time::sleep(MINUTE / 2).await;
    assert!(control.validations.load(Ordering::SeqCst) >= 2);
    tokio::time::sleep(MINUTE).await;
    assert_eq!(control.live(), 0);
}

/// T26, T28: age counts for busy connections too, and for limits shorter than the usual period.
#[tokio::test(start_paused = true)]
async fn t26_old_connections_end_when_they_come_back() {
    let (pool, control) = pool(|b| b.max_lifetime(Duration::from_millis(200)));
    let held = pool.get().await.unwrap();
    let first = held.id;
    drop(pool.get().await.unwrap());
    tokio::time::sleep(Duration::from_millis(300)).await;
    settle().await;
    assert_eq!(control.live(), 1, "the idle one is gone");
    drop(held);
    assert_eq!(control.live(), 0);
    assert_ne!(pool.get().await.unwrap().id, first);
}

/// T20: jitter is drawn at birth; those born together do not end together.
#[tokio::test(start_paused = true)]
async fn t20_a_cohort_ends_spread_out() {
    let (pool, control) =
        pool(|b| b.max_size(100).max_opening(100).max_lifetime(MINUTE * 10).idle_timeout(None));
    fill(&pool, 100).await;
    tokio::time::sleep(MINUTE * 9 - Duration::from_secs(2)).await;
    assert_eq!(control.live(), 100);
    let mut worst = 0;
    for _ in 0..70 {
        let before = control.live();
        tokio::time::sleep(Duration::from_secs(1)).await;
        worst = worst.max(before - control.live());
    }
    assert_eq!(control.live(), 0);
    assert!(worst <= 15, "{worst} of 100 ended within a second");
}

/// T30: a keepalive that hangs is bounded, and the connection replaced.
#[tokio::test(start_paused = true)]
async fn t30_a_dead_idle_connection_is_found_and_replaced() {
    let (pool, control) =
        pool(|b| b.min_idle(1).keepalive(MINUTE).validation_timeout(Duration::from_secs(1)));
    let first = pool.get().await.unwrap().id;
    control.validate.set(Act::Hang);
    tokio::time::sleep(MINUTE + Duration::from_secs(3)).await;
    control.validate.set(Act::Work);
    assert_eq!(control.live(), 1);
    assert_ne!(pool.get().await.unwrap().id, first);
}

#[tokio::test(start_paused = true)]
async fn warm_up_opens_the_minimum() {
    let (pool, control) = pool(|b| b.max_size(5).min_idle(4));
    pool.warm_up();
    settle().await;
    settle().await;
    assert_eq!((control.live(), pool.stats().status.idle), (4, 4));
}

/// T29, T7: background work ends with the pool.
#[tokio::test(start_paused = true)]
async fn t29_tasks_end_with_the_pool() {
    let metrics = tokio::runtime::Handle::current().metrics();
    let before = metrics.num_alive_tasks();
    let (pool, control) = pool(|b| b.min_idle(1));
    drop(pool.get().await.unwrap());
    let held = pool.get().await.unwrap();
    assert!(metrics.num_alive_tasks() > before);
    drop(pool);
    drop(held);
    assert_eq!(control.live(), 0);
    tokio::time::sleep(MINUTE).await;
    assert_eq!(metrics.num_alive_tasks(), before);
}

/// T33: nothing from before a reset is lent again.
#[tokio::test(start_paused = true)]
async fn t33_reset_retires_idle_busy_and_opening() {
    let (pool, control) = pool(|b| b.max_size(3));
    let busy = pool.get().await.unwrap();
    fill(&pool, 1).await;
    pool.reset();
    assert_eq!(control.live(), 1, "the idle one is gone");
    drop(busy);
    assert_eq!(control.live(), 0, "the busy one went when it came back");
    assert_eq!(pool.get().await.unwrap().id, 2);
    pool.reset();
    control.connect.set(Act::Slow);
    let mut waiting = Box::pin(pool.get());
    assert!(futures::poll!(&mut waiting).is_pending());
    settle().await;
    assert_eq!(pool.stats().status.opening, 1);
    pool.reset();
    control.connect.set(Act::Work);
    assert_eq!(
        waiting.await.unwrap().id,
        4,
        "the third was being opened at the reset, and who waited was served all the same"
    );
    assert_eq!(control.live(), 1);
}

/// A connection that needs cleaning is cleaned in the background and lent again.
#[tokio::test(start_paused = true)]
async fn t34_reset_verdict_cleans_before_the_next_borrower() {
    let (pool, control) = pool(|b| b.max_size(1));
    control.on_return.set(Act::Slow);
    let id = pool.get().await.unwrap().id;
    assert_eq!(pool.stats().status.checking, 1);
    assert_eq!(pool.get().await.unwrap().id, id);
    control.reset.set(Act::Fail);
    assert_ne!(pool.get().await.unwrap().id, id, "what can't be cleaned is replaced");
    control.on_return.set(Act::Fail);
    let unclean = pool.get().await.unwrap();
    let before = unclean.id;
    drop(unclean);
    assert_ne!(pool.get().await.unwrap().id, before);
}
