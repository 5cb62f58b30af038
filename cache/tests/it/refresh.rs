//! Values that are loaded again while the old ones are served: by the caller, by plain reads, by loading calls.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::task::Poll;
use std::thread;
use std::time::Duration;

use millpond_cache::compute::Op;
use millpond_cache::{BuildError, Cache, CacheBuilder, ManualClock, RefreshJob};
use parking_lot::Mutex;

use crate::history::{self, Call, Event};
use crate::support::{
    Alarm, Census, Counted, Key, Place, Random, Value, called, defuse, eventually, poll, scaled, set_fuse,
    watchdog,
};

const SECOND: Duration = Duration::from_secs(1);
/// When values are due.
const DUE: Duration = Duration::from_secs(60);

type Jobs = Arc<Mutex<Vec<RefreshJob>>>;

struct Setup {
    clock: Arc<ManualClock>,
    /// What the executor was given.
    jobs: Jobs,
    builder: CacheBuilder<u64, u64>,
}

impl Setup {
    fn new() -> Self {
        let (clock, jobs) = (Arc::new(ManualClock::new()), Jobs::default());
        let queue = Arc::clone(&jobs);
        let builder = Cache::builder()
            .shards(1)
            .refresh_after(DUE)
            .refresh_executor(move |job| queue.lock().push(job))
            .clock(Arc::clone(&clock))
            .record_stats();
        Self { clock, jobs, builder }
    }

    /// A cache without a loader, with the entry 1 = 10, due now.
    fn due(self) -> (Cache<u64, u64>, Arc<ManualClock>) {
        let cache = self.builder.build().unwrap();
        cache.insert(1, 10);
        self.clock.advance(DUE);
        (cache, self.clock)
    }
}

fn run(jobs: &Jobs) -> usize {
    let jobs = std::mem::take(&mut *jobs.lock());
    jobs.into_iter().map(|job| job()).count()
}

#[test]
fn one_caller_refreshes_a_value_that_is_due() {
    let setup = Setup::new();
    let cache = setup.builder.build().unwrap();
    cache.insert(1, 10);
    setup.clock.advance(DUE - Duration::from_nanos(1));
    assert!(cache.claim_refresh(&1).is_none() && cache.claim_refresh(&2).is_none());
    setup.clock.advance(Duration::from_nanos(1));
    let refresh = cache.claim_refresh(&1).unwrap();
    assert_eq!((*refresh.key(), format!("{refresh:?}").as_str()), (1, "Refresh { key: 1, .. }"));
    assert!(cache.claim_refresh(&1).is_none());
    assert_eq!((cache.is_refreshing(&1), cache.is_refreshing(&2)), (true, false));
    assert_eq!((cache.refreshes_in_flight(), cache.loads_in_flight()), (1, 1));
    // Nobody waits for it.
    assert_eq!(cache.get(&1), Some(10));
    assert_eq!(cache.get_or_insert_with(1, || unreachable!()), 10);
    assert!(refresh.complete(11));
    assert_eq!((cache.get(&1), cache.is_refreshing(&1)), (Some(11), false));
    assert_eq!((cache.refreshes_in_flight(), cache.loads_in_flight()), (0, 0));
    // Its time begins anew, from the new value on.
    setup.clock.advance(DUE - Duration::from_nanos(1));
    assert!(cache.claim_refresh(&1).is_none());
    setup.clock.advance(Duration::from_nanos(1));
    assert!(cache.claim_refresh(&1).unwrap().run(|&key| Ok::<_, ()>(key + 11)));
    assert_eq!(cache.get(&1), Some(12));
    let stats = cache.stats();
    assert_eq!((stats.refreshes(), stats.refresh_failures(), stats.refreshes_discarded()), (2, 0, 0));
    assert_eq!((stats.load_successes(), stats.replaced()), (2, 2));
    cache.check_invariants();
}

#[test]
fn reads_begin_refreshes_with_the_loader_given_at_build() {
    type Read = (&'static str, fn(&Cache<u64, u64>), bool);
    let reads: [Read; 10] = [
        ("get", |cache| assert_eq!(cache.get(&1), Some(10)), true),
        ("read", |cache| assert_eq!(cache.read(&1, |&value| value), Some(10)), true),
        ("pin", |cache| assert_eq!(cache.pin().get(&1), Some(&10)), true),
        ("get_all", |cache| assert_eq!(cache.get_all(&[1]), [Some(10)]), true),
        ("get_or_insert_with", |cache| assert_eq!(cache.get_or_insert_with(1, || 0), 10), true),
        ("get_many_with", |cache| assert_eq!(cache.get_many_with([1], |_| [])[&1], 10), true),
        ("or_insert", |cache| assert_eq!(cache.entry(1).or_insert(0).into_value(), 10), true),
        ("contains_key", |cache| assert!(cache.contains_key(&1)), false),
        ("iter", |cache| assert_eq!(cache.iter().next(), Some((1, 10))), false),
        ("expires_after", |cache| assert_eq!(cache.expires_after(&1), None), false),
    ];
    for (name, read, refreshes) in reads {
        for ttl in [None, Some(10 * DUE)] {
            let Setup { clock, jobs, mut builder } = Setup::new();
            if ttl.is_some() {
                builder = builder.time_to_idle(10 * DUE);
            }
            let cache = builder.build_with_refresh(|&key| Ok::<_, ()>(key + 10)).unwrap();
            cache.insert(1, 10);
            if ttl.is_some() && name == "expires_after" {
                continue;
            }
            for _ in 0..3 {
                read(&cache);
            }
            assert_eq!(jobs.lock().len(), 0, "{name}: not due");
            clock.advance(DUE);
            for _ in 0..3 {
                read(&cache);
            }
            assert_eq!(run(&jobs), usize::from(refreshes), "{name}: one at a time");
            assert_eq!(cache.get(&1), Some(if refreshes { 11 } else { 10 }), "{name}");
            cache.check_invariants();
        }
    }
}

#[test]
fn a_loading_call_serves_the_old_value_and_refreshes() {
    let Setup { clock, jobs, builder } = Setup::new();
    let cache = builder.build().unwrap();
    let get =
        |value| cache.try_get_or_refresh_with(1, move || if value == 0 { Err("down") } else { Ok(value) });
    assert_eq!(get(0).map_err(|error| *error), Err("down"));
    assert_eq!(get(1), Ok(1));
    assert_eq!((get(2), jobs.lock().len()), (Ok(1), 0));
    clock.advance(DUE);
    assert_eq!((get(3), get(4), jobs.lock().len()), (Ok(1), Ok(1), 1));
    run(&jobs);
    assert_eq!(get(5), Ok(3));
    clock.advance(DUE);
    assert_eq!((get(0), run(&jobs)), (Ok(3), 1));
    assert_eq!(get(6), Ok(3));
    assert_eq!((cache.stats().refreshes(), cache.stats().refresh_failures()), (1, 1));
    assert_eq!((cache.stats().hits(), cache.stats().misses()), (6, 2), "one for each call");
    // Without refresh_after it is a load as any other.
    let plain: Cache<u64, u64> = Cache::new(10);
    assert_eq!(plain.try_get_or_refresh_with(1, || Ok::<_, ()>(1)), Ok(1));
    assert_eq!(plain.try_get_or_refresh_with(1, || Ok::<_, ()>(2)), Ok(1));
    assert!(plain.claim_refresh(&1).is_none() && !plain.is_refreshing(&1));
}

/// Something that happens to the entry 1 while it is refreshed, and what is there then.
type Change = (&'static str, fn(&Cache<u64, u64>), Option<u64>);

#[test]
fn a_change_of_the_entry_wins_over_the_refresh() {
    let changes: [Change; 9] = [
        ("insert", |cache| cache.insert(1, 5), Some(5)),
        ("insert_with_ttl", |cache| cache.insert_with_ttl(1, 5, Duration::MAX), Some(5)),
        ("the same value", |cache| cache.insert(1, 10), Some(10)),
        ("remove", |cache| assert_eq!(cache.remove(&1), Some(10)), None),
        ("invalidate", |cache| cache.invalidate(&1), None),
        ("invalidate_all", Cache::invalidate_all, None),
        ("invalidate_if", |cache| assert_eq!(cache.invalidate_if(|_, _| true), 1), None),
        (
            "remove and load",
            |cache| {
                cache.invalidate(&1);
                assert_eq!(cache.get_or_insert_with(1, || 6), 6);
            },
            Some(6),
        ),
        (
            "expiry",
            |cache| {
                assert!(cache.set_expires_after(&1, Duration::ZERO));
                cache.run_pending_tasks();
            },
            None,
        ),
    ];
    for (name, change, then) in changes {
        let (cache, _) = Setup::new().due();
        let refresh = cache.claim_refresh(&1).unwrap();
        change(&cache);
        assert!(!refresh.complete(11), "{name}");
        assert_eq!(cache.get(&1), then, "{name}");
        assert_eq!((cache.stats().refreshes_discarded(), cache.stats().refreshes()), (1, 0), "{name}");
        assert_eq!((cache.refreshes_in_flight(), cache.loads_in_flight()), (0, 0), "{name}");
        cache.check_invariants();
    }
}

#[test]
fn a_refresh_that_writes_the_key_itself_is_discarded() {
    let (cache, _) = Setup::new().due();
    let refresh = cache.claim_refresh(&1).unwrap();
    let writer = cache.clone();
    assert!(!refresh.run(|_| {
        writer.insert(1, 5);
        Ok::<_, ()>(11)
    }));
    assert_eq!(cache.get(&1), Some(5));
}

#[test]
fn an_entry_that_is_evicted_stays_out() {
    let setup = Setup::new();
    let cache = setup.builder.max_capacity(1).build().unwrap();
    cache.insert(1, 10);
    setup.clock.advance(DUE);
    let refresh = cache.claim_refresh(&1).unwrap();
    for key in 2..20 {
        for _ in 0..5 {
            cache.insert(key, key);
            cache.get(&key);
        }
    }
    assert!(!cache.contains_key(&1));
    assert!(!refresh.complete(11));
    assert!(!cache.contains_key(&1) && cache.entry_count() <= 1);
    cache.check_invariants();
}

#[test]
fn after_a_failure_the_next_refresh_waits_longer_and_longer() {
    let setup = Setup::new();
    let cache = setup.builder.refresh_backoff(2 * SECOND, 10 * SECOND).build().unwrap();
    cache.insert(1, 10);
    setup.clock.advance(DUE);
    let fail = |how: u64| {
        let refresh = cache.claim_refresh(&1).expect("it is due");
        match how % 4 {
            0 => refresh.fail("down"),
            1 => drop(refresh),
            2 => assert!(!refresh.run(|_| -> Result<u64, ()> { panic!("injected") })),
            _ => assert!(!refresh.run(|_| Err("down"))),
        }
        assert_eq!((cache.refreshes_in_flight(), cache.loads_in_flight()), (0, 0));
    };
    for (how, wait) in (0..).zip([2, 4, 8, 10, 10, 10].map(|wait| wait * SECOND)) {
        fail(how);
        assert_eq!(cache.get(&1), Some(10), "the old value stays");
        setup.clock.advance(wait - Duration::from_nanos(1));
        assert!(cache.claim_refresh(&1).is_none(), "failure {how}");
        setup.clock.advance(Duration::from_nanos(1));
    }
    assert_eq!(cache.stats().refresh_failures(), 6);
    // A success is the end of it.
    assert!(cache.claim_refresh(&1).unwrap().complete(11));
    setup.clock.advance(DUE);
    fail(0);
    setup.clock.advance(2 * SECOND);
    fail(1);
    cache.check_invariants();
}

#[test]
fn b11_a_late_failure_does_not_touch_the_next_entry_in_its_cell() {
    let Setup { clock, builder, .. } = Setup::new();
    let cache: Cache<u64, u64> = builder.refresh_backoff(SECOND, DUE).build().unwrap();
    cache.insert(1, 10);
    clock.advance(DUE);
    let late = cache.claim_refresh(&1).expect("it is due");
    // Its cell is emptied, and filled with another entry, which is being refreshed by now.
    cache.invalidate(&1);
    cache.run_pending_tasks();
    cache.insert(2, 20);
    clock.advance(DUE);
    let next = cache.claim_refresh(&2).expect("it is due");
    late.fail(());
    assert_eq!(cache.stats().refresh_failures(), 1);
    clock.advance(2 * SECOND);
    assert!(cache.claim_refresh(&2).is_none() && cache.is_refreshing(&2), "somebody else has it");
    next.fail(());
    assert!(cache.claim_refresh(&2).is_none(), "it has failed just now, for the first time");
    clock.advance(SECOND - Duration::from_nanos(1));
    assert!(cache.claim_refresh(&2).is_none());
    clock.advance(Duration::from_nanos(1));
    assert!(cache.claim_refresh(&2).is_some());
}

#[test]
fn b11_what_is_due_beyond_the_end_of_time_is_never_due() {
    let Setup { clock, builder, .. } = Setup::new();
    let cache: Cache<u64, u64> = builder.build().unwrap();
    cache.insert(1, 10);
    cache.invalidate(&1);
    cache.run_pending_tasks();
    clock.set(Duration::MAX);
    // In the same cell.
    cache.insert(2, 20);
    assert!(cache.claim_refresh(&2).is_none());
}

#[test]
fn a_refresh_that_fails_after_its_key_was_written_does_not_delay_the_next() {
    let Setup { clock, builder, .. } = Setup::new();
    let cache: Cache<u64, u64> = builder.refresh_backoff(SECOND, DUE).build().unwrap();
    cache.insert(1, 10);
    clock.advance(DUE);
    let late = cache.claim_refresh(&1).expect("it is due");
    cache.insert(1, 11);
    clock.advance(DUE);
    let next = cache.claim_refresh(&1).expect("the new value is due");
    drop(late);
    next.fail(());
    assert!(cache.claim_refresh(&1).is_none(), "it has failed just now");
    clock.advance(SECOND);
    assert!(cache.claim_refresh(&1).is_some(), "for the first time");
}

#[test]
fn by_default_the_wait_is_a_sixteenth_and_never_longer_than_the_time_itself() {
    let (cache, clock) = Setup::new().due();
    for wait in [1, 2, 4, 8, 16, 16].map(|part| DUE * part / 16) {
        cache.claim_refresh(&1).unwrap().fail(());
        clock.advance(wait - Duration::from_nanos(1));
        assert!(cache.claim_refresh(&1).is_none());
        clock.advance(Duration::from_nanos(1));
    }
}

#[test]
fn an_executor_that_drops_jobs_or_panics_is_a_failure_and_reads_go_on() {
    let clock = Arc::new(ManualClock::new());
    let calls = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&calls);
    let cache: Cache<u64, u64> = Cache::builder()
        .refresh_after(DUE)
        .refresh_backoff(SECOND, SECOND)
        .refresh_executor(move |job| {
            match counter.fetch_add(1, Ordering::Relaxed) {
                0 => drop(job),
                1 => panic!("injected"),
                // On the reader's own thread.
                _ => job(),
            }
        })
        .clock(Arc::clone(&clock))
        .record_stats()
        .build_with_refresh(|&key| Ok::<_, ()>(key + 10))
        .unwrap();
    cache.insert(1, 10);
    clock.advance(DUE);
    for failures in 1..3 {
        assert_eq!((cache.get(&1), cache.get(&1)), (Some(10), Some(10)));
        assert_eq!(cache.stats().refresh_failures(), failures);
        clock.advance(SECOND);
    }
    assert_eq!(cache.get(&1), Some(10), "what the reader found");
    assert_eq!(cache.get(&1), Some(11));
    assert_eq!((calls.load(Ordering::Relaxed), cache.refreshes_in_flight()), (3, 0));
    cache.check_invariants();
}

#[test]
fn the_value_may_end_while_it_is_refreshed() {
    let setup = Setup::new();
    let cache = setup.builder.time_to_live(2 * DUE).stale_if_error(DUE).build().unwrap();
    let alarm = Arc::new(Alarm::default());
    let claim = || {
        cache.insert(1, 10);
        setup.clock.advance(DUE);
        let refresh = cache.claim_refresh(&1).unwrap();
        setup.clock.advance(DUE);
        assert_eq!(cache.get(&1), None);
        refresh
    };
    // Nobody waits: the entry is gone, and stays so.
    assert!(!claim().complete(11));
    assert_eq!(cache.get(&1), None);
    // Who needs a value waits for the refresh, and then it is a load.
    let refresh = claim();
    let mut load = Box::pin(cache.get_or_insert_with_async(1, async { unreachable!() }));
    assert!(poll(&mut load, &alarm).is_pending());
    assert!(refresh.complete(11));
    assert_eq!(poll(&mut load, &alarm), Poll::Ready(11));
    assert_eq!(cache.get(&1), Some(11));
    // The old value is still good enough if it fails.
    let refresh = claim();
    let mut load =
        Box::pin(cache.try_get_or_insert_with_async(1, async { unreachable!() as Result<u64, ()> }));
    assert!(poll(&mut load, &alarm).is_pending());
    refresh.fail("down");
    assert_eq!(poll(&mut load, &alarm), Poll::Ready(Ok(10)));
    assert_eq!(cache.stats().stale_served(), 1);
    // A refresh that is dropped leaves the load to who waits.
    let refresh = claim();
    let mut load = Box::pin(cache.get_or_insert_with_async(1, async { 12 }));
    assert!(poll(&mut load, &alarm).is_pending());
    drop(refresh);
    assert_eq!(poll(&mut load, &alarm), Poll::Ready(12));
    assert_eq!(cache.stats().stale_served(), 1, "and is no answer with an old value");
    assert_eq!((cache.refreshes_in_flight(), cache.loads_in_flight()), (0, 0));
    cache.check_invariants();
}

#[test]
fn an_error_goes_to_those_who_wait_because_the_value_has_ended() {
    let setup = Setup::new();
    let cache = setup.builder.time_to_live(2 * DUE).build().unwrap();
    cache.insert(1, 10);
    setup.clock.advance(DUE);
    let refresh = cache.claim_refresh(&1).unwrap();
    setup.clock.advance(DUE);
    let alarm = Arc::new(Alarm::default());
    let mut same = Box::pin(cache.try_get_or_insert_with_async(1, async { Ok::<_, &str>(1) }));
    let mut other = Box::pin(cache.try_get_or_insert_with_async(1, async { Ok::<_, String>(2) }));
    assert!(poll(&mut same, &alarm).is_pending() && poll(&mut other, &alarm).is_pending());
    refresh.fail("down");
    assert_eq!(poll(&mut same, &alarm), Poll::Ready(Err(Arc::new("down"))));
    assert_eq!(poll(&mut other, &alarm), Poll::Ready(Ok(2)));
    cache.check_invariants();
}

#[test]
fn a_compute_and_a_refresh_exclude_each_other() {
    let Setup { clock, jobs, builder } = Setup::new();
    let cache = builder.build_with_refresh(|_| Ok::<_, ()>(100)).unwrap();
    cache.insert(1, 10);
    clock.advance(DUE);
    cache.entry(1).and_compute_with(|entry| {
        assert!(cache.claim_refresh(&1).is_none(), "it is being computed");
        Op::Put(entry.unwrap().into_value() + 1)
    });
    assert_eq!((cache.get(&1), jobs.lock().len()), (Some(11), 0));
    clock.advance(DUE);
    assert_eq!(cache.get(&1), Some(11));
    let alarm = Arc::new(Alarm::default());
    let mut compute =
        Box::pin(cache.entry(1).and_upsert_with_async(async |entry| entry.unwrap().into_value() + 1));
    assert!(poll(&mut compute, &alarm).is_pending(), "it waits for the refresh");
    assert_eq!(run(&jobs), 1);
    assert!(matches!(poll(&mut compute, &alarm), Poll::Ready(entry) if *entry.value() == 101));
    cache.check_invariants();
}

#[test]
fn a_loader_may_use_the_cache_but_not_wait_for_itself() {
    let setup = Setup::new();
    let cache = setup.builder.time_to_live(2 * DUE).build().unwrap();
    cache.insert(1, 10);
    setup.clock.advance(DUE);
    let refresh = cache.claim_refresh(&1).unwrap();
    let user = cache.clone();
    assert!(refresh.run(|&key| Ok::<_, ()>(user.get(&key).unwrap() + user.get_or_insert_with(2, || 2))));
    assert_eq!(cache.get(&1), Some(12));
    setup.clock.advance(DUE);
    let refresh = cache.claim_refresh(&1).unwrap();
    setup.clock.advance(DUE);
    assert!(!refresh.run(|&key| Ok::<_, ()>(user.get_or_insert_with(key, || 3))), "it panics, and is caught");
    assert_eq!(cache.stats().refresh_failures(), 1);
    assert_eq!(cache.get_or_insert_with(1, || 4), 4);
}

#[test]
fn a_new_value_may_weigh_more_or_too_much() {
    let clock = Arc::new(ManualClock::new());
    let reported = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&reported);
    let cache: Cache<u64, u64> = Cache::builder()
        .max_weight(100)
        .weigher(|_, &value| value as u32)
        .eviction_listener(move |_, &value, cause| log.lock().push((value, format!("{cause:?}"))))
        .refresh_after(DUE)
        .clock(Arc::clone(&clock))
        .build()
        .unwrap();
    cache.insert(1, 10);
    clock.advance(DUE);
    assert!(cache.claim_refresh(&1).unwrap().complete(90));
    assert_eq!((cache.get(&1), cache.weighted_size()), (Some(90), 90));
    clock.advance(DUE);
    cache.claim_refresh(&1).unwrap().complete(101);
    assert_eq!((cache.get(&1), cache.weighted_size()), (None, 0));
    let names = [(10, "Replaced"), (90, "Replaced"), (101, "Size")];
    assert_eq!(*reported.lock(), names.map(|(value, cause)| (value, String::from(cause))));
    cache.check_invariants();
}

#[test]
fn an_early_refresh_takes_a_measured_load_and_luck() {
    let setup = Setup::new();
    let jobs = setup.jobs;
    let slow = |&key: &u64| {
        let began = std::time::Instant::now();
        while began.elapsed() < Duration::from_micros(50) {
            thread::yield_now();
        }
        Ok::<_, ()>(key)
    };
    // The time to load is real, the clock is not: a microsecond is an hour to this beta.
    let cache = setup.builder.refresh_early(3.6e9).build_with_refresh(slow).unwrap();
    cache.insert(1, 1);
    for _ in 0..1_000 {
        cache.get(&1);
    }
    assert_eq!(jobs.lock().len(), 0, "nobody knows how long it takes");
    cache.try_get_or_insert_with(2, || slow(&2)).unwrap();
    for _ in 0..1_000 {
        cache.get(&2);
    }
    assert_eq!(jobs.lock().len(), 1, "long before its time");
    run(&jobs);
    assert_eq!((cache.get(&2), cache.stats().refreshes()), (Some(2), 1));
    for _ in 0..1_000 {
        cache.get(&2);
    }
    assert_eq!(jobs.lock().len(), 1, "a refresh is measured, too");
    cache.check_invariants();
    // Without the setting nothing is early.
    let Setup { jobs, builder, .. } = Setup::new();
    let cache = builder.build_with_refresh(slow).unwrap();
    cache.try_get_or_insert_with(2, || slow(&2)).unwrap();
    for _ in 0..1_000 {
        cache.get(&2);
    }
    assert_eq!(jobs.lock().len(), 0);
}

#[test]
fn settings_that_make_no_sense_are_errors() {
    let builder = || Cache::<u64, u64>::builder();
    let wrong = [
        (builder().refresh_after(DUE).time_to_live(DUE), BuildError::RefreshTooLate),
        (builder().refresh_early(1.0), BuildError::NoRefresh),
        (builder().refresh_backoff(SECOND, SECOND), BuildError::NoRefresh),
        (builder().refresh_executor(drop), BuildError::NoRefresh),
        (builder().refresh_after(DUE).refresh_early(f64::NAN), BuildError::RefreshEarly),
        (builder().refresh_after(DUE).refresh_early(-1.0), BuildError::RefreshEarly),
        (builder().refresh_after(DUE).refresh_early(f64::INFINITY), BuildError::RefreshEarly),
    ];
    for (builder, error) in wrong {
        assert_eq!(builder.build().unwrap_err(), error);
    }
    let load = |&key: &u64| Ok::<_, ()>(key);
    assert_eq!(builder().build_with_refresh(load).unwrap_err(), BuildError::NoRefresh);
    // The extremes.
    let cache = builder().refresh_after(Duration::MAX).refresh_early(f64::MAX).build().unwrap();
    cache.insert(1, 1);
    assert!(cache.claim_refresh(&1).is_none());
    let cache = builder()
        .refresh_after(Duration::ZERO)
        .refresh_backoff(Duration::MAX, Duration::ZERO)
        .clock(ManualClock::new())
        .build()
        .unwrap();
    cache.insert(1, 1);
    assert!(cache.claim_refresh(&1).is_none(), "zero is the shortest there is");
}

#[test]
fn the_caches_own_thread_refreshes_and_keeps_nothing_alive() {
    watchdog(60, || {
        let census = Census::default();
        let clock = Arc::new(ManualClock::new());
        let one = census.clone();
        let cache: Cache<u64, Counted> = Cache::builder()
            .max_capacity(10)
            .refresh_after(DUE)
            .clock(Arc::clone(&clock))
            .record_stats()
            .build_with_refresh(move |&key| {
                assert_ne!(key, 2, "injected");
                Ok::<_, ()>(one.one())
            })
            .unwrap();
        for round in 1..20 {
            for key in 1..4 {
                cache.insert(key, census.one());
            }
            clock.advance(DUE);
            for key in 1..4 {
                assert!(cache.contains_key(&key) && cache.get(&key).is_some());
            }
            eventually(|| cache.refreshes_in_flight() == 0);
            assert_eq!(cache.stats().refreshes(), 2 * round);
            assert_eq!(cache.stats().refresh_failures(), round);
        }
        cache.check_invariants();
        clock.advance(DUE);
        cache.get(&1);
        drop(cache);
        eventually(|| census.alive() == 0);
    });
}

#[test]
fn a_refresher_that_is_slow_has_a_short_queue() {
    watchdog(60, || {
        let clock = Arc::new(ManualClock::new());
        let (gate, opened) = std::sync::mpsc::channel::<()>();
        let opened = Mutex::new(opened);
        let cache: Cache<u64, u64> = Cache::builder()
            .refresh_after(DUE)
            .clock(Arc::clone(&clock))
            .record_stats()
            .build_with_refresh(move |&key| {
                let _closed = opened.lock().recv();
                Ok::<_, ()>(key + 1)
            })
            .unwrap();
        cache.extend((0..3_000).map(|key| (key, key)));
        clock.advance(DUE);
        for key in 0..3_000 {
            assert_eq!(cache.get(&key), Some(key));
        }
        let waiting = cache.refreshes_in_flight();
        assert!((1_024..=1_025).contains(&waiting), "{waiting}");
        assert_eq!(cache.stats().refresh_failures() as usize, 3_000 - waiting);
        drop(gate);
        eventually(|| cache.refreshes_in_flight() == 0);
        assert_eq!(cache.stats().refreshes() as usize, waiting);
        cache.check_invariants();
    });
}

#[test]
fn panics_of_keys_and_values_are_failures_that_lose_nothing() {
    for place in [
        Place::Hash,
        Place::Eq,
        Place::CloneKey,
        Place::CloneValue,
        Place::DropValue,
        Place::Weigher,
        Place::Listener,
    ] {
        for nth in 1..8 {
            let census = Census::default();
            let clock = Arc::new(ManualClock::new());
            let values = census.clone();
            let cache: Cache<Key, Value> = Cache::builder()
                .max_weight(100)
                .weigher(|_, _| {
                    called(Place::Weigher);
                    1
                })
                .eviction_listener(|_, _, _| called(Place::Listener))
                .shards(1)
                .refresh_after(DUE)
                .refresh_executor(|job| job())
                .clock(Arc::clone(&clock))
                .build_with_refresh(move |key: &Key| Ok::<_, ()>(Value::new(key.0 + 1, &values)))
                .unwrap();
            let key = Key::new(1, &census);
            cache.insert(Key::new(1, &census), Value::new(1, &census));
            clock.advance(DUE);
            set_fuse(place, nth);
            let read = catch_unwind(AssertUnwindSafe(|| cache.read(&key, |value| value.0)));
            if !matches!(place, Place::Hash | Place::Eq) {
                assert_eq!(read.unwrap(), Some(1), "{place:?} {nth}: a refresh never fails a read");
            }
            defuse();
            assert_eq!((cache.refreshes_in_flight(), cache.loads_in_flight()), (0, 0), "{place:?} {nth}");
            cache.check_invariants();
            assert!(matches!(cache.read(&key, |value| value.0), Some(1 | 2)), "{place:?} {nth}");
            drop((key, cache));
            assert_eq!(census.alive(), 0, "{place:?} {nth}");
        }
    }
}

/// A refresh that was stored is a compute: it follows the very value that was there when it was claimed. So is one of a key
/// that another thread writes, removes, loads or computes meanwhile.
#[test]
fn histories_of_refreshes_are_linearizable() {
    watchdog(120, || {
        let clock = Arc::new(ManualClock::new());
        let cache: Cache<u64, u64> = Cache::builder()
            .shards(1)
            .refresh_after(Duration::from_nanos(1))
            .clock(Arc::clone(&clock))
            .record_stats()
            .build()
            .unwrap();
        let (time, values) = (AtomicU64::new(0), AtomicU64::new(1));
        let barrier = Barrier::new(3);
        let events: Vec<Vec<(u64, Event)>> = thread::scope(|scope| {
            let threads: Vec<_> = (0..3)
                .map(|t| {
                    let (cache, time, values, barrier, clock) = (&cache, &time, &values, &barrier, &clock);
                    scope.spawn(move || {
                        let mut random = Random::new(t + 1);
                        let mut events = Vec::new();
                        for round in 0..scaled(2_000, 5) {
                            barrier.wait();
                            for _ in 0..7 {
                                let key = round * 2 + random.below(2);
                                let own = values.fetch_add(1, Ordering::Relaxed);
                                let began = time.fetch_add(1, Ordering::SeqCst);
                                let choice = random.below(20);
                                if choice < 14 {
                                    let (call, seen) =
                                        history::call(cache, key, own, choice, thread::yield_now);
                                    let ended = time.fetch_add(1, Ordering::SeqCst);
                                    events.push((key, Event { call, seen, began, ended }));
                                    continue;
                                }
                                clock.advance(Duration::from_nanos(1));
                                let Some(refresh) = cache.claim_refresh(&key) else { continue };
                                let seen = cache.get(&key);
                                thread::yield_now();
                                let stored = refresh.complete(own);
                                let ended = time.fetch_add(1, Ordering::SeqCst);
                                if stored {
                                    events.push((key, Event { call: Call::Put(own), seen, began, ended }));
                                }
                            }
                        }
                        events
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        cache.check_invariants();
        assert_eq!((cache.refreshes_in_flight(), cache.loads_in_flight()), (0, 0));
        let stats = cache.stats();
        assert!(stats.refreshes() > 10 && (cfg!(miri) || stats.refreshes_discarded() > 0), "{stats:?}");
        history::check(events.into_iter().flatten(), false);
    });
}

/// Every read after an invalidation sees what the source held then, or later: no refresh brings older data back.
#[test]
fn no_refresh_brings_back_what_was_invalidated() {
    watchdog(120, || {
        let clock = Arc::new(ManualClock::new());
        let source = Arc::new(AtomicU64::new(0));
        let from = Arc::clone(&source);
        let cache: Cache<u64, u64> = Cache::builder()
            .max_capacity(4)
            .refresh_after(Duration::from_nanos(1))
            .clock(Arc::clone(&clock))
            .record_stats()
            .build_with_refresh(move |_| {
                let read = from.load(Ordering::SeqCst);
                thread::yield_now();
                Ok::<_, ()>(read)
            })
            .unwrap();
        thread::scope(|scope| {
            scope.spawn(|| {
                for version in 1..=scaled(3_000, 20) {
                    source.store(version, Ordering::SeqCst);
                    cache.invalidate(&1);
                    let read = cache.get_or_insert_with(1, || source.load(Ordering::SeqCst));
                    assert!(read >= version, "{read} after version {version} was there");
                    clock.advance(Duration::from_nanos(1));
                }
            });
            for _ in 0..2 {
                scope.spawn(|| {
                    let mut last = 0;
                    while source.load(Ordering::SeqCst) < scaled(3_000, 20) {
                        if let Some(read) = cache.get(&1) {
                            assert!(read >= last, "time ran backwards from {last} to {read}");
                            last = read;
                        }
                    }
                });
            }
        });
        eventually(|| cache.refreshes_in_flight() == 0);
        cache.check_invariants();
    });
}
