//! A panic at the n-th call of each user function, for every n that a script of all operations reaches.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use millpond_cache::compute::Op;
use millpond_cache::{Cache, ManualClock};
use parking_lot::Mutex;

use crate::support::{Census, Key, Place, Rule, Value, called, defuse, set_fuse, watchdog};

type Pairs = Cache<Key, Value>;

struct Setup {
    cache: Pairs,
    clock: Arc<ManualClock>,
    keys: Census,
    values: Census,
    /// Values that the listener was told of.
    reported: Arc<Mutex<Vec<u64>>>,
    next: u64,
}

impl Setup {
    fn new(shards: usize) -> Self {
        let clock = Arc::new(ManualClock::new());
        let reported = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&reported);
        let cache = Cache::builder()
            .max_weight(10)
            .weigher(|_, value: &Value| {
                called(Place::Weigher);
                if value.0 < 5_000 { (value.0 % 3) as u32 } else { 11 }
            })
            .shards(shards)
            .expire_after(Rule)
            .clock(Arc::clone(&clock))
            .record_stats()
            .eviction_listener(move |_, value: &Value, _| {
                log.lock().push(value.0);
                called(Place::Listener);
            })
            .build()
            .unwrap();
        Self { cache, clock, keys: Census::default(), values: Census::default(), reported, next: 0 }
    }

    fn key(&self, id: u64) -> Key {
        Key::new(id, &self.keys)
    }

    fn value(&mut self) -> Value {
        self.next += 1;
        Value::new(self.next, &self.values)
    }

    /// One operation of the script; false at its end. Any may panic.
    fn step(&mut self, step: u64) -> bool {
        let id = step % 7;
        match step {
            0..20 | 60..70 => {
                let (key, value) = (self.key(id), self.value());
                self.cache.insert(key, value);
            }
            20..27 => drop(self.cache.get(&self.key(id))),
            27..29 => drop(self.cache.remove(&self.key(id))),
            29..31 => self.cache.invalidate(&self.key(id)),
            31..38 => {
                let (key, value) = (self.key(id + 5), self.value());
                let loaded = self.cache.get_or_insert_with(key, || {
                    called(Place::Loader);
                    value
                });
                drop(loaded);
            }
            38..42 => {
                let (key, value) = (self.key(id + 9), self.value());
                let load = self.cache.get_or_insert_with_async(key, async {
                    called(Place::Loader);
                    value
                });
                drop(futures::executor::block_on(load));
            }
            42 => drop(self.cache.iter().collect::<Vec<_>>()),
            43 => self.cache.run_pending_tasks(),
            44 => self.clock.advance(Duration::from_secs(100)),
            45..58 => {
                let (key, value) = (self.key(step % 4), self.value());
                self.cache.insert_with_ttl(key, value, Duration::from_secs(1));
            }
            58 => self.clock.advance(Duration::from_secs(1)),
            59 => drop(self.cache.read(&self.key(id), |value| value.clone())),
            70 => self.cache.invalidate_all(),
            71 => self.cache.run_pending_tasks(),
            72..80 => {
                let (key, value) = (self.key(id % 3), self.value());
                let made = self.cache.entry(key).and_upsert_with(|_| {
                    called(Place::Loader);
                    value.clone()
                });
                drop(made);
            }
            80..83 => {
                let key = self.key(id % 3);
                drop(self.cache.entry(key).and_compute_with(|_| {
                    called(Place::Loader);
                    Op::Remove
                }));
            }
            83..86 => {
                let (key, value) = (self.key(id % 3), self.value());
                let value = &value;
                let compute = self.cache.entry(key).and_upsert_with_async(|_| async {
                    called(Place::Loader);
                    value.clone()
                });
                drop(futures::executor::block_on(compute));
            }
            86..88 => {
                let (key, value) = (self.key(id % 3), self.value());
                let load = || {
                    called(Place::Loader);
                    value
                };
                drop(self.cache.entry(key).or_insert_with_if(load, |old| old.0 % 2 == 0));
            }
            88..92 => {
                let key = self.key(id % 3);
                self.cache.set_expires_after(&key, Duration::from_secs(step - 87));
                drop(self.cache.remove_entry(&self.key(step % 2)));
            }
            92..95 => {
                let (key, value) = (self.key(id % 3), self.value());
                let load = async {
                    called(Place::Loader);
                    value
                };
                let load = self.cache.entry(key).or_insert_with_if_async(load, |_| {
                    called(Place::Predicate);
                    true
                });
                drop(futures::executor::block_on(load));
            }
            95 => {
                self.cache.invalidate_if(|key, _| {
                    called(Place::Predicate);
                    key.0 % 2 == 0
                });
            }
            96..100 => {
                // Heavier than the cache.
                let (key, value) = (self.key(id % 3), Value::new(5_000 + step, &self.values));
                match step {
                    96 => self.cache.insert(key, value),
                    97 => drop(self.cache.get_or_insert_with(key, || value)),
                    98 => drop(self.cache.entry(key).or_insert_with_if(|| value, |_| true)),
                    _ => drop(self.cache.entry(key).and_upsert_with(|_| value.clone())),
                }
            }
            100 => self.cache.invalidate_all(),
            101 => self.cache.run_pending_tasks(),
            _ => return false,
        }
        true
    }
}

/// Runs the script once for each call of one kind, with a panic at that call.
fn inject(place: Place) {
    let mut injected = 0;
    for shards in [1, 2] {
        for nth in 1..2_000 {
            let mut setup = Setup::new(shards);
            set_fuse(place, nth);
            for step in 0.. {
                match catch_unwind(AssertUnwindSafe(|| setup.step(step))) {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(_) => setup.cache.check_invariants(),
                }
            }
            let over = defuse();
            let Setup { cache, keys, values, reported, .. } = setup;
            cache.check_invariants();
            assert_eq!(cache.loads_in_flight(), 0, "{place:?} {nth}");
            // As usable as before.
            cache.invalidate_all();
            assert_eq!((cache.entry_count(), cache.weighted_size()), (0, 0), "{place:?} {nth}");
            cache.insert(Key::new(1, &keys), Value::new(3_001, &values));
            assert_eq!(cache.get(&Key::new(1, &keys)).map(|v| v.0), Some(3_001), "{place:?} {nth}");
            cache.invalidate_all();
            cache.check_invariants();
            let mut told = std::mem::take(&mut *reported.lock());
            let stats = cache.stats();
            assert_eq!(
                told.len() as u64,
                stats.evictions() + stats.removed() + stats.replaced() + stats.expired() + stats.cleared(),
                "{place:?} {nth}: statistics and listener agree"
            );
            let count = told.len();
            told.sort_unstable();
            told.dedup();
            assert_eq!(told.len(), count, "{place:?} {nth}: no value was reported twice");
            drop(cache);
            // A drop that panics while a function returns leaks the value on its way out: rust-lang/rust#47949.
            let spared = isize::from(matches!(place, Place::DropKey | Place::DropValue));
            assert!(keys.alive() + values.alive() <= spared, "{place:?} {nth}: something leaks");
            if over {
                break;
            }
            injected += 1;
        }
    }
    assert!(injected > 4, "{place:?} was called");
}

#[test]
fn b20_panics_in_hash() {
    watchdog(60, || inject(Place::Hash));
}

#[test]
fn b20_panics_in_eq() {
    watchdog(60, || inject(Place::Eq));
}

#[test]
fn b20_panics_in_clone() {
    watchdog(60, || {
        inject(Place::CloneValue);
        inject(Place::CloneKey);
    });
}

#[test]
fn b19_panics_in_drop() {
    watchdog(60, || {
        inject(Place::DropValue);
        inject(Place::DropKey);
    });
}

#[test]
fn b20_panics_in_weigher_rule_predicate_loader_and_listener() {
    watchdog(60, || {
        inject(Place::Weigher);
        inject(Place::Expiry);
        inject(Place::Predicate);
        inject(Place::Loader);
        inject(Place::Listener);
    });
}

#[test]
fn b20_remove_reports_a_value_whose_clone_panics() {
    let mut setup = Setup::new(1);
    let (key, value) = (setup.key(1), setup.value());
    setup.cache.insert(key, value);
    set_fuse(Place::CloneValue, 1);
    assert!(catch_unwind(AssertUnwindSafe(|| setup.cache.remove(&setup.key(1)))).is_err());
    defuse();
    assert_eq!(setup.cache.entry_count(), 0);
    assert_eq!(*setup.reported.lock(), [1], "it left the cache, so the listener is told");
    assert_eq!(setup.cache.stats().removed(), 1);
}

#[test]
fn b19_a_panicking_drop_loses_no_other_value_at_the_end_of_the_cache() {
    let values = Census::default();
    let keys = Census::default();
    let cache: Pairs = Cache::builder().shards(1).build().unwrap();
    for id in 0..100 {
        cache.insert(Key::new(id, &keys), Value::new(id, &values));
    }
    set_fuse(Place::DropValue, 50);
    assert!(catch_unwind(AssertUnwindSafe(|| drop(cache))).is_err());
    defuse();
    assert_eq!((keys.alive(), values.alive()), (0, 0));
}

#[test]
fn b20_a_leader_that_panics_under_threads_leaves_the_load_to_another() {
    watchdog(60, || {
        let cache: Cache<u64, u64> = Cache::new(100);
        let tries = AtomicU64::new(0);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for key in 0..50 {
                        let _ = catch_unwind(AssertUnwindSafe(|| {
                            cache.get_or_insert_with(key, || {
                                let attempt = tries.fetch_add(1, Ordering::Relaxed);
                                thread::yield_now();
                                assert!(attempt % 3 != 0, "every third load panics");
                                key
                            })
                        }));
                    }
                });
            }
        });
        assert_eq!(cache.loads_in_flight(), 0);
        cache.check_invariants();
        assert!((0..50).all(|key| cache.get_or_insert_with(key, || key) == key));
    });
}
