//! Random operations against a naive reference, over the product of configurations, with a clock that moves by hand.

use crate::support::scaled;
use proptest::prelude::*;

use crate::reference::{Config, KEYS, Model, Op};

fn configs() -> impl Strategy<Value = Config> {
    (any::<[bool; 11]>(), prop::sample::select(vec![1, 4])).prop_map(|(flags, shards)| {
        let [weighted, roomy, ttl, tti, listener, stats, bad_hasher, constant_hasher, rule, huge, open] =
            flags;
        let unbounded = huge && open;
        Config {
            weighted,
            roomy,
            unbounded,
            rule,
            ttl,
            tti,
            listener,
            stats,
            shards,
            bad_hasher,
            constant_hasher,
        }
    })
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let key = 0..KEYS;
    let weight = prop_oneof![4 => 0..10u32, 1 => Just(60u32), 1 => Just(100u32), 1 => Just(101u32)];
    let ttl = prop_oneof![Just(0u64), Just(1), 1..200u64, Just(u64::MAX)];
    let op = prop_oneof![
        8 => (key.clone(), weight.clone()).prop_map(|(k, w)| Op::Insert(k, w)),
        3 => (key.clone(), weight.clone(), ttl.clone()).prop_map(|(k, w, t)| Op::InsertTtl(k, w, t)),
        6 => key.clone().prop_map(Op::Get),
        2 => key.clone().prop_map(Op::Read),
        1 => (key.clone(), key.clone()).prop_map(|(a, b)| Op::Pin(a, b)),
        2 => key.clone().prop_map(Op::Contains),
        2 => key.clone().prop_map(Op::Remove),
        2 => key.clone().prop_map(Op::Invalidate),
        1 => Just(Op::InvalidateAll),
        3 => (key.clone(), weight.clone()).prop_map(|(k, w)| Op::Load(k, w)),
        1 => (key.clone(), weight.clone(), ttl.clone()).prop_map(|(k, w, t)| Op::LoadTtl(k, w, t)),
        1 => key.clone().prop_map(Op::LoadError),
        1 => (key.clone(), weight.clone()).prop_map(|(k, w)| Op::LoadOvertaken(k, w)),
        2 => (key.clone(), ttl).prop_map(|(k, t)| Op::SetEnd(k, t)),
        1 => key.clone().prop_map(Op::Left),
        1 => key.clone().prop_map(Op::RemoveEntry),
        1 => (0..3u64).prop_map(Op::RemoveIf),
        3 => (key.clone(), weight.clone()).prop_map(|(k, w)| Op::Upsert(k, w)),
        1 => key.clone().prop_map(Op::ComputeRemove),
        1 => key.clone().prop_map(Op::ComputeNothing),
        1 => key.clone().prop_map(Op::ComputeError),
        2 => (key.clone(), weight.clone()).prop_map(|(k, w)| Op::Replace(k, w)),
        1 => (key, weight).prop_map(|(k, w)| Op::OrInsert(k, w)),
        4 => (1..90u64).prop_map(Op::Advance),
        1 => (1..50u64).prop_map(Op::Back),
        1 => Just(Op::Maintain),
        1 => Just(Op::Iterate),
        1 => prop_oneof![0..12u64, Just(100)].prop_map(Op::Resize),
    ];
    prop::collection::vec(op, 1..120)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: scaled(400, 4) as u32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn b08_b15_b16_b26_the_cache_does_what_the_model_does(config in configs(), ops in ops()) {
        let mut model = Model::new(config);
        for op in &ops {
            model.step(op);
        }
        model.finish(false);
    }
}
