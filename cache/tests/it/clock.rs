//! The system's clock, and the thread that keeps its time for hits.

use std::time::{Duration, Instant};

use millpond_cache::{BuildError, Cache, ManualClock};

use crate::support::eventually;

/// The longest tick of a kernel that is in use: deadlines are counted from the last one.
const TICK: Duration = Duration::from_millis(10);

#[test]
fn one_clock_is_enough() {
    let both = Cache::<u64, u64>::builder().clock(ManualClock::new()).clock_thread().build();
    assert_eq!(both.err(), Some(BuildError::TwoClocks));
}

#[test]
fn b08_hits_by_the_kept_time_end_in_time() {
    let life = Duration::from_millis(60);
    let builder = || Cache::builder().time_to_live(life).clock_thread();
    let caches: [Cache<u64, u64>; 2] =
        [builder().build().unwrap(), builder().record_stats().build().unwrap()];
    for round in 0..5 {
        for cache in &caches {
            let began = Instant::now();
            cache.insert(1, round);
            // Hot all the time, so that nearly all hits look at the kept time alone.
            eventually(|| cache.get(&1).is_none());
            assert!(began.elapsed() + TICK >= life, "not before its time: {:?}", began.elapsed());
            cache.check_invariants();
        }
    }
    assert_eq!(caches[1].stats().misses(), 5);
}

#[test]
fn b08_an_end_that_comes_later_is_seen_at_once() {
    let cache: Cache<u64, u64> = Cache::builder().clock_thread().build().unwrap();
    let timed = || Cache::builder().time_to_live(Duration::from_secs(3600)).clock_thread();
    for cache in [cache, timed().build().unwrap(), timed().record_stats().build().unwrap()] {
        for round in 0..200 {
            cache.insert_with_ttl(1, round, Duration::from_secs(600));
            cache.insert(2, round);
            for _ in 0..300 {
                assert_eq!((cache.get(&1), cache.get(&2)), (Some(round), Some(round)));
            }
            for key in [1, 2] {
                assert!(cache.set_expires_after(&key, Duration::ZERO));
                assert_eq!(cache.get(&key), None);
            }
        }
        cache.run_pending_tasks();
        cache.check_invariants();
    }
}

#[test]
fn b08_use_keeps_an_entry_alive_by_the_kept_time() {
    let idle = Duration::from_millis(200);
    let cache: Cache<u64, u64> = Cache::builder().time_to_idle(idle).clock_thread().build().unwrap();
    cache.insert(1, 1);
    let began = Instant::now();
    let mut last = began;
    while began.elapsed() < 3 * idle {
        let before = last;
        std::thread::yield_now();
        let found = cache.get(&1);
        last = Instant::now();
        // A machine that did not let us run for so long proves nothing.
        if last - before > idle / 4 {
            return;
        }
        assert_eq!(found, Some(1), "used all the time");
    }
    eventually(|| {
        cache.run_pending_tasks();
        cache.entry_count() == 0
    });
}

/// Runs `work` in a fork of this process; whether it came back in time, and true. It must not print.
#[cfg(all(target_os = "linux", not(any(miri, millpond_sanitize, millpond_loom, millpond_shuttle))))]
#[expect(unsafe_code, reason = "there is no safe fork")]
fn forked(work: impl FnOnce() -> bool) -> bool {
    // SAFETY: the child takes no lock that another thread of this process may have held, but those under test.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "no process to be had");
    if child == 0 {
        let code = i32::from(!work());
        // SAFETY: ends the process; no destructor of the parent's runs.
        unsafe { libc::_exit(code) };
    }
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut status = 0;
    loop {
        // SAFETY: `status` is ours, and the child is not waited for anywhere else.
        if unsafe { libc::waitpid(child, &raw mut status, libc::WNOHANG) } == child {
            return status == 0;
        }
        if Instant::now() > deadline {
            // SAFETY: it was not waited for, so the number is still the child's.
            unsafe { libc::kill(child, libc::SIGKILL) };
            // SAFETY: as above.
            unsafe { libc::waitpid(child, &raw mut status, 0) };
            return false;
        }
        std::thread::yield_now();
    }
}

/// Of the parent's thread, the child has what it was asleep on.
#[test]
#[cfg(all(target_os = "linux", not(any(miri, millpond_sanitize, millpond_loom, millpond_shuttle))))]
fn after_a_fork_caches_with_a_clock_thread_end_begin_and_keep_the_time() {
    let life = Duration::from_millis(50);
    let build = || -> Cache<u64, u64> { Cache::builder().time_to_live(life).clock_thread().build().unwrap() };
    let ends = |cache: &Cache<u64, u64>| {
        cache.insert(1, 1);
        let began = Instant::now();
        while cache.get(&1).is_some() {
            if began.elapsed() > Duration::from_secs(5) {
                return false;
            }
        }
        true
    };
    // Another test of this process may hold a lock at the moment of a fork.
    let is_well = (0..3).any(|_| {
        let mut cache = Some(build());
        assert!(cache.as_ref().is_some_and(ends));
        forked(|| {
            let held = cache.as_ref().is_some_and(ends);
            drop(cache.take());
            held && ends(&build()) && ends(&build())
        })
    });
    assert!(is_well);
}
