//! Read-through.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::join_all;
use millpond_cache::backing::{
    Blocking, BlockingStore, StoreCache, StoreCacheBuilder, StoreCacheError, StoreError, Write, Written,
};
use millpond_cache::{Cache, ManualClock};
use tokio::time::timeout;

use super::{Fake, Plan, RuntimeClock, SECOND};

type Backed = StoreCache<u64, u64, Arc<Fake>>;

/// Values live for 10 s and absences for 1 s, old values serve for a minute.
fn cache(
    store: &Arc<Fake>,
    configure: impl FnOnce(StoreCacheBuilder<u64, u64, Arc<Fake>>) -> StoreCacheBuilder<u64, u64, Arc<Fake>>,
) -> Backed {
    let builder = Cache::builder()
        .max_capacity(100)
        .time_to_live(10 * SECOND)
        .negative_time_to_live(SECOND, Option::is_none)
        .stale_if_error(60 * SECOND)
        .record_stats()
        .clock(RuntimeClock::new())
        .read_through(Arc::clone(store));
    configure(builder).build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn all_who_miss_share_one_load_and_absences_are_remembered() {
    let store = Fake::new([(1, 10)]);
    let cache = cache(&store, |builder| builder);
    let values = join_all((0..10).map(|_| cache.get(&1))).await;
    assert!(values.into_iter().all(|value| value.unwrap() == Some(10)));
    assert_eq!(store.loads(), 1);
    for _ in 0..3 {
        assert_eq!(cache.get(&2).await.unwrap(), None);
    }
    assert_eq!(store.loads(), 2);
    tokio::time::advance(SECOND).await;
    store.map.lock().insert(2, 20);
    assert_eq!((cache.get(&2).await.unwrap(), cache.get(&1).await.unwrap()), (Some(20), Some(10)));
    assert_eq!(store.loads(), 3);
    assert!(matches!(cache.put(1, 1).await, Err(StoreCacheError::ReadOnly)));
    assert!(matches!(cache.delete(&1).await, Err(StoreCacheError::ReadOnly)));
    cache.flush().await;
    cache.close(Duration::ZERO).await.unwrap();
    assert_eq!(cache.entry_count(), 2);
    cache.check_invariants();
}

#[tokio::test(start_paused = true)]
async fn many_keys_are_one_load() {
    let store = Fake::new([(1, 10), (2, 20), (3, 30)]);
    let cache = cache(&store, |builder| builder);
    cache.get(&1).await.unwrap();
    let found = cache.get_many([1, 2, 2, 9, 3]).await.unwrap();
    assert_eq!((found.len(), found[&1], found[&2], found[&3]), (3, 10, 20, 30));
    assert_eq!(*store.loads.lock(), [vec![1], vec![2, 9, 3]]);
    assert_eq!(cache.get_many([9, 3]).await.unwrap().len(), 1);
    assert_eq!(store.loads(), 2);
    store.plan([Plan::Down]);
    assert!(matches!(cache.get_many([1, 7]).await, Err(StoreCacheError::Store(_))));
    assert!(cache.get_many([1, 7]).await.unwrap().contains_key(&1));
}

#[tokio::test(start_paused = true)]
async fn old_values_serve_while_the_store_fails_and_the_breaker_spares_it() {
    let store = Fake::new([(1, 10)]);
    let cache = cache(&store, |builder| builder.circuit_breaker(3, 5 * SECOND));
    cache.get(&1).await.unwrap();
    tokio::time::advance(10 * SECOND).await;
    store.always(Some(Plan::Down));
    for _ in 0..10 {
        assert_eq!(cache.get(&1).await.unwrap(), Some(10));
    }
    assert_eq!(store.loads(), 1 + 3);
    assert!(cache.stats().is_store_down());
    assert!(matches!(cache.get(&2).await, Err(StoreCacheError::Unavailable)));
    assert_eq!(cache.get_many([1]).await.unwrap()[&1], 10);
    assert_eq!(cache.cache_stats().stale_served(), 11);
    // One probe, which fails.
    tokio::time::advance(5 * SECOND).await;
    let error = cache.get(&2).await.unwrap_err();
    assert!(matches!(&error, StoreCacheError::Store(error) if error.is_transient()), "{error}");
    assert!(matches!(cache.get(&2).await, Err(StoreCacheError::Unavailable)));
    // A probe that is given up frees the way for the next.
    tokio::time::advance(5 * SECOND).await;
    store.always(None);
    assert!(cache.get(&2).now_or_never().is_none());
    assert_eq!(cache.get(&2).await.unwrap(), None);
    assert!(!cache.stats().is_store_down());
    assert_eq!(cache.get(&1).await.unwrap(), Some(10));
    assert_eq!(store.loads(), 1 + 3 + 1 + 1 + 1 + 1);
}

#[tokio::test(start_paused = true)]
async fn a_load_that_hangs_is_given_up_in_time() {
    let store = Fake::new([(1, 10)]);
    let cache = cache(&store, |builder| builder.load_timeout(SECOND));
    cache.get(&1).await.unwrap();
    tokio::time::advance(10 * SECOND).await;
    store.plan([Plan::Hangs, Plan::Hangs]);
    assert_eq!(cache.get(&1).await.unwrap(), Some(10), "the old value");
    assert!(matches!(cache.get(&2).await, Err(StoreCacheError::TimedOut)));
    assert_eq!(cache.get(&2).await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn a_load_may_be_dropped_at_any_await_and_may_panic() {
    let store = Fake::new([(1, 10)]);
    let cache = cache(&store, |builder| builder);
    for polls in 1..5 {
        store.plan([Plan::Works]);
        let mut get = Box::pin(cache.get(&1));
        for _ in 0..polls {
            if futures::poll!(&mut get).is_ready() {
                break;
            }
        }
        drop(get);
        cache.check_invariants();
    }
    cache.invalidate_all();
    store.plans.lock().clear();
    store.plan([Plan::Panics]);
    let other = cache.clone();
    assert!(tokio::spawn(async move { other.get(&1).await }).await.unwrap_err().is_panic());
    assert_eq!(cache.get(&1).await.unwrap(), Some(10));
}

#[tokio::test(start_paused = true)]
async fn refresh_brings_what_the_store_has_and_an_error_leaves_what_there_was() {
    let store = Fake::new([(1, 10)]);
    let cache = cache(&store, |builder| builder);
    assert_eq!(cache.refresh(&1).await.unwrap(), Some(10));
    store.map.lock().insert(1, 11);
    assert_eq!(cache.get(&1).await.unwrap(), Some(10));
    store.plan([Plan::Waits]);
    let mut refresh = Box::pin(cache.refresh(&1));
    assert!(futures::poll!(&mut refresh).is_pending());
    assert_eq!(cache.get(&1).now_or_never().unwrap().unwrap(), Some(10), "meanwhile the old one");
    store.let_go();
    assert_eq!(refresh.await.unwrap(), Some(11));
    assert_eq!(cache.get(&1).await.unwrap(), Some(11));
    store.plan([Plan::Down]);
    assert!(cache.refresh(&1).await.is_err());
    assert_eq!(cache.get(&1).await.unwrap(), Some(11));
    store.map.lock().clear();
    assert_eq!(cache.refresh(&1).await.unwrap(), None);
    assert_eq!((cache.get(&1).await.unwrap(), store.loads()), (None, 4));
}

#[tokio::test(start_paused = true)]
async fn a_value_that_is_due_is_loaded_again_behind_the_readers_back() {
    let store = Fake::new([(1, 10)]);
    let builder = Cache::builder().refresh_after(SECOND).clock(RuntimeClock::new());
    let cache = builder.read_through(Arc::clone(&store)).write_through().build().unwrap();
    assert_eq!(cache.get(&1).await.unwrap(), Some(10));
    tokio::time::advance(SECOND).await;
    store.map.lock().insert(1, 11);
    assert_eq!(cache.get(&1).now_or_never().unwrap().unwrap(), Some(10));
    tokio::time::sleep(SECOND / 10).await;
    assert_eq!((cache.get(&1).await.unwrap(), store.loads()), (Some(11), 2));
    // A write wins over a refresh that has read the old value.
    tokio::time::advance(SECOND).await;
    store.plan([Plan::Waits]);
    assert_eq!(cache.get(&1).await.unwrap(), Some(11));
    tokio::time::sleep(SECOND / 10).await;
    assert_eq!(store.loads(), 3);
    cache.put(1, 12).await.unwrap();
    store.let_go();
    tokio::time::sleep(SECOND / 10).await;
    assert_eq!((cache.get(&1).await.unwrap(), store.value(1)), (Some(12), Some(12)));
    cache.check_invariants();
}

struct Ledger(parking_lot::Mutex<std::collections::HashMap<String, u64>>);

impl BlockingStore<String, u64> for Ledger {
    type Error = String;

    fn load(&self, key: &String) -> Result<Option<u64>, StoreError<String>> {
        assert_ne!(key, "panic");
        Ok(self.0.lock().get(key).copied())
    }

    fn write(&self, batch: &[Write<String, u64>]) -> Result<Written<String>, StoreError<String>> {
        for write in batch {
            match write.value() {
                Some(&value) => self.0.lock().insert(write.key().clone(), value),
                None => self.0.lock().remove(write.key()),
            };
        }
        // `?` makes it a transient one.
        std::str::from_utf8(&[]).map_err(|error| error.to_string())?;
        Ok(Written::all())
    }
}

#[tokio::test]
async fn a_blocking_store_is_a_store_too_and_keys_may_be_asked_for_by_their_borrowed_form() {
    let clock = Arc::new(ManualClock::new());
    let ledger = Blocking::new(Ledger(parking_lot::Mutex::default()));
    let cache = Cache::builder().clock(clock).read_through(ledger).write_through().build().unwrap();
    cache.put(String::from("a"), 1).await.unwrap();
    cache.invalidate("a");
    assert_eq!(cache.get("a").await.unwrap(), Some(1));
    assert_eq!(cache.get_many(["a", "b"].map(String::from)).await.unwrap()["a"], 1);
    cache.delete("a").await.unwrap();
    assert_eq!(cache.get("a").await.unwrap(), None);
    assert_eq!(cache.store().get_ref().0.lock().len(), 0);
    let other = cache.clone();
    assert!(tokio::spawn(async move { other.get("panic").await }).await.unwrap_err().is_panic());
    assert!(timeout(SECOND, cache.get("b")).await.unwrap().unwrap().is_none());
}
