//! Random histories beside a naive model, over a product of configurations, on a manual clock.
//!
//! With room for all keys the cache must agree exactly; without, it may only have forgotten.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use millpond_cache::{Cache, ManualClock};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Op {
    Get(u8),
    Insert(u8, u16),
    InsertWithTtl(u8, u16, u8),
    Remove(u8),
    Load(u8, u16),
    Advance(u8),
    Clear,
    Maintain,
}

fn op() -> impl Strategy<Value = Op> {
    let key = || 0..48u8;
    prop_oneof![
        6 => key().prop_map(Op::Get),
        6 => (key(), any::<u16>()).prop_map(|(k, v)| Op::Insert(k, v)),
        2 => (key(), any::<u16>(), 0..20u8).prop_map(|(k, v, t)| Op::InsertWithTtl(k, v, t)),
        2 => key().prop_map(Op::Remove),
        3 => (key(), any::<u16>()).prop_map(|(k, v)| Op::Load(k, v)),
        2 => (0..8u8).prop_map(Op::Advance),
        1 => Just(Op::Clear),
        1 => Just(Op::Maintain),
    ]
}

/// Value, and when it dies by its deadline and by idleness.
type Naive = HashMap<u8, (u16, Option<u64>, Option<u64>)>;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn agrees_with_the_model(
        roomy in any::<bool>(),
        weighted in any::<bool>(),
        ttl in prop::option::of(1..12u64),
        tti in prop::option::of(1..12u64),
        shards in prop::sample::select(vec![1usize, 4]),
        listens in any::<bool>(),
        ops in prop::collection::vec(op(), 1..250),
    ) {
        let clock = Arc::new(ManualClock::new());
        let bound = if roomy { 10_000 } else { 16 };
        let mut builder = Cache::<u8, u16>::builder().clock(Arc::clone(&clock)).shards(shards).record_stats();
        builder = if weighted {
            builder.max_weight(bound).weigher(|_, value| u32::from(value % 5))
        } else {
            builder.max_capacity(bound)
        };
        if let Some(ttl) = ttl {
            builder = builder.time_to_live(Duration::from_secs(ttl));
        }
        if let Some(tti) = tti {
            builder = builder.time_to_idle(Duration::from_secs(tti));
        }
        if listens {
            builder = builder.eviction_listener(|_, _, _| ());
        }
        let cache = builder.build().unwrap();
        let mut model = Naive::new();
        let mut now = 0u64;
        let mut gets = 0;
        for op in ops {
            model.retain(|_, (_, deadline, idle)| {
                deadline.is_none_or(|at| now < at) && idle.is_none_or(|at| now < at)
            });
            let idle = tti.map(|tti| now + tti);
            let fresh = |value| (value, ttl.map(|ttl| now + ttl), idle);
            // What the cache says must be what the model says; only a small cache may have forgotten.
            let agree = |got: Option<u16>, known: Option<u16>| {
                if roomy { got == known } else { got.is_none() || got == known }
            };
            match op {
                Op::Get(key) => {
                    gets += 1;
                    let got = cache.get(&key);
                    let known = model.get_mut(&key).map(|entry| {
                        entry.2 = idle;
                        entry.0
                    });
                    prop_assert!(agree(got, known), "get {key}: {got:?}, not {known:?}");
                }
                Op::Insert(key, value) => {
                    cache.insert(key, value);
                    model.insert(key, fresh(value));
                }
                Op::InsertWithTtl(key, value, ttl) => {
                    cache.insert_with_ttl(key, value, Duration::from_secs(u64::from(ttl)));
                    model.insert(key, (value, Some(now + u64::from(ttl)), idle));
                }
                Op::Remove(key) => {
                    let got = cache.remove(&key);
                    let known = model.remove(&key).map(|entry| entry.0);
                    prop_assert!(agree(got, known), "remove {key}: {got:?}, not {known:?}");
                }
                Op::Load(key, value) => {
                    gets += 1;
                    let mut loaded = false;
                    let got = cache.get_or_insert_with(key, || {
                        loaded = true;
                        value
                    });
                    match model.get_mut(&key) {
                        Some(entry) if !loaded => {
                            prop_assert_eq!(got, entry.0);
                            entry.2 = idle;
                        }
                        known => {
                            prop_assert!(loaded, "a value from nowhere");
                            prop_assert!(known.is_none() || !roomy, "loaded what was there");
                            model.insert(key, fresh(value));
                        }
                    }
                }
                Op::Advance(seconds) => {
                    now += u64::from(seconds);
                    clock.advance(Duration::from_secs(u64::from(seconds)));
                }
                Op::Clear => {
                    cache.invalidate_all();
                    model.clear();
                }
                Op::Maintain => cache.run_pending_tasks(),
            }
            cache.check_invariants();
            prop_assert!(cache.weighted_size() <= bound);
        }
        let stats = cache.stats();
        prop_assert_eq!(stats.requests(), gets, "hits and misses are all lookups");
    }
}
