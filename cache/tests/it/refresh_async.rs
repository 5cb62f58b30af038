//! Refreshes by tasks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::FutureExt;
use millpond_cache::{Cache, ManualClock};
use tokio::sync::oneshot;
use tokio::task::yield_now;

use crate::support::{Census, Counted, watchdog};

const DUE: Duration = Duration::from_secs(60);

fn cache() -> (Cache<u64, u64>, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new());
    let cache = Cache::builder().refresh_after(DUE).clock(Arc::clone(&clock)).record_stats().build().unwrap();
    (cache, clock)
}

async fn until(holds: impl Fn() -> bool) {
    let began = std::time::Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(10), "never came true");
        yield_now().await;
    }
}

#[tokio::test]
async fn a_call_serves_the_old_value_and_a_task_refreshes() {
    let (cache, clock) = cache();
    let get = |loaded: Result<u64, &'static str>| {
        cache.try_get_or_refresh_with_async(1, async move {
            yield_now().await;
            loaded
        })
    };
    assert_eq!(get(Err("down")).await.map_err(|error| *error), Err("down"));
    assert_eq!(get(Ok(1)).await, Ok(1));
    assert_eq!(get(Ok(2)).await, Ok(1));
    clock.advance(DUE);
    // The caller may go: it is done at its first poll.
    assert_eq!(get(Ok(3)).now_or_never(), Some(Ok(1)));
    assert_eq!(get(Ok(4)).now_or_never(), Some(Ok(1)));
    assert_eq!((cache.refreshes_in_flight(), cache.is_refreshing(&1)), (1, true));
    until(|| cache.get(&1) == Some(3)).await;
    clock.advance(DUE);
    assert_eq!(get(Err("down")).await, Ok(3));
    until(|| cache.refreshes_in_flight() == 0).await;
    assert_eq!(cache.get(&1), Some(3));
    assert_eq!((cache.stats().refreshes(), cache.stats().refresh_failures()), (1, 1));
    cache.check_invariants();
}

#[tokio::test]
async fn a_refresh_that_is_dropped_at_any_await_is_a_failure() {
    let (cache, clock) = cache();
    cache.insert(1, 10);
    clock.advance(DUE);
    for polls in 0..4 {
        let refresh = cache.claim_refresh(&1).unwrap();
        let mut running = Box::pin(refresh.run_async(async {
            for _ in 0..3 {
                yield_now().await;
            }
            Ok::<_, ()>(11)
        }));
        for poll in 0..polls {
            assert!((&mut running).now_or_never().is_none(), "{poll}");
        }
        if polls == 3 {
            assert!(running.await);
            assert_eq!(cache.get(&1), Some(11));
            break;
        }
        drop(running);
        assert_eq!((cache.refreshes_in_flight(), cache.loads_in_flight(), cache.get(&1)), (0, 0, Some(10)));
        assert!(cache.claim_refresh(&1).is_none(), "the next one waits");
        clock.advance(DUE);
    }
    assert_eq!(cache.stats().refresh_failures(), 3);
    // A panic before and after the first await.
    for after in [false, true] {
        clock.advance(DUE);
        let refresh = cache.claim_refresh(&1).unwrap();
        let load = async {
            if after {
                yield_now().await;
            }
            panic!("injected")
        };
        assert!(!refresh.run_async::<()>(load).await);
    }
    assert_eq!((cache.stats().refresh_failures(), cache.get(&1)), (5, Some(11)));
    cache.check_invariants();
}

#[tokio::test]
async fn a_write_wins_over_a_task() {
    let (cache, clock) = cache();
    cache.insert(1, 10);
    clock.advance(DUE);
    let (answer, answers) = oneshot::channel();
    let load = async { Ok::<_, ()>(answers.await.unwrap()) };
    assert_eq!(cache.try_get_or_refresh_with_async(1, load).await, Ok(10));
    yield_now().await;
    cache.invalidate(&1);
    assert!(!cache.is_refreshing(&1) && cache.refreshes_in_flight() == 1);
    answer.send(11).unwrap();
    until(|| cache.refreshes_in_flight() == 0).await;
    assert_eq!((cache.get(&1), cache.stats().refreshes_discarded()), (None, 1));
    cache.check_invariants();
}

#[test]
fn reads_from_any_thread_begin_tasks_of_the_runtime_the_cache_was_built_in() {
    watchdog(60, || {
        let census = Census::default();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let clock = Arc::new(ManualClock::new());
        let (loads, values) = (Arc::new(AtomicU64::new(0)), census.clone());
        let counter = Arc::clone(&loads);
        let build = async {
            Cache::<u64, Counted>::builder()
                .refresh_after(DUE)
                .clock(Arc::clone(&clock))
                .record_stats()
                .build_with_refresh_async(move |key| {
                    assert_ne!(key, 2, "injected");
                    let (counter, values) = (Arc::clone(&counter), values.clone());
                    async move {
                        counter.fetch_add(1, Ordering::SeqCst);
                        yield_now().await;
                        if key == 3 { Err("down") } else { Ok(values.one()) }
                    }
                })
                .unwrap()
        };
        let cache = runtime.block_on(build);
        for key in 1..4 {
            cache.insert(key, census.one());
        }
        clock.advance(DUE);
        for _ in 0..10 {
            for key in 1..4 {
                assert!(cache.get(&key).is_some());
            }
        }
        crate::support::eventually(|| cache.refreshes_in_flight() == 0);
        assert_eq!((cache.stats().refreshes(), cache.stats().refresh_failures()), (1, 2));
        assert_eq!(loads.load(Ordering::SeqCst), 2, "the panic came before");
        // Without the runtime, refreshes fail and reads do not.
        clock.advance(DUE);
        drop(runtime);
        assert!(cache.get(&1).is_some());
        assert_eq!((cache.stats().refresh_failures(), cache.refreshes_in_flight()), (3, 0));
        cache.check_invariants();
        drop(cache);
        assert_eq!(census.alive(), 0);
    });
}
