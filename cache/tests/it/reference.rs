//! What the cache should do, naively: a map with deadlines, and the operations to compare the two. `model` draws operations
//! with proptest; the fuzz target `cache_ops` includes this file and draws them from its input.
//!
//! With a listener the match is exact even in a full cache, because it says what was evicted. Without one, a value may be
//! missing from a cache that was ever full; it may never be an old, an expired or a foreign one.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use millpond_cache::{Cache, ManualClock, RemovalCause};

use crate::support::{Census, Counted};

pub(crate) const KEYS: u64 = 24;
const TTL: u64 = 100;
const TTI: u64 = 64;

#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) weighted: bool,
    /// Larger than all keys together can ever use.
    pub(crate) roomy: bool,
    pub(crate) ttl: bool,
    pub(crate) tti: bool,
    pub(crate) listener: bool,
    pub(crate) stats: bool,
    pub(crate) shards: usize,
    pub(crate) bad_hasher: bool,
}

#[derive(Clone, Debug)]
pub(crate) enum Op {
    Insert(u64, u32),
    InsertTtl(u64, u32, u64),
    Get(u64),
    Read(u64),
    Pin(u64, u64),
    Contains(u64),
    Remove(u64),
    Invalidate(u64),
    InvalidateAll,
    Load(u64, u32),
    LoadTtl(u64, u32, u64),
    LoadError(u64),
    LoadOvertaken(u64, u32),
    Advance(u64),
    Back(u64),
    Maintain,
    Iterate,
    /// Another bound, unless the cache is to be roomy.
    Resize(u64),
}

/// A hasher of three bits, or a good one.
#[derive(Clone, Default)]
struct Choice(bool);

impl std::hash::BuildHasher for Choice {
    type Hasher = Chosen;

    fn build_hasher(&self) -> Chosen {
        Chosen(self.0, std::hash::DefaultHasher::new())
    }
}

struct Chosen(bool, std::hash::DefaultHasher);

impl std::hash::Hasher for Chosen {
    fn finish(&self) -> u64 {
        if self.0 { self.1.finish() & 7 } else { self.1.finish() }
    }

    fn write(&mut self, bytes: &[u8]) {
        self.1.write(bytes);
    }
}

/// A value: unique, with its weight.
type Val = (u64, u32);

/// A value as the cache holds it.
#[derive(Clone, Debug)]
struct Stored(Val, #[expect(dead_code, reason = "counts")] Counted);

#[derive(Clone, Copy, Debug)]
struct Entry {
    value: Val,
    deadline: Option<u64>,
    idle: Option<u64>,
}

impl Entry {
    fn alive(&self, now: u64) -> bool {
        self.deadline.is_none_or(|end| now < end) && self.idle.is_none_or(|end| now < end)
    }
}

pub(crate) struct Model {
    config: Config,
    cache: Cache<u64, Stored, Choice>,
    census: Census,
    clock: Arc<ManualClock>,
    log: Arc<parking_lot::Mutex<Vec<(u64, Val, RemovalCause)>>>,
    now: u64,
    next: u64,
    max: u64,
    /// What the cache may hold; exactly what it holds if it is roomy or has a listener.
    entries: HashMap<u64, Entry>,
    hits: u64,
    misses: u64,
}

impl Model {
    pub(crate) fn new(config: Config) -> Self {
        let clock = Arc::new(ManualClock::new());
        let log = Arc::new(parking_lot::Mutex::new(Vec::new()));
        let mut builder = Cache::builder()
            .clock(Arc::clone(&clock))
            .shards(config.shards)
            .hasher(Choice(config.bad_hasher));
        let max = match (config.weighted, config.roomy) {
            (true, true) => 101 * KEYS,
            (true, false) => 100,
            (false, true) => KEYS,
            (false, false) => 8,
        };
        builder = if config.weighted {
            builder.max_weight(max).weigher(|_, value: &Stored| value.0.1)
        } else {
            builder.max_capacity(max)
        };
        if config.ttl {
            builder = builder.time_to_live(Duration::from_nanos(TTL));
        }
        if config.tti {
            builder = builder.time_to_idle(Duration::from_nanos(TTI));
        }
        if config.listener {
            let log = Arc::clone(&log);
            builder = builder.eviction_listener(move |&k, v, cause| log.lock().push((k, v.0, cause)));
        }
        if config.stats {
            builder = builder.record_stats();
        }
        let cache = builder.build().unwrap();
        let entries = HashMap::new();
        let census = Census::default();
        Self { config, cache, census, clock, log, now: 0, next: 0, max, entries, hits: 0, misses: 0 }
    }

    fn exact(&self) -> bool {
        self.config.roomy || self.config.listener
    }

    fn value(&mut self, weight: u32) -> Val {
        self.next += 1;
        (self.next, weight)
    }

    fn store(&self, value: Val) -> Stored {
        Stored(value, self.census.one())
    }

    fn alive(&self, key: u64) -> Option<Val> {
        self.entries.get(&key).filter(|entry| entry.alive(self.now)).map(|entry| entry.value)
    }

    /// Compares what the cache gave with what it must or may give, and learns of evictions.
    fn check(&mut self, key: u64, seen: Option<Val>, what: &str) {
        let expected = self.alive(key);
        if seen != expected {
            assert!(!self.exact() && seen.is_none(), "{what} {key}: {seen:?} where {expected:?} is due");
            self.entries.remove(&key);
        }
    }

    /// After a read that counts as a use.
    fn used(&mut self, key: u64, seen: Option<Val>) {
        if seen.is_some() {
            self.hits += 1;
            if self.config.tti
                && let Some(entry) = self.entries.get_mut(&key)
                && self.now + TTI > entry.idle.unwrap_or(0) + TTI / 64
            {
                entry.idle = Some(self.now + TTI);
            }
        } else {
            self.misses += 1;
        }
    }

    fn wrote(&mut self, key: u64, value: Val, ttl: Option<u64>) {
        let weight = if self.config.weighted { u64::from(value.1) } else { 1 };
        if weight > self.max {
            self.entries.remove(&key);
            return;
        }
        let deadline = match ttl {
            Some(ttl) => self.now.checked_add(ttl),
            None => self.config.ttl.then_some(self.now + TTL),
        };
        let idle = self.config.tti.then_some(self.now + TTI);
        self.entries.insert(key, Entry { value, deadline, idle });
    }

    /// What a load of a missing key stores.
    fn load(&mut self, key: u64, value: Val, ttl: Option<u64>) {
        let before = self.alive(key);
        let called = std::cell::Cell::new(false);
        let loaded = self
            .cache
            .try_get_or_insert_with_ttl(key, || {
                called.set(true);
                Ok::<_, ()>((self.store(value), ttl.map(Duration::from_nanos)))
            })
            .unwrap()
            .0;
        if called.get() {
            self.learn_evicted(key, before);
            assert_eq!(loaded, value);
            self.used(key, None);
            // A refused load leaves the cache as it was.
            if !self.config.weighted || u64::from(value.1) <= self.max {
                self.wrote(key, value, ttl);
            }
        } else {
            assert_eq!(Some(loaded), before);
            self.used(key, before);
        }
    }

    fn learn_evicted(&mut self, key: u64, before: Option<Val>) {
        if before.is_some() {
            assert!(!self.exact(), "{key} was loaded although it is there");
            self.entries.remove(&key);
        }
    }

    pub(crate) fn step(&mut self, op: &Op) {
        let dead_before = self.entries.clone();
        let mut explicit = None;
        let mut cleared = false;
        match *op {
            Op::Insert(key, weight) => {
                let value = self.value(weight);
                self.cache.insert(key, self.store(value));
                self.wrote(key, value, None);
            }
            Op::InsertTtl(key, weight, ttl) => {
                let value = self.value(weight);
                self.cache.insert_with_ttl(key, self.store(value), Duration::from_nanos(ttl));
                self.wrote(key, value, Some(ttl).filter(|&ttl| ttl != u64::MAX).or(Some(u64::MAX)));
            }
            Op::Get(key) => {
                let seen = self.cache.get(&key).map(|stored| stored.0);
                self.check(key, seen, "get");
                self.used(key, seen);
            }
            Op::Read(key) => {
                let seen = self.cache.read(&key, |stored| stored.0);
                self.check(key, seen, "read");
                self.used(key, seen);
            }
            Op::Pin(first, second) => {
                let (a, b) = {
                    let pin = self.cache.pin();
                    (pin.get(&first).map(|stored| stored.0), pin.get(&second).map(|stored| stored.0))
                };
                self.check(first, a, "pin");
                self.used(first, a);
                self.check(second, b, "pin");
                self.used(second, b);
            }
            Op::Contains(key) => {
                let seen = self.cache.contains_key(&key);
                let value = seen.then(|| self.alive(key)).flatten();
                assert!(!seen || value.is_some(), "contains_key {key}");
                self.check(key, value, "contains_key");
            }
            Op::Remove(key) => {
                let seen = self.cache.remove(&key).map(|stored| stored.0);
                self.check(key, seen, "remove");
                explicit = self.entries.remove(&key);
            }
            Op::Invalidate(key) => {
                self.cache.invalidate(&key);
                explicit = self.entries.remove(&key);
            }
            Op::InvalidateAll => {
                self.cache.invalidate_all();
                self.entries.clear();
                cleared = true;
                assert_eq!(self.cache.entry_count(), 0);
            }
            Op::Load(key, weight) => {
                let value = self.value(weight);
                self.load(key, value, None);
            }
            Op::LoadTtl(key, weight, ttl) => {
                let value = self.value(weight);
                self.load(key, value, Some(ttl));
            }
            Op::LoadError(key) => {
                let before = self.alive(key);
                match self.cache.try_get_or_insert_with(key, || Err::<Stored, _>("no")) {
                    Ok(Stored(value, _)) => {
                        assert_eq!(Some(value), before);
                        self.used(key, before);
                    }
                    Err(_) => {
                        self.learn_evicted(key, before);
                        self.used(key, None);
                    }
                }
            }
            Op::LoadOvertaken(key, weight) => {
                let before = self.alive(key);
                let (late, fresh) = (self.value(1), self.value(weight));
                let called = std::cell::Cell::new(false);
                let seen = self.cache.get_or_insert_with(key, || {
                    called.set(true);
                    self.cache.insert(key, self.store(fresh));
                    self.store(late)
                });
                let seen = seen.0;
                if called.get() {
                    self.learn_evicted(key, before);
                    assert_eq!(seen, late);
                    self.used(key, None);
                    self.wrote(key, fresh, None);
                } else {
                    assert_eq!(Some(seen), before);
                    self.used(key, before);
                }
            }
            Op::Advance(by) => {
                self.now += by;
                self.clock.set(Duration::from_nanos(self.now));
            }
            Op::Back(by) => {
                // Only while nothing is dead: the cache may or may not have removed what is.
                if self.entries.values().all(|entry| entry.alive(self.now)) {
                    self.now = self.now.saturating_sub(by);
                    self.clock.set(Duration::from_nanos(self.now));
                }
            }
            Op::Maintain => {
                self.cache.run_pending_tasks();
                let now = self.now;
                self.entries.retain(|_, entry| entry.alive(now));
                if self.exact() {
                    assert_eq!(self.cache.entry_count() as usize, self.entries.len());
                }
            }
            Op::Resize(_) if self.config.roomy => {}
            Op::Resize(max) => {
                self.max = max;
                if self.config.weighted {
                    self.cache.set_max_weight(max).unwrap();
                } else {
                    self.cache.set_max_capacity(max).unwrap();
                }
                assert_eq!(self.cache.max_capacity(), Some(max));
            }
            Op::Iterate => {
                let seen: HashMap<_, _> = self.cache.iter().map(|(key, stored)| (key, stored.0)).collect();
                for key in 0..KEYS {
                    self.check(key, seen.get(&key).copied(), "iter");
                }
            }
        }
        self.read_log(&dead_before, explicit, cleared);
        self.cache.check_invariants();
        self.check_sums();
    }

    /// Every report must be of a value that was there before this step or written in it, with a cause that fits.
    fn read_log(&mut self, before: &HashMap<u64, Entry>, explicit: Option<Entry>, cleared: bool) {
        for (key, value, cause) in std::mem::take(&mut *self.log.lock()) {
            let was = before.get(&key).filter(|entry| entry.value == value);
            let is = self.entries.get(&key).filter(|entry| entry.value == value);
            let dead = was.or(is).is_some_and(|entry| !entry.alive(self.now));
            match cause {
                RemovalCause::Expired => assert!(dead, "{key} {value:?} reported as expired while alive"),
                RemovalCause::Size => {
                    assert!(!dead, "{key} {value:?} was expired, whoever took it");
                    assert!(!self.config.roomy, "{key} {value:?} evicted though all fits");
                }
                RemovalCause::Explicit => {
                    assert!(cleared || explicit.is_some_and(|entry| entry.value == value), "{key} {value:?}");
                    assert!(!dead);
                }
                RemovalCause::Replaced => {
                    assert!(was.is_some() && is.is_none() && !dead, "{key} {value:?} replaced");
                }
                _ => unreachable!("four causes"),
            }
            if is.is_some() {
                self.entries.remove(&key);
            }
        }
    }

    fn check_sums(&self) {
        assert!(self.cache.weighted_size() <= self.max);
        if !self.config.weighted {
            assert_eq!(self.cache.entry_count(), self.cache.weighted_size());
        }
        if self.config.stats {
            let stats = self.cache.stats();
            assert_eq!((stats.hits(), stats.misses()), (self.hits, self.misses));
        }
        assert_eq!(self.cache.loads_in_flight(), 0);
    }

    /// Looks at every key once more, empties the cache, and counts. `alone`: nothing else in this process holds a pin.
    pub(crate) fn finish(mut self, alone: bool) {
        (0..KEYS).for_each(|key| self.step(&Op::Get(key)));
        self.step(&Op::Maintain);
        if alone {
            assert_eq!(self.census.alive(), self.cache.entry_count() as isize, "what was removed is dropped");
        }
        self.step(&Op::InvalidateAll);
        drop(self.cache);
        assert_eq!(self.census.alive(), 0, "a cache that is dropped drops everything");
    }
}
