//! Every call of the cache from within every callback where that is allowed: all but `K: Eq`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use millpond_cache::compute::{Entry, Op};
use millpond_cache::{Cache, ManualClock};

use crate::support::{Census, Key, Place, Rule, Value, called, clear_hook, set_hook, watchdog};

type Pairs = Cache<Key, Value>;
type NamedCall = (&'static str, fn(&Pairs, &Census));

fn pairs(clock: &Arc<ManualClock>) -> Pairs {
    Cache::builder()
        .max_weight(12)
        .weigher(|_, value: &Value| {
            called(Place::Weigher);
            (value.0 % 3) as u32
        })
        .shards(2)
        .expire_after(Rule)
        .clock(Arc::clone(clock))
        .record_stats()
        .eviction_listener(|_, _, _| called(Place::Listener))
        .build()
        .unwrap()
}

/// Every method, on keys that the script uses too.
fn calls() -> Vec<NamedCall> {
    vec![
        ("get", |c, n| drop(c.get(&Key::new(1, n)))),
        ("read", |c, n| assert!(c.read(&Key::new(1, n), |v| v.0).is_none_or(|v| v < 1_000))),
        ("pin", |c, n| {
            let pin = c.pin();
            assert!(pin.get(&Key::new(1, n)).is_none_or(|v| v.0 < 1_000));
        }),
        ("contains_key", |c, n| assert!(!c.contains_key(&Key::new(2_000, n)))),
        ("insert", |c, n| c.insert(Key::new(1, n), Value::new(101, n))),
        ("insert_with_ttl", |c, n| {
            c.insert_with_ttl(Key::new(3, n), Value::new(100, n), Duration::from_secs(1));
        }),
        ("remove", |c, n| drop(c.remove(&Key::new(1, n)))),
        ("invalidate", |c, n| c.invalidate(&Key::new(1, n))),
        ("invalidate_all", |c, _| c.invalidate_all()),
        ("get_or_insert_with", |c, n| drop(c.get_or_insert_with(Key::new(900, n), || Value::new(4, n)))),
        ("try_get_or_insert_with", |c, n| {
            drop(c.try_get_or_insert_with(Key::new(901, n), || Err::<Value, _>("no")));
        }),
        ("get_or_insert_with_async", |c, n| {
            let load = c.get_or_insert_with_async(Key::new(902, n), async { Value::new(5, n) });
            drop(load.now_or_never().expect("nothing to wait for"));
        }),
        ("upsert", |c, n| {
            drop(c.entry(Key::new(903, n)).and_upsert_with(|_| Value::new(7, n)));
        }),
        ("compute", |c, n| {
            drop(c.entry(Key::new(1, n)).and_compute_with(|old| old.map_or(Op::Nop, |_| Op::Remove)));
        }),
        ("upsert_async", |c, n| {
            let compute = c.entry(Key::new(904, n)).and_upsert_with_async(|_| async { Value::new(8, n) });
            drop(compute.now_or_never().expect("nothing to wait for"));
        }),
        ("or_insert_with_if", |c, n| {
            drop(c.entry(Key::new(905, n)).or_insert_with_if(|| Value::new(10, n), |old| old.0 > 5));
        }),
        ("or_insert", |c, n| drop(c.entry(Key::new(906, n)).or_insert(Value::new(11, n)))),
        ("or_try_insert_with", |c, n| {
            drop(c.entry(Key::new(907, n)).or_try_insert_with(|| Err::<Value, _>("no")));
        }),
        ("or_insert_with_if_async", |c, n| {
            let load = async { Value::new(12, n) };
            let load = c.entry(Key::new(908, n)).or_insert_with_if_async(load, |old| old.0 > 5);
            drop(load.now_or_never().expect("nothing to wait for"));
        }),
        ("try_compute", |c, n| {
            drop(c.entry(Key::new(909, n)).and_try_compute_with(|_| Err::<Op<Value>, _>("no")));
        }),
        ("try_compute_async", |c, n| {
            let compute = c
                .entry(Key::new(910, n))
                .and_try_compute_with_async(|_| async { Ok::<_, ()>(Op::Put(Value::new(13, n))) });
            drop(compute.now_or_never().expect("nothing to wait for"));
        }),
        ("a load that is dropped", |c, n| {
            let load = c.get_or_insert_with_async(Key::new(911, n), std::future::pending());
            assert!(load.now_or_never().is_none());
        }),
        ("try_get_or_insert_with_ttl", |c, n| {
            let load = || Ok::<_, ()>((Value::new(14, n), Some(Duration::from_secs(1))));
            drop(c.try_get_or_insert_with_ttl(Key::new(912, n), load));
        }),
        ("get_all", |c, n| drop(c.get_all(&[Key::new(1, n), Key::new(3, n)]))),
        ("get_many_with", |c, n| {
            let load =
                |keys: Vec<Key>| keys.into_iter().map(|key| (key, Value::new(1, n))).collect::<Vec<_>>();
            drop(c.get_many_with([Key::new(914, n), Key::new(915, n)], load));
        }),
        ("optionally_get_with", |c, n| drop(c.optionally_get_with(Key::new(916, n), || None))),
        ("remove_entry", |c, n| drop(c.remove_entry(&Key::new(1, n)))),
        ("invalidate_if", |c, _| assert!(c.invalidate_if(|k, _| k.0 % 2 == 0) < 1_000)),
        ("retain", |c, _| c.retain(|k, _| k.0 % 2 == 0)),
        ("extend", |c, n| {
            c.extend([(Key::new(1, n), Value::new(1, n)), (Key::new(913, n), Value::new(2, n))])
        }),
        ("expires_after", |c, n| {
            let left = c.expires_after(&Key::new(1, n));
            assert!(left.is_none_or(|left| left <= Duration::from_secs(200)));
        }),
        ("set_expires_after", |c, n| {
            c.set_expires_after(&Key::new(1, n), Duration::from_secs(200));
            c.set_expires_after(&Key::new(3, n), Duration::ZERO);
        }),
        ("iter", |c, _| assert!(c.iter().all(|(k, v)| k.0 < 1_000 && v.0 < 1_000))),
        ("run_pending_tasks", |c, _| c.run_pending_tasks()),
        ("figures", |c, _| drop((c.entry_count(), c.weighted_size(), c.stats(), format!("{c:?}")))),
    ]
}

/// Operations that between them run user code of every kind.
fn script(c: &Pairs, n: &Census, clock: &ManualClock) {
    for id in 0..12 {
        c.insert(Key::new(id, n), Value::new(id, n));
    }
    for id in 0..12 {
        c.insert(Key::new(id, n), Value::new(id + 1, n));
        c.get(&Key::new(id, n));
    }
    drop(c.remove(&Key::new(1, n)));
    c.invalidate(&Key::new(2, n));
    for id in 20..26 {
        c.get_or_insert_with(Key::new(id, n), || {
            called(Place::Loader);
            Value::new(id, n)
        });
    }
    drop(c.get_many_with((50..53).map(|id| Key::new(id, n)), |keys| {
        called(Place::Loader);
        keys.into_iter().skip(1).map(|key| (key, Value::new(50, n))).collect::<Vec<_>>()
    }));
    drop(c.optionally_get_with(Key::new(53, n), || None));
    let load = c.get_or_insert_with_async(Key::new(30, n), async {
        called(Place::Loader);
        Value::new(30, n)
    });
    drop(load.now_or_never().expect("nothing to wait for"));
    for id in 0..8 {
        let compute = |old: Option<Entry<Value>>| match old {
            Some(_) if id % 2 == 0 => Op::Remove,
            _ => Op::Put(Value::new(40 + id, n)),
        };
        let computed = catch_unwind(AssertUnwindSafe(|| {
            drop(c.entry(Key::new(40 + id % 3, n)).and_compute_with(compute));
        }));
        if let Err(panic) = computed {
            // Documented, for `invalidate_all` from what runs inside a compute: it could never be stored.
            let text = panic.downcast_ref::<&str>().copied();
            assert!(text.is_some_and(|text| text.starts_with("recursive compute")), "{text:?}");
        }
    }
    drop(c.iter().collect::<Vec<_>>());
    c.invalidate_if(|key, _| {
        called(Place::Predicate);
        key.0 % 5 == 0
    });
    drop(c.remove_entry(&Key::new(4, n)));
    let replaced = c.entry(Key::new(6, n)).or_insert_with_if(
        || Value::new(6, n),
        |_| {
            called(Place::Predicate);
            true
        },
    );
    drop(replaced);
    clock.advance(Duration::from_secs(100));
    c.run_pending_tasks();
    for id in 0..6 {
        c.insert(Key::new(id, n), Value::new(id, n));
    }
    c.invalidate_all();
    c.run_pending_tasks();
}

#[test]
fn b01_every_call_from_every_callback() {
    watchdog(60, || {
        let places = [
            Place::Hash,
            Place::CloneKey,
            Place::CloneValue,
            Place::DropKey,
            Place::DropValue,
            Place::Weigher,
            Place::Expiry,
            Place::Predicate,
            Place::Listener,
            Place::Loader,
        ];
        let census = Census::default();
        for place in places {
            for (name, call) in calls() {
                let clock = Arc::new(ManualClock::new());
                let cache = Rc::new(pairs(&clock));
                let fired = Rc::new(std::cell::Cell::new(0));
                let (inner, count, counted) = (Rc::clone(&cache), Rc::clone(&fired), census.clone());
                set_hook(place, move || {
                    count.set(count.get() + 1);
                    call(&inner, &counted);
                });
                script(&cache, &census, &clock);
                // Dropped values wait while another test is pinned.
                crate::support::eventually(|| {
                    cache.run_pending_tasks();
                    fired.get() > 0
                });
                clear_hook();
                cache.check_invariants();
                assert_eq!(cache.loads_in_flight(), 0, "{name} from {place:?}");
                script(&cache, &census, &clock);
                cache.check_invariants();
            }
        }
        assert_eq!(census.alive(), 0);
    });
}

#[test]
fn b19_a_drop_that_uses_the_cache_while_a_load_dies() {
    // The weigher panics after the loader returned: key and value are dropped on the way out, and their drops call back.
    watchdog(30, || {
        let census = Census::default();
        for place in [Place::DropKey, Place::DropValue] {
            for fuse in [Place::Weigher, Place::CloneValue, Place::Loader, Place::Eq] {
                let clock = Arc::new(ManualClock::new());
                let cache = Rc::new(pairs(&clock));
                let (inner, counted) = (Rc::clone(&cache), census.clone());
                cache.insert(Key::new(1, &census), Value::new(1, &census));
                clock.advance(Duration::from_secs(100));
                set_hook(place, move || inner.insert(Key::new(1, &counted), Value::new(2, &counted)));
                for nth in 1..8 {
                    crate::support::set_fuse(fuse, nth);
                    let _ = catch_unwind(AssertUnwindSafe(|| {
                        drop(cache.get_or_insert_with(Key::new(1, &census), || {
                            called(Place::Loader);
                            Value::new(3, &census)
                        }));
                    }));
                    crate::support::defuse();
                    cache.check_invariants();
                    assert_eq!(cache.loads_in_flight(), 0);
                    clock.advance(Duration::from_secs(100));
                }
                clear_hook();
            }
        }
        assert_eq!(census.alive(), 0);
    });
}
