//! Any sequence of calls, on any configuration, against the naive reference of the model test: no value but the last one
//! written, never more than the bound, every invariant after every step, and every value dropped once.

#![no_main]

use arbitrary::{Arbitrary, Result, Unstructured};
use libfuzzer_sys::fuzz_target;

use crate::reference::{Config, KEYS, Model, Op};

#[path = "../../tests/it/reference.rs"]
mod reference;
#[path = "../../tests/it/support.rs"]
#[allow(dead_code, reason = "shared with the integration tests, which use more of it")]
mod support;

#[derive(Debug)]
struct Case {
    config: Config,
    ops: Vec<Op>,
}

impl<'a> Arbitrary<'a> for Case {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let [weighted, roomy, ttl, tti, listener, stats, bad_hasher, sharded] = u.arbitrary()?;
        let [constant_hasher, rule, unbounded] = u.arbitrary()?;
        let shards = if sharded { 4 } else { 1 };
        let config = Config {
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
        };
        let mut ops = Vec::new();
        while ops.len() < 300 && !u.is_empty() {
            ops.push(op(u)?);
        }
        Ok(Self { config, ops })
    }
}

fn op(u: &mut Unstructured<'_>) -> Result<Op> {
    let kind = u.int_in_range(0..=27)?;
    let key = u.int_in_range(0..=KEYS - 1)?;
    let weight = |u: &mut Unstructured<'_>| u.int_in_range(0..=101);
    let ttl = |u: &mut Unstructured<'_>| if u.ratio(1, 8)? { Ok(u64::MAX) } else { u.int_in_range(0..=200) };
    Ok(match kind {
        0 => Op::Insert(key, weight(u)?),
        1 => Op::InsertTtl(key, weight(u)?, ttl(u)?),
        2 => Op::Get(key),
        3 => Op::Read(key),
        4 => Op::Pin(key, u.int_in_range(0..=KEYS - 1)?),
        5 => Op::Contains(key),
        6 => Op::Remove(key),
        7 => Op::Invalidate(key),
        8 => Op::InvalidateAll,
        9 => Op::Load(key, weight(u)?),
        10 => Op::LoadTtl(key, weight(u)?, ttl(u)?),
        11 => Op::LoadError(key),
        12 => Op::LoadOvertaken(key, weight(u)?),
        13 => Op::Advance(u.int_in_range(1..=90)?),
        14 => Op::Back(u.int_in_range(1..=50)?),
        15 => Op::Maintain,
        16 => Op::Resize(u.int_in_range(0..=100)?),
        17 => Op::SetEnd(key, ttl(u)?),
        18 => Op::Left(key),
        19 => Op::RemoveEntry(key),
        20 => Op::RemoveIf(key % 3),
        21 => Op::Upsert(key, weight(u)?),
        22 => Op::ComputeRemove(key),
        23 => Op::ComputeNothing(key),
        24 => Op::ComputeError(key),
        25 => Op::Replace(key, weight(u)?),
        26 => Op::OrInsert(key, weight(u)?),
        _ => Op::Iterate,
    })
}

fuzz_target!(|case: Case| {
    let mut model = Model::new(case.config);
    case.ops.iter().for_each(|op| model.step(op));
    model.finish(true);
});
