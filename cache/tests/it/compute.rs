//! Computes by threads: what they saw is what they replace, whatever happens meanwhile.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use millpond_cache::compute::{CompResult, Entry, Op};
use millpond_cache::{Cache, ManualClock, RemovalCause};
use parking_lot::Mutex;

use crate::support::{Random, eventually, watchdog};

type Numbers = Cache<u64, u64>;
/// A name, a change of key 1, and what is there then.
type Change = (&'static str, fn(&Numbers), Option<u64>);

fn changes() -> [Change; 5] {
    [
        ("insert", |c| c.insert(1, 7), Some(7)),
        ("insert_with_ttl", |c| c.insert_with_ttl(1, 7, Duration::MAX), Some(7)),
        ("remove", |c| _ = c.remove(&1), None),
        ("invalidate", |c| c.invalidate(&1), None),
        ("invalidate_all", |c| c.invalidate_all(), None),
    ]
}

fn next(old: Option<Entry<u64>>) -> u64 {
    old.map_or(0, Entry::into_value) + 1
}

#[test]
fn every_decision_on_a_value_and_on_none() {
    let cache: Numbers = Cache::new(10);
    let run = |op: Op<u64>| cache.entry(1).and_compute_with(|_| op.clone());
    assert_eq!(run(Op::Nop), CompResult::StillNone);
    assert_eq!(run(Op::Remove), CompResult::StillNone);
    assert_eq!(run(Op::Nop).into_entry(), None);
    let inserted = run(Op::Put(1));
    assert!(matches!(inserted, CompResult::Inserted(_)));
    let entry = inserted.unwrap();
    assert_eq!((*entry.value(), entry.is_fresh(), entry.is_old_value_replaced()), (1, true, false));
    let entry = match run(Op::Nop) {
        CompResult::Unchanged(entry) => entry,
        other => panic!("{other:?}"),
    };
    assert_eq!((*entry.value(), entry.is_fresh(), entry.is_old_value_replaced()), (1, false, false));
    let entry = match run(Op::Put(2)) {
        CompResult::ReplacedWith(entry) => entry,
        other => panic!("{other:?}"),
    };
    assert_eq!((*entry.value(), entry.is_fresh(), entry.is_old_value_replaced()), (2, true, true));
    assert_eq!(cache.get(&1), Some(2));
    assert!(matches!(run(Op::Remove), CompResult::Removed(entry) if *entry.value() == 2));
    assert_eq!((cache.get(&1), cache.entry_count(), cache.loads_in_flight()), (None, 0, 0));
    assert!(catch_unwind(|| CompResult::<u64>::StillNone.unwrap()).is_err());
    cache.check_invariants();
}

#[test]
fn or_insert_and_its_kin() {
    let cache: Numbers = Cache::new(10);
    let entry = cache.entry(1).or_insert(5);
    assert_eq!((entry.is_fresh(), entry.into_value()), (true, 5));
    let entry = cache.entry(1).or_insert_with(|| unreachable!());
    assert_eq!((entry.is_fresh(), entry.into_value()), (false, 5));
    assert_eq!(cache.entry(2).or_default().into_value(), 0);
    assert_eq!(*cache.entry(3).or_try_insert_with(|| Err::<u64, _>("no")).unwrap_err(), "no");
    assert_eq!(cache.entry(3).or_try_insert_with(|| Ok::<_, ()>(3)).unwrap().into_value(), 3);
    let entry = cache.entry(3).or_insert_with_if(|| unreachable!(), |&v| v != 3);
    assert_eq!((entry.is_fresh(), entry.into_value()), (false, 3));
    let entry = cache.entry(3).or_insert_with_if(|| 4, |&v| v == 3);
    assert_eq!((entry.is_fresh(), entry.is_old_value_replaced(), entry.into_value()), (true, true, 4));
    let entry = cache.entry(4).or_insert_with_if(|| 9, |_| unreachable!());
    assert_eq!((entry.is_fresh(), entry.is_old_value_replaced(), entry.into_value()), (true, false, 9));
    assert_eq!((cache.get(&3), cache.get(&4), cache.loads_in_flight()), (Some(4), Some(9), 0));
    // It is a load, so a write that overtakes it wins.
    let entry = cache.entry(4).or_insert_with_if(
        || {
            cache.insert(4, 11);
            10
        },
        |_| true,
    );
    assert_eq!((entry.into_value(), cache.get(&4)), (10, Some(11)));
    cache.check_invariants();
}

#[test]
fn b04_a_failed_compute_changes_nothing() {
    let cache: Numbers = Cache::new(10);
    cache.insert(1, 1);
    assert_eq!(cache.entry(1).and_try_compute_with(|_| Err("no")), Err("no"));
    assert_eq!(cache.entry(2).and_try_compute_with(|_| Err("no")), Err("no"));
    assert_eq!((cache.get(&1), cache.get(&2), cache.loads_in_flight()), (Some(1), None, 0));
}

#[test]
fn no_update_is_lost() {
    watchdog(60, || {
        // With one shard and with several; the noise evicts nothing, but makes the tables grow meanwhile.
        for shards in [1, 4] {
            let cache: Numbers = Cache::builder().shards(shards).build().unwrap();
            thread::scope(|scope| {
                for t in 0..6 {
                    let cache = &cache;
                    scope.spawn(move || {
                        for i in 0..500 {
                            cache.entry(i % 3).and_upsert_with(next);
                            cache.insert(1_000 + t * 1_000 + i, 0);
                        }
                    });
                }
            });
            assert_eq!((0..3).map(|key| cache.get(&key).unwrap()).sum::<u64>(), 3_000);
            assert_eq!(cache.loads_in_flight(), 0);
            cache.check_invariants();
        }
    });
}

#[test]
fn b04_a_write_during_a_compute_is_seen_by_its_retry() {
    watchdog(60, || {
        for (name, change, after) in changes() {
            for at_first in [None, Some(3)] {
                for op in [Op::Put(50), Op::Remove] {
                    let cache: Numbers = Cache::builder().shards(2).build().unwrap();
                    if let Some(value) = at_first {
                        cache.insert(1, value);
                    }
                    let mut saw = Vec::new();
                    let result = cache.entry(1).and_compute_with(|entry| {
                        saw.push(entry.map(Entry::into_value));
                        if saw.len() == 1 {
                            thread::scope(|scope| scope.spawn(|| change(&cache)).join().unwrap());
                        }
                        op.clone()
                    });
                    if at_first.is_none() && op == Op::Remove {
                        // Nothing to do when it looked: the write came after it.
                        assert_eq!((&saw, result), (&vec![None], CompResult::StillNone), "{name}");
                        assert_eq!(cache.get(&1), after, "{name}");
                        continue;
                    }
                    assert_eq!(saw, [at_first, after], "{name}");
                    let stored = if op == Op::Remove { None } else { Some(50) };
                    assert_eq!(cache.get(&1), stored, "{name}");
                    assert_eq!(cache.loads_in_flight(), 0, "{name}");
                    cache.check_invariants();
                }
            }
        }
    });
}

#[test]
fn b04_expiry_and_eviction_during_a_compute_are_seen_by_its_retry() {
    watchdog(60, || {
        let clock = Arc::new(ManualClock::new());
        let cache: Numbers = Cache::builder()
            .max_capacity(4)
            .time_to_live(Duration::from_secs(1))
            .clock(Arc::clone(&clock))
            .build()
            .unwrap();
        for swept in [false, true] {
            cache.insert(1, 5);
            let mut saw = Vec::new();
            cache.entry(1).and_upsert_with(|old| {
                saw.push(old.as_ref().map(|old| *old.value()));
                if saw.len() == 1 {
                    clock.advance(Duration::from_secs(1));
                    if swept {
                        cache.run_pending_tasks();
                    }
                }
                next(old)
            });
            assert_eq!((saw, cache.get(&1)), (vec![Some(5), None], Some(1)));
        }
        cache.invalidate_all();
        cache.insert(1, 5);
        let mut saw = Vec::new();
        cache.entry(1).and_upsert_with(|old| {
            saw.push(old.as_ref().map(|old| *old.value()));
            // From inside the closure, but of other keys: they push the entry out.
            let mut key = 100;
            while saw.len() == 1 && cache.contains_key(&1) {
                cache.insert(key, 0);
                cache.get(&key);
                key += 1;
            }
            next(old)
        });
        assert_eq!(saw, [Some(5), None]);
        assert!(cache.get(&1).is_none_or(|value| value == 1));
        cache.check_invariants();
    });
}

#[test]
fn computes_and_loads_of_one_key_exclude_each_other() {
    watchdog(60, || {
        let cache: Numbers = Cache::new(10);
        thread::scope(|scope| {
            let cache = &cache;
            let (answer, answers) = mpsc::channel();
            let compute = scope.spawn(move || {
                cache.entry(1).and_upsert_with(|old| {
                    assert!(old.is_none());
                    answers.recv().unwrap()
                })
            });
            eventually(|| cache.loads_in_flight() == 1);
            let load =
                scope.spawn(move || cache.get_or_insert_with(1, || unreachable!("the compute stores")));
            let second = scope.spawn(move || cache.entry(1).and_compute_with(|_| Op::Nop));
            // Others go on meanwhile.
            cache.entry(2).and_upsert_with(next);
            answer.send(7).unwrap();
            assert_eq!(compute.join().unwrap().into_value(), 7);
            assert_eq!(load.join().unwrap(), 7);
            assert!(matches!(second.join().unwrap(), CompResult::Unchanged(entry) if *entry.value() == 7));

            let (answer, answers) = mpsc::channel();
            let load = scope.spawn(move || cache.get_or_insert_with(3, || answers.recv().unwrap()));
            eventually(|| cache.loads_in_flight() == 1);
            let compute = scope.spawn(move || cache.entry(3).and_upsert_with(next));
            answer.send(20).unwrap();
            assert_eq!(load.join().unwrap(), 20);
            assert_eq!(compute.join().unwrap().into_value(), 21);
        });
        assert_eq!(cache.loads_in_flight(), 0);
    });
}

#[test]
fn b02_a_closure_that_needs_its_own_key_panics_and_does_not_hang() {
    watchdog(60, || {
        let uses: [Change; 3] = [
            ("load", |c| _ = c.get_or_insert_with(1, || 2), None),
            ("compute", |c| _ = c.entry(1).and_upsert_with(next), None),
            ("or_insert_with_if", |c| _ = c.entry(1).or_insert_with_if(|| 1, |_| true), None),
        ];
        for (name, call, after) in uses.into_iter().chain(changes()) {
            let cache: Numbers = Cache::new(10);
            let result = catch_unwind(AssertUnwindSafe(|| {
                cache.entry(1).and_upsert_with(|old| {
                    call(&cache);
                    next(old)
                })
            }));
            assert!(result.is_err(), "{name}");
            assert_eq!((cache.get(&1), cache.loads_in_flight()), (after, 0), "{name}");
            assert_eq!(cache.entry(1).and_upsert_with(|_| 5).into_value(), 5, "{name}: usable afterwards");
            cache.check_invariants();
        }
        // Reading it is fine, and so is the same key of another cache.
        let (cache, other): (Numbers, Numbers) = (Cache::new(10), Cache::new(10));
        cache.insert(1, 1);
        cache.entry(1).and_upsert_with(|old| {
            assert_eq!(cache.get(&1), Some(1));
            other.insert(1, 1);
            cache.entry(2).and_upsert_with(next);
            next(old)
        });
        assert_eq!((cache.get(&1), cache.get(&2)), (Some(2), Some(1)));
    });
}

#[test]
fn b03_a_closure_that_panics_lets_those_who_wait_go_on() {
    watchdog(60, || {
        let cache: Numbers = Cache::new(10);
        let calls = Mutex::new(0u64);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let _ = catch_unwind(AssertUnwindSafe(|| {
                            cache.entry(1).and_upsert_with(|old| {
                                thread::yield_now();
                                let call = {
                                    let mut calls = calls.lock();
                                    *calls += 1;
                                    *calls
                                };
                                if call % 3 == 0 {
                                    std::panic::resume_unwind(Box::new("die"));
                                }
                                next(old)
                            })
                        }));
                    }
                });
            }
        });
        let calls = *calls.lock();
        assert_eq!(calls, 400, "nobody wrote besides, so nobody was asked twice");
        assert_eq!(cache.get(&1), Some(calls - calls / 3));
        assert_eq!(cache.loads_in_flight(), 0);
    });
}

#[test]
fn listeners_are_told_of_what_computes_remove() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&told);
    let cache: Numbers = Cache::builder()
        .max_weight(10)
        .weigher(|_, &value| value as u32)
        .eviction_listener(move |_, &value: &u64, cause| log.lock().push((value, cause)))
        .record_stats()
        .build()
        .unwrap();
    cache.entry(1).and_upsert_with(|_| 3);
    cache.entry(1).and_upsert_with(|_| 4);
    cache.entry(1).and_compute_with(|_| Op::Remove);
    cache.entry(1).and_upsert_with(|_| 5);
    // Heavier than the cache: as with `insert`, the old value goes and the new one is not kept.
    assert_eq!(cache.entry(1).and_upsert_with(|_| 11).into_value(), 11);
    assert_eq!((cache.get(&1), cache.weighted_size()), (None, 0));
    assert_eq!(
        *told.lock(),
        [
            (3, RemovalCause::Replaced),
            (4, RemovalCause::Explicit),
            (5, RemovalCause::Replaced),
            (11, RemovalCause::Size)
        ]
    );
    assert_eq!((cache.stats().load_successes(), cache.stats().requests()), (0, 6));
    cache.check_invariants();
}

#[test]
fn a_computed_value_lives_as_configured_from_when_it_is_stored() {
    let clock = Arc::new(ManualClock::new());
    let second = Duration::from_secs(1);
    let cache: Numbers = Cache::builder().time_to_live(second).clock(Arc::clone(&clock)).build().unwrap();
    let late = Cell::new(0);
    cache.entry(1).and_upsert_with(|_| {
        late.set(late.get() + 1);
        clock.advance(10 * second);
        1
    });
    assert_eq!((late.get(), cache.get(&1)), (1, Some(1)));
    clock.advance(second);
    assert_eq!(cache.get(&1), None);
    assert!(matches!(cache.entry(1).and_compute_with(|_| Op::Remove), CompResult::StillNone));
}

#[test]
fn b06_computes_among_everything_else_leave_no_flight_behind() {
    watchdog(60, || {
        let cache: Numbers = Cache::builder().max_capacity(20).shards(2).build().unwrap();
        thread::scope(|scope| {
            for t in 0..6 {
                let cache = &cache;
                scope.spawn(move || {
                    let mut random = Random::new(t + 1);
                    for _ in 0..800 {
                        let key = random.below(10);
                        match random.below(9) {
                            0 => cache.invalidate(&key),
                            1 => cache.insert(key, 0),
                            2 => cache.invalidate_all(),
                            3 => drop(cache.entry(key).and_try_compute_with(|_| Err::<Op<u64>, _>(key))),
                            4 => drop(catch_unwind(AssertUnwindSafe(|| {
                                cache
                                    .entry(key)
                                    .and_upsert_with(|_| std::panic::resume_unwind(Box::new("die")))
                            }))),
                            5 => drop(cache.get_or_insert_with(key, || key)),
                            6 => drop(cache.entry(key).and_compute_with(|_| Op::Remove)),
                            7 => drop(cache.entry(key).or_insert_with_if(|| key, |_| true)),
                            _ => drop(cache.entry(key).and_upsert_with(|old| {
                                thread::yield_now();
                                next(old)
                            })),
                        }
                    }
                });
            }
        });
        assert_eq!(cache.loads_in_flight(), 0);
        cache.check_invariants();
    });
}
