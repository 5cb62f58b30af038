//! Keys whose comparisons and hashes lie: what is found is anybody's guess, but nothing leaks, nothing is dropped twice, and the
//! cache's own structures agree with each other.

use std::cell::Cell;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use futures::executor::block_on;
use millpond_cache::compute::Op;
use millpond_cache::{Cache, EvictionPolicy, ManualClock, RemovalCause};

use crate::support::{Census, Counted, Random, scaled, watchdog};

thread_local! {
    /// How many in a hundred answers are lies, and where they come from.
    static LIES: Cell<(u64, u64)> = const { Cell::new((0, 1)) };
}

fn lies() -> bool {
    let (percent, seed) = LIES.get();
    let seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    LIES.set((percent, seed));
    (seed >> 33) % 100 < percent
}

#[derive(Clone, Debug)]
struct Liar {
    id: u64,
    _counted: Counted,
}

impl Hash for Liar {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.id % 4 + u64::from(lies())).hash(state);
    }
}

impl PartialEq for Liar {
    fn eq(&self, other: &Self) -> bool {
        (self.id == other.id) != lies()
    }
}

impl Eq for Liar {}

fn script(cache: &Cache<Liar, Counted>, clock: &ManualClock, n: &Census, random: &mut Random, steps: u64) {
    let key = |random: &mut Random| Liar { id: random.below(12), _counted: n.one() };
    for _ in 0..steps {
        let k = key(random);
        match random.below(22) {
            0..4 => cache.insert(k, n.one()),
            4 => cache.insert_with_ttl(k, n.one(), Duration::from_secs(random.below(4))),
            5 => drop(cache.get(&k)),
            6 => drop(cache.remove(&k)),
            7 => cache.invalidate(&k),
            8 => drop(cache.get_or_insert_with(k, || n.one())),
            9 => drop(block_on(cache.get_or_insert_with_async(k, async { n.one() }))),
            10 => drop(cache.optionally_get_with(k, || None)),
            11 => drop(cache.get_many_with([k, key(random), key(random)], |keys| {
                keys.into_iter().map(|key| (key, n.one())).collect::<Vec<_>>()
            })),
            12 => drop(cache.entry(k).and_upsert_with(|_| n.one())),
            13 => drop(cache.entry(k).and_compute_with(|_| Op::Remove)),
            14 => cache.insert_with_tags(k, n.one(), &["a", "b"]),
            15 => drop(cache.invalidate_tag("a")),
            16 => drop(cache.invalidate_if(|key, _| key.id % 3 == 0)),
            17 => clock.advance(Duration::from_secs(random.below(2))),
            18 => {
                if let Some(refresh) = cache.claim_refresh(&k) {
                    match random.below(3) {
                        0 => drop(refresh.complete(n.one())),
                        1 => refresh.fail(()),
                        _ => {}
                    }
                }
            }
            19 => drop(cache.iter().count()),
            20 if random.below(20) == 0 => cache.invalidate_all(),
            20 => drop(cache.set_expires_after(&k, Duration::from_secs(random.below(9)))),
            _ => cache.run_pending_tasks(),
        }
        cache.check_invariants();
    }
}

#[test]
fn b17_keys_that_lie_break_nothing() {
    watchdog(120, || {
        for percent in [1, 10, 50, 90, 100] {
            for seed in 0..scaled(8, 1) {
                LIES.set((percent, seed));
                let (n, clock) = (Census::default(), Arc::new(ManualClock::new()));
                let builder = Cache::builder()
                    .clock(Arc::clone(&clock))
                    .shards(1 << (seed % 3))
                    .refresh_after(Duration::from_secs(2))
                    .stale_if_error(Duration::from_secs(2))
                    .time_to_live(Duration::from_secs(5));
                let builder = match seed % 4 {
                    0 => builder.max_capacity(6),
                    1 => builder.max_weight(20).weigher(|key: &Liar, _| (key.id % 5) as u32),
                    2 => builder.max_capacity(6).eviction_policy(EvictionPolicy::Lru),
                    _ => builder.max_capacity(6).record_stats().eviction_listener(|_, _, _: RemovalCause| ()),
                };
                let cache = builder.build().unwrap();
                script(&cache, &clock, &n, &mut Random::new(seed + percent), scaled(2_000, 50));
                drop(cache);
                assert_eq!(n.alive(), 0, "{percent} {seed}");
            }
        }
    });
}
