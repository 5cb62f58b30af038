//! Single misses gathered into bulk loads. Time is tokio's own, paused: it moves when all tasks wait.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::FutureExt;
use futures::future::join_all;
use millpond_cache::{BatchLoader, Cache};
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, timeout};

use crate::support::{Random, watchdog};

const DELAY: Duration = Duration::from_millis(5);

type Batches = Arc<Mutex<Vec<Vec<u64>>>>;
type Loader = BatchLoader<u64, u64, &'static str>;

/// Squares, but for multiples of 10, which are absent, and 13, which fails.
fn squares(cache: &Cache<u64, u64>, delay: Duration, max: usize) -> (Loader, Batches) {
    let batches = Batches::default();
    let log = Arc::clone(&batches);
    let load = move |keys: Vec<u64>| {
        log.lock().push(keys.clone());
        async move {
            yield_now().await;
            if keys.contains(&13) {
                return Err("unlucky");
            }
            Ok(keys.into_iter().filter(|key| key % 10 != 0).map(|key| (key, key * key)))
        }
    };
    (cache.batch_loader(load, delay, max), batches)
}

fn sorted(batches: &Batches) -> Vec<Vec<u64>> {
    let mut batches = batches.lock().clone();
    batches.iter_mut().for_each(|batch| batch.sort_unstable());
    batches.sort();
    batches
}

#[tokio::test(start_paused = true)]
async fn what_is_asked_for_within_the_delay_is_one_load() {
    let cache = Cache::new(100);
    cache.insert(4, 44);
    let (loader, batches) = squares(&cache, DELAY, 100);
    let began = Instant::now();
    let late = async {
        sleep(DELAY / 2).await;
        loader.get(7).await
    };
    let together = join_all([1, 2, 1, 20, 4].map(|key| loader.get(key)));
    let (together, late) = tokio::join!(together, late);
    assert_eq!(together, [Ok(Some(1)), Ok(Some(4)), Ok(Some(1)), Ok(None), Ok(Some(44))]);
    assert_eq!(late, Ok(Some(49)));
    assert!(began.elapsed() < DELAY * 2, "the first key's delay counts");
    assert_eq!(sorted(&batches), [[1, 2, 7, 20]]);
    assert_eq!(loader.get(2).await, Ok(Some(4)));
    assert_eq!(batches.lock().len(), 1, "hits load nothing");
    assert_eq!(loader.get(20).await, Ok(None));
    assert_eq!(batches.lock().len(), 2, "an absence is not cached");
    assert_eq!(cache.loads_in_flight(), 0);
    cache.check_invariants();
}

#[tokio::test(start_paused = true)]
async fn a_full_batch_does_not_wait() {
    let cache = Cache::new(100);
    let (loader, batches) = squares(&cache, Duration::MAX, 3);
    assert_eq!(join_all((1..7).map(|key| loader.get(key))).await.len(), 6);
    assert_eq!(sorted(&batches), [[1, 2, 3], [4, 5, 6]]);
    let one = loader.get(7);
    assert!(timeout(Duration::from_secs(3600), one).await.is_err(), "it waits for two more");
    assert_eq!(join_all((8..11).map(|key| loader.get(key))).await.len(), 3);
    assert_eq!(sorted(&batches).last().unwrap(), &[8, 9, 10], "who left is not loaded for");
    cache.check_invariants();
}

#[tokio::test]
async fn no_delay_needs_no_timer_and_gathers_what_is_ready() {
    let cache = Cache::new(100);
    let (loader, batches) = squares(&cache, Duration::ZERO, 100);
    let tasks: Vec<_> = (1..6)
        .map(|key| {
            let loader = loader.clone();
            tokio::spawn(async move { loader.get(key).await })
        })
        .collect();
    for (key, task) in (1..).zip(tasks) {
        assert_eq!(task.await.unwrap(), Ok(Some(key * key)));
    }
    assert_eq!(sorted(&batches), [[1, 2, 3, 4, 5]]);
}

#[tokio::test(start_paused = true)]
async fn batches_single_loads_and_writes_share_the_flights() {
    let cache = Cache::new(100);
    let (loader, batches) = squares(&cache, DELAY, 100);
    let mut one = Box::pin(loader.get(1));
    let mut two = Box::pin(loader.get(2));
    assert!((&mut one).now_or_never().is_none() && (&mut two).now_or_never().is_none());
    let single = cache.get_or_insert_with_async(1, async { unreachable!() });
    cache.insert(2, 222);
    let (one, two, single) = tokio::join!(one, two, single);
    assert_eq!((one, two, single), (Ok(Some(1)), Ok(Some(4)), 1));
    assert_eq!(cache.get(&2), Some(222), "a write meanwhile wins");
    assert_eq!(batches.lock().len(), 1);
    // The other way round.
    let slow = cache.get_or_insert_with_async(3, async {
        sleep(DELAY * 3).await;
        333
    });
    let (_, three) = tokio::join!(slow, loader.get(3));
    assert_eq!((three, batches.lock().len()), (Ok(Some(333)), 1));
    cache.check_invariants();
}

#[tokio::test(start_paused = true)]
async fn many_keys_go_with_the_next_batches() {
    let cache = Cache::new(100);
    cache.insert(4, 44);
    let (loader, batches) = squares(&cache, DELAY, 3);
    let mut single = Box::pin(loader.get(3));
    assert!((&mut single).now_or_never().is_none());
    let (inner, other) = (cache.clone(), loader.clone());
    // The iterator is the caller's, and may use the cache and the loader.
    let keys = [1, 2, 3, 4, 20, 2].into_iter().inspect(|&key| {
        inner.get(&key);
        drop(other.get(key));
    });
    let (many, single) = tokio::join!(loader.get_many(keys), single);
    let mut many: Vec<_> = many.unwrap().into_iter().collect();
    many.sort_unstable();
    assert_eq!((many, single), (vec![(1, 1), (2, 4), (3, 9), (4, 44)], Ok(Some(9))));
    assert_eq!(sorted(&batches), [vec![1, 2, 3], vec![20]]);
    assert_eq!(loader.get_many([]).await, Ok([].into()));
    assert_eq!(batches.lock().len(), 2);

    assert_eq!(loader.get_many([5, 13, 6, 7]).await, Err(Arc::new("unlucky")));
    // The queue forgets the last key when its turn comes.
    sleep(DELAY * 2).await;
    assert!(batches.lock().iter().all(|batch| !batch.contains(&7)));
    assert_eq!(
        (cache.get(&5), cache.loads_in_flight()),
        (None, 0),
        "its batch failed, and nobody waits for the other"
    );
    // A caller who leaves takes what nobody else waits for along.
    let before = batches.lock().len();
    let mut leaves = Box::pin(loader.get_many([31, 32]));
    assert!((&mut leaves).now_or_never().is_none());
    let mut stays = Box::pin(loader.get_many([32, 33]));
    assert!((&mut stays).now_or_never().is_none());
    drop(leaves);
    assert_eq!(stays.await, Ok([(32, 1024), (33, 1089)].into()));
    assert!(batches.lock()[before..].iter().all(|batch| !batch.contains(&31)));
    assert_eq!(cache.loads_in_flight(), 0);
    cache.check_invariants();
}

#[tokio::test(start_paused = true)]
async fn batches_of_any_size() {
    for max in [0, 1, usize::MAX] {
        let cache = Cache::new(100);
        let (loader, batches) = squares(&cache, DELAY, max);
        assert_eq!(loader.get_many(1..4).await, Ok([(1, 1), (2, 4), (3, 9)].into()));
        assert_eq!(batches.lock().len(), if max == usize::MAX { 1 } else { 3 });
    }
}

#[tokio::test]
async fn a_panic_of_the_loader_reaches_who_asks_for_many() {
    let cache: Cache<u64, u64> = Cache::new(100);
    let loads = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&loads);
    let loader = cache.batch_loader(
        move |keys: Vec<u64>| {
            let first = count.fetch_add(1, Ordering::Relaxed) == 0;
            async move {
                assert!(!first, "injected");
                Ok::<_, ()>(keys.into_iter().map(|key| (key, key)))
            }
        },
        Duration::ZERO,
        10,
    );
    let panicked = std::panic::AssertUnwindSafe(loader.get_many([1, 2])).catch_unwind().await;
    assert!(panicked.is_err());
    assert_eq!(loader.get_many([1, 2]).await, Ok([(1, 1), (2, 2)].into()));
    // Loads of others that die are begun anew.
    let mut dying = Box::pin(cache.get_or_insert_with_async(3, std::future::pending()));
    assert!((&mut dying).now_or_never().is_none());
    let mut many = Box::pin(loader.get_many([3, 4]));
    assert!((&mut many).now_or_never().is_none());
    drop(dying);
    assert_eq!(many.await, Ok([(3, 3), (4, 4)].into()));
    cache.check_invariants();
}

#[tokio::test(start_paused = true)]
async fn an_error_is_for_the_whole_batch_and_not_cached() {
    let cache = Cache::builder().max_capacity(100).record_stats().build().unwrap();
    let (loader, batches) = squares(&cache, DELAY, 100);
    let (good, bad) = tokio::join!(loader.get(1), loader.get(13));
    assert!(Arc::ptr_eq(&good.unwrap_err(), &bad.unwrap_err()));
    assert_eq!(loader.get(1).await, Ok(Some(1)));
    assert_eq!(batches.lock().len(), 2);
    assert_eq!((cache.stats().load_failures(), cache.stats().load_successes()), (1, 1));
    cache.check_invariants();
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_caller_cancels_nobody() {
    let cache = Cache::new(100);
    let gate = Arc::new(Semaphore::new(0));
    let passing = Arc::clone(&gate);
    let loads = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&loads);
    let load = move |keys: Vec<u64>| {
        counter.fetch_add(1, Ordering::Relaxed);
        let gate = Arc::clone(&passing);
        async move {
            gate.acquire().await.unwrap().forget();
            Ok::<_, &str>(keys.into_iter().map(|key| (key, key * key)))
        }
    };
    let loader = cache.batch_loader(load, DELAY, 100);
    // In the queue.
    let mut first = Box::pin(loader.get(1));
    let mut second = Box::pin(loader.get(2));
    let mut joined = Box::pin(cache.get_or_insert_with_async(1, async { unreachable!() }));
    assert!((&mut first).now_or_never().is_none());
    assert!((&mut second).now_or_never().is_none());
    assert!((&mut joined).now_or_never().is_none());
    drop(first);
    // During the load.
    assert!(timeout(DELAY * 2, &mut second).await.is_err());
    drop(second);
    gate.add_permits(1);
    assert_eq!(joined.await, 1);
    assert_eq!(cache.get(&2), Some(4), "the load ends, whoever left");
    assert_eq!(loads.load(Ordering::Relaxed), 1);
    // All of them, in the queue: nothing is loaded.
    drop(timeout(DELAY / 2, loader.get(3)).await);
    sleep(DELAY * 2).await;
    assert_eq!((loads.load(Ordering::Relaxed), cache.loads_in_flight()), (1, 0));
    cache.check_invariants();
}

#[tokio::test(start_paused = true)]
async fn a_limit_on_loads_makes_the_next_ones_wait_and_the_queue_stays_short() {
    let cache = Cache::new(100_000);
    let running = Arc::new(AtomicU64::new(0));
    let load = move |keys: Vec<u64>| {
        assert!(keys.len() <= 10);
        let running = Arc::clone(&running);
        async move {
            assert!(running.fetch_add(1, Ordering::SeqCst) < 2);
            sleep(Duration::from_secs(1)).await;
            running.fetch_sub(1, Ordering::SeqCst);
            Ok::<_, &str>(keys.into_iter().map(|key| (key, key)))
        }
    };
    let loader = cache.batch_loader(load, DELAY, 10).max_in_flight(NonZeroUsize::new(2).unwrap());
    let began = Instant::now();
    let tasks: Vec<_> = (0..60)
        .map(|key| {
            let loader = loader.clone();
            tokio::spawn(async move { loader.get(key).await })
        })
        .collect();
    sleep(DELAY * 3).await;
    // A flood of callers who leave at once.
    for key in 1_000..11_000 {
        assert!(loader.get(key).now_or_never().is_none());
        assert!(cache.loads_in_flight() <= 2 * 60 + 10 + 1, "who left is forgotten");
    }
    for (key, task) in (0..).zip(tasks) {
        assert_eq!(task.await.unwrap(), Ok(Some(key)));
    }
    assert_eq!(began.elapsed().as_secs(), 3, "six batches, two at a time");
    cache.check_invariants();
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_the_loader_reaches_its_callers_and_the_next_batch_works() {
    let cache = Cache::new(100);
    let calls = Arc::new(AtomicU64::new(0));
    let load = move |keys: Vec<u64>| {
        let call = calls.fetch_add(1, Ordering::Relaxed);
        assert_ne!(call, 0, "before the first await");
        async move {
            yield_now().await;
            assert_ne!(call, 1, "after it");
            Ok::<_, &str>(keys.into_iter().map(|key| (key, key * key)))
        }
    };
    let loader = cache.batch_loader(load, DELAY, 100);
    for _ in 0..2 {
        let tasks = [1, 2].map(|key| {
            let loader = loader.clone();
            tokio::spawn(async move { loader.get(key).await })
        });
        for task in tasks {
            assert!(task.await.unwrap_err().is_panic());
        }
        assert_eq!(cache.loads_in_flight(), 0);
    }
    assert_eq!(loader.get(1).await, Ok(Some(1)));
    cache.check_invariants();
}

#[test]
fn a_loader_survives_the_runtime_that_used_it() {
    watchdog(60, || {
        let cache = Cache::new(100);
        let (loader, _) = squares(&cache, Duration::from_secs(3600), 3);
        let runtime = || tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let first = runtime();
        first.block_on(async { drop(timeout(Duration::from_millis(1), loader.get(1)).await) });
        assert_eq!(cache.loads_in_flight(), 1, "its dispatcher waits for more");
        drop(first);
        assert_eq!(cache.loads_in_flight(), 0);
        let values = runtime().block_on(join_all([1, 2, 3].map(|key| loader.get(key))));
        assert_eq!(values, [Ok(Some(1)), Ok(Some(4)), Ok(Some(9))]);
        cache.check_invariants();
    });
}

#[test]
fn tasks_that_are_aborted_at_random_leave_nothing() {
    watchdog(120, || {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_time().build().unwrap();
        let cache: Cache<u64, u64> = Cache::new(64);
        let (loader, _) = squares(&cache, Duration::from_micros(100), 4);
        let loader = loader.max_in_flight(NonZeroUsize::new(3).unwrap());
        runtime.block_on(async {
            let mut random = Random::new(3);
            for _ in 0..100 {
                let tasks: Vec<_> = (0..20)
                    .map(|_| {
                        let (loader, cache) = (loader.clone(), cache.clone());
                        let (key, choice) = (21 + random.below(8), random.below(5));
                        tokio::spawn(async move {
                            match choice {
                                0 => cache.invalidate(&key),
                                1 => assert_eq!(
                                    cache.get_or_insert_with_async(key, async { key * key }).await,
                                    key * key
                                ),
                                _ => assert_eq!(loader.get(key).await, Ok(Some(key * key))),
                            }
                        })
                    })
                    .collect();
                for task in tasks {
                    if random.below(3) == 0 {
                        task.abort();
                    }
                    if let Err(error) = task.await {
                        assert!(error.is_cancelled(), "{error}");
                    }
                }
            }
            let began = std::time::Instant::now();
            while cache.loads_in_flight() > 0 {
                assert!(began.elapsed() < Duration::from_secs(10), "a flight was left");
                sleep(Duration::from_millis(1)).await;
            }
        });
        cache.check_invariants();
    });
}
