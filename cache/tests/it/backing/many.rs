//! Many writes in one call.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use millpond_cache::Cache;
use millpond_cache::backing::{
    Store, StoreCache, StoreCacheError, StoreError, WhenFull, Write, WriteBehind, Written,
};
use parking_lot::Mutex;
use tokio::task::yield_now;

use super::{Fake, Plan, SECOND};
use crate::support::scaled;

fn through(store: &Arc<Fake>) -> StoreCache<u64, u64, Arc<Fake>> {
    Cache::builder().max_capacity(100).read_through(Arc::clone(store)).write_through().build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn with_write_through_they_are_one_write_of_the_store() {
    let store = Fake::new([(1, 10)]);
    let cache = through(&store);
    cache.get(&1).await.unwrap();
    cache.put_many([(1, 11), (2, 20), (3, 30), (2, 21)]).await.unwrap();
    let mut batches = store.batches.lock().clone();
    batches.iter_mut().for_each(|batch| batch.sort_unstable());
    assert_eq!(batches, [vec![(1, Some(11)), (2, Some(21)), (3, Some(30))]]);
    let found: BTreeMap<u64, u64> = cache.get_many(1..4).await.unwrap().into_iter().collect();
    assert_eq!((found, store.loads()), (BTreeMap::from([(1, 11), (2, 21), (3, 30)]), 1));
    cache.put_many([]).await.unwrap();
    assert_eq!(store.batches.lock().len(), 1);
    cache.close(SECOND).await.unwrap();
    let error = cache.put_many([(1, 1), (2, 2)]).await.unwrap_err();
    assert!(error.failures().iter().all(|(_, error)| matches!(error, StoreCacheError::Closed)));
    assert_eq!(error.failures().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn cache_and_store_agree_whatever_becomes_of_them() {
    let plans = [
        Plan::Down,
        Plan::AnswerLost,
        Plan::Refuses,
        Plan::Partly(vec![(0, true), (2, false), (0, false), (77, true)]),
        Plan::Panics,
    ];
    for plan in plans {
        let store = Fake::new([(1, 10), (2, 20)]);
        let cache = through(&store);
        cache.get_many(1..4).await.unwrap();
        store.plan([plan.clone()]);
        let writer = cache.clone();
        let put = tokio::spawn(async move { writer.put_many([(1, 11), (2, 21), (3, 31)]).await });
        match put.await {
            Ok(answer) => {
                let failures = answer.unwrap_err().into_failures();
                assert_eq!(failures.len(), if matches!(plan, Plan::Partly(_)) { 2 } else { 3 }, "{plan:?}");
                for (key, error) in failures {
                    assert!(matches!(error, StoreCacheError::Store(_)), "{plan:?}: {key}: {error}");
                    let was_written = store.value(key) == Some(key * 10 + 1);
                    assert_eq!(was_written, matches!(plan, Plan::AnswerLost), "{plan:?}: {key}");
                }
            }
            Err(error) => assert!(error.is_panic() && matches!(plan, Plan::Panics)),
        }
        for key in 0..4 {
            assert_eq!(cache.get(&key).await.unwrap(), store.value(key), "{plan:?}: {key}");
        }
        cache.check_invariants();
        cache.put_many([(1, 12), (2, 22), (3, 32)]).await.unwrap();
        for key in 0..4 {
            assert_eq!(cache.get(&key).await.unwrap(), store.value(key), "{plan:?}: {key}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn readers_wait_for_all_of_it_and_who_leaves_changes_nothing() {
    let store = Fake::new([(1, 10), (2, 20)]);
    let cache = through(&store);
    store.plan([Plan::Waits]);
    let mut put = Box::pin(cache.put_many([(1, 11), (2, 21)]));
    assert!(futures::poll!(&mut put).is_pending());
    yield_now().await;
    assert!(store.is_writing());
    let mut get = Box::pin(cache.get(&2));
    assert!(futures::poll!(&mut get).is_pending());
    drop(put);
    assert_eq!(cache.close(SECOND).await.unwrap_err().unwritten(), 2);
    store.let_go();
    assert_eq!((get.await.unwrap(), store.value(1), store.loads()), (Some(21), Some(11), 0));
    cache.close(SECOND).await.unwrap();
}

/// In opposite orders, of many tasks, beside single puts: nobody waits in a circle.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn overlapping_ones_end_in_the_order_of_the_store() {
    let rounds = scaled(50, 2);
    for _ in 0..rounds {
        let store = Fake::new([]);
        let cache = through(&store);
        let writers = (0..8_u64).map(|n| {
            let cache = cache.clone();
            tokio::spawn(async move {
                let keys: Vec<u64> = if n % 2 == 0 { (0..6).collect() } else { (0..6).rev().collect() };
                cache.put_many(keys.into_iter().map(|key| (key, n))).await.unwrap();
                cache.put(n % 6, 100 + n).await.unwrap();
            })
        });
        for writer in writers.collect::<Vec<_>>() {
            tokio::time::timeout(Duration::from_secs(20), writer)
                .await
                .expect("they wait in a circle")
                .unwrap();
        }
        for key in 0..6 {
            assert_eq!(cache.get(&key).await.unwrap(), store.value(key));
        }
    }
}

/// A key whose hash says nothing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Same(u64);

impl Hash for Same {
    fn hash<H: Hasher>(&self, state: &mut H) {
        0.hash(state);
    }
}

#[derive(Default)]
struct Table(Mutex<BTreeMap<Same, u64>>);

impl Store<Same, u64> for Table {
    type Error = String;

    async fn load(&self, key: &Same) -> Result<Option<u64>, StoreError<String>> {
        Ok(self.0.lock().get(key).copied())
    }

    async fn write(&self, batch: &[Write<Same, u64>]) -> Result<Written<String>, StoreError<String>> {
        yield_now().await;
        for write in batch {
            self.0.lock().insert(write.key().clone(), *write.value().unwrap());
        }
        Ok(Written::all())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_of_one_hash_do_not_make_callers_wait_in_a_circle() {
    let table = Arc::new(Table::default());
    let cache = Cache::builder().read_through(Arc::clone(&table)).write_through().build().unwrap();
    let writers = (0..8_u64).map(|n| {
        let cache = cache.clone();
        tokio::spawn(async move {
            for _ in 0..20 {
                let keys = (0..5).map(|key| Same(if n % 2 == 0 { key } else { 4 - key }));
                cache.put_many(keys.map(|key| (key, n))).await.unwrap();
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        tokio::time::timeout(Duration::from_secs(20), writer).await.expect("they wait in a circle").unwrap();
    }
    for key in 0..5 {
        assert_eq!(cache.get(&Same(key)).await.unwrap(), table.0.lock().get(&Same(key)).copied());
    }
}

#[tokio::test(start_paused = true)]
async fn with_write_behind_they_are_queued_in_order_and_some_may_find_no_room() {
    let store = Fake::new([]);
    store.always(Some(Plan::Down));
    let settings = WriteBehind::new(|letter| panic!("{letter:?}")).max_queue(3).when_full(WhenFull::Error);
    let builder = Cache::builder().read_through(Arc::clone(&store)).write_behind(settings);
    let cache = builder.build().unwrap();
    let error = cache.put_many([(1, 1), (2, 2), (1, 3), (3, 3), (4, 4), (2, 5)]).await.unwrap_err();
    assert!(matches!(error.failures(), [(4, StoreCacheError::QueueFull)]), "{error}");
    let found: BTreeMap<u64, u64> = cache.get_many(1..4).await.unwrap().into_iter().collect();
    assert_eq!(found, BTreeMap::from([(1, 3), (2, 5), (3, 3)]));
    store.always(None);
    cache.flush().await;
    assert_eq!(*store.map.lock(), found);
    let reader = Cache::builder().read_through(Arc::clone(&store)).build().unwrap();
    let error = reader.put_many([(1, 1)]).await.unwrap_err();
    assert!(matches!(error.failures(), [(1, StoreCacheError::ReadOnly)]));
}
