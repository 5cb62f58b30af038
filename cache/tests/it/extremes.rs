//! Every setting at its extremes, crossed: what can be built works, and what can't is an error, never a panic.

use std::sync::Arc;
use std::time::Duration;

use millpond_cache::compute::Op;
use millpond_cache::{Admission, Cache, CacheBuilder, EvictionPolicy, Expiry, ManualClock, WhenFull};

use crate::support::{Random, scaled, watchdog};

type Builder = CacheBuilder<u64, u64>;

const NANO: Duration = Duration::from_nanos(1);
const DURATIONS: [Duration; 6] = [
    Duration::ZERO,
    NANO,
    Duration::from_secs(1),
    Duration::from_nanos(u64::MAX - 1),
    Duration::from_nanos(u64::MAX),
    Duration::MAX,
];
const BOUNDS: [u64; 10] =
    [0, 1, 2, 3, 255, u32::MAX as u64, u32::MAX as u64 + 1, 1 << 63, u64::MAX - 1, u64::MAX];

/// Lives by the value.
struct ByValue;

impl Expiry<u64, u64> for ByValue {
    fn expire_after_create(&self, _: &u64, value: &u64) -> Option<Duration> {
        DURATIONS.get(*value as usize % 8).copied()
    }

    fn expire_after_read(&self, _: &u64, value: &u64, _: Option<Duration>) -> Option<Duration> {
        DURATIONS.get((*value as usize / 2) % 8).copied()
    }

    fn expire_after_update(&self, _: &u64, value: &u64, _: Option<Duration>) -> Option<Duration> {
        DURATIONS.get((*value as usize / 3) % 8).copied()
    }
}

fn pick<T: Copy>(random: &mut Random, from: &[T]) -> T {
    from[random.below(from.len() as u64) as usize]
}

/// A builder with settings drawn at random, most of them extreme. The weights are the values.
fn draw(random: &mut Random, clock: &Arc<ManualClock>) -> Builder {
    let mut b: Builder = Cache::builder().seed(random.next());
    let one_in = |random: &mut Random, n| random.below(n) == 0;
    match random.below(5) {
        0 => {}
        1 | 2 => b = b.max_capacity(pick(random, &BOUNDS)),
        _ => {
            b = b.max_weight(pick(random, &BOUNDS)).weigher(|_, &value| match value % 7 {
                0 => 0,
                1 => u32::MAX,
                2 => u32::MAX - 1,
                weight => weight as u32,
            });
        }
    }
    if one_in(random, 3) {
        b = b.eviction_policy(EvictionPolicy::Lru);
    }
    if one_in(random, 3) {
        b = b.admission(Admission::SizeAware);
    }
    if one_in(random, 2) {
        b = b.time_to_live(pick(random, &DURATIONS));
    }
    if one_in(random, 3) {
        b = b.time_to_idle(pick(random, &DURATIONS));
    }
    if one_in(random, 5) {
        b = b.time_to_live_jitter(pick(
            random,
            &[0.0, 1.0, f64::MIN_POSITIVE, 0.5, -0.0, f64::NAN, f64::INFINITY, -1.0],
        ));
    }
    if one_in(random, 4) {
        b = b.expire_after(ByValue);
    }
    if one_in(random, 4) {
        b = b.stale_if_error(pick(random, &DURATIONS));
    }
    if one_in(random, 4) {
        b = b.negative_time_to_live(pick(random, &DURATIONS), |value| value % 3 == 0);
    }
    if one_in(random, 3) {
        b = b.refresh_after(pick(random, &DURATIONS)).refresh_executor(|job| job());
    }
    if one_in(random, 5) {
        b = b.refresh_backoff(pick(random, &DURATIONS), pick(random, &DURATIONS));
    }
    if one_in(random, 5) {
        b = b.refresh_early(pick(
            random,
            &[0.0, 1.0, f64::MAX, f64::MIN_POSITIVE, f64::NAN, f64::INFINITY, -1.0],
        ));
    }
    if one_in(random, 2) {
        b = b.record_stats();
    }
    if one_in(random, 3) {
        b = b.eviction_listener(|_, _, _| ());
    }
    if one_in(random, 3) {
        b = b.shards(pick(random, &[1, 2, 4, 64, 0, 3, 1 << 17, usize::MAX]));
    }
    if one_in(random, 3) {
        b = b.expected_entries(pick(random, &BOUNDS));
    }
    match random.below(8) {
        0 => b.clock_thread(),
        1 => b,
        2 => b.clock_thread().clock(Arc::clone(clock)),
        _ => b.clock(Arc::clone(clock)),
    }
}

fn use_all(cache: &Cache<u64, u64>, clock: &ManualClock, random: &mut Random) {
    let mut largest = cache.max_capacity().unwrap_or(u64::MAX);
    for _ in 0..scaled(150, 20) {
        let (key, value) = (random.below(20), random.below(40));
        match random.below(28) {
            0..5 => cache.insert(key, value),
            5 => cache.insert_with_ttl(key, value, pick(random, &DURATIONS)),
            6 | 7 => drop(cache.get(&key)),
            8 => drop(cache.remove(&key)),
            9 => drop(cache.get_or_insert_with(key, || value)),
            10 => drop(cache.try_get_or_insert_with(key, || Err::<u64, u64>(value))),
            11 => drop(
                cache
                    .try_get_or_insert_with_ttl(key, || Ok::<_, ()>((value, Some(pick(random, &DURATIONS))))),
            ),
            12 => drop(cache.optionally_get_with(key, || None)),
            13 => drop(cache.get_many_with([key, value], |keys| {
                keys.into_iter().map(|key| (key, key)).collect::<Vec<_>>()
            })),
            14 => drop(cache.entry(key).and_compute_with(|_| Op::Put(value))),
            15 => cache.insert_with_tags(key, value, &[""]),
            16 => drop(cache.invalidate_tag("")),
            17 => drop(cache.set_expires_after(&key, pick(random, &DURATIONS))),
            18 => clock.advance(pick(random, &DURATIONS[..3])),
            19 => clock.set(pick(random, &DURATIONS)),
            20 => {
                if let Some(refresh) = cache.claim_refresh(&key) {
                    match value % 3 {
                        0 => refresh.fail(()),
                        1 => drop(refresh),
                        _ => drop(refresh.complete(value)),
                    }
                }
            }
            21 => {
                let bound = pick(random, &BOUNDS);
                if cache.set_max_weight(bound).is_err() {
                    cache.set_max_capacity(bound).expect("it has one of both bounds");
                }
                assert_eq!(cache.max_capacity().unwrap_or(u64::MAX), bound);
                largest = bound;
            }
            22 => cache.invalidate_all(),
            23 => cache.run_pending_tasks(),
            24 => drop(cache.try_insert(key, value)),
            25 => {
                let _times =
                    (cache.policy().age_of(&key), cache.policy().idle_for(&key), cache.expires_after(&key));
            }
            26 => drop((
                cache.policy().hottest(usize::MAX),
                cache.policy().coldest(3),
                cache.policy().regions(),
            )),
            _ => drop(cache.invalidate_if(|key, _| key % 5 == 0)),
        }
        assert!(cache.weighted_size() <= largest);
        cache.check_invariants();
    }
}

#[test]
fn b09_b15_all_settings_at_their_extremes() {
    watchdog(300, || {
        let (mut built, mut refused) = (0, std::collections::BTreeMap::new());
        let rounds = scaled(1_200, 10);
        for seed in 0..rounds {
            let mut random = Random::new(seed);
            let clock = Arc::new(ManualClock::new());
            let builder = draw(&mut random, &clock);
            let shown = format!("{builder:?}");
            let used = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| match builder.build() {
                Ok(cache) => {
                    built += 1;
                    use_all(&cache, &clock, &mut random);
                }
                Err(error) => *refused.entry(error.to_string()).or_insert(0) += 1,
            }));
            assert!(used.is_ok(), "seed {seed}: {shown}");
        }
        assert!(cfg!(miri) || built * 6 > rounds && refused.len() > 8, "{built} {refused:?}");
    });
}

#[test]
fn b15_weights_whose_sum_is_near_the_end_of_numbers() {
    let cache: Cache<u64, u64> =
        Cache::builder().max_weight(u64::MAX).weigher(|_, _| u32::MAX).shards(4).build().unwrap();
    (0..1_000).for_each(|key| cache.insert(key, key));
    assert_eq!(cache.weighted_size(), 1_000 * u64::from(u32::MAX));
    for bound in [u64::MAX - 1, u64::from(u32::MAX) - 1, u64::MAX, 0, u64::MAX, u64::from(u32::MAX)] {
        cache.set_max_weight(bound).unwrap();
        (0..100).for_each(|key| cache.insert(key, key));
        assert!(cache.weighted_size() <= bound);
        cache.check_invariants();
    }
    assert_eq!(cache.entry_count(), 1);
}

#[test]
fn events_in_queues_of_every_length() {
    for capacity in [0, 1, usize::MAX] {
        let (builder, mut removals) = Cache::builder().notifications(capacity, WhenFull::Drop);
        let cache: Cache<u64, u64> = builder.build().unwrap();
        (0..3).for_each(|value| cache.insert(1, value));
        assert_eq!(removals.try_recv().map(|removal| removal.value), Some(0));
    }
}

#[test]
fn entries_of_every_size_and_alignment() {
    #[derive(Clone, Debug, PartialEq, Eq, Hash)]
    #[repr(align(4096))]
    struct Aligned(u8);
    fn check<K, V>(keys: impl Fn(u64) -> K, values: impl Fn(u64) -> V, distinct: u64)
    where
        K: std::hash::Hash + Eq + Clone + std::fmt::Debug,
        V: Clone + PartialEq + std::fmt::Debug,
    {
        let life = Duration::from_secs(60);
        let builders = [
            Cache::builder().max_capacity(40),
            Cache::builder().max_capacity(40).time_to_live(life).time_to_idle(life).refresh_after(life / 2),
        ];
        for builder in builders {
            let cache: Cache<K, V> = builder.shards(2).build().unwrap();
            for n in 0..200 {
                cache.insert(keys(n), values(n));
                if n % 3 == 0 {
                    cache.insert_with_ttl(keys(n), values(n), Duration::from_secs(9));
                }
                if let Some(value) = cache.get(&keys(n)) {
                    assert_eq!(value, values(n));
                }
            }
            assert!(cache.entry_count() <= distinct.min(40));
            cache.iter().for_each(|(key, value)| assert_eq!(cache.get(&key), Some(value)));
            cache.run_pending_tasks();
            cache.check_invariants();
        }
    }
    check(|_| (), |_| (), 1);
    check(|n| n as u8, |_| (), 256);
    check(|_| (), |n| n as u8, 1);
    check(|n| n as u16, |n| [n as u8; 3], 200);
    check(|n| n, |n| Aligned(n as u8), 200);
    check(|n| Aligned(n as u8), |n| n, 200);
    check(|n| n, |n| vec![n; 3].into_boxed_slice(), 200);
    check(|n| n, |n| [n; 5_000], 200);
    check(|n| n.to_string(), Some, 200);
}
