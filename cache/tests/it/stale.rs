//! Old values for loads that fail, and loads that find nothing.

use std::collections::HashMap;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures::channel::oneshot;
use futures::executor::block_on;
use millpond_cache::{Cache, CacheBuilder, Expiry, ManualClock, RemovalCause};
use parking_lot::Mutex;

use crate::support::{Alarm, Census, Counted, eventually, poll};

const SECOND: Duration = Duration::from_secs(1);

type Removals = Arc<Mutex<Vec<(u64, u64, RemovalCause)>>>;

struct Setup {
    cache: Cache<u64, u64>,
    clock: Arc<ManualClock>,
    removals: Removals,
}

/// Entries live for 10 s, and for 20 s more in secret.
fn setup(configure: impl FnOnce(CacheBuilder<u64, u64>) -> CacheBuilder<u64, u64>) -> Setup {
    let clock = Arc::new(ManualClock::new());
    let removals = Removals::default();
    let log = Arc::clone(&removals);
    let builder = Cache::builder()
        .max_capacity(100)
        .shards(1)
        .time_to_live(10 * SECOND)
        .stale_if_error(20 * SECOND)
        .clock(Arc::clone(&clock))
        .record_stats()
        .eviction_listener(move |&key, &value, cause| log.lock().push((key, value, cause)));
    Setup { cache: configure(builder).build().unwrap(), clock, removals }
}

fn fail() -> Result<u64, &'static str> {
    Err("down")
}

#[test]
fn a_failed_load_returns_the_old_value_for_a_while() {
    let Setup { cache, clock, removals } = setup(|builder| builder);
    cache.insert(1, 10);
    clock.advance(10 * SECOND);
    // To everybody else it is gone.
    assert_eq!(cache.get(&1), None);
    assert!(!cache.contains_key(&1) && cache.iter().next().is_none() && cache.pin().get(&1).is_none());
    assert_eq!((cache.remove_entry(&2), cache.expires_after(&1)), (None, None));
    assert!(!cache.set_expires_after(&1, SECOND));
    assert_eq!(cache.get_all(&[1]), [None]);
    for _ in 0..2 {
        assert_eq!(cache.try_get_or_insert_with(1, fail), Ok(10));
        assert_eq!(block_on(cache.try_get_or_insert_with_async(1, async { fail() })), Ok(10));
        assert_eq!(cache.try_optionally_get_with(1, || fail().map(Some)), Ok(Some(10)));
    }
    let entry = cache.entry(1).or_try_insert_with(fail).unwrap();
    assert_eq!((*entry.value(), entry.is_fresh()), (10, false));
    assert_eq!(cache.get(&1), None, "an old value is not stored as a new one");
    let stats = cache.stats();
    assert_eq!((stats.load_failures(), stats.stale_served(), stats.load_successes()), (7, 7, 0));
    // Housekeeping leaves it, until its second time is over.
    clock.advance(19 * SECOND);
    cache.run_pending_tasks();
    cache.insert(5, 5);
    assert_eq!(cache.try_get_or_insert_with(1, fail), Ok(10));
    assert_eq!(*removals.lock(), []);
    clock.advance(SECOND);
    assert!(cache.try_get_or_insert_with(1, fail).is_err());
    cache.run_pending_tasks();
    assert_eq!(*removals.lock(), [(1, 10, RemovalCause::Expired)]);
    assert_eq!(cache.entry_count(), 1);
    cache.check_invariants();
}

#[test]
fn without_the_setting_an_error_is_an_error() {
    let clock = Arc::new(ManualClock::new());
    let cache: Cache<u64, u64> =
        Cache::builder().time_to_live(SECOND).clock(Arc::clone(&clock)).build().unwrap();
    cache.insert(1, 10);
    clock.advance(SECOND);
    assert!(cache.try_get_or_insert_with(1, fail).is_err());
}

#[test]
fn a_new_value_ends_the_old_one() {
    let Setup { cache, clock, removals } = setup(|builder| builder);
    cache.insert(1, 10);
    clock.advance(10 * SECOND);
    assert_eq!(cache.try_get_or_insert_with(1, || Ok::<_, ()>(11)), Ok(11));
    assert_eq!(cache.get(&1), Some(11));
    assert_eq!(*removals.lock(), [(1, 10, RemovalCause::Expired)]);
    clock.advance(10 * SECOND);
    assert_eq!(cache.try_get_or_insert_with(1, fail), Ok(11));
    cache.check_invariants();
}

/// How an old value goes for good.
type Ending = (&'static str, fn(&Cache<u64, u64>));

#[test]
fn what_was_removed_never_comes_back_as_an_old_value() {
    let endings: [Ending; 7] = [
        ("invalidate", |cache| cache.invalidate(&1)),
        ("remove", |cache| assert_eq!(cache.remove(&1), None, "it was dead")),
        ("invalidate_all", Cache::invalidate_all),
        ("invalidate_if", |cache| assert_eq!(cache.invalidate_if(|_, _| true), 0, "it was dead")),
        ("retain", |cache| cache.retain(|&key, _| key != 1)),
        ("optionally_get_with", |cache| assert_eq!(cache.optionally_get_with(1, || None), None)),
        ("get_many_with", |cache| assert!(cache.get_many_with([1], |_| []).is_empty())),
    ];
    for (name, end) in endings {
        let Setup { cache, clock, removals } = setup(|builder| builder);
        cache.insert(1, 10);
        clock.advance(15 * SECOND);
        end(&cache);
        assert!(cache.try_get_or_insert_with(1, fail).is_err(), "{name}");
        assert_eq!(*removals.lock(), [(1, 10, RemovalCause::Expired)], "{name}");
        assert_eq!(cache.entry_count(), 0, "{name}");
        cache.check_invariants();
    }
}

#[test]
fn a_removal_or_a_write_during_a_load_that_fails_counts() {
    let Setup { cache, clock, .. } = setup(|builder| builder);
    cache.insert(1, 10);
    clock.advance(10 * SECOND);
    let failed = cache.try_get_or_insert_with(1, || {
        cache.invalidate(&1);
        fail()
    });
    assert!(failed.is_err(), "it was invalidated, so the old value is wrong");
    let written = cache.try_get_or_insert_with(1, || {
        cache.insert(1, 11);
        fail()
    });
    assert_eq!(written, Ok(11), "there is a new value");
    assert_eq!(cache.stats().stale_served(), 0);
    assert_eq!(cache.loads_in_flight(), 0);
}

#[test]
fn all_who_wait_for_a_load_that_fails_get_the_old_value() {
    let Setup { cache, clock, .. } = setup(|builder| builder);
    cache.insert(1, 10);
    clock.advance(10 * SECOND);
    let alarm = Arc::new(Alarm::default());
    let (answer, answers) = oneshot::channel();
    let mut leader = Box::pin(
        cache.try_get_or_insert_with_async(1, async { answers.await.unwrap() as Result<u64, &str> }),
    );
    assert!(poll(&mut leader, &alarm).is_pending());
    let mut waiter =
        Box::pin(cache.try_get_or_insert_with_async(1, async { unreachable!() as Result<u64, i8> }));
    let mut plain = Box::pin(cache.get_or_insert_with_async(1, async { unreachable!() }));
    assert!(poll(&mut waiter, &alarm).is_pending() && poll(&mut plain, &alarm).is_pending());
    answer.send(fail()).unwrap();
    assert_eq!(poll(&mut leader, &alarm), Poll::Ready(Ok(10)));
    assert_eq!(poll(&mut waiter, &alarm), Poll::Ready(Ok(10)));
    assert_eq!(poll(&mut plain, &alarm), Poll::Ready(10));
    assert_eq!(cache.stats().stale_served(), 1, "one load failed");
    cache.check_invariants();
}

#[test]
fn a_bulk_load_that_fails_falls_back_key_by_key() {
    let Setup { cache, clock, .. } = setup(|builder| builder);
    cache.extend([(1, 10), (2, 20)]);
    clock.advance(10 * SECOND);
    cache.insert(3, 30);
    let load = |_: Vec<u64>| Err::<Vec<(u64, u64)>, _>("down");
    assert_eq!(
        cache.try_get_many_with([1, 2, 3], load),
        Ok(HashMap::from([(1, 10), (2, 20), (3, 30)])),
        "there is a value for each"
    );
    assert_eq!(cache.try_get_many_with([1, 4], load).map_err(|error| *error), Err("down"));
    assert_eq!(cache.stats().load_failures(), 2);
    assert_eq!((cache.get(&1), cache.loads_in_flight()), (None, 0));
    cache.check_invariants();
}

#[test]
fn old_values_make_room_and_are_dropped() {
    let census = Census::default();
    let clock = Arc::new(ManualClock::new());
    let cache: Cache<u64, Counted> = Cache::builder()
        .max_capacity(10)
        .shards(1)
        .time_to_live(SECOND)
        .stale_if_error(Duration::MAX)
        .clock(Arc::clone(&clock))
        .build()
        .unwrap();
    for round in 0..50 {
        for key in 0..10 {
            cache.insert(10 * round + key, census.one());
        }
        clock.advance(SECOND);
        assert!(cache.entry_count() <= 10);
    }
    // Pins of other tests may hold the drops back for a moment.
    eventually(|| {
        cache.run_pending_tasks();
        census.alive() as u64 == cache.entry_count()
    });
    cache.check_invariants();
    drop(cache);
    assert_eq!(census.alive(), 0);
}

#[test]
fn the_time_to_idle_and_shortened_lives_wait_too() {
    struct Short;
    impl Expiry<u64, u64> for Short {
        fn expire_after_create(&self, _: &u64, _: &u64) -> Option<Duration> {
            Some(10 * SECOND)
        }
        fn expire_after_read(&self, _: &u64, _: &u64, _: Option<Duration>) -> Option<Duration> {
            Some(SECOND)
        }
    }
    let clock = Arc::new(ManualClock::new());
    let make = || Cache::<u64, u64>::builder().clock(Arc::clone(&clock)).stale_if_error(3 * SECOND);
    let idle = make().time_to_idle(SECOND).build().unwrap();
    let ruled = make().expire_after(Short).build().unwrap();
    for cache in [idle, ruled] {
        cache.insert(1, 10);
        assert_eq!(cache.get(&1), Some(10));
        clock.advance(3 * SECOND);
        cache.run_pending_tasks();
        assert_eq!(cache.get(&1), None);
        assert_eq!(cache.try_get_or_insert_with(1, fail), Ok(10));
        clock.advance(SECOND);
        assert!(cache.try_get_or_insert_with(1, fail).is_err());
        clock.advance(20 * SECOND);
        cache.run_pending_tasks();
        assert_eq!(cache.entry_count(), 0);
        cache.check_invariants();
        clock.set(Duration::ZERO);
    }
}

#[test]
fn the_clock_may_go_back() {
    let Setup { cache, clock, .. } = setup(|builder| builder);
    clock.set(100 * SECOND);
    cache.insert(1, 10);
    clock.set(50 * SECOND);
    cache.run_pending_tasks();
    clock.set(129 * SECOND);
    cache.run_pending_tasks();
    assert_eq!(cache.try_get_or_insert_with(1, fail), Ok(10));
    clock.set(130 * SECOND);
    cache.run_pending_tasks();
    assert_eq!(cache.entry_count(), 0);
    cache.check_invariants();
}

#[test]
fn absences_are_shared_and_not_cached() {
    let cache: Cache<u64, u64> = Cache::builder().record_stats().build().unwrap();
    let alarm = Arc::new(Alarm::default());
    let (answer, answers) = oneshot::channel();
    let mut leader = Box::pin(cache.optionally_get_with_async(1, async { answers.await.unwrap() }));
    assert!(poll(&mut leader, &alarm).is_pending());
    let mut waiter = Box::pin(cache.optionally_get_with_async(1, async { unreachable!() }));
    let mut bulk = Box::pin(cache.get_many_with_async([1], async |_| -> Vec<(u64, u64)> { unreachable!() }));
    let mut needy = Box::pin(cache.get_or_insert_with_async(1, async { 7 }));
    assert!(poll(&mut waiter, &alarm).is_pending());
    assert!(poll(&mut bulk, &alarm).is_pending());
    assert!(poll(&mut needy, &alarm).is_pending());
    answer.send(None).unwrap();
    assert_eq!(poll(&mut leader, &alarm), Poll::Ready(None));
    assert_eq!(poll(&mut waiter, &alarm), Poll::Ready(None));
    assert_eq!(poll(&mut bulk, &alarm), Poll::Ready(HashMap::new()));
    assert_eq!(cache.get(&1), None);
    assert_eq!(poll(&mut needy, &alarm), Poll::Ready(7), "who needs a value loads for itself");
    assert_eq!(cache.optionally_get_with(1, || unreachable!()), Some(7));
    assert_eq!(cache.try_optionally_get_with(2, || Err::<_, &str>("no")).map_err(|error| *error), Err("no"));
    assert_eq!(cache.optionally_get_with(2, || Some(2)), Some(2));
    let mut cancelled = Box::pin(cache.optionally_get_with_async(3, std::future::pending()));
    assert!(poll(&mut cancelled, &alarm).is_pending());
    drop(cancelled);
    assert_eq!((cache.loads_in_flight(), cache.stats().load_successes()), (0, 3));
    cache.check_invariants();
}

#[test]
fn negative_values_have_a_life_of_their_own() {
    let clock = Arc::new(ManualClock::new());
    let make = || {
        Cache::<u64, Option<u64>>::builder()
            .max_capacity(100)
            .negative_time_to_live(SECOND, Option::is_none)
            .clock(Arc::clone(&clock))
    };
    struct Rule;
    impl Expiry<u64, Option<u64>> for Rule {
        fn expire_after_create(&self, _: &u64, _: &Option<u64>) -> Option<Duration> {
            Some(10 * SECOND)
        }
    }
    let caches = [
        make().build().unwrap(),
        make().time_to_live(10 * SECOND).build().unwrap(),
        make().expire_after(Rule).build().unwrap(),
    ];
    for cache in caches {
        cache.insert(1, Some(1));
        cache.insert(2, None);
        assert_eq!(cache.get_or_insert_with(3, || None), None);
        assert_eq!(cache.get_many_with([4], |_| [(4, None)])[&4], None);
        cache.insert_with_ttl(5, None, 5 * SECOND);
        assert_eq!(cache.expires_after(&2), Some(SECOND));
        clock.advance(SECOND);
        assert_eq!(cache.get_all(&[1, 2, 3, 4, 5]), [Some(Some(1)), None, None, None, Some(None)]);
        // A negative value takes the place of a positive one, and the other way round.
        cache.insert(1, None);
        assert_eq!(cache.expires_after(&1), Some(SECOND));
        cache.insert(2, Some(2));
        clock.advance(SECOND);
        assert_eq!(cache.get_all(&[1, 2]), [None, Some(Some(2))]);
        cache.check_invariants();
    }
}

#[test]
fn a_scan_of_what_is_not_there_is_bounded() {
    let cache: Cache<u64, Option<u64>> = Cache::builder()
        .max_capacity(50)
        .negative_time_to_live(Duration::MAX, Option::is_none)
        .build()
        .unwrap();
    for key in 0..10_000 {
        assert_eq!(cache.get_or_insert_with(key, || None), None);
        assert!(cache.entry_count() <= 50);
    }
    cache.check_invariants();
}
