//! Time to live, time to idle, a lifetime per entry, and clocks that jump.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use millpond_cache::{Cache, CacheBuilder, ManualClock, RemovalCause};

use crate::support::Random;

const SECOND: Duration = Duration::from_secs(1);
const NANO: Duration = Duration::from_nanos(1);

fn timed(
    configure: impl FnOnce(CacheBuilder<u64, u64>) -> CacheBuilder<u64, u64>,
) -> (Cache<u64, u64>, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new());
    let cache = configure(Cache::builder().clock(Arc::clone(&clock))).build().unwrap();
    (cache, clock)
}

#[test]
fn b08_dead_at_the_deadline_and_not_a_tick_before() {
    let (cache, clock) = timed(|b| b.time_to_live(10 * SECOND));
    cache.insert(1, 1);
    clock.advance(10 * SECOND - NANO);
    assert!(cache.contains_key(&1));
    assert_eq!(cache.get(&1), Some(1));
    clock.advance(NANO);
    assert_eq!(cache.get(&1), None);
    assert!(!cache.contains_key(&1));
    assert_eq!(cache.read(&1, |_| ()), None);
    assert_eq!(cache.pin().get(&1), None);
    assert_eq!(cache.iter().count(), 0);
    assert_eq!(cache.remove(&1), None, "an expired value is not handed out");
    cache.check_invariants();
}

#[test]
fn reads_do_not_prolong_the_time_to_live_and_writes_do() {
    let (cache, clock) = timed(|b| b.time_to_live(10 * SECOND));
    cache.insert(1, 1);
    for _ in 0..9 {
        clock.advance(SECOND);
        assert_eq!(cache.get(&1), Some(1));
    }
    cache.insert(1, 2);
    clock.advance(9 * SECOND);
    assert_eq!(cache.get(&1), Some(2));
    clock.advance(SECOND);
    assert_eq!(cache.get(&1), None);
}

#[test]
fn each_read_prolongs_the_time_to_idle() {
    let (cache, clock) = timed(|b| b.time_to_idle(10 * SECOND));
    cache.insert(1, 1);
    for round in 0..20 {
        clock.advance(9 * SECOND);
        let seen = match round % 3 {
            0 => cache.get(&1),
            1 => cache.read(&1, |v| *v),
            _ => cache.pin().get(&1).copied(),
        };
        assert_eq!(seen, Some(1));
    }
    clock.advance(10 * SECOND);
    assert_eq!(cache.get(&1), None);
}

#[test]
fn the_time_to_idle_never_ends_late_and_at_most_a_64th_early() {
    let idle = 64 * SECOND;
    let (cache, clock) = timed(|b| b.time_to_idle(idle));
    cache.insert(1, 1);
    // A read within the tolerance may not move the end; one past it must.
    clock.advance(SECOND);
    cache.get(&1);
    clock.advance(63 * SECOND - NANO);
    assert!(cache.contains_key(&1));
    clock.advance(SECOND);
    assert!(!cache.contains_key(&1), "64 s after the last read it is over");
    cache.insert(1, 1);
    clock.advance(2 * SECOND);
    cache.get(&1);
    clock.advance(63 * SECOND);
    assert!(cache.contains_key(&1));
    clock.advance(SECOND);
    assert!(!cache.contains_key(&1));
}

#[test]
fn asking_whether_a_key_is_there_is_no_use() {
    let (cache, clock) = timed(|b| b.time_to_idle(10 * SECOND));
    cache.insert(1, 1);
    clock.advance(9 * SECOND);
    assert!(cache.contains_key(&1));
    clock.advance(SECOND);
    assert_eq!(cache.get(&1), None, "contains_key must not prolong a life");
}

#[test]
fn both_times_whichever_ends_first() {
    let (cache, clock) = timed(|b| b.time_to_idle(3 * SECOND).time_to_live(10 * SECOND));
    cache.insert(1, 1);
    cache.insert(2, 2);
    for _ in 0..4 {
        clock.advance(2 * SECOND);
        assert_eq!(cache.get(&1), Some(1));
    }
    assert_eq!(cache.get(&2), None, "idle too long");
    clock.advance(2 * SECOND);
    assert_eq!(cache.get(&1), None, "lived too long");
}

#[test]
fn a_lifetime_of_its_own_with_and_without_time_features() {
    let plain = timed(|b| b);
    let with_ttl = timed(|b| b.time_to_live(100 * SECOND));
    for (cache, clock) in [plain, with_ttl] {
        cache.insert(0, 0);
        cache.insert_with_ttl(1, 1, SECOND);
        cache.insert_with_ttl(2, 2, 1_000 * SECOND);
        cache.insert_with_ttl(3, 3, Duration::MAX);
        clock.advance(SECOND - NANO);
        assert_eq!(cache.get(&1), Some(1));
        clock.advance(NANO);
        assert_eq!(cache.get(&1), None);
        assert_eq!(cache.get(&0), Some(0));
        clock.advance(999 * SECOND - NANO);
        assert_eq!(cache.get(&2), Some(2));
        clock.advance(NANO);
        assert_eq!(cache.get(&2), None);
        assert_eq!(cache.get(&3), Some(3));
        cache.run_pending_tasks();
        cache.check_invariants();
    }
}

#[test]
fn the_time_to_idle_applies_to_a_lifetime_of_its_own_too() {
    let (cache, clock) = timed(|b| b.time_to_idle(SECOND));
    cache.insert_with_ttl(1, 1, 10 * SECOND);
    clock.advance(SECOND);
    assert_eq!(cache.get(&1), None);
}

#[test]
fn b09_an_update_clears_the_deadline_of_the_old_value() {
    let (cache, clock) = timed(|b| b);
    cache.insert_with_ttl(1, 1, SECOND);
    cache.insert(1, 2);
    clock.advance(1_000_000 * SECOND);
    assert_eq!(cache.get(&1), Some(2));
    cache.insert_with_ttl(1, 3, SECOND);
    cache.insert_with_ttl(1, 4, 3 * SECOND);
    clock.advance(2 * SECOND);
    assert_eq!(cache.get(&1), Some(4));
    cache.insert_with_ttl(1, 5, SECOND);
    clock.advance(SECOND);
    assert_eq!(cache.get(&1), None, "a shorter life replaces a longer one");
}

#[test]
fn b11_reused_cells_do_not_inherit_deadlines() {
    let (cache, clock) = timed(|b| b.max_capacity(50).shards(1));
    for round in 0..200u64 {
        for key in 0..100 {
            cache.insert_with_ttl(key, round, SECOND);
        }
        clock.advance(SECOND);
        cache.run_pending_tasks();
        assert_eq!(cache.entry_count(), 0);
        for key in 1_000..1_050 {
            cache.insert(key, round);
        }
        clock.advance(100 * SECOND);
        for key in 1_000..1_050 {
            assert_eq!(cache.get(&key), Some(round), "these never expire");
        }
        cache.invalidate_all();
        cache.run_pending_tasks();
        cache.check_invariants();
    }
}

#[test]
fn b09_extreme_durations() {
    for configure in [
        |b: CacheBuilder<u64, u64>, d| b.time_to_live(d),
        |b: CacheBuilder<u64, u64>, d| b.time_to_idle(d),
        |b: CacheBuilder<u64, u64>, d| b.time_to_live(d).time_to_live_jitter(1.0),
        |b: CacheBuilder<u64, u64>, d| b.time_to_live(d).time_to_idle(d),
    ] {
        let (cache, _clock) = timed(|b| configure(b, Duration::ZERO));
        cache.insert(1, 1);
        assert_eq!(cache.get(&1), None, "dead at once, before the clock moves");
        cache.insert_with_ttl(1, 1, SECOND);
        cache.insert(1, 2);
        assert!(!cache.contains_key(&1) && cache.expires_after(&1).is_none());
        assert_eq!(cache.get_or_insert_with(1, || 3), 3, "who loads it gets it all the same");
        assert_eq!(cache.get(&1), None);
        cache.run_pending_tasks();
        assert_eq!(cache.entry_count(), 0);
        cache.check_invariants();
        let (cache, clock) = timed(|b| configure(b, NANO));
        cache.insert(1, 1);
        clock.advance(NANO);
        assert_eq!(cache.get(&1), None);
    }
    let (cache, clock) = timed(|b| b);
    cache.insert_with_ttl(1, 1, Duration::ZERO);
    assert_eq!(cache.get(&1), None, "dead at once, before the clock moves");
    cache.insert_with_ttl(1, 2, NANO);
    assert_eq!(cache.get(&1), Some(2));
    clock.advance(NANO);
    assert_eq!(cache.get(&1), None);

    for configure in [
        |b: CacheBuilder<u64, u64>| b.time_to_live(Duration::MAX),
        |b: CacheBuilder<u64, u64>| b.time_to_idle(Duration::MAX),
        |b: CacheBuilder<u64, u64>| {
            b.time_to_idle(Duration::MAX).time_to_live(Duration::from_nanos(u64::MAX))
        },
    ] {
        let (cache, clock) = timed(configure);
        cache.insert(1, 1);
        cache.insert_with_ttl(2, 2, Duration::MAX);
        clock.advance(Duration::from_secs(500 * 365 * 86_400));
        assert_eq!((cache.get(&1), cache.get(&2)), (Some(1), Some(2)));
        cache.insert(3, 3);
        assert_eq!(cache.get(&3), Some(3), "late in the clock's life");
        cache.check_invariants();
    }
}

#[test]
fn b09_a_life_of_nothing_is_over_at_once_by_the_systems_clocks_too() {
    for configure in [
        |b: CacheBuilder<u64, u64>| b.time_to_live(Duration::ZERO),
        |b: CacheBuilder<u64, u64>| b.time_to_live(Duration::ZERO).time_to_live_jitter(0.5),
        |b: CacheBuilder<u64, u64>| b.time_to_idle(Duration::ZERO),
        |b: CacheBuilder<u64, u64>| b.time_to_live(Duration::ZERO).clock_thread(),
        |b: CacheBuilder<u64, u64>| b.time_to_idle(Duration::ZERO).clock_thread().record_stats(),
        |b: CacheBuilder<u64, u64>| b.negative_time_to_live(Duration::ZERO, |_| true).time_to_live(SECOND),
    ] {
        let told = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&told);
        let builder = Cache::builder().eviction_listener(move |_, _, cause| {
            assert_eq!(cause, RemovalCause::Expired);
            count.fetch_add(1, Ordering::Relaxed);
        });
        let cache = configure(builder).build().unwrap();
        for round in 0..200 {
            // No clock has moved since, most of the time.
            cache.insert(1, round);
            assert_eq!((cache.get(&1), cache.contains_key(&1), cache.expires_after(&1)), (None, false, None));
            cache.run_pending_tasks();
            assert_eq!((cache.entry_count(), told.load(Ordering::Relaxed)), (0, round + 1));
        }
    }
}

#[test]
fn b10_a_clock_at_the_end_of_time() {
    let (cache, clock) = timed(|b| b.time_to_live(SECOND));
    cache.insert_with_ttl(1, 1, Duration::MAX);
    clock.set(Duration::MAX);
    assert_eq!(cache.get(&1), Some(1), "for ever means for ever");
    cache.insert(2, 2);
    assert_eq!(cache.get(&2), Some(2), "a deadline beyond the end of time is none");
    cache.insert_with_ttl(3, 3, Duration::ZERO);
    assert_eq!(cache.get(&3), None);
    cache.run_pending_tasks();
    cache.check_invariants();
}

#[test]
fn b10_a_clock_that_jumps() {
    let (cache, clock) = timed(|b| b.time_to_live(10 * SECOND).time_to_idle(5 * SECOND));
    clock.set(1_000 * SECOND);
    cache.insert(1, 1);
    clock.set(SECOND);
    assert_eq!(cache.get(&1), Some(1), "back: lives that much longer");
    cache.insert(2, 2);
    assert_eq!(cache.get(&2), Some(2));
    clock.set(7 * SECOND);
    assert_eq!(cache.get(&2), None);
    clock.set(1_000_000 * SECOND);
    assert_eq!(cache.get(&1), None, "forward: over at once");
    cache.run_pending_tasks();
    assert_eq!(cache.entry_count(), 0);
    cache.check_invariants();
    let mut random = Random::new(5);
    for step in 0..5_000 {
        clock.set(Duration::from_secs(random.below(100)));
        let key = random.below(20);
        match random.below(4) {
            0 => cache.insert(key, step),
            1 => cache.run_pending_tasks(),
            _ => drop(cache.get(&key)),
        }
    }
    cache.check_invariants();
}

#[test]
fn writes_and_maintenance_remove_what_expired_and_say_so() {
    let seen = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let (cache, clock) = timed(|b| {
        b.shards(1).record_stats().eviction_listener(move |&k, _, cause| log.lock().push((k, cause)))
    });
    for key in 0..100 {
        cache.insert_with_ttl(key, key, SECOND);
    }
    clock.advance(SECOND);
    assert_eq!(cache.entry_count(), 100, "nobody wrote yet");
    for round in 0..200 {
        cache.insert(1_000, round);
    }
    assert_eq!(cache.entry_count(), 1, "each write sweeps a little");
    let mut expired = seen.lock().iter().filter(|(_, c)| *c == RemovalCause::Expired).count();
    assert_eq!(expired, 100);
    for key in 0..100 {
        cache.insert_with_ttl(key, key, SECOND);
    }
    clock.advance(SECOND);
    cache.run_pending_tasks();
    assert_eq!(cache.entry_count(), 1);
    expired = seen.lock().iter().filter(|(_, c)| *c == RemovalCause::Expired).count();
    assert_eq!(expired, 200);
    assert_eq!(cache.stats().expired(), 200);
    cache.check_invariants();
}

#[test]
fn b26_expired_wins_over_every_other_cause() {
    let seen = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let (cache, clock) = timed(|b| {
        b.shards(1)
            .max_capacity(4)
            .time_to_live(SECOND)
            .eviction_listener(move |&k, &v, cause| log.lock().push((k, v, cause)))
    });
    let take = || std::mem::take(&mut *seen.lock());
    cache.insert(1, 1);
    clock.advance(SECOND);
    cache.insert(1, 2);
    assert_eq!(take(), [(1, 1, RemovalCause::Expired)], "replaced after it expired");
    clock.advance(SECOND);
    cache.invalidate(&1);
    assert_eq!(take(), [(1, 2, RemovalCause::Expired)]);
    cache.insert(1, 3);
    clock.advance(SECOND);
    cache.invalidate_all();
    assert_eq!(take(), [(1, 3, RemovalCause::Expired)]);
    for key in 0..4 {
        cache.insert(key, 4);
    }
    clock.advance(SECOND);
    for key in 10..14 {
        cache.insert(key, 5);
    }
    let removed = take();
    assert!(
        removed.iter().all(|&(_, v, cause)| v == 4 && cause == RemovalCause::Expired),
        "dead entries were taken for room, not live ones, and for what they died of: {removed:?}"
    );
    cache.insert(20, 6);
    cache.check_invariants();
}

#[test]
fn b08_no_read_returns_an_expired_value_while_threads_write() {
    let clock = Arc::new(ManualClock::new());
    let cache: Cache<u64, u64> = Cache::builder()
        .max_capacity(200)
        .shards(2)
        .time_to_live(Duration::from_nanos(1_000))
        .clock(Arc::clone(&clock))
        .build()
        .unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for t in 0..3 {
            let (cache, clock, done) = (&cache, &clock, &done);
            scope.spawn(move || {
                use millpond_cache::Clock;
                let mut random = Random::new(t + 1);
                while !done.load(Ordering::Relaxed) {
                    let key = random.below(400);
                    let before = clock.now().as_nanos() as u64;
                    if random.below(3) == 0 {
                        // The value is a lower bound of the time of its write.
                        cache.insert(key, before);
                    } else if let Some(written_after) = cache.get(&key) {
                        let written_before = written_after + 1_000;
                        // The writer may have been held up between its look at the clock and the write; 100 ticks is
                        // the step of this clock, so only allow for whole steps that the writer could not see.
                        assert!(before < written_before + 1_000_000, "long dead");
                    }
                }
            });
        }
        for _ in 0..3_000 {
            clock.advance(Duration::from_nanos(100));
            thread::yield_now();
        }
        done.store(true, Ordering::Relaxed);
    });
    cache.check_invariants();
    clock.advance(Duration::from_nanos(1_000));
    assert!((0..400).all(|key| cache.get(&key).is_none()));
}

#[test]
fn the_system_clock_expires_too() {
    let cache: Cache<u64, u64> = Cache::builder().time_to_live(Duration::from_millis(30)).build().unwrap();
    cache.insert(1, 1);
    crate::support::eventually(|| cache.get(&1).is_none());
    cache.check_invariants();
}
