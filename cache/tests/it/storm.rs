//! Loads, refreshes, computes, tags, removals, clearing, resizing and snapshots at once: nobody who asks after an invalidation has
//! returned gets what had been read before it began.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use futures::executor::block_on;
use millpond_cache::compute::Op;
use millpond_cache::{Cache, EvictionPolicy, ManualClock, RefreshJob};
use parking_lot::Mutex;

use crate::support::{Random, scaled, watchdog};

const KEYS: u64 = 24;
const TAGS: [&str; 3] = ["a", "b", "c"];
const NO_TAG: u64 = 3;

/// What values are made of: a version that only grows, and the tag that they carry.
#[derive(Default)]
struct World {
    version: AtomicU64,
    /// Versions below were read before an invalidation that has returned.
    all: AtomicU64,
    tags: [AtomicU64; 3],
    keys: [AtomicU64; KEYS as usize],
    over: AtomicBool,
}

impl World {
    /// Reads the world's state, as a loader does.
    fn read(&self, tag: u64) -> u64 {
        4 * (self.version.fetch_add(1, SeqCst) + 1) + tag
    }

    /// What must not be seen any more of a key, for each tag.
    fn floors(&self, key: u64) -> [u64; 4] {
        let floor = self.all.load(SeqCst).max(self.keys[key as usize].load(SeqCst));
        [0, 1, 2, 3].map(|tag| self.tags.get(tag).map_or(floor, |tag| floor.max(tag.load(SeqCst))))
    }

    /// Invalidates something that has the floor `is`.
    fn invalidate(&self, is: &AtomicU64, call: impl FnOnce()) {
        let fence = self.version.fetch_add(1, SeqCst) + 1;
        call();
        is.fetch_max(fence, SeqCst);
    }
}

#[track_caller]
fn check(floors: [u64; 4], value: u64, how: &str) {
    let (version, tag) = (value / 4, value % 4);
    assert!(
        version >= floors[tag as usize],
        "{how}: version {version}, tag {tag}, though below {floors:?} all is gone"
    );
}

trait Value: Clone + Send + Sync + serde::Serialize + serde::de::DeserializeOwned + 'static {
    fn of(number: u64) -> Self;
    fn number(&self) -> u64;
}

impl Value for u64 {
    fn of(number: u64) -> Self {
        number
    }

    fn number(&self) -> u64 {
        *self
    }
}

/// That it has to be dropped changes how cells are reused.
impl Value for Box<u64> {
    fn of(number: u64) -> Self {
        Self::new(number)
    }

    fn number(&self) -> u64 {
        **self
    }
}

fn act<V: Value>(cache: &Cache<u64, V>, world: &World, clock: &ManualClock, random: &mut Random) {
    let (key, tag) = (random.below(KEYS), random.below(4));
    let tags: &[&str] = TAGS.get(tag as usize).map(std::slice::from_ref).unwrap_or_default();
    let floors = world.floors(key);
    let load = || V::of(world.read(tag));
    let plain = || V::of(world.read(NO_TAG));
    match random.below(40) {
        0..8 => {
            if let Some(value) = cache.get(&key) {
                check(floors, value.number(), "get");
            }
        }
        8..14 => check(floors, cache.get_or_insert_with_tags(key, tags, load).number(), "load"),
        14..17 => {
            let value = block_on(cache.get_or_insert_with_tags_async(key, tags, async {
                thread::yield_now();
                load()
            }));
            check(floors, value.number(), "async load");
        }
        17 => {
            let values = cache.get_many_with([key, (key + 1) % KEYS], |keys| {
                keys.into_iter().map(|key| (key, plain())).collect::<Vec<_>>()
            });
            check(floors, values[&key].number(), "bulk load");
        }
        18 => {
            let other = world.floors((key + 1) % KEYS);
            for (floors, value) in
                [floors, other].into_iter().zip(cache.get_all([key, (key + 1) % KEYS].iter()))
            {
                value.iter().for_each(|value| check(floors, value.number(), "get_all"));
            }
        }
        19 | 20 => {
            let made = cache.entry(key).and_upsert_with(|old| {
                if let Some(old) = old {
                    check(floors, old.into_value().number(), "seen by a compute");
                }
                plain()
            });
            check(floors, made.into_value().number(), "compute");
        }
        21 => drop(cache.entry(key).and_compute_with(|_| Op::Remove)),
        22..24 => {
            if let Some(refresh) = cache.claim_refresh(&key) {
                // The tags are those of the value that is there, which are not ours to choose: not checked by tag, if they are others.
                match random.below(4) {
                    0 => drop(refresh),
                    1 => refresh.fail(()),
                    _ => drop(refresh.complete(plain())),
                }
            }
        }
        24 | 25 => world.invalidate(&world.keys[key as usize], || cache.invalidate(&key)),
        26 => world.invalidate(&world.keys[key as usize], || drop(cache.remove(&key))),
        27..29 => {
            if let Some(name) = TAGS.get(tag as usize) {
                world.invalidate(&world.tags[tag as usize], || {
                    cache.invalidate_tag(name);
                });
            }
        }
        29 => world.invalidate(&world.all, || cache.invalidate_all()),
        30 => {
            cache.invalidate_if(|_, value| value.number() % 3 == 0);
        }
        31 => {
            let all =
                [0; KEYS as usize].iter().zip(0..).map(|(_, key)| world.floors(key)).collect::<Vec<_>>();
            for (key, value) in cache.iter() {
                check(all[key as usize], value.number(), "iter");
            }
        }
        32 => {
            let all = (0..KEYS).map(|key| world.floors(key)).collect::<Vec<_>>();
            for (key, value) in cache.policy().hottest(5) {
                check(all[key as usize], value.number(), "hottest");
            }
        }
        33 => {
            #[cfg(feature = "snapshot")]
            {
                let all = (0..KEYS).map(|key| world.floors(key)).collect::<Vec<_>>();
                let mut saved = Vec::new();
                cache.save_snapshot(&mut saved).unwrap();
                let other: Cache<u64, V> =
                    Cache::builder().max_weight(1_000).weigher(|_, _| 1).build().unwrap();
                other.load_snapshot(&saved[..]).unwrap();
                for (key, value) in other.iter() {
                    check(all[key as usize], value.number(), "snapshot");
                }
                other.check_invariants();
            }
        }
        34 => cache.set_max_weight([0, 10, 60, 1_000, u64::MAX][random.below(5) as usize]).unwrap(),
        35 => clock.advance(Duration::from_millis(random.below(400))),
        36 => cache.run_pending_tasks(),
        37 => drop(cache.set_expires_after(&key, Duration::from_millis(random.below(3_000)))),
        38 => drop(cache.policy().age_of(&key)),
        _ => {
            if let Ok(value) = cache.try_get_or_insert_with(key, || Err::<V, ()>(())) {
                check(floors, value.number(), "failing load");
            }
        }
    }
}

fn storm<V: Value>(seed: u64, steps: u64) {
    let (world, clock) = (Arc::new(World::default()), Arc::new(ManualClock::new()));
    let jobs: Arc<Mutex<Vec<RefreshJob>>> = Arc::default();
    let queue = Arc::clone(&jobs);
    let loads = Arc::clone(&world);
    let mut builder = Cache::builder()
        .max_weight(60)
        .weigher(|key: &u64, _: &V| (key % 7) as u32)
        .shards(1 << (seed % 3))
        .time_to_live(Duration::from_secs(3))
        .refresh_after(Duration::from_secs(1))
        .refresh_executor(move |job| queue.lock().push(job))
        .clock(Arc::clone(&clock));
    if seed % 2 == 0 {
        builder = builder.record_stats().eviction_listener(|_, _, _| ());
    }
    if seed % 3 == 0 {
        builder = builder.stale_if_error(Duration::from_secs(1));
    }
    if seed % 5 == 0 {
        builder = builder.eviction_policy(EvictionPolicy::Lru);
    }
    let cache = builder.build_with_refresh(move |_| Ok::<_, ()>(V::of(loads.read(NO_TAG)))).unwrap();
    thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|number| {
                let (cache, world, clock) = (&cache, &world, &clock);
                scope.spawn(move || {
                    let mut random = Random::new(seed * 100 + number);
                    (0..steps).for_each(|_| act(cache, world, clock, &mut random));
                })
            })
            .collect();
        scope.spawn(|| {
            while !world.over.load(SeqCst) {
                let jobs = std::mem::take(&mut *jobs.lock());
                jobs.into_iter().for_each(|job| job());
                thread::yield_now();
            }
        });
        let ended: Vec<_> = threads.into_iter().map(|thread| thread.join()).collect();
        world.over.store(true, SeqCst);
        assert!(ended.iter().all(Result::is_ok), "seed {seed}");
    });
    jobs.lock().clear();
    cache.run_pending_tasks();
    cache.check_invariants();
    assert_eq!((cache.loads_in_flight(), cache.refreshes_in_flight()), (0, 0));
}

#[test]
fn b04_b05_b24_nothing_comes_back_in_a_storm() {
    watchdog(300, || {
        for seed in 0..scaled(8, 1) {
            storm::<u64>(seed, scaled(4_000, 30));
            storm::<Box<u64>>(seed, scaled(4_000, 30));
        }
    });
}
