//! Janitors: a cache that nobody uses is looked after, and outlives nobody.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use millpond_cache::{Cache, ManualClock};

use crate::support::{Census, eventually, watchdog};

const TICK: Duration = Duration::from_millis(1);

#[test]
fn a_thread_removes_and_reports_what_expired() {
    watchdog(30, || {
        let clock = Arc::new(ManualClock::new());
        let reported = Arc::new(AtomicU64::new(0));
        let values = Census::default();
        let count = Arc::clone(&reported);
        let cache = Cache::builder()
            .clock(Arc::clone(&clock))
            .time_to_live(TICK)
            .eviction_listener(move |_, _, _| _ = count.fetch_add(1, Ordering::Relaxed))
            .build()
            .unwrap();
        let janitor = cache.spawn_janitor(Duration::ZERO).unwrap();
        for key in 0..1_000 {
            cache.insert(key, Arc::new(values.one()));
        }
        clock.advance(TICK);
        eventually(|| cache.entry_count() == 0);
        eventually(|| reported.load(Ordering::Relaxed) == 1_000);
        eventually(|| values.alive() == 0);
        drop(cache);
        janitor.join().unwrap();
    });
}

#[test]
fn b25_a_thread_ends_with_the_last_handle_however_long_its_period() {
    watchdog(30, || {
        let values = Census::default();
        let cache = Cache::new(100);
        let janitors: Vec<_> = [Duration::MAX, Duration::from_secs(3_600), TICK]
            .map(|period| cache.spawn_janitor(period).unwrap())
            .into();
        cache.insert(1, Arc::new(values.one()));
        let other = cache.clone();
        drop(cache);
        assert!(other.get(&1).is_some(), "the other handle still has it");
        drop(other);
        for janitor in janitors {
            janitor.join().unwrap();
        }
        assert_eq!(values.alive(), 0);
    });
}

#[test]
fn a_panicking_drop_does_not_end_the_thread() {
    struct Bomb(Arc<AtomicU64>);
    impl Drop for Bomb {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
            assert!(std::thread::panicking(), "asked for");
        }
    }
    watchdog(30, || {
        let clock = Arc::new(ManualClock::new());
        let cache = Cache::builder().clock(Arc::clone(&clock)).time_to_live(TICK).build().unwrap();
        let janitor = cache.spawn_janitor(TICK).unwrap();
        let dropped = Arc::new(AtomicU64::new(0));
        for round in 1..=3 {
            cache.insert(1, Bomb(Arc::clone(&dropped)));
            clock.advance(TICK);
            eventually(|| dropped.load(Ordering::Relaxed) == round);
        }
        cache.check_invariants();
        drop(cache);
        janitor.join().unwrap();
    });
}

#[cfg(feature = "tokio")]
#[tokio::test]
async fn a_task_does_the_same() {
    let clock = Arc::new(ManualClock::new());
    let cache: Cache<u64, u64> =
        Cache::builder().clock(Arc::clone(&clock)).time_to_live(TICK).build().unwrap();
    let janitor = cache.spawn_janitor_task(Duration::ZERO);
    let waits = cache.spawn_janitor_task(Duration::MAX);
    cache.insert(1, 1);
    clock.advance(TICK);
    let emptied = async {
        while cache.entry_count() > 0 {
            tokio::time::sleep(TICK).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), emptied).await.unwrap();
    drop(cache);
    tokio::time::timeout(Duration::from_secs(10), janitor).await.unwrap().unwrap();
    tokio::time::timeout(Duration::from_secs(10), waits).await.unwrap().unwrap();
}
