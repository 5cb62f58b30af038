//! Lives given by a rule, by chance and from outside.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use millpond_cache::{BuildError, Cache, CacheBuilder, Expiry, ManualClock, RemovalCause};
use parking_lot::Mutex;

use crate::support::Random;

const SECOND: Duration = Duration::from_secs(1);
const NANO: Duration = Duration::from_nanos(1);

type Pairs = Cache<u64, u64>;

fn timed(
    configure: impl FnOnce(CacheBuilder<u64, u64>) -> CacheBuilder<u64, u64>,
) -> (Pairs, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new());
    let cache = configure(Cache::builder().clock(Arc::clone(&clock))).build().unwrap();
    (cache, clock)
}

/// What the rule says next, and what it was asked.
#[derive(Default)]
struct Script {
    create: Option<Duration>,
    read: Option<Duration>,
    update: Option<Duration>,
    asked: Vec<(&'static str, u64, u64, Option<Duration>)>,
    panics: bool,
}

#[derive(Clone, Default)]
struct Rule(Arc<Mutex<Script>>);

impl Rule {
    fn say(&self, create: Option<Duration>, read: Option<Duration>, update: Option<Duration>) {
        let mut script = self.0.lock();
        (script.create, script.read, script.update) = (create, read, update);
    }

    fn asked(&self) -> Vec<(&'static str, u64, u64, Option<Duration>)> {
        std::mem::take(&mut self.0.lock().asked)
    }

    fn answer(
        &self,
        asked: (&'static str, u64, u64, Option<Duration>),
        pick: impl FnOnce(&Script) -> Option<Duration>,
    ) -> Option<Duration> {
        let mut script = self.0.lock();
        script.asked.push(asked);
        assert!(!script.panics, "asked for");
        pick(&script)
    }
}

impl Expiry<u64, u64> for Rule {
    fn expire_after_create(&self, key: &u64, value: &u64) -> Option<Duration> {
        self.answer(("create", *key, *value, None), |script| script.create)
    }

    fn expire_after_read(&self, key: &u64, value: &u64, remaining: Option<Duration>) -> Option<Duration> {
        self.answer(("read", *key, *value, remaining), |script| script.read)
    }

    fn expire_after_update(&self, key: &u64, value: &u64, remaining: Option<Duration>) -> Option<Duration> {
        self.answer(("update", *key, *value, remaining), |script| script.update)
    }
}

fn ruled() -> (Pairs, Arc<ManualClock>, Rule) {
    let rule = Rule::default();
    let (cache, clock) = timed(|b| b.expire_after(rule.clone()));
    (cache, clock, rule)
}

#[test]
fn b09_none_on_update_and_read_keeps_the_end() {
    let (cache, clock, rule) = ruled();
    rule.say(Some(10 * SECOND), None, None);
    cache.insert(1, 1);
    clock.advance(4 * SECOND);
    assert_eq!(cache.get(&1), Some(1));
    cache.insert(1, 2);
    assert_eq!(cache.expires_after(&1), Some(6 * SECOND));
    assert_eq!(
        rule.asked(),
        [("create", 1, 1, None), ("read", 1, 1, Some(6 * SECOND)), ("update", 1, 2, Some(6 * SECOND))]
    );
    clock.advance(6 * SECOND - NANO);
    assert_eq!(cache.get(&1), Some(2));
    clock.advance(NANO);
    assert_eq!(cache.get(&1), None);
    rule.asked();
    cache.insert(1, 3);
    assert_eq!(rule.asked(), [("create", 1, 3, None)], "what has expired is created anew");
    cache.check_invariants();
}

#[test]
fn reads_and_updates_move_the_end_both_ways() {
    let (cache, clock, rule) = ruled();
    rule.say(Some(10 * SECOND), Some(20 * SECOND), Some(3 * SECOND));
    cache.insert(1, 1);
    clock.advance(9 * SECOND);
    assert!(cache.contains_key(&1));
    assert_eq!(cache.expires_after(&1), Some(SECOND), "neither asking is a read");
    let reads: [fn(&Pairs) -> Option<u64>; 3] =
        [|c| c.get(&1), |c| c.read(&1, |v| *v), |c| c.pin().get(&1).copied()];
    for read in reads {
        assert_eq!(read(&cache), Some(1));
        assert_eq!(cache.expires_after(&1), Some(20 * SECOND));
        clock.advance(19 * SECOND);
    }
    cache.run_pending_tasks();
    assert_eq!(cache.entry_count(), 1, "its timer found it prolonged");
    cache.insert(1, 2);
    assert_eq!(cache.expires_after(&1), Some(3 * SECOND));
    clock.advance(3 * SECOND);
    assert_eq!(cache.get(&1), None);
    cache.run_pending_tasks();
    assert_eq!(cache.entry_count(), 0);
    cache.check_invariants();
}

#[test]
fn a_read_that_shortens_a_life() {
    for created in [Some(1_000 * SECOND), None] {
        let (cache, clock, rule) = ruled();
        rule.say(created, Some(SECOND), None);
        for key in 0..1_000 {
            cache.insert(key, key);
        }
        assert_eq!(cache.expires_after(&1), created);
        for key in 0..500 {
            assert_eq!(cache.get(&key), Some(key));
        }
        clock.advance(SECOND);
        assert_eq!(cache.get(&1), None);
        cache.run_pending_tasks();
        assert_eq!(cache.entry_count(), 500, "maintenance removes them before the old end");
        cache.check_invariants();
    }
}

#[test]
fn b09_a_rule_with_extreme_answers() {
    let (cache, clock, rule) = ruled();
    for (life, lives, after_a_tick) in
        [(Duration::ZERO, false, false), (NANO, true, false), (Duration::MAX, true, true)]
    {
        let expect = |alive: bool| alive.then_some(7);
        rule.say(Some(life), None, None);
        cache.insert(1, 7);
        assert_eq!(cache.get(&1), expect(lives), "create {life:?}");
        clock.advance(NANO);
        assert_eq!(cache.get(&1), expect(after_a_tick), "create {life:?}");

        rule.say(Some(SECOND), Some(life), None);
        cache.insert(2, 7);
        assert_eq!(cache.get(&2), Some(7), "the read itself began in time");
        assert_eq!(cache.get(&2), expect(lives), "read {life:?}");
        clock.advance(NANO);
        assert_eq!(cache.get(&2), expect(after_a_tick), "read {life:?}");

        rule.say(Some(SECOND), None, Some(life));
        cache.insert(3, 6);
        cache.insert(3, 7);
        assert_eq!(cache.get(&3), expect(lives), "update {life:?}");
        clock.advance(NANO);
        assert_eq!(cache.get(&3), expect(after_a_tick), "update {life:?}");
        cache.invalidate_all();
        cache.check_invariants();
    }
    // Never ending entries are still asked about.
    rule.say(None, None, None);
    cache.insert(4, 4);
    clock.set(Duration::MAX);
    rule.asked();
    assert_eq!(cache.get(&4), Some(4));
    assert_eq!(cache.get(&4), Some(4));
    assert_eq!(rule.asked(), [("read", 4, 4, None), ("read", 4, 4, None)]);
    cache.check_invariants();
}

#[test]
fn a_life_of_its_own_and_a_load_under_a_rule() {
    let (cache, clock, rule) = ruled();
    rule.say(Some(5 * SECOND), None, Some(7 * SECOND));
    cache.insert_with_ttl(1, 1, 2 * SECOND);
    assert_eq!(cache.expires_after(&1), Some(2 * SECOND));
    assert!(rule.asked().is_empty(), "a life that comes with the write is not asked for");
    assert_eq!(cache.get_or_insert_with(2, || 2), 2);
    assert_eq!(cache.expires_after(&2), Some(5 * SECOND));
    clock.advance(5 * SECOND);
    assert_eq!(cache.get_or_insert_with(2, || 3), 3);
    assert_eq!(cache.expires_after(&2), Some(5 * SECOND), "created again, not updated");
}

#[test]
fn the_time_to_idle_applies_beside_a_rule() {
    let rule = Rule::default();
    rule.say(Some(10 * SECOND), None, None);
    let (cache, clock) = timed(|b| b.time_to_idle(3 * SECOND).expire_after(rule.clone()));
    cache.insert(1, 1);
    cache.insert(2, 2);
    assert_eq!(cache.expires_after(&1), Some(3 * SECOND));
    for _ in 0..4 {
        clock.advance(2 * SECOND);
        assert_eq!(cache.get(&1), Some(1));
    }
    assert_eq!(cache.get(&2), None);
    assert_eq!(cache.expires_after(&1), Some(2 * SECOND));
    clock.advance(2 * SECOND);
    assert_eq!(cache.get(&1), None);
    cache.run_pending_tasks();
    assert_eq!(cache.entry_count(), 0);
}

#[test]
fn b01_a_rule_that_panics_changes_nothing() {
    let (cache, clock, rule) = ruled();
    rule.say(Some(10 * SECOND), None, None);
    cache.insert(1, 1);
    rule.0.lock().panics = true;
    let caught = |f: &dyn Fn()| catch_unwind(AssertUnwindSafe(f)).is_err();
    assert!(caught(&|| cache.insert(1, 2)), "update");
    assert!(caught(&|| cache.insert(2, 2)), "create");
    assert!(caught(&|| _ = cache.get(&1)), "read");
    assert!(caught(&|| _ = cache.get_or_insert_with(3, || 3)), "load");
    rule.0.lock().panics = false;
    assert_eq!((cache.get(&1), cache.get(&2), cache.get(&3)), (Some(1), None, None));
    assert_eq!(cache.loads_in_flight(), 0);
    clock.advance(10 * SECOND);
    cache.run_pending_tasks();
    assert_eq!(cache.entry_count(), 0);
    cache.check_invariants();
}

#[test]
fn b03_a_rule_may_use_the_cache() {
    struct Meddler(Mutex<Option<Pairs>>);
    impl Expiry<u64, u64> for Meddler {
        fn expire_after_create(&self, key: &u64, _: &u64) -> Option<Duration> {
            self.meddle(*key);
            Some(SECOND)
        }
        fn expire_after_read(&self, key: &u64, _: &u64, _: Option<Duration>) -> Option<Duration> {
            self.meddle(*key);
            Some(SECOND)
        }
        fn expire_after_update(&self, key: &u64, _: &u64, _: Option<Duration>) -> Option<Duration> {
            self.meddle(*key);
            Some(SECOND)
        }
    }
    impl Meddler {
        fn meddle(&self, key: u64) {
            // Not in calls that it makes itself.
            let Some(cache) = self.0.lock().take() else { return };
            cache.insert(key, 100);
            cache.get(&key);
            cache.set_expires_after(&key, 2 * SECOND);
            cache.invalidate(&key);
            cache.run_pending_tasks();
            *self.0.lock() = Some(cache);
        }
    }
    crate::support::watchdog(120, || {
        let rule = Arc::new(Meddler(Mutex::new(None)));
        let (cache, _clock) = timed(|b| b.shards(1).max_capacity(10).expire_after(Arc::clone(&rule)));
        *rule.0.lock() = Some(cache.clone());
        for key in 0..50 {
            cache.insert(key, key);
            cache.insert(key, key);
            assert_eq!(cache.get(&key), Some(key), "the value was there when the read began");
            assert_eq!(cache.get(&key), None, "the read's rule removed it");
        }
        cache.check_invariants();
        *rule.0.lock() = None;
    });
}

#[test]
fn lifetimes_that_contradict_each_other_are_refused() {
    let build = |b: CacheBuilder<u64, u64>| b.build().map(drop);
    let rule = Rule::default();
    let error = build(Cache::builder().time_to_live(SECOND).expire_after(rule)).unwrap_err();
    assert_eq!(error, BuildError::TwoLifetimes);
    let error = build(Cache::builder().time_to_live_jitter(0.1)).unwrap_err();
    assert_eq!(error, BuildError::NoTimeToLive);
    for fraction in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
        let error = build(Cache::builder().time_to_live(SECOND).time_to_live_jitter(fraction)).unwrap_err();
        assert_eq!(error, BuildError::Jitter, "{fraction}");
    }
    for fraction in [0.0, 0.5, 1.0] {
        build(Cache::builder().time_to_live(SECOND).time_to_live_jitter(fraction)).unwrap();
    }
}

#[test]
fn jitter_spreads_lives_over_its_part_of_the_time_to_live() {
    let (cache, clock) = timed(|b| b.time_to_live(1_000 * SECOND).time_to_live_jitter(0.2));
    for key in 0..10_000 {
        cache.insert(key, key);
    }
    let lives: Vec<_> = (0..10_000).map(|key| cache.expires_after(&key).unwrap()).collect();
    for tenth in 0..10u32 {
        let range = 800 * SECOND + tenth * 20 * SECOND..800 * SECOND + (tenth + 1) * 20 * SECOND;
        let count = lives.iter().filter(|life| range.contains(life)).count();
        assert!((800..1_200).contains(&count), "{count} of 10,000 in {range:?}");
    }
    let before = cache.expires_after(&1).unwrap();
    clock.advance(SECOND);
    cache.get(&1);
    assert_eq!(cache.expires_after(&1), Some(before - SECOND), "drawn once");
    cache.insert(1, 2);
    assert_ne!(cache.expires_after(&1), Some(before), "drawn anew for a new value");
    cache.insert_with_ttl(1, 1, 7 * SECOND);
    assert_eq!(cache.expires_after(&1), Some(7 * SECOND), "a life of its own is exact");
    clock.advance(1_000 * SECOND);
    cache.run_pending_tasks();
    assert_eq!(cache.entry_count(), 0);
    for ttl in [Duration::ZERO, NANO, Duration::MAX] {
        let (cache, clock) = timed(|b| b.time_to_live(ttl).time_to_live_jitter(1.0));
        cache.insert(1, 1);
        clock.advance(NANO);
        assert_eq!(cache.get(&1), (ttl == Duration::MAX).then_some(1), "{ttl:?}");
    }
}

#[test]
fn an_end_set_from_outside() {
    let plain = timed(|b| b);
    let with_ttl = timed(|b| b.time_to_live(100 * SECOND));
    let counted = timed(|b| b.record_stats());
    for (cache, clock) in [plain, with_ttl, counted] {
        assert!(!cache.set_expires_after(&1, SECOND), "there is no such entry");
        cache.insert(1, 1);
        cache.insert(2, 2);
        // Several hits: in a cache without an end, further ones would look at nothing.
        for _ in 0..3 {
            assert_eq!(cache.get(&1), Some(1));
        }
        assert!(cache.set_expires_after(&1, 10 * SECOND));
        assert_eq!(cache.expires_after(&1), Some(10 * SECOND));
        cache.check_invariants();
        clock.advance(10 * SECOND - NANO);
        assert_eq!(cache.get(&1), Some(1));
        cache.check_invariants();
        assert!(cache.set_expires_after(&1, SECOND), "shorter");
        clock.advance(SECOND);
        assert_eq!(cache.get(&1), None);
        assert!(!cache.set_expires_after(&1, SECOND), "the dead are not revived");
        assert_eq!(cache.get(&2), Some(2));
        cache.insert(3, 3);
        assert!(cache.set_expires_after(&3, SECOND));
        assert!(cache.set_expires_after(&3, Duration::MAX));
        assert_eq!(cache.expires_after(&3), None);
        clock.advance(1_000_000 * SECOND);
        assert_eq!(cache.get(&3), Some(3));
        assert!(cache.set_expires_after(&3, Duration::ZERO));
        assert_eq!(cache.get(&3), None);
        cache.run_pending_tasks();
        cache.check_invariants();
    }
}

#[test]
fn a_write_removes_a_bounded_number_of_a_million_dead() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let (cache, clock) = timed(|b| {
        b.shards(1).eviction_listener(move |&key, _, cause| {
            assert_eq!(cause, RemovalCause::Expired);
            log.lock().push(key);
        })
    });
    for key in 0..10_000 {
        cache.insert_with_ttl(key, key, SECOND);
    }
    clock.advance(SECOND);
    let mut before = 0;
    for key in 0..4_000 {
        cache.insert_with_ttl(1_000_000 + key, key, 1_000 * SECOND);
        let now = seen.lock().len();
        assert!(now - before <= 4, "{} at once", now - before);
        before = now;
    }
    assert_eq!(before, 10_000, "all left within a few writes for each 4 of them");
    cache.check_invariants();
}

#[test]
fn b10_a_clock_that_goes_back_for_good() {
    let (cache, clock) = timed(|b| b.shards(1));
    clock.set(1_000_000 * SECOND);
    cache.insert_with_ttl(0, 0, SECOND);
    clock.advance(SECOND);
    cache.insert_with_ttl(1, 1, SECOND);
    clock.set(SECOND);
    for key in 10..110 {
        cache.insert_with_ttl(key, key, SECOND);
    }
    clock.advance(SECOND);
    for round in 0..100 {
        cache.insert(2, round);
    }
    assert_eq!(cache.entry_count(), 2, "writes find them although the wheel is ahead: {cache:?}");
    cache.insert_with_ttl(3, 3, SECOND);
    clock.advance(SECOND);
    cache.run_pending_tasks();
    assert_eq!(cache.entry_count(), 2);
    cache.check_invariants();
}

#[test]
fn b08_an_end_set_from_outside_against_hits() {
    crate::support::watchdog(300, || {
        let (cache, clock) = timed(|b| b.shards(1));
        /// Rounds, each with a key of its own.
        const ROUNDS: u64 = 1_000;
        let dead: Vec<AtomicBool> = (0..ROUNDS).map(|_| AtomicBool::new(false)).collect();
        let round = AtomicU64::new(0);
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    loop {
                        let key = round.load(Ordering::Acquire);
                        if key == ROUNDS {
                            break;
                        }
                        let over = dead[key as usize].load(Ordering::Acquire);
                        let got = cache.get(&key);
                        assert!(!(over && got.is_some()), "{key} was over before this read began");
                    }
                });
            }
            for key in 0..ROUNDS {
                cache.insert(key, key);
                round.store(key, Ordering::Release);
                for _ in 0..key % 7 {
                    thread::yield_now();
                }
                assert!(cache.set_expires_after(&key, NANO));
                clock.advance(NANO);
                dead[key as usize].store(true, Ordering::Release);
                for _ in 0..3 {
                    assert_eq!(cache.get(&key), None);
                }
            }
            round.store(ROUNDS, Ordering::Release);
        });
        cache.run_pending_tasks();
        assert_eq!(cache.entry_count(), 0);
        cache.check_invariants();
    });
}

#[test]
fn b08_expiry_against_updates_reads_and_ends_set_from_outside() {
    /// Half of the lives are moved by each read.
    struct Odd;
    impl Expiry<u64, u64> for Odd {
        fn expire_after_create(&self, _: &u64, _: &u64) -> Option<Duration> {
            Some(Duration::from_nanos(1_000))
        }
        fn expire_after_read(&self, key: &u64, _: &u64, _: Option<Duration>) -> Option<Duration> {
            (key % 2 == 1).then_some(Duration::from_nanos(500))
        }
    }
    crate::support::watchdog(60, || {
        let (cache, clock) = timed(|b| b.shards(2).max_capacity(150).expire_after(Odd).record_stats());
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            for t in 0..3 {
                let (cache, done) = (&cache, &done);
                scope.spawn(move || {
                    let mut random = Random::new(t + 1);
                    while !done.load(Ordering::Relaxed) {
                        let key = random.below(200);
                        match random.below(8) {
                            0 | 1 => cache.insert(key, key),
                            2 => {
                                let life = Duration::from_nanos(random.below(2_000));
                                cache.set_expires_after(&key, life);
                            }
                            3 => cache.invalidate(&key),
                            4 => cache.run_pending_tasks(),
                            _ => assert!(cache.get(&key).is_none_or(|value| value == key)),
                        }
                    }
                });
            }
            for _ in 0..800 {
                clock.advance(Duration::from_nanos(100));
                thread::yield_now();
            }
            done.store(true, Ordering::Relaxed);
        });
        cache.check_invariants();
        clock.advance(Duration::from_nanos(2_000));
        assert!((0..200).all(|key| cache.get(&key).is_none()));
        cache.run_pending_tasks();
        assert_eq!(cache.entry_count(), 0);
        cache.check_invariants();
    });
}
