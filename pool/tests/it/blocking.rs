//! Callers outside of any runtime.

use std::thread;
use std::time::Duration;

use crate::support::{Act, pool};

#[test]
fn works_without_a_runtime_and_beside_one() {
    let (pool, control) = pool(|b| b.max_size(1));
    let held = pool.get_blocking().unwrap();
    let waiting = {
        let pool = pool.clone();
        thread::spawn(move || pool.get_blocking().unwrap().id)
    };
    while pool.stats().status.waiting == 0 {
        thread::yield_now();
    }
    let id = held.id;
    drop(held);
    assert_eq!(waiting.join().unwrap(), id);
    let other = {
        let pool = pool.clone();
        futures::executor::block_on(async move { pool.get().await.unwrap().id })
    };
    assert_eq!((other, control.connects()), (id, 1));
}

#[test]
fn a_check_runs_in_the_background() {
    let (pool, control) = pool(|b| b.validation_bypass(Duration::ZERO));
    let id = pool.get_blocking().unwrap().id;
    assert_eq!(pool.get_blocking().unwrap().id, id);
    control.validate.set(Act::Fail);
    assert_ne!(pool.get_blocking().unwrap().id, id, "a dead one is replaced");
    control.validate.set(Act::Work);
    assert!(pool.get_blocking_timeout(Duration::from_secs(1)).is_ok());
}

#[test]
fn a_blocked_caller_times_out() {
    let (pool, _) = pool(|b| b.max_size(1));
    let held = pool.get_blocking().unwrap();
    assert!(pool.get_blocking_timeout(Duration::from_millis(20)).unwrap_err().is_timeout());
    drop(held);
    assert_eq!(pool.stats().status.waiting, 0);
}

#[test]
fn t36_return_works_on_a_dead_runtime_and_outside_of_one() {
    let (pool, _) = pool(|b| b);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let held = runtime.block_on(pool.get()).unwrap();
    let other = runtime.block_on(pool.get()).unwrap();
    let task = runtime.spawn(async move {
        let _held = other;
        std::future::pending::<()>().await;
    });
    runtime.block_on(tokio::task::yield_now());
    drop(runtime);
    drop(task);
    drop(held);
    assert_eq!(pool.stats().status.in_use, 0);
    assert!(pool.get_blocking().is_ok(), "another runtime serves the next");
}
