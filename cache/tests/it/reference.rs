//! What the cache should do, naively: a map with deadlines, and the operations to compare the two. `model` draws operations
//! with proptest; the fuzz target `cache_ops` includes this file and draws them from its input.
//!
//! With a listener the match is exact even in a full cache, because it says what was evicted. Without one, a value may be
//! missing from a cache that was ever full; it may never be an old, an expired or a foreign one.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use millpond_cache::compute::{CompResult, Op as Change};
use millpond_cache::{Cache, Expiry, ManualClock, RemovalCause};

use crate::support::{Census, Counted};

pub(crate) const KEYS: u64 = 24;
const TTL: u64 = 100;
const TTI: u64 = 64;

#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) weighted: bool,
    /// Larger than all keys together can ever use.
    pub(crate) roomy: bool,
    /// No bound at all, unless weighted.
    pub(crate) unbounded: bool,
    /// A rule of expiry, in the place of a time to live.
    pub(crate) rule: bool,
    pub(crate) ttl: bool,
    pub(crate) tti: bool,
    pub(crate) listener: bool,
    pub(crate) stats: bool,
    pub(crate) shards: usize,
    pub(crate) bad_hasher: bool,
    pub(crate) constant_hasher: bool,
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
    SetEnd(u64, u64),
    Left(u64),
    RemoveEntry(u64),
    /// All keys with this remainder by three.
    RemoveIf(u64),
    Upsert(u64, u32),
    ComputeRemove(u64),
    ComputeNothing(u64),
    ComputeError(u64),
    /// A replacement of what weighs less.
    Replace(u64, u32),
    OrInsert(u64, u32),
    /// Another bound, unless the cache is to be roomy.
    Resize(u64),
}

/// A hasher of these bits.
#[derive(Clone, Default)]
struct Choice(u64);

impl std::hash::BuildHasher for Choice {
    type Hasher = Chosen;

    fn build_hasher(&self) -> Chosen {
        Chosen(self.0, std::hash::DefaultHasher::new())
    }
}

struct Chosen(u64, std::hash::DefaultHasher);

impl std::hash::Hasher for Chosen {
    fn finish(&self) -> u64 {
        self.1.finish() & self.0
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

/// A rule that differs from key to key.
struct Rule;

impl Rule {
    fn create(key: u64) -> Option<u64> {
        (key % 3 != 0).then_some(40 + key)
    }

    fn read(key: u64) -> Option<u64> {
        (key % 4 == 1).then_some(60)
    }

    fn update(key: u64) -> Option<u64> {
        (key % 2 == 0).then_some(80)
    }
}

impl Expiry<u64, Stored> for Rule {
    fn expire_after_create(&self, &key: &u64, _: &Stored) -> Option<Duration> {
        Self::create(key).map(Duration::from_nanos)
    }

    fn expire_after_read(&self, &key: &u64, _: &Stored, _: Option<Duration>) -> Option<Duration> {
        Self::read(key).map(Duration::from_nanos)
    }

    fn expire_after_update(&self, &key: &u64, _: &Stored, _: Option<Duration>) -> Option<Duration> {
        Self::update(key).map(Duration::from_nanos)
    }
}

/// Polls a future that has nothing to wait for.
fn ready<F: Future>(future: F) -> F::Output {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::pin!(future).poll(&mut context) {
        std::task::Poll::Ready(output) => output,
        std::task::Poll::Pending => panic!("there is nothing to wait for"),
    }
}

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
    /// What was cleared and not reported yet, by value, and whether it was dead by then.
    cleared: HashMap<u64, (u64, bool)>,
    hits: u64,
    misses: u64,
}

impl Model {
    pub(crate) fn new(mut config: Config) -> Self {
        // A rule is asked other things of an entry that was evicted, so without word of evictions its answers are not known.
        config.rule &= config.listener || config.roomy || config.unbounded;
        let clock = Arc::new(ManualClock::new());
        let log = Arc::new(parking_lot::Mutex::new(Vec::new()));
        let mut builder = Cache::builder().clock(Arc::clone(&clock)).shards(config.shards).hasher(Choice(
            match (config.bad_hasher, config.constant_hasher) {
                (false, _) => u64::MAX,
                (true, false) => 7,
                (true, true) => 0,
            },
        ));
        let max = match (config.weighted, config.roomy || config.unbounded) {
            (false, true) if config.unbounded => u64::MAX,
            (true, true) => 101 * KEYS,
            (true, false) => 100,
            (false, true) => KEYS,
            (false, false) => 8,
        };
        builder = if config.weighted {
            builder.max_weight(max).weigher(|_, value: &Stored| value.0.1)
        } else if max == u64::MAX {
            builder
        } else {
            builder.max_capacity(max)
        };
        if config.rule {
            builder = builder.expire_after(Rule);
        } else if config.ttl {
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
        let (entries, cleared) = (HashMap::new(), HashMap::new());
        let census = Census::default();
        Self { config, cache, census, clock, log, now: 0, next: 0, max, entries, cleared, hits: 0, misses: 0 }
    }

    fn exact(&self) -> bool {
        self.fits_all() || self.config.listener
    }

    fn fits_all(&self) -> bool {
        self.config.roomy || self.config.unbounded
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
            if self.config.rule
                && let Some(entry) = self.entries.get_mut(&key)
                && let Some(life) = Rule::read(key)
            {
                entry.deadline = Some(self.now + life);
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
            None if self.config.rule => match self.entries.get(&key).filter(|entry| entry.alive(self.now)) {
                Some(old) => Rule::update(key).map(|life| self.now + life).or(old.deadline),
                None => Rule::create(key).map(|life| self.now + life),
            },
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
            self.wrote(key, value, ttl);
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

    /// A compute, blocking or async, and what it saw.
    fn compute(&mut self, key: u64, change: &Change<Val>) -> (Option<Val>, CompResult<Stored>) {
        let mut seen = None;
        let made = match *change {
            Change::Nop => Change::Nop,
            Change::Put(value) => Change::Put(self.store(value)),
            Change::Remove => Change::Remove,
        };
        let asynchronous = self.next % 2 == 0;
        let result = if asynchronous {
            ready(self.cache.entry(key).and_compute_with_async(|old| {
                seen = old.map(|old| old.into_value().0);
                let made = made.clone();
                async move { made }
            }))
        } else {
            self.cache.entry(key).and_compute_with(|old| {
                seen = old.map(|old| old.into_value().0);
                made.clone()
            })
        };
        self.check(key, seen, "compute");
        self.used(key, seen);
        (seen, result)
    }

    pub(crate) fn step(&mut self, op: &Op) {
        let dead_before = self.entries.clone();
        let mut explicit = None;
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
                for (key, entry) in std::mem::take(&mut self.entries) {
                    self.cleared.insert(entry.value.0, (key, !entry.alive(self.now)));
                }
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
            Op::Resize(_) if self.fits_all() => {}
            Op::Resize(max) => {
                self.max = max;
                if self.config.weighted {
                    self.cache.set_max_weight(max).unwrap();
                } else {
                    self.cache.set_max_capacity(max).unwrap();
                }
                assert_eq!(self.cache.max_capacity(), Some(max));
            }
            Op::SetEnd(key, life) => {
                let set = self.cache.set_expires_after(&key, Duration::from_nanos(life));
                let value = set.then(|| self.alive(key)).flatten();
                assert!(!set || value.is_some(), "set_expires_after {key}");
                self.check(key, value, "set_expires_after");
                if set && let Some(entry) = self.entries.get_mut(&key) {
                    entry.deadline = self.now.checked_add(life);
                }
            }
            Op::Left(key) => {
                let left = self.cache.expires_after(&key).map(|left| left.as_nanos() as u64);
                let entry = self.entries.get(&key).filter(|entry| entry.alive(self.now));
                let end = entry.and_then(|entry| {
                    entry
                        .deadline
                        .unwrap_or(u64::MAX)
                        .min(entry.idle.unwrap_or(u64::MAX))
                        .checked_sub(self.now)
                });
                let end = end.filter(|_| entry.is_some_and(|e| e.deadline.or(e.idle).is_some()));
                // An end beyond the end of time is none.
                let far = |left: Option<u64>| left.filter(|&left| left < u64::MAX / 2);
                assert!(
                    far(left) == far(end) || !self.exact() && left.is_none(),
                    "{left:?} left, not {end:?}"
                );
            }
            Op::RemoveEntry(key) => {
                let seen = self.cache.remove_entry(&key);
                assert!(seen.as_ref().is_none_or(|(held, _)| *held == key));
                self.check(key, seen.map(|(_, stored)| stored.0), "remove_entry");
                explicit = self.entries.remove(&key);
            }
            Op::RemoveIf(rest) => {
                let count = self.cache.invalidate_if(|key, _| key % 3 == rest);
                let now = self.now;
                let mut picked = self.entries.clone();
                picked.retain(|key, entry| key % 3 == rest && entry.alive(now));
                self.entries.retain(|key, _| !picked.contains_key(key));
                assert!(count as usize <= picked.len());
                let mut told = 0;
                self.log.lock().retain(|&(key, value, cause)| {
                    let is_it = picked.get(&key).is_some_and(|entry| entry.value == value);
                    let explicit = cause == RemovalCause::Explicit && is_it;
                    told += u64::from(explicit);
                    !explicit
                });
                if self.exact() {
                    assert_eq!(count as usize, picked.len(), "all that were picked");
                }
                if self.config.listener {
                    assert_eq!(told, count, "each is reported");
                }
            }
            Op::Upsert(key, weight) => {
                let value = self.value(weight);
                let (seen, result) = self.compute(key, &Change::Put(value));
                let entry = result.into_entry().expect("it was put");
                assert_eq!((entry.value().0, entry.is_old_value_replaced()), (value, seen.is_some()));
                self.wrote(key, value, None);
            }
            Op::ComputeRemove(key) => {
                let (seen, result) = self.compute(key, &Change::Remove);
                assert_eq!(result.into_entry().map(|entry| entry.into_value().0), seen);
                explicit = seen.and_then(|_| self.entries.remove(&key));
            }
            Op::ComputeNothing(key) => {
                let (seen, result) = self.compute(key, &Change::Nop);
                assert_eq!(result.into_entry().map(|entry| entry.into_value().0), seen);
            }
            Op::ComputeError(key) => {
                let mut seen = None;
                let failed = self.cache.entry(key).and_try_compute_with(|old| {
                    seen = old.map(|old| old.into_value().0);
                    Err::<Change<Stored>, _>("no")
                });
                assert!(failed.is_err());
                self.check(key, seen, "compute");
                self.used(key, seen);
            }
            Op::Replace(key, weight) => {
                let value = self.value(weight);
                let looks = std::cell::Cell::new(0);
                let init = || self.store(value);
                let lighter = |old: &Stored| {
                    looks.set(looks.get() + 1);
                    old.0.1 < weight
                };
                let asynchronous = self.next % 2 == 0;
                let entry = self.cache.entry(key);
                let entry = if asynchronous {
                    ready(entry.or_insert_with_if_async(async { init() }, lighter))
                } else {
                    entry.or_insert_with_if(init, lighter)
                };
                let (found, fresh, replaced) =
                    (entry.value().0, entry.is_fresh(), entry.is_old_value_replaced());
                let seen = if looks.get() > 0 { self.alive(key) } else { None };
                assert!(looks.get() == 0 || seen.is_some(), "it looked at nothing");
                self.check(key, seen, "or_insert_with_if");
                self.used(key, seen);
                if fresh {
                    assert_eq!((found, replaced), (value, seen.is_some()));
                    // Looks again once nobody else can.
                    self.used(key, seen);
                    self.wrote(key, value, None);
                } else {
                    assert_eq!((Some(found), replaced), (seen, false));
                }
            }
            Op::OrInsert(key, weight) => {
                let value = self.value(weight);
                let before = self.alive(key);
                let entry = self.cache.entry(key).or_insert(self.store(value));
                if entry.is_fresh() {
                    self.learn_evicted(key, before);
                    assert_eq!(entry.value().0, value);
                    self.used(key, None);
                    self.wrote(key, value, None);
                } else {
                    assert_eq!(Some(entry.value().0), before);
                    self.used(key, before);
                }
            }
            Op::Iterate => {
                let seen: HashMap<_, _> = self.cache.iter().map(|(key, stored)| (key, stored.0)).collect();
                for key in 0..KEYS {
                    self.check(key, seen.get(&key).copied(), "iter");
                }
            }
        }
        self.read_log(&dead_before, explicit);
        if matches!(op, Op::Maintain) && self.config.listener {
            assert!(self.cleared.is_empty(), "all that was cleared was reported");
        }
        self.cache.check_invariants();
        self.check_sums();
    }

    /// Every report must be of a value that was there before this step or written in it, with a cause that fits.
    fn read_log(&mut self, before: &HashMap<u64, Entry>, explicit: Option<Entry>) {
        for (key, value, cause) in std::mem::take(&mut *self.log.lock()) {
            if let Some((owner, dead)) = self.cleared.remove(&value.0) {
                assert_eq!(
                    (owner, cause),
                    (key, if dead { RemovalCause::Expired } else { RemovalCause::Cleared })
                );
                continue;
            }
            let was = before.get(&key).filter(|entry| entry.value == value);
            let is = self.entries.get(&key).filter(|entry| entry.value == value);
            let dead = is.or(was).is_some_and(|entry| !entry.alive(self.now));
            match cause {
                RemovalCause::Expired => assert!(dead, "{key} {value:?} reported as expired while alive"),
                RemovalCause::Size => {
                    assert!(!dead, "{key} {value:?} was expired, whoever took it");
                    assert!(!self.fits_all(), "{key} {value:?} evicted though all fits");
                }
                RemovalCause::Explicit => {
                    assert!(explicit.is_some_and(|entry| entry.value == value), "{key} {value:?}");
                    assert!(!dead);
                }
                RemovalCause::Replaced => {
                    assert!(was.is_some() && is.is_none() && !dead, "{key} {value:?} replaced");
                }
                _ => panic!("{key} {value:?}: {cause:?}"),
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
