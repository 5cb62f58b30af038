//! Write-through: cache and store never disagree.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use millpond_cache::Cache;
use millpond_cache::backing::{StoreCache, StoreCacheError, StoreError};
use tokio::task::yield_now;

use super::{Fake, Plan, RuntimeClock, SECOND};
use crate::support::scaled;

type Backed = StoreCache<u64, u64, Arc<Fake>>;

fn cache(store: &Arc<Fake>) -> Backed {
    let builder = Cache::builder().max_capacity(100).clock(RuntimeClock::new());
    builder.read_through(Arc::clone(store)).write_through().circuit_breaker(50, SECOND).build().unwrap()
}

/// Whatever is in flight comes to its end.
async fn rest(store: &Fake) {
    for _ in 0..50 {
        yield_now().await;
    }
    assert!(!store.is_writing());
}

/// What readers get is what the store has.
async fn assert_agreement(cache: &Backed, store: &Fake) {
    cache.check_invariants();
    for key in 0..4 {
        assert_eq!(cache.get(&key).await.unwrap(), store.value(key), "key {key}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_is_in_the_store_before_it_returns_and_then_in_the_cache() {
    let store = Fake::new([(1, 10)]);
    let cache = cache(&store);
    assert_eq!(cache.get(&1).await.unwrap(), Some(10));
    cache.put(1, 11).await.unwrap();
    cache.put(2, 20).await.unwrap();
    assert_eq!((store.value(1), store.value(2)), (Some(11), Some(20)));
    assert_eq!((cache.get(&1).await.unwrap(), cache.get(&2).await.unwrap()), (Some(11), Some(20)));
    cache.delete(&1).await.unwrap();
    assert_eq!((store.value(1), cache.get(&1).await.unwrap()), (None, None));
    assert_eq!(store.loads(), 1, "what was written needs no load");
}

#[tokio::test(start_paused = true)]
async fn after_an_error_the_cache_holds_nothing_and_readers_ask_the_store() {
    let plans = [
        Plan::Down,
        Plan::AnswerLost,
        Plan::Refuses,
        Plan::Partly(vec![(0, true)]),
        Plan::Partly(vec![(0, false)]),
        Plan::Panics,
    ];
    for plan in plans {
        let store = Fake::new([(1, 10)]);
        let cache = cache(&store);
        cache.get(&1).await.unwrap();
        store.plan([plan.clone()]);
        let writer = cache.clone();
        match tokio::spawn(async move { writer.put(1, 11).await }).await {
            Ok(answer) => assert!(matches!(answer, Err(StoreCacheError::Store(_))), "{plan:?}"),
            Err(error) => assert!(error.is_panic() && matches!(plan, Plan::Panics)),
        }
        assert_eq!(cache.entry_count(), 0, "{plan:?}");
        assert_agreement(&cache, &store).await;
        cache.put(1, 12).await.unwrap();
        assert_agreement(&cache, &store).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_may_be_dropped_at_any_await() {
    for plan in [Plan::Works, Plan::Down, Plan::AnswerLost, Plan::Refuses, Plan::Panics] {
        for polls in 0..8 {
            let store = Fake::new([(1, 10)]);
            let cache = cache(&store);
            cache.get(&1).await.unwrap();
            store.plan([plan.clone()]);
            let mut put = Box::pin(cache.put(1, 11));
            for _ in 0..polls {
                if std::panic::AssertUnwindSafe(&mut put).catch_unwind().now_or_never().is_some() {
                    break;
                }
                yield_now().await;
            }
            if polls == 0 {
                // Nothing was begun: the plan is not for readers.
                store.plans.lock().clear();
            }
            // A reader in the middle of it, and one after.
            let reader = cache.clone();
            let early = tokio::spawn(async move { reader.get(&1).await });
            yield_now().await;
            drop(put);
            rest(&store).await;
            assert_agreement(&cache, &store).await;
            // It may have been the one who met the plan.
            let _early = early.await;
            assert_agreement(&cache, &store).await;
            if matches!(plan, Plan::Works) && polls > 0 {
                assert_eq!(store.value(1), Some(11), "what was begun is ended");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn one_who_leaves_while_waiting_for_a_turn_has_done_nothing() {
    let store = Fake::new([]);
    let cache = cache(&store);
    store.plan([Plan::Waits]);
    let mut first = Box::pin(cache.put(1, 1));
    let mut second = Box::pin(cache.put(1, 2));
    let mut third = Box::pin(cache.put(1, 3));
    let polled = (futures::poll!(&mut first), futures::poll!(&mut second), futures::poll!(&mut third));
    assert!(polled.0.is_pending() && polled.1.is_pending() && polled.2.is_pending());
    drop(second);
    store.let_go();
    first.await.unwrap();
    third.await.unwrap();
    assert_eq!(*store.done.lock(), [(1, Some(1)), (1, Some(3))]);
    assert_agreement(&cache, &store).await;
}

#[tokio::test(start_paused = true)]
async fn a_reader_during_a_write_waits_for_it() {
    let store = Fake::new([(1, 10)]);
    let cache = cache(&store);
    cache.get(&1).await.unwrap();
    store.plan([Plan::Waits]);
    let mut put = Box::pin(cache.put(1, 11));
    assert!(futures::poll!(&mut put).is_pending());
    yield_now().await;
    assert!(store.is_writing());
    let mut get = Box::pin(cache.get(&1));
    assert!(futures::poll!(&mut get).is_pending());
    store.let_go();
    put.await.unwrap();
    assert_eq!((get.await.unwrap(), store.loads()), (Some(11), 1));
}

#[tokio::test(start_paused = true)]
async fn a_load_that_began_before_a_write_does_not_bring_the_old_value_back() {
    let store = Fake::new([(1, 10)]);
    let cache = cache(&store);
    // The load has read the old value and waits.
    store.plan([Plan::Waits]);
    let mut get = Box::pin(cache.get(&1));
    assert!(futures::poll!(&mut get).is_pending());
    yield_now().await;
    cache.put(1, 11).await.unwrap();
    store.let_go();
    assert_eq!(get.await.unwrap(), Some(10), "it began before the write");
    assert_agreement(&cache, &store).await;
}

#[tokio::test(start_paused = true)]
async fn an_invalidation_during_a_write_does_not_let_an_old_value_in() {
    let store = Fake::new([(1, 10)]);
    let cache = cache(&store);
    store.plan([Plan::Waits]);
    let mut put = Box::pin(cache.put(1, 11));
    assert!(futures::poll!(&mut put).is_pending());
    yield_now().await;
    cache.invalidate(&1);
    // This load reads the old value, and ends before the write: its value is in the cache for a moment.
    assert_eq!(cache.get(&1).await.unwrap(), Some(10));
    store.let_go();
    put.await.unwrap();
    assert_agreement(&cache, &store).await;
    assert_eq!(cache.get(&1).await.unwrap(), Some(11));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_writers_of_one_key_end_in_the_order_of_the_store() {
    let rounds = scaled(100, 3) as usize;
    for round in 0..rounds {
        let store = Fake::new([]);
        let cache = cache(&store);
        let plans = [Plan::Works, Plan::AnswerLost, Plan::Down];
        store.plan((0..12).map(|n| plans[(n * round) % 3].clone()));
        let writers = (0..8_u64).map(|n| {
            let cache = cache.clone();
            tokio::spawn(async move {
                if n % 4 == 3 {
                    let _may_fail = cache.delete(&1).await;
                } else {
                    let _may_fail = cache.put(1, n).await;
                }
                let _may_fail = cache.get(&1).await;
            })
        });
        for writer in writers.collect::<Vec<_>>() {
            writer.await.unwrap();
        }
        store.plans.lock().clear();
        assert_agreement(&cache, &store).await;
    }
}

#[tokio::test(start_paused = true)]
async fn close_waits_for_writes_and_refuses_new_ones() {
    let store = Fake::new([]);
    let cache = cache(&store);
    store.plan([Plan::Waits]);
    let mut put = Box::pin(cache.put(1, 1));
    assert!(futures::poll!(&mut put).is_pending());
    assert_eq!(cache.close(SECOND).await.unwrap_err().unwritten(), 1);
    assert!(matches!(cache.put(2, 2).await, Err(StoreCacheError::Closed)));
    store.let_go();
    cache.close(SECOND).await.unwrap();
    put.await.unwrap();
    assert_agreement(&cache, &store).await;
}

#[tokio::test(start_paused = true)]
async fn an_open_breaker_refuses_a_write_and_leaves_the_value() {
    let store = Fake::new([(1, 10)]);
    let builder = Cache::builder().clock(RuntimeClock::new()).read_through(Arc::clone(&store));
    let cache = builder.write_through().circuit_breaker(1, SECOND).build().unwrap();
    cache.get(&1).await.unwrap();
    store.plan([Plan::Down]);
    assert!(cache.put(2, 2).await.is_err());
    assert!(matches!(cache.put(1, 11).await, Err(StoreCacheError::Unavailable)));
    assert_eq!(cache.get(&1).await.unwrap(), Some(10));
    tokio::time::advance(SECOND).await;
    cache.put(1, 11).await.unwrap();
    assert_eq!((cache.get(&1).await.unwrap(), store.value(1)), (Some(11), Some(11)));
}

#[test]
fn a_runtime_that_ends_during_a_write_leaves_nothing_wrong_behind() {
    let store = Fake::new([(1, 10)]);
    let runtime =
        || tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let first = runtime();
    let cache = first.block_on(async { cache(&store) });
    first.block_on(async {
        cache.get(&1).await.unwrap();
        store.plan([Plan::Hangs]);
        assert!(tokio::time::timeout(Duration::from_millis(5), cache.put(1, 11)).await.is_err());
        assert!(store.is_writing());
    });
    drop(first);
    runtime().block_on(async {
        assert!(!store.is_writing());
        assert_agreement(&cache, &store).await;
        cache.put(1, 12).await.unwrap();
        assert_agreement(&cache, &store).await;
        cache.close(SECOND).await.unwrap();
    });
}

/// A change that only the store can compute, as a conditional update in SQL is.
fn take(store: &Arc<Fake>, units: u64) -> impl Future<Output = Taken> + Send + 'static + use<> {
    let store = Arc::clone(store);
    async move {
        let plan = store.next_plan();
        store.meet(&plan).await?;
        let left = {
            let mut map = store.map.lock();
            let left = map.entry(1).or_insert(0);
            let taken = *left >= units;
            *left -= if taken { units } else { 0 };
            (Some(*left), taken)
        };
        yield_now().await;
        if matches!(plan, Plan::AnswerLost) { Err(StoreError::Transient("answer lost")) } else { Ok(left) }
    }
}

type Taken = Result<(Option<u64>, bool), StoreError<&'static str>>;

#[tokio::test(start_paused = true)]
async fn an_update_caches_what_the_store_says_it_has() {
    let store = Fake::new([(1, 3)]);
    let cache = cache(&store);
    assert_eq!(cache.get(&1).await.unwrap(), Some(3));
    assert!(cache.update(1, take(&store, 2)).await.unwrap());
    assert!(!cache.update(1, take(&store, 2)).await.unwrap(), "one is left");
    assert_eq!((cache.get(&1).await.unwrap(), store.loads()), (Some(1), 1), "and no load was needed");
    for plan in [Plan::Down, Plan::AnswerLost, Plan::Refuses] {
        cache.invalidate_all();
        cache.get(&1).await.unwrap();
        store.plan([plan.clone()]);
        assert!(matches!(cache.update(1, take(&store, 1)).await, Err(StoreCacheError::Store(_))));
        assert_eq!(cache.entry_count(), 0, "{plan:?}");
        assert_agreement(&cache, &store).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn updates_puts_and_readers_of_one_key_end_in_the_order_of_the_store() {
    let rounds = scaled(100, 3) as usize;
    for _ in 0..rounds {
        let store = Fake::new([(1, 5)]);
        let cache = cache(&store);
        let writers = (0..8_u64).map(|n| {
            let (cache, store) = (cache.clone(), Arc::clone(&store));
            tokio::spawn(async move {
                let taken = if n == 4 {
                    cache.put(1, 5).await.unwrap();
                    false
                } else {
                    cache.update(1, take(&store, 1)).await.unwrap()
                };
                assert!(cache.get(&1).await.unwrap().is_some());
                u64::from(taken)
            })
        });
        let mut taken = 0;
        for writer in writers.collect::<Vec<_>>() {
            taken += writer.await.unwrap();
        }
        let left = store.value(1).unwrap();
        assert!(taken + left >= 5 && taken + left <= 10, "{taken} were taken, {left} are left");
        assert_agreement(&cache, &store).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_update_that_lost_its_caller_or_its_flight_leaves_no_old_value() {
    let store = Fake::new([(1, 3)]);
    let cache = cache(&store);
    store.plan([Plan::Waits]);
    let mut update = Box::pin(cache.update(1, take(&store, 1)));
    assert!(futures::poll!(&mut update).is_pending());
    yield_now().await;
    cache.invalidate(&1);
    assert_eq!(cache.get(&1).await.unwrap(), Some(3), "read before the change");
    drop(update);
    store.let_go();
    cache.close(SECOND).await.unwrap();
    assert_eq!((store.value(1), cache.get(&1).await.unwrap()), (Some(2), Some(2)));
    assert!(matches!(cache.update(1, take(&store, 1)).await, Err(StoreCacheError::Closed)));
    assert_eq!(store.value(1), Some(2));
    let reader = Cache::builder().read_through(Arc::clone(&store)).build().unwrap();
    assert!(matches!(reader.update(1, take(&store, 1)).await, Err(StoreCacheError::NotWriteThrough)));
}
