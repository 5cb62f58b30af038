//! Write-behind: what was accepted reaches the store or is reported, and reads see it at once.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use millpond_cache::backing::{DeadCause, DeadLetter, StoreCache, StoreCacheError, WhenFull, WriteBehind};
use millpond_cache::{Cache, ManualClock};
use parking_lot::Mutex;
use tokio::task::yield_now;
use tokio::time::{Instant, timeout};

use super::{Fake, Plan, RuntimeClock, SECOND};

type Backed = StoreCache<u64, u64, Arc<Fake>>;
type Settings = WriteBehind<u64, u64, &'static str>;
/// Key, value, attempts, cause in words.
type Letters = Arc<Mutex<Vec<(u64, Option<u64>, u32, String)>>>;

const DELAY: Duration = Duration::from_millis(100);

fn log(letters: &Letters) -> impl Fn(DeadLetter<u64, u64, &'static str>) + Send + Sync + 'static {
    let letters = Arc::clone(letters);
    move |letter| {
        let cause = letter.cause().to_string();
        letters.lock().push((*letter.key(), letter.value().copied(), letter.attempts(), cause));
    }
}

fn cache(store: &Arc<Fake>, configure: impl FnOnce(Settings) -> Settings) -> (Backed, Letters) {
    let letters = Letters::default();
    let settings = WriteBehind::new(log(&letters)).max_delay(DELAY).backoff(DELAY, 10 * SECOND);
    let builder = Cache::builder().max_capacity(100).clock(RuntimeClock::new());
    let builder = builder.read_through(Arc::clone(store)).write_behind(configure(settings));
    (builder.build().unwrap(), letters)
}

fn no_letters(letters: &Letters) {
    assert_eq!(*letters.lock(), []);
}

#[tokio::test(start_paused = true)]
async fn writes_of_a_key_are_folded_and_batches_go_out_after_the_delay() {
    let store = Fake::new([]);
    let (cache, letters) = cache(&store, |settings| settings);
    let began = Instant::now();
    for n in 0..100 {
        cache.put(n % 3, n).await.unwrap();
        assert_eq!(cache.get(&(n % 3)).await.unwrap(), Some(n));
    }
    cache.put(7, 7).await.unwrap();
    cache.delete(&7).await.unwrap();
    assert_eq!(cache.get(&7).await.unwrap(), None);
    assert_eq!((cache.stats().queue_length(), cache.stats().coalesced()), (4, 98));
    tokio::time::sleep(DELAY / 2).await;
    assert_eq!(cache.stats().oldest_age(), Some(DELAY / 2));
    while cache.stats().queue_length() > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
        cache.check_invariants();
    }
    assert!(began.elapsed() >= DELAY && began.elapsed() < DELAY + Duration::from_millis(10));
    assert_eq!(*store.batches.lock(), [[(0, Some(99)), (1, Some(97)), (2, Some(98)), (7, None)]]);
    assert_eq!((store.loads(), cache.stats().written(), cache.stats().batches()), (0, 4, 1));
    assert_eq!(cache.get(&0).await.unwrap(), Some(99));
    assert_eq!(store.loads(), 0, "a written value is cached");
    no_letters(&letters);
}

#[tokio::test(start_paused = true)]
async fn reads_see_what_is_not_written_yet_whatever_becomes_of_the_cache() {
    let store = Fake::new([(1, 1), (2, 2)]);
    store.always(Some(Plan::Down));
    let settings: Settings = WriteBehind::new(|letter| panic!("{letter:?}")).max_delay(Duration::ZERO);
    // A cache that keeps nothing at all.
    let builder = Cache::builder().max_capacity(0).clock(RuntimeClock::new());
    let cache = builder.read_through(Arc::clone(&store)).write_behind(settings).build().unwrap();
    cache.put(1, 11).await.unwrap();
    cache.delete(&2).await.unwrap();
    tokio::time::sleep(SECOND).await;
    cache.invalidate_all();
    assert!(cache.stats().is_store_down() && cache.stats().retried() >= 2);
    assert_eq!((cache.get(&1).await.unwrap(), cache.get(&2).await.unwrap()), (Some(11), None));
    assert_eq!(cache.refresh(&1).await.unwrap(), Some(11));
    assert_eq!(cache.get_many([1, 2]).await.unwrap(), [(1, 11)].into());
    assert_eq!(store.loads(), 0);
    store.always(None);
    cache.flush().await;
    assert_eq!((store.value(1), store.value(2)), (Some(11), None));
    assert_eq!(cache.get(&1).await.unwrap(), Some(11));
    assert!(!cache.stats().is_store_down());
}

#[tokio::test(start_paused = true)]
async fn a_load_that_began_before_a_write_does_not_bring_the_old_value_back() {
    let store = Fake::new([(1, 10)]);
    let (cache, _) = cache(&store, |settings| settings);
    store.plan([Plan::Waits]);
    let mut get = Box::pin(cache.get(&1));
    assert!(futures::poll!(&mut get).is_pending());
    yield_now().await;
    cache.put(1, 11).await.unwrap();
    store.let_go();
    assert_eq!(get.await.unwrap(), Some(10), "it began before the write");
    assert_eq!(cache.get(&1).await.unwrap(), Some(11));
    cache.flush().await;
    assert_eq!(cache.get(&1).await.unwrap(), Some(11));
}

#[tokio::test(start_paused = true)]
async fn a_write_while_its_key_is_in_flight_comes_after_it() {
    let store = Fake::new([]);
    let (cache, letters) = cache(&store, |settings| settings.max_delay(Duration::ZERO));
    store.plan([Plan::Waits]);
    cache.put(1, 1).await.unwrap();
    while !store.is_writing() {
        yield_now().await;
    }
    for value in 2..5 {
        cache.put(1, value).await.unwrap();
        assert_eq!(cache.get(&1).await.unwrap(), Some(value));
    }
    cache.put(2, 2).await.unwrap();
    tokio::time::sleep(SECOND).await;
    assert_eq!(*store.done.lock(), [(2, Some(2))], "other keys do not wait for it");
    assert_eq!((cache.stats().in_flight(), cache.stats().queue_length()), (1, 2));
    store.let_go();
    cache.flush().await;
    assert_eq!(*store.done.lock(), [(2, Some(2)), (1, Some(1)), (1, Some(4))]);
    no_letters(&letters);
}

#[tokio::test(start_paused = true)]
async fn flush_returns_when_all_before_it_is_written_or_reported() {
    let store = Fake::new([]);
    let (cache, letters) = cache(&store, |settings| settings.max_delay(3600 * SECOND));
    cache.flush().await;
    cache.put(1, 1).await.unwrap();
    cache.put(2, 2).await.unwrap();
    store.plan([Plan::Down, Plan::AnswerLost, Plan::Partly(vec![(0, false), (1, true)])]);
    let began = Instant::now();
    cache.flush().await;
    assert_eq!(
        (store.value(1), store.value(2)),
        (Some(1), Some(2)),
        "its answer was lost, and it was refused later"
    );
    assert_eq!(*letters.lock(), [(2, Some(2), 2, String::from("the store failed: refused"))]);
    assert!(began.elapsed() > DELAY / 2 && began.elapsed() < 10 * DELAY, "{:?}", began.elapsed());
    let stats = cache.stats();
    assert_eq!((stats.written(), stats.dead(), stats.retried(), stats.queue_length()), (1, 1, 5, 0));
    // A flush that is given up loses nothing, and what is written later needs another.
    store.plan([Plan::Waits]);
    cache.put(3, 3).await.unwrap();
    assert!(timeout(SECOND, cache.flush()).await.is_err());
    cache.put(4, 4).await.unwrap();
    store.let_go();
    timeout(SECOND, cache.flush()).await.unwrap();
    assert_eq!((store.value(3), store.value(4)), (Some(3), Some(4)));
}

#[tokio::test(start_paused = true)]
async fn a_flush_is_not_held_up_by_a_key_that_is_written_all_the_time() {
    let store = Fake::new([]);
    let (cache, _) = cache(&store, |settings| settings);
    cache.put(1, 0).await.unwrap();
    let writer = cache.clone();
    let hot = tokio::spawn(async move {
        for n in 1.. {
            writer.put(1, n).await.unwrap();
            yield_now().await;
        }
    });
    for _ in 0..5 {
        timeout(SECOND, cache.flush()).await.unwrap();
        yield_now().await;
    }
    hot.abort();
    assert!(hot.await.unwrap_err().is_cancelled());
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_lets_callers_wait_in_order_and_those_who_leave_lose_nothing() {
    let store = Fake::new([]);
    let (cache, letters) = cache(&store, |settings| settings.max_queue(2).max_batch(1).max_in_flight(1));
    store.always(Some(Plan::Waits));
    cache.put(1, 1).await.unwrap();
    cache.put(2, 2).await.unwrap();
    let mut waiting: Vec<_> = (3..7).map(|key| Box::pin(cache.put(key, key))).collect();
    for put in &mut waiting {
        assert!(futures::poll!(put).is_pending());
    }
    cache.put(2, 22).now_or_never().expect("it needs no room").unwrap();
    assert_eq!(cache.get(&2).await.unwrap(), Some(22));
    // The first and the third in line leave.
    drop(waiting.remove(2));
    drop(waiting.remove(0));
    for _ in 0..4 {
        store.let_go();
    }
    for put in waiting {
        put.await.unwrap();
        cache.check_invariants();
    }
    cache.flush().await;
    assert_eq!(*store.done.lock(), [(1, Some(1)), (2, Some(22)), (4, Some(4)), (6, Some(6))]);
    no_letters(&letters);
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_is_an_error_for_those_who_choose_so() {
    let store = Fake::new([]);
    let settings = |settings: Settings| {
        settings
            .max_queue_bytes(100)
            .weigher(|_, value| value.copied().unwrap_or(1))
            .when_full(WhenFull::Error)
    };
    let (cache, _) = cache(&store, settings);
    cache.put(1, 90).await.unwrap();
    assert!(matches!(cache.put(2, 20).await, Err(StoreCacheError::QueueFull)));
    assert_eq!(cache.get(&2).await.unwrap(), None);
    cache.put(1, 80).await.unwrap();
    cache.put(2, 20).await.unwrap();
    cache.delete(&1).await.unwrap();
    assert_eq!(cache.stats().queue_bytes(), 21);
    cache.flush().await;
    assert_eq!((store.value(1), store.value(2), cache.stats().queue_bytes()), (None, Some(20), 0));
}

#[tokio::test(start_paused = true)]
async fn what_the_store_refuses_is_reported_with_its_value_and_forgotten() {
    let store = Fake::new([(2, 20)]);
    let (cache, letters) = cache(&store, |settings| settings);
    for key in 0..4 {
        cache.put(key, key).await.unwrap();
    }
    // The whole batch, then its second half, then the first of that.
    store.plan([Plan::Refuses, Plan::Works, Plan::Refuses, Plan::Refuses]);
    cache.flush().await;
    assert_eq!(*letters.lock(), [(2, Some(2), 1, String::from("the store failed: refused"))]);
    assert_eq!(cache.get(&2).await.unwrap(), Some(20), "what the store has");
    assert_eq!((store.value(0), store.value(1), store.value(3)), (Some(0), Some(1), Some(3)));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_panics_takes_nothing_with_it() {
    let store = Fake::new([]);
    let (cache, letters) = cache(&store, |settings| settings.max_delay(Duration::ZERO));
    store.plan([Plan::Panics, Plan::Panics]);
    cache.put(1, 1).await.unwrap();
    cache.flush().await;
    assert_eq!(store.value(1), Some(1));
    no_letters(&letters);
    store.always(Some(Plan::Panics));
    cache.put(2, 2).await.unwrap();
    cache.flush().await;
    assert_eq!(*letters.lock(), [(2, Some(2), 1, String::from("the store panicked"))]);
    store.always(None);
    assert_eq!(cache.get(&2).await.unwrap(), None);
    cache.close(SECOND).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn attempts_and_the_time_of_one_can_be_limited() {
    let store = Fake::new([]);
    let settings = |settings: Settings| settings.max_attempts(3).write_timeout(SECOND);
    let (cache, letters) = cache(&store, settings);
    store.plan([Plan::Hangs, Plan::Down]);
    cache.put(1, 1).await.unwrap();
    cache.flush().await;
    assert_eq!(store.value(1), Some(1));
    store.plan([Plan::Down, Plan::Hangs, Plan::Partly(vec![(0, false)])]);
    cache.put(2, 2).await.unwrap();
    cache.flush().await;
    store.plan([Plan::Hangs, Plan::Hangs, Plan::Hangs]);
    cache.delete(&1).await.unwrap();
    cache.flush().await;
    let busy = String::from("the store failed: busy");
    let late = String::from("the store did not answer in time");
    assert_eq!(*letters.lock(), [(2, Some(2), 3, busy), (1, None, 3, late)]);
    assert_eq!(cache.get(&1).await.unwrap(), Some(1));
}

#[tokio::test(start_paused = true)]
async fn close_writes_what_there_is_without_delay() {
    let store = Fake::new([]);
    let (cache, letters) = cache(&store, |settings| settings.max_delay(3600 * SECOND));
    store.plan([Plan::Down]);
    cache.put(1, 1).await.unwrap();
    timeout(SECOND, cache.close(10 * SECOND)).await.unwrap().unwrap();
    assert_eq!((store.value(1), cache.get(&1).await.unwrap()), (Some(1), Some(1)));
    assert!(matches!(cache.put(1, 2).await, Err(StoreCacheError::Closed)));
    cache.close(Duration::ZERO).await.unwrap();
    no_letters(&letters);
}

#[tokio::test(start_paused = true)]
async fn close_during_a_hang_reports_everything_once_at_its_deadline() {
    let store = Fake::new([(1, 1)]);
    let settings = |settings: Settings| settings.max_queue(4).max_batch(2).max_in_flight(1);
    let (cache, letters) = cache(&store, settings);
    store.plan([Plan::Hangs]);
    for key in 1..4 {
        cache.put(key, 10 * key).await.unwrap();
    }
    while !store.is_writing() {
        tokio::time::sleep(DELAY).await;
    }
    // A newer value of a key in flight: one letter for both.
    cache.put(1, 100).await.unwrap();
    let mut refused = Box::pin(cache.put(9, 9));
    assert!(futures::poll!(&mut refused).is_pending());
    let began = Instant::now();
    assert_eq!(cache.close(SECOND).await.unwrap_err().unwritten(), 3);
    assert_eq!(began.elapsed(), SECOND);
    assert!(matches!(refused.await, Err(StoreCacheError::Closed)));
    let unfinished = String::from("not written before the end");
    let expected = [(1, 100), (2, 20), (3, 30)].map(|(key, value)| (key, Some(value), 1, unfinished.clone()));
    assert_eq!(*letters.lock(), expected);
    assert_eq!(cache.get(&1).await.unwrap(), Some(1), "what the store has");
    while store.is_writing() {
        yield_now().await;
    }
    cache.flush().await;
    cache.close(SECOND).await.unwrap();
    drop(cache);
    assert_eq!(letters.lock().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_letter_is_reported_before_flush_returns_and_its_panic_is_counted() {
    let store = Fake::new([]);
    let reader: Arc<Mutex<Option<Backed>>> = Arc::default();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (callback_reader, callback_seen) = (Arc::clone(&reader), Arc::clone(&seen));
    let settings: Settings = WriteBehind::new(move |letter: DeadLetter<u64, u64, _>| {
        // It may use the cache.
        let cache = callback_reader.lock().clone().unwrap();
        callback_seen.lock().push((*letter.key(), cache.stats().queue_length()));
        assert!(matches!(letter.cause(), DeadCause::Store(_)));
        panic!("a callback that panics, as it was told");
    });
    let builder = Cache::builder().read_through(Arc::clone(&store)).write_behind(settings);
    let cache = builder.build().unwrap();
    *reader.lock() = Some(cache.clone());
    store.plan([Plan::Partly(vec![(0, true), (1, true)])]);
    cache.put(1, 1).await.unwrap();
    cache.put(2, 2).await.unwrap();
    cache.flush().await;
    assert_eq!(*seen.lock(), [(1, 2), (2, 2)]);
    assert_eq!((cache.stats().callback_panics(), cache.stats().queue_length()), (2, 0));
    *reader.lock() = None;
}

#[tokio::test(start_paused = true)]
async fn the_last_handle_may_be_dropped_and_the_queue_is_still_written() {
    let store = Fake::new([]);
    let (cache, letters) = cache(&store, |settings| settings);
    store.plan([Plan::Down]);
    cache.put(1, 1).await.unwrap();
    drop(cache);
    tokio::time::sleep(SECOND).await;
    assert_eq!((store.value(1), Arc::strong_count(&store)), (Some(1), 1), "and then all is gone");
    no_letters(&letters);
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
}

#[test]
fn a_runtime_that_ends_leaves_the_queue_to_the_next_one() {
    let store = Fake::new([]);
    let first = runtime();
    let (cache, letters) = first.block_on(async { cache(&store, |settings| settings) });
    store.plan([Plan::Hangs]);
    first.block_on(async {
        cache.put(1, 1).await.unwrap();
        tokio::time::sleep(2 * DELAY).await;
        cache.put(1, 2).await.unwrap();
        cache.put(2, 2).await.unwrap();
        assert!(store.is_writing());
    });
    drop(first);
    cache.check_invariants();
    assert_eq!((cache.stats().in_flight(), cache.stats().queue_length()), (0, 2));
    runtime().block_on(async {
        assert_eq!(cache.get(&1).await.unwrap(), Some(2));
        cache.flush().await;
        assert_eq!(*store.done.lock(), [(1, Some(2)), (2, Some(2))]);
    });
    no_letters(&letters);
}

#[test]
fn a_runtime_that_ends_with_the_last_handle_reports_what_is_left() {
    let store = Fake::new([]);
    let first = runtime();
    let (cache, letters) = first.block_on(async { cache(&store, |settings| settings) });
    first.block_on(async {
        store.plan([Plan::Hangs]);
        cache.put(1, 1).await.unwrap();
        tokio::time::sleep(2 * DELAY).await;
        cache.delete(&2).await.unwrap();
    });
    drop(cache);
    no_letters(&letters);
    drop(first);
    let unfinished = String::from("not written before the end");
    assert_eq!(*letters.lock(), [(1, Some(1), 1, unfinished.clone()), (2, None, 1, unfinished)]);
    assert_eq!(Arc::strong_count(&store), 1);
}

#[tokio::test]
async fn time_is_the_caches_clock() {
    let clock = Arc::new(ManualClock::new());
    let store = Fake::new([]);
    let letters = Letters::default();
    let settings = WriteBehind::new(log(&letters)).max_delay(SECOND);
    let builder = Cache::builder().clock(Arc::clone(&clock)).read_through(Arc::clone(&store));
    let cache = builder.write_behind(settings).build().unwrap();
    cache.put(1, 1).await.unwrap();
    for _ in 0..10 {
        clock.advance(SECOND / 11);
        cache.run_pending_tasks();
        yield_now().await;
        assert!(store.batches.lock().is_empty());
    }
    clock.advance(SECOND / 10);
    cache.run_pending_tasks();
    while cache.stats().queue_length() > 0 {
        yield_now().await;
    }
    assert_eq!((store.value(1), letters.lock().len()), (Some(1), 0));
}
