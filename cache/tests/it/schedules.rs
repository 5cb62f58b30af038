//! The whole cache under shuttle's schedules: random ones, and ones with few but well placed preemptions (S. Burckhardt and
//! others, "A Randomized Scheduler with Probabilistic Guarantees of Finding Bugs", 2010).
//!
//! Run: `just shuttle`; `MILLPOND_SCHEDULES` is how many schedules of each kind every test gets. What a thread does is drawn
//! too, and a failure prints a schedule that repeats it. User code (equality, clones, drops, the clock, the listener) is a
//! place to switch threads as much as the cache's own atomics and locks are.
//!
//! shuttle runs one thread at a time and knows no weak memory: reorderings are the business of the loom models.

use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64 as Unwatched, Ordering::SeqCst};
use std::time::Duration;

use equivalent::Equivalent;
use futures::FutureExt;
use millpond_cache::{Cache, CacheBuilder, Clock, RemovalCause};
use parking_lot::Mutex;
use shuttle::future::block_on;
use shuttle::rand::{Rng, thread_rng};
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::sync::atomic::{AtomicBool, AtomicIsize, AtomicU64};
use shuttle::thread;

use crate::history::{self, Event};
use crate::support::Fixed;

/// Runs `test` under many schedules.
fn explore(test: impl Fn() + Send + Sync + 'static) {
    let schedules = std::env::var("MILLPOND_SCHEDULES").map_or(5_000, |n| n.parse().expect("a number"));
    let mut config = shuttle::Config::new();
    config.stack_size = 256 * 1024;
    config.silence_warnings = true;
    let test = Arc::new(test);
    let again = Arc::clone(&test);
    shuttle::Runner::new(RandomScheduler::new(schedules), config.clone()).run(move || test());
    shuttle::Runner::new(PctScheduler::new(3, schedules), config).run(move || again());
}

fn below(bound: u64) -> u64 {
    thread_rng().gen_range(0..bound)
}

// ---- Keys, values and time that are watched. ----

/// How many of something are alive.
#[derive(Clone, Debug, Default)]
struct Census(Arc<AtomicIsize>);

impl Census {
    fn alive(&self) -> isize {
        self.0.load(SeqCst)
    }

    fn one(&self) -> Counted {
        self.0.fetch_add(1, SeqCst);
        Counted { census: self.clone(), alive: AtomicBool::new(true) }
    }
}

/// Counted while it lives, and able to tell that it is dead.
#[derive(Debug)]
struct Counted {
    census: Census,
    alive: AtomicBool,
}

impl Counted {
    fn check(&self) {
        assert!(self.alive.load(SeqCst), "used after its drop");
    }
}

impl Clone for Counted {
    fn clone(&self) -> Self {
        self.check();
        self.census.one()
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        assert!(self.alive.swap(false, SeqCst), "dropped twice");
        self.census.0.fetch_sub(1, SeqCst);
    }
}

#[derive(Clone, Debug)]
struct Key(u64, Counted);

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.1.check();
        other.1.check();
        self.0 == other.0
    }
}

impl Eq for Key {}

/// Looks a [`Key`] up.
#[derive(Hash)]
struct Id(u64);

impl Equivalent<Key> for Id {
    fn equivalent(&self, key: &Key) -> bool {
        key.1.check();
        self.0 == key.0
    }
}

#[derive(Clone, Debug)]
struct Value {
    key: u64,
    /// Unique, but for clones.
    version: u64,
    counted: Counted,
}

impl Value {
    fn check(&self, key: u64) -> u64 {
        self.counted.check();
        assert_eq!(self.key, key, "the value of another key");
        self.version
    }
}

/// A clock that is a place to switch threads.
#[derive(Default)]
struct Watch(AtomicU64);

impl Watch {
    fn advance(&self, nanos: u64) {
        self.0.fetch_add(nanos, SeqCst);
    }
}

impl Clock for Watch {
    fn now(&self) -> Duration {
        Duration::from_nanos(self.0.load(SeqCst))
    }
}

// ---- Everything at once. ----

const KEYS: u64 = 5;
const TTL: u64 = 10;

type Watched = Cache<Key, Value, Fixed>;

/// One execution: a cache, what was done to it, what it reported.
struct Scene {
    cache: Watched,
    keys: Census,
    values: Census,
    clock: Arc<Watch>,
    next: Unwatched,
    inserted: Mutex<Vec<u64>>,
    reported: Arc<Mutex<HashSet<u64>>>,
    loading: [Unwatched; KEYS as usize],
    key_range: u64,
}

impl Scene {
    fn new(
        key_range: u64,
        configure: impl FnOnce(CacheBuilder<Key, Value, Fixed>) -> CacheBuilder<Key, Value, Fixed>,
    ) -> Self {
        let clock = Arc::new(Watch::default());
        let reported = Arc::new(Mutex::new(HashSet::new()));
        let log = Arc::clone(&reported);
        let builder = Cache::builder()
            .hasher(Fixed::default())
            .seed(1)
            .clock(Arc::clone(&clock))
            .record_stats()
            .eviction_listener(move |key: &Key, value: &Value, _: RemovalCause| {
                let version = value.check(key.0);
                assert!(log.lock().insert(version), "reported twice");
            });
        let cache = configure(builder).build().unwrap();
        Self {
            cache,
            keys: Census::default(),
            values: Census::default(),
            clock,
            next: Unwatched::new(0),
            inserted: Mutex::default(),
            reported,
            loading: std::array::from_fn(|_| Unwatched::new(0)),
            key_range,
        }
    }

    fn key(&self, key: u64) -> Key {
        Key(key, self.keys.one())
    }

    fn value(&self, key: u64) -> Value {
        Value { key, version: self.next.fetch_add(1, SeqCst), counted: self.values.one() }
    }

    fn insert(&self, key: u64, ttl: Option<u64>) {
        let value = self.value(key);
        self.inserted.lock().push(value.version);
        match ttl {
            None => self.cache.insert(self.key(key), value),
            Some(ttl) => self.cache.insert_with_ttl(self.key(key), value, Duration::from_nanos(ttl)),
        }
    }

    /// A loader's work, with a look around in the middle.
    fn load(&self, key: u64) -> Value {
        let loads = &self.loading[(key % KEYS) as usize];
        loads.fetch_add(1, SeqCst);
        thread::yield_now();
        let value = self.value(key);
        loads.fetch_sub(1, SeqCst);
        value
    }

    async fn load_async(&self, key: u64) -> Value {
        shuttle::future::yield_now().await;
        self.load(key)
    }

    /// One random call.
    fn step(&self) {
        let cache = &self.cache;
        let key = below(self.key_range);
        let id = Id(key);
        match below(20) {
            0..3 => drop(cache.get(&id).map(|value| value.check(key))),
            3 => drop(cache.read(&id, |value| value.check(key))),
            4..6 => {
                let pin = cache.pin();
                let other = below(self.key_range);
                let held = (pin.get(&id), pin.get(&Id(other)));
                let versions = (held.0.map(|value| value.check(key)), held.1.map(|value| value.check(other)));
                thread::yield_now();
                drop(cache.get(&id));
                assert_eq!(
                    versions,
                    (held.0.map(|value| value.check(key)), held.1.map(|value| value.check(other))),
                    "borrowed values stay what they are"
                );
            }
            6..10 => self.insert(key, None),
            10 => self.insert(key, Some(below(2 * TTL))),
            11 => drop(cache.remove(&id).map(|value| value.check(key))),
            12 => cache.invalidate(&id),
            13 => match below(3) {
                0 => cache.invalidate_all(),
                _ => cache.run_pending_tasks(),
            },
            14 => {
                cache.get_or_insert_with(self.key(key), || self.load(key)).check(key);
            }
            15 => {
                block_on(cache.get_or_insert_with_async(self.key(key), self.load_async(key))).check(key);
            }
            16 => {
                // Polled once and dropped, as leader or in the queue.
                let load = cache.get_or_insert_with_async(self.key(key), self.load_async(key));
                if let Some(value) = load.now_or_never() {
                    value.check(key);
                }
            }
            17 => {
                let load = || {
                    thread::yield_now();
                    Err::<Value, _>("no")
                };
                drop(cache.try_get_or_insert_with(self.key(key), load).map(|value| value.check(key)));
            }
            18 => {
                for (key, value) in cache {
                    value.check(key.0);
                }
            }
            _ => self.clock.advance(below(TTL)),
        }
        if let Some(max) = cache.max_capacity() {
            assert!(cache.weighted_size() <= max, "never more than the bound, whoever looks");
        }
    }

    /// What must hold when all is quiet, and that nothing is left at the end.
    fn end(self) {
        let Self { cache, keys, values, inserted, reported, .. } = self;
        cache.check_invariants();
        assert_eq!(cache.loads_in_flight(), 0);
        cache.run_pending_tasks();
        cache.check_invariants();
        let entries = cache.entry_count() as isize;
        assert_eq!((keys.alive(), values.alive()), (entries, entries), "what was removed is dropped");
        let here: HashSet<u64> = cache.iter().map(|(key, value)| value.check(key.0)).collect();
        assert_eq!(here.len() as isize, entries, "each entry once");
        let reported = reported.lock();
        assert!(here.is_disjoint(&reported), "what was reported is gone");
        for version in inserted.into_inner() {
            assert!(
                here.contains(&version) || reported.contains(&version),
                "value {version} left without a report"
            );
        }
        drop(cache);
        assert_eq!((keys.alive(), values.alive()), (0, 0), "the cache drops what it held");
    }
}

fn everything(
    threads: usize,
    calls: usize,
    key_range: u64,
    before: u64,
    configure: fn(CacheBuilder<Key, Value, Fixed>) -> CacheBuilder<Key, Value, Fixed>,
) {
    explore(move || {
        let scene = Scene::new(key_range, configure);
        for key in 0..before {
            scene.insert(key, None);
        }
        thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| (0..calls).for_each(|_| scene.step()));
            }
        });
        scene.end();
    });
}

#[test]
fn schedules_of_a_cache_that_is_always_full() {
    everything(3, 5, KEYS, 0, |builder| builder.max_capacity(2).shards(1));
}

#[test]
fn schedules_of_two_shards_that_share_a_bound() {
    everything(4, 4, KEYS, 0, |builder| builder.max_capacity(3).shards(2));
}

#[test]
fn schedules_of_entries_that_expire() {
    everything(3, 5, 3, 0, |builder| {
        builder
            .max_capacity(8)
            .shards(1)
            .time_to_live(Duration::from_nanos(TTL))
            .time_to_idle(Duration::from_nanos(TTL / 2))
    });
}

#[test]
fn schedules_of_a_table_that_grows_under_weights() {
    everything(3, 5, 14, 8, |builder| builder.max_weight(20).weigher(|key, _| key.0 as u32 % 3).shards(1));
}

// ---- Histories: is there an order of the calls that explains what each of them saw? ----

fn linearizable(bounded: bool, before: u64, make: fn() -> CacheBuilder<u64, u64>) {
    explore(move || {
        let cache: Cache<u64, u64> = make().seed(1).build().unwrap();
        for noise in 0..before {
            cache.insert(100 + noise, noise);
        }
        let (time, values) = (Unwatched::new(0), Unwatched::new(1));
        let events = Mutex::new(Vec::new());
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for _ in 0..4 {
                        let key = below(2);
                        let own = values.fetch_add(1, SeqCst);
                        let began = time.fetch_add(1, SeqCst);
                        let (call, seen) = history::call(&cache, key, own, below(10), thread::yield_now);
                        let ended = time.fetch_add(1, SeqCst);
                        events.lock().push((key, Event { call, seen, began, ended }));
                        if before > 0 {
                            // Makes the table grow and drain around the keys that are watched.
                            cache.insert(200 + own, own);
                        }
                    }
                });
            }
        });
        cache.check_invariants();
        history::check(events.into_inner(), bounded);
    });
}

#[test]
fn schedules_of_a_map_of_registers() {
    linearizable(false, 0, || Cache::builder().shards(1));
}

#[test]
fn schedules_of_a_map_of_registers_that_grows() {
    linearizable(false, 8, || Cache::builder().shards(1));
}

#[test]
fn schedules_of_registers_that_may_be_forgotten() {
    linearizable(true, 0, || Cache::builder().max_capacity(1).shards(1));
}

// ---- Races by name. ----

fn small() -> Cache<u64, u64, Fixed> {
    Cache::builder().hasher(Fixed::default()).seed(1).max_capacity(8).shards(1).build().unwrap()
}

/// Another thread changes the source and then calls `invalidate`, while a load reads the source.
fn load_against(invalidate: fn(&Cache<u64, u64, Fixed>), task: bool) {
    explore(move || {
        let cache = small();
        let source = AtomicU64::new(1);
        thread::scope(|scope| {
            scope.spawn(|| {
                let loaded = if task {
                    block_on(cache.get_or_insert_with_async(7, async {
                        let read = source.load(SeqCst);
                        shuttle::future::yield_now().await;
                        read
                    }))
                } else {
                    cache.get_or_insert_with(7, || source.load(SeqCst))
                };
                assert!(loaded == 1 || loaded == 2);
            });
            scope.spawn(|| {
                source.store(2, SeqCst);
                invalidate(&cache);
                assert_ne!(cache.get(&7), Some(1), "old data after the invalidation");
            });
        });
        assert_ne!(cache.get(&7), Some(1), "a load that was overtaken stored old data");
        cache.check_invariants();
    });
}

#[test]
fn schedules_of_a_load_and_an_invalidation() {
    load_against(|cache| cache.invalidate(&7), false);
    load_against(|cache| cache.invalidate(&7), true);
}

#[test]
fn schedules_of_a_load_and_a_removal() {
    load_against(|cache| assert_ne!(cache.remove(&7), Some(3)), false);
}

#[test]
fn schedules_of_a_load_and_a_clear() {
    load_against(Cache::invalidate_all, false);
    load_against(Cache::invalidate_all, true);
}

#[test]
fn schedules_of_lookups_loads_and_iteration_beside_a_clear() {
    explore(|| {
        let cache = small();
        // Values of rounds up to this one were cleared.
        let cleared = AtomicU64::new(0);
        thread::scope(|scope| {
            scope.spawn(|| {
                for round in 1..3 {
                    (0..3).for_each(|key| cache.insert(key, round));
                    cache.invalidate_all();
                    cleared.store(round, SeqCst);
                }
            });
            scope.spawn(|| {
                for key in 0..3 {
                    let before = cleared.load(SeqCst);
                    let seen = match below(4) {
                        0 => cache.get(&key),
                        1 => cache.iter().map(|(_, round)| round).min(),
                        2 => Some(cache.get_or_insert_with(key, || 9)),
                        _ => cache
                            .entry(key)
                            .and_upsert_with(|old| old.map_or(9, |old| old.into_value()))
                            .into_value()
                            .into(),
                    };
                    assert!(seen.is_none_or(|round| round > before), "{seen:?} was cleared before {before}");
                }
            });
            scope.spawn(|| {
                let began = cleared.load(SeqCst);
                let mut iter = cache.iter();
                while let Some((_, round)) = iter.next() {
                    assert!(round > began);
                    thread::yield_now();
                }
            });
        });
        cache.check_invariants();
        cache.run_pending_tasks();
        cache.check_invariants();
    });
}

/// As [`load_against`], for a load that carries a tag and an insert that does.
#[test]
fn schedules_of_a_tag_against_a_load_and_an_insert() {
    explore(|| {
        let cache = small();
        let source = AtomicU64::new(1);
        thread::scope(|scope| {
            scope.spawn(|| {
                cache.get_or_insert_with_tags(7, &["t"], || source.load(SeqCst));
            });
            scope.spawn(|| {
                if below(2) == 0 {
                    cache.insert_with_tags(8, 1, &["t"]);
                    source.store(2, SeqCst);
                    cache.invalidate_tag("t");
                    assert_eq!(cache.get(&8), None);
                } else {
                    source.store(2, SeqCst);
                    cache.invalidate_tag("t");
                }
                assert_ne!(cache.get(&7), Some(1), "old data after the invalidation");
            });
        });
        assert_ne!(cache.get(&7), Some(1), "a load that was overtaken stored old data");
        cache.check_invariants();
        cache.invalidate_tag("t");
        assert_eq!((cache.entry_count(), cache.tag_links()), (0, 0));
    });
}

#[test]
fn schedules_of_a_load_and_an_insert() {
    load_against(|cache| cache.insert(7, 2), false);
    load_against(|cache| cache.insert(7, 2), true);
}

#[test]
fn schedules_of_one_load_for_threads_and_tasks() {
    explore(|| {
        let cache = small();
        let loads = Unwatched::new(0);
        let load = || {
            loads.fetch_add(1, SeqCst);
            thread::yield_now();
            5
        };
        thread::scope(|scope| {
            scope.spawn(|| assert_eq!(cache.get_or_insert_with(7, load), 5));
            scope.spawn(|| assert_eq!(cache.get_or_insert_with(7, load), 5));
            scope.spawn(|| assert_eq!(block_on(cache.get_or_insert_with_async(7, async { load() })), 5));
        });
        assert_eq!(loads.into_inner(), 1);
        assert_eq!((cache.get(&7), cache.loads_in_flight()), (Some(5), 0));
    });
}

#[test]
fn schedules_of_a_leader_that_gives_up() {
    explore(|| {
        let cache = small();
        let loads = Unwatched::new(0);
        thread::scope(|scope| {
            scope.spawn(|| {
                // Dropped after one poll, whether it leads or waits.
                let load = cache.get_or_insert_with_async(7, async {
                    shuttle::future::yield_now().await;
                    unreachable!("polled once")
                });
                assert!(load.now_or_never().is_none_or(|found| found == 5));
            });
            for _ in 0..2 {
                scope.spawn(|| {
                    let load = async {
                        shuttle::future::yield_now().await;
                        loads.fetch_add(1, SeqCst);
                        5
                    };
                    assert_eq!(block_on(cache.get_or_insert_with_async(7, load)), 5);
                });
            }
        });
        assert_eq!(loads.into_inner(), 1, "whoever waits takes over, and one of them only");
        assert_eq!((cache.get(&7), cache.loads_in_flight()), (Some(5), 0));
    });
}

#[test]
fn schedules_of_an_expiry_and_an_update() {
    explore(|| {
        let clock = Arc::new(Watch::default());
        let cache: Cache<u64, u64, Fixed> = Cache::builder()
            .hasher(Fixed::default())
            .seed(1)
            .max_capacity(8)
            .shards(1)
            .time_to_live(Duration::from_nanos(TTL))
            .clock(Arc::clone(&clock))
            .build()
            .unwrap();
        cache.insert(7, 1);
        thread::scope(|scope| {
            scope.spawn(|| {
                clock.advance(TTL);
                assert_ne!(cache.get(&7), Some(1), "its time was over before the call");
                cache.run_pending_tasks();
            });
            scope.spawn(|| cache.insert(7, 2));
            scope.spawn(|| {
                // Another key's write sweeps, too.
                cache.insert(8, 8);
                let first = cache.get(&7);
                let second = cache.get(&7);
                assert!(second != Some(1) || first == Some(1), "an old value came back");
            });
        });
        // The update drew its deadline before or after the step of the clock.
        let written_early = cache.get(&7).is_none();
        assert!(cache.get(&7).is_none_or(|value| value == 2));
        cache.check_invariants();
        clock.advance(TTL);
        assert_eq!(cache.get(&7), None);
        cache.run_pending_tasks();
        assert_eq!(cache.entry_count(), 0, "{written_early}");
        cache.check_invariants();
    });
}

#[test]
fn schedules_of_readers_while_the_table_grows() {
    explore(|| {
        let cache: Cache<u64, u64, Fixed> =
            Cache::builder().hasher(Fixed::default()).seed(1).shards(1).build().unwrap();
        // The first table is full.
        for key in 0..8 {
            cache.insert(key, key);
        }
        thread::scope(|scope| {
            scope.spawn(|| (8..14).for_each(|key| cache.insert(key, key)));
            scope.spawn(|| (0..4).for_each(|_| cache.insert(3, 3)));
            scope.spawn(|| {
                for key in [7, 3, 0, 5, 7] {
                    assert_eq!(cache.get(&key), Some(key), "a key that is there is never missed");
                }
            });
        });
        cache.check_invariants();
        assert_eq!(cache.entry_count(), 14);
    });
}

#[test]
fn schedules_of_a_pin_within_a_pin() {
    explore(|| {
        let scene = Scene::new(KEYS, |builder| builder.max_capacity(2).shards(1));
        scene.insert(0, None);
        thread::scope(|scope| {
            scope.spawn(|| {
                let pin = scene.cache.pin();
                let Some(held) = pin.get(&Id(0)) else { return };
                let version = held.check(0);
                // Neither of these lets go of it.
                drop(scene.cache.pin());
                scene.cache.get(&Id(1));
                assert_eq!(held.check(0), version);
            });
            scope.spawn(|| {
                scene.cache.invalidate(&Id(0));
                scene.cache.run_pending_tasks();
            });
            scope.spawn(|| (0..3).for_each(|_| scene.insert(0, None)));
        });
        scene.end();
    });
}

/// Another thread changes the source and then calls `change`, while a refresh reads the source.
fn refresh_against(change: fn(&Cache<u64, u64, Fixed>), then: Option<u64>) {
    explore(move || {
        let clock = Arc::new(Watch::default());
        let cache: Cache<u64, u64, Fixed> = Cache::builder()
            .hasher(Fixed::default())
            .seed(1)
            .max_capacity(8)
            .shards(1)
            .refresh_after(Duration::from_nanos(TTL))
            .clock(Arc::clone(&clock))
            .record_stats()
            .build()
            .unwrap();
        cache.insert(7, 0);
        clock.advance(TTL);
        let source = AtomicU64::new(1);
        let claims = Unwatched::new(0);
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let Some(refresh) = cache.claim_refresh(&7) else { return };
                    claims.fetch_add(1, SeqCst);
                    let stored = refresh.run(|_| Ok::<_, ()>(source.load(SeqCst)));
                    assert!(!stored || cache.get(&7).is_none_or(|value| value > 0));
                });
            }
            scope.spawn(|| {
                source.store(2, SeqCst);
                change(&cache);
                assert!(cache.get(&7).is_none_or(|value| value == 2), "old data after the change");
            });
        });
        assert!(cache.get(&7).is_none_or(|value| value == 2), "a refresh that was overtaken stored old data");
        let stats = cache.stats();
        let claims = claims.into_inner();
        assert!(claims <= 1, "one refresh at a time, and none of what was just written");
        assert_eq!(stats.refreshes() + stats.refreshes_discarded(), claims);
        if stats.refreshes() == 0 {
            assert_eq!(cache.get(&7), then);
        }
        assert_eq!((cache.refreshes_in_flight(), cache.loads_in_flight()), (0, 0));
        cache.check_invariants();
    });
}

#[test]
fn schedules_of_a_refresh_and_a_write() {
    refresh_against(|cache| cache.insert(7, 2), Some(2));
}

#[test]
fn schedules_of_a_refresh_and_an_invalidation() {
    refresh_against(|cache| cache.invalidate(&7), None);
    refresh_against(Cache::invalidate_all, None);
}

#[test]
fn schedules_of_a_refresh_and_a_compute() {
    let add = |cache: &Cache<u64, u64, Fixed>| {
        let entry = cache.entry(7).and_upsert_with(|_| 2);
        assert_eq!(*entry.value(), 2);
    };
    refresh_against(add, Some(2));
}

#[test]
fn schedules_of_a_refresh_that_is_dropped_and_a_load() {
    explore(|| {
        let clock = Arc::new(Watch::default());
        let cache: Cache<u64, u64, Fixed> = Cache::builder()
            .hasher(Fixed::default())
            .seed(1)
            .max_capacity(8)
            .shards(1)
            .refresh_after(Duration::from_nanos(TTL))
            .time_to_live(Duration::from_nanos(2 * TTL))
            .clock(Arc::clone(&clock))
            .build()
            .unwrap();
        cache.insert(7, 1);
        clock.advance(TTL);
        let refresh = cache.claim_refresh(&7).unwrap();
        thread::scope(|scope| {
            scope.spawn(|| drop(refresh));
            scope.spawn(|| clock.advance(TTL));
            for _ in 0..2 {
                scope.spawn(|| {
                    let loaded = cache.get_or_insert_with(7, || 2);
                    assert!(loaded == 1 || loaded == 2);
                });
            }
        });
        assert_eq!((cache.refreshes_in_flight(), cache.loads_in_flight()), (0, 0));
        cache.check_invariants();
    });
}

/// A bulk load of two keys reads the source, while another thread changes it and then one of the keys.
fn bulk_against(change: fn(&Cache<u64, u64, Fixed>), task: bool) {
    explore(move || {
        let cache = small();
        let source = AtomicU64::new(1);
        thread::scope(|scope| {
            for order in [[7, 8], [8, 7]] {
                let (cache, source) = (&cache, &source);
                scope.spawn(move || {
                    let load = |missing: Vec<u64>| {
                        missing.into_iter().map(|key| (key, source.load(SeqCst))).collect::<Vec<_>>()
                    };
                    let found = if task {
                        block_on(cache.get_many_with_async(order, async |missing| {
                            shuttle::future::yield_now().await;
                            load(missing)
                        }))
                    } else {
                        cache.get_many_with(order, load)
                    };
                    assert_eq!(found.len(), 2);
                });
            }
            scope.spawn(|| {
                source.store(2, SeqCst);
                change(&cache);
                assert_ne!(cache.get(&7), Some(1), "old data after the change");
            });
        });
        assert_ne!(cache.get(&7), Some(1), "a bulk load that was overtaken stored old data");
        assert!(cache.get(&8).is_some());
        assert_eq!(cache.loads_in_flight(), 0);
        cache.check_invariants();
    });
}

#[test]
fn schedules_of_bulk_loads_and_an_invalidation() {
    bulk_against(|cache| cache.invalidate(&7), false);
    bulk_against(|cache| cache.invalidate(&7), true);
}

#[test]
fn schedules_of_bulk_loads_and_a_write() {
    bulk_against(|cache| cache.insert(7, 2), false);
}

#[test]
fn schedules_of_bulk_loads_in_opposite_orders_load_each_key_once() {
    explore(|| {
        let cache = small();
        let loads = [Unwatched::new(0), Unwatched::new(0)];
        let load = |missing: Vec<u64>| {
            for &key in &missing {
                loads[key as usize].fetch_add(1, SeqCst);
            }
            thread::yield_now();
            missing.into_iter().map(|key| (key, key)).collect::<Vec<_>>()
        };
        thread::scope(|scope| {
            scope.spawn(|| assert_eq!(cache.get_many_with([0, 1], load).len(), 2));
            scope.spawn(|| assert_eq!(cache.get_many_with([1, 0], load).len(), 2));
            scope.spawn(|| assert_eq!(cache.get_or_insert_with(1, || load(vec![1])[0].1), 1));
        });
        assert_eq!(loads.map(Unwatched::into_inner), [1, 1]);
        cache.check_invariants();
    });
}
