//! Contained panics whose payloads panic again when they are dropped: they go no further either, and abort nothing.

use std::panic::panic_any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use futures::executor::block_on;
use millpond_cache::{Cache, ManualClock, Notifications, WhenFull};
use parking_lot::Mutex;

use crate::support::eventually;

const SECOND: Duration = Duration::from_secs(1);

/// Panics when it is dropped, with another one of its kind.
struct Bomb(u32);

impl Drop for Bomb {
    fn drop(&mut self) {
        if self.0 > 0 {
            panic_any(Self(self.0 - 1));
        }
    }
}

fn explode<R>() -> R {
    panic_any(Bomb(3))
}

#[test]
fn b20_a_listener_panics_with_a_bomb() {
    let cache: Cache<u32, u32> = Cache::builder()
        .max_capacity(10)
        .record_stats()
        .eviction_listener(|_, _, _| explode())
        .build()
        .unwrap();
    for n in 0..100 {
        cache.insert(n % 20, n);
    }
    cache.invalidate_all();
    cache.run_pending_tasks();
    assert_eq!(cache.stats().listener_panics(), 100, "once for each value");
    cache.check_invariants();
}

#[derive(Debug)]
struct CloneBomb;

impl Clone for CloneBomb {
    fn clone(&self) -> Self {
        explode()
    }
}

/// A waker of a broken executor.
struct WakeBomb;

impl Wake for WakeBomb {
    fn wake(self: Arc<Self>) {
        explode()
    }
}

#[test]
fn b20_an_event_is_lost_to_a_bomb_in_a_clone_or_a_waker() {
    let (builder, removals) = Cache::builder().record_stats().notifications(10, WhenFull::Drop);
    let cache: Cache<u32, CloneBomb> = builder.build().unwrap();
    (0..5).for_each(|_| cache.insert(1, CloneBomb));
    cache.invalidate(&1);
    assert_eq!((removals.dropped(), cache.stats().listener_panics()), (5, 5));

    let (builder, mut removals) = Cache::builder().notifications(10, WhenFull::Drop);
    let cache: Cache<u32, u32> = builder.build().unwrap();
    let waker = Waker::from(Arc::new(WakeBomb));
    for n in 0..5 {
        assert!(removals.poll_next(&mut Context::from_waker(&waker)).is_pending());
        cache.insert(1, n);
        cache.invalidate(&1);
        assert_eq!(removals.try_recv().map(|removal| removal.value), Some(n));
    }
    assert!(removals.poll_next(&mut Context::from_waker(&waker)).is_pending());
    drop(cache);
    assert!(removals.try_recv().is_none());
}

type Receiver = Arc<Mutex<Option<Notifications<u32, Hangup>>>>;

/// Hangs up on its receiver when it is cloned; the clone panics when it is dropped.
struct Hangup(Receiver, bool);

impl Clone for Hangup {
    fn clone(&self) -> Self {
        let receiver = self.0.lock().take();
        drop(receiver);
        Self(Arc::clone(&self.0), true)
    }
}

impl Drop for Hangup {
    fn drop(&mut self) {
        if self.1 {
            explode()
        }
    }
}

#[test]
fn b20_an_event_that_nobody_receives_dies_of_a_bomb() {
    let told = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&told);
    let (builder, removals) = Cache::builder().record_stats().notifications(10, WhenFull::Drop);
    let builder = builder.eviction_listener(move |_, _: &Hangup, _| {
        count.fetch_add(1, Ordering::Relaxed);
    });
    let cache: Cache<u32, Hangup> = builder.build().unwrap();
    cache.insert(1, Hangup(Arc::new(Mutex::new(Some(removals))), false));
    cache.invalidate(&1);
    assert_eq!((told.load(Ordering::Relaxed), cache.stats().listener_panics()), (1, 1));
    cache.run_pending_tasks();
    cache.check_invariants();
}

#[test]
fn b20_a_refresh_dies_of_a_bomb() {
    let clock = Arc::new(ManualClock::new());
    let builder = || Cache::builder().refresh_after(SECOND).clock(Arc::clone(&clock)).record_stats();
    // By the caller.
    let cache: Cache<u32, u32> = builder().build().unwrap();
    cache.insert(1, 1);
    for round in 0..4 {
        clock.advance(10 * SECOND);
        let refresh = cache.claim_refresh(&1).expect("it is due");
        let done = match round {
            0 => refresh.run(|_| explode::<Result<u32, ()>>()),
            1 => block_on(refresh.run_async(async { explode::<Result<u32, ()>>() })),
            2 => refresh.run(|_| -> Result<u32, Bomb> { Err(Bomb(3)) }),
            _ => block_on(refresh.run_async(async { Err::<u32, _>(Bomb(3)) })),
        };
        assert!(!done);
        assert_eq!((cache.get(&1), cache.refreshes_in_flight()), (Some(1), 0));
        assert_eq!(cache.stats().refresh_failures(), round + 1);
    }
    // By plain reads, on the cache's thread and on an executor that explodes, too.
    let own: Cache<u32, u32> = builder().build_with_refresh(|_| explode::<Result<u32, ()>>()).unwrap();
    let given: Cache<u32, u32> =
        builder().refresh_executor(|_job| explode()).build_with_refresh(|_| Ok::<_, ()>(2)).unwrap();
    for cache in [own, given] {
        cache.insert(1, 1);
        for round in 1..4 {
            clock.advance(10 * SECOND);
            assert_eq!(cache.get(&1), Some(1));
            eventually(|| cache.stats().refresh_failures() == round);
        }
        cache.check_invariants();
    }
}

#[test]
fn b20_housekeeping_meets_a_bomb() {
    struct Once(Arc<AtomicU64>);
    impl Drop for Once {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
            explode()
        }
    }
    let drops = Arc::new(AtomicU64::new(0));
    let clock = Arc::new(ManualClock::new());
    let cache: Cache<u32, Once> =
        Cache::builder().time_to_live(SECOND).clock(Arc::clone(&clock)).build().unwrap();
    let janitor = cache.spawn_janitor(Duration::from_millis(1)).unwrap();
    for round in 1..4 {
        cache.insert(1, Once(Arc::clone(&drops)));
        clock.advance(SECOND);
        eventually(|| drops.load(Ordering::SeqCst) == round);
    }
    drop(cache);
    janitor.join().expect("it goes on");
}

#[test]
fn b20_wakers_that_explode_while_a_load_dies() {
    let cache: Cache<u32, u32> = Cache::new(10);
    let mut load = Box::pin(cache.get_or_insert_with_async(1, async {
        let mut polls = 0;
        std::future::poll_fn(|_| {
            polls += 1;
            if polls > 1 { explode() } else { std::task::Poll::<u32>::Pending }
        })
        .await
    }));
    assert!(load.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    let waker = Waker::from(Arc::new(WakeBomb));
    let mut waiting: Vec<_> =
        (0..3).map(|_| Box::pin(cache.get_or_insert_with_async(1, async { 7 }))).collect();
    for waiting in &mut waiting {
        assert!(waiting.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    }
    let polled = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        load.as_mut().poll(&mut Context::from_waker(Waker::noop()))
    }));
    let _bomb = Box::leak(polled.expect_err("the load's own panic"));
    drop(load);
    for waiting in waiting {
        assert_eq!(block_on(waiting), 7);
    }
    cache.check_invariants();
}
