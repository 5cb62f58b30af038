//! Time to live, time to idle, and life given at insert; on a manual clock.

use std::sync::Arc;
use std::time::Duration;

use millpond_cache::{Cache, CacheBuilder, ManualClock, RemovalCause};

const SECOND: Duration = Duration::from_secs(1);

fn timed(
    configure: impl FnOnce(CacheBuilder<u32, u32>) -> CacheBuilder<u32, u32>,
) -> (Cache<u32, u32>, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new());
    let cache = configure(Cache::builder().max_capacity(100).clock(Arc::clone(&clock))).build().unwrap();
    (cache, clock)
}

/// B8: nothing is returned whose deadline has passed.
#[test]
fn b08_time_to_live_runs_from_the_write() {
    let (cache, clock) = timed(|b| b.time_to_live(10 * SECOND));
    cache.insert(1, 1);
    clock.advance(9 * SECOND);
    assert_eq!(cache.get(&1), Some(1));
    cache.insert(1, 2);
    clock.advance(9 * SECOND);
    assert_eq!(cache.get(&1), Some(2));
    clock.advance(SECOND);
    assert_eq!((cache.get(&1), cache.contains_key(&1), cache.read(&1, |v| *v)), (None, false, None));
    assert_eq!(cache.iter().count(), 0);
    assert_eq!(cache.remove(&1), None, "dead is dead, also for remove");
    cache.check_invariants();
}

#[test]
fn b08_time_to_idle_runs_from_the_last_use() {
    let (cache, clock) = timed(|b| b.time_to_idle(64 * SECOND));
    cache.insert(1, 1);
    cache.insert(2, 2);
    for _ in 0..10 {
        clock.advance(60 * SECOND);
        assert_eq!(cache.get(&1), Some(1));
        assert!(cache.contains_key(&1));
    }
    assert_eq!(cache.get(&2), None);
    clock.advance(64 * SECOND);
    assert_eq!(cache.get(&1), None);
}

#[test]
fn reads_do_not_prolong_time_to_live() {
    let (cache, clock) = timed(|b| b.time_to_live(10 * SECOND).time_to_idle(5 * SECOND));
    cache.insert(1, 1);
    for _ in 0..3 {
        clock.advance(3 * SECOND);
        assert_eq!(cache.get(&1), Some(1));
    }
    clock.advance(SECOND);
    assert_eq!(cache.get(&1), None);
}

/// B9: lives of zero, one nanosecond and for ever, on caches with and without a time feature.
#[test]
fn b09_lives_at_the_edges() {
    for configured in [false, true] {
        let (cache, clock) = timed(|b| if configured { b.time_to_live(10 * SECOND) } else { b });
        cache.insert(0, 0);
        cache.insert_with_ttl(1, 1, Duration::ZERO);
        cache.insert_with_ttl(2, 2, Duration::from_nanos(1));
        cache.insert_with_ttl(3, 3, Duration::MAX);
        cache.insert_with_ttl(4, 4, 20 * SECOND);
        assert_eq!([1, 2, 3, 4].map(|key| cache.get(&key)), [None, Some(2), Some(3), Some(4)]);
        clock.advance(Duration::from_nanos(1));
        assert_eq!(cache.get(&2), None);
        clock.advance(15 * SECOND);
        assert_eq!((cache.get(&0).is_none(), cache.get(&4)), (configured, Some(4)));
        clock.advance(Duration::MAX);
        assert_eq!([3, 4].map(|key| cache.get(&key)), [Some(3), None]);
        cache.run_pending_tasks();
        cache.check_invariants();
        assert_eq!(cache.entry_count(), if configured { 1 } else { 2 });
    }
}

#[test]
fn a_zero_time_to_live_keeps_nothing() {
    let (cache, _) = timed(|b| b.time_to_live(Duration::ZERO).time_to_idle(Duration::MAX));
    cache.insert(1, 1);
    cache.run_pending_tasks();
    // The smallest tick may still be running; a moment later it is not.
    let (later, clock) = timed(|b| b.time_to_live(Duration::ZERO));
    later.insert(1, 1);
    clock.advance(Duration::from_nanos(1));
    assert_eq!(later.get(&1), None);
}

/// B9: a rewritten entry does not keep the deadline of the one before, nor does a reused cell.
#[test]
fn b09_deadlines_do_not_leak() {
    let (cache, clock) = timed(|b| b);
    cache.insert_with_ttl(1, 1, SECOND);
    cache.insert(1, 2);
    clock.advance(2 * SECOND);
    assert_eq!(cache.get(&1), Some(2));
    for round in 0..50 {
        for key in 0..100 {
            cache.insert_with_ttl(key, key, SECOND);
        }
        clock.advance(2 * SECOND);
        cache.run_pending_tasks();
        assert_eq!(cache.entry_count(), 0, "round {round}");
        for key in 0..100 {
            cache.insert(key, key);
        }
        clock.advance(2 * SECOND);
        assert_eq!(cache.iter().count(), 100);
        cache.invalidate_all();
        cache.check_invariants();
    }
}

/// B10: a clock that goes back prolongs lives and breaks nothing.
#[test]
fn b10_the_clock_may_jump() {
    let (cache, clock) = timed(|b| b.time_to_live(10 * SECOND).time_to_idle(10 * SECOND));
    for (step, to) in [5u64, 100, 3, u64::MAX / 1_000_000_000, 0, 7].into_iter().enumerate() {
        clock.set(Duration::from_secs(to));
        cache.insert(1, step as u32);
        assert_eq!(cache.get(&1), Some(step as u32), "at {to}");
        cache.run_pending_tasks();
        cache.check_invariants();
    }
}

/// B26: expiry beats the other causes, and is told once.
#[test]
fn b26_the_cause_of_what_has_expired() {
    let told = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let (cache, clock) = {
        let told = Arc::clone(&told);
        timed(move |b| {
            b.time_to_live(SECOND)
                .eviction_listener(move |key, value, cause| told.lock().push((*key, *value, cause)))
        })
    };
    for key in 0..4 {
        cache.insert(key, key);
    }
    clock.advance(2 * SECOND);
    cache.insert(0, 10);
    cache.invalidate(&1);
    cache.invalidate_all();
    let mut told = std::mem::take(&mut *told.lock());
    told.sort_by_key(|entry| (entry.0, entry.1));
    use RemovalCause::{Expired, Explicit};
    assert_eq!(told, [(0, 0, Expired), (0, 10, Explicit), (1, 1, Expired), (2, 2, Expired), (3, 3, Expired)]);
}

/// Writes sweep: what has expired leaves without maintenance, a little with each write.
#[test]
fn writes_sweep_what_has_expired() {
    let (cache, clock) = timed(|b| b.time_to_live(SECOND));
    for key in 0..50 {
        cache.insert(key, key);
    }
    clock.advance(2 * SECOND);
    for _ in 0..200 {
        cache.insert(1000, 0);
    }
    assert_eq!(cache.entry_count(), 1);
}
