//! The eviction policy alone, under an engine in miniature: what it holds and what it weighs must be what it was given,
//! whatever is evicted was held, and something can be evicted while anything has weight.

#![no_main]

use std::collections::HashMap;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use millpond_cache::policy::{Activity, Config, Entries, Header, Kind, Policy};

#[derive(Arbitrary, Debug)]
struct Case {
    capacity: u8,
    weighted: bool,
    kind: u8,
    /// Keys that share few hashes.
    flooded: bool,
    seed: u64,
    ops: Vec<Op>,
}

#[derive(Arbitrary, Debug)]
enum Op {
    /// A hit, or a miss that inserts.
    Access(u8),
    /// Many hits and misses in a row, from this key on.
    Scan(u8, u8),
    Insert(u8, u8),
    Remove(u8),
    Expire(u8),
    /// Evicts although there is room, as a cache does that takes room for another shard.
    Evict,
    Capacity(u8),
    Clear,
    /// Takes one entry out that was cleared.
    Sweep,
}

#[derive(Default)]
struct Headers(Vec<Header>);

impl Entries for Headers {
    fn header(&self, slot: u32) -> &Header {
        &self.0[slot as usize]
    }
}

struct Engine {
    policy: Policy,
    activity: Activity,
    headers: Headers,
    free: Vec<u32>,
    /// Slot and weight of each key.
    held: HashMap<u16, (u32, u32)>,
    capacity: u64,
    weighted: bool,
    flooded: bool,
}

impl Engine {
    fn slot(&mut self, key: u16) -> u32 {
        let key = if self.flooded { key % 3 } else { key };
        let header = Header::new(u32::from(key).wrapping_mul(0x9e37_79b9));
        match self.free.pop() {
            Some(slot) => {
                self.headers.0[slot as usize] = header;
                slot
            }
            None => {
                self.headers.0.push(header);
                self.headers.0.len() as u32 - 1
            }
        }
    }

    fn access(&mut self, key: u16) {
        match self.held.get(&key) {
            Some(&(slot, _)) => self.headers.header(slot).touch(&self.activity),
            None => self.insert(key, 1),
        }
    }

    fn insert(&mut self, key: u16, weight: u32) {
        // What is heavier than the cache never comes to the policy.
        let weight = if self.weighted { u64::from(weight).min(self.capacity) as u32 } else { 1 };
        let slot = self.slot(key);
        match self.held.insert(key, (slot, weight)) {
            Some((old, _)) => {
                self.policy.replace_by_kind(&self.headers, &self.activity, old, slot, weight);
                self.free.push(old);
            }
            None => self.policy.insert_by_kind(&self.headers, &self.activity, slot, weight),
        }
        if self.policy.weight() > self.capacity {
            self.make_room();
        } else {
            self.policy.settle_by_kind(&self.headers);
        }
    }

    fn make_room(&mut self) {
        while self.policy.weight() > self.capacity {
            assert!(self.evict(), "there is weight to evict");
        }
    }

    fn evict(&mut self) -> bool {
        let Some(evicted) = self.policy.evict_by_kind(&self.headers) else {
            assert_eq!(self.policy.weight(), 0, "something could have been evicted");
            return false;
        };
        let found = self.held.iter().find(|(_, (slot, _))| *slot == evicted).map(|(&key, &held)| (key, held));
        let (key, (slot, weight)) = found.expect("what is evicted was held");
        assert!(weight > 0, "weight 0 is never evicted");
        assert_eq!(self.policy.weight_of(slot), weight);
        self.held.remove(&key);
        self.free.push(slot);
        true
    }

    fn take(&mut self, key: u16) -> Option<u32> {
        let (slot, _) = self.held.remove(&key)?;
        self.free.push(slot);
        Some(slot)
    }

    fn check(&self) {
        self.policy.check_invariants(&self.headers);
        assert!(self.policy.weight() <= self.capacity);
        assert_eq!(self.policy.weight(), self.held.values().map(|&(_, weight)| u64::from(weight)).sum());
        assert_eq!(self.policy.len(), self.held.len());
        for &(slot, weight) in self.held.values() {
            assert_eq!(self.policy.weight_of(slot), weight);
        }
        let mut coldest: Vec<u32> = self.policy.coldest(&self.headers).collect();
        let mut hottest: Vec<u32> = self.policy.hottest(&self.headers).collect();
        hottest.reverse();
        assert_eq!(coldest, hottest);
        coldest.sort_unstable();
        let mut held: Vec<u32> = self.held.values().map(|&(slot, _)| slot).collect();
        held.sort_unstable();
        assert_eq!(coldest, held, "each entry is in one queue, once");
    }
}

fuzz_target!(|case: Case| {
    let capacity = u64::from(case.capacity).max(1);
    let kind = [Kind::TinyLfu, Kind::SizeAware, Kind::Lru][usize::from(case.kind) % 3];
    let mut engine = Engine {
        policy: Policy::new(Config { capacity, weighted: case.weighted, seed: case.seed, kind }),
        activity: Activity::new(),
        headers: Headers::default(),
        free: Vec::new(),
        held: HashMap::new(),
        capacity,
        weighted: case.weighted,
        flooded: case.flooded,
    };
    for op in case.ops.iter().take(300) {
        match *op {
            Op::Access(key) => engine.access(u16::from(key)),
            Op::Scan(from, length) => (0..u16::from(length)).for_each(|i| engine.access(4 * u16::from(from) + i)),
            Op::Insert(key, weight) => engine.insert(u16::from(key), u32::from(weight)),
            Op::Remove(key) => {
                if let Some(slot) = engine.take(u16::from(key)) {
                    engine.policy.remove(&engine.headers, slot);
                }
            }
            Op::Expire(key) => {
                if let Some(slot) = engine.take(u16::from(key)) {
                    engine.policy.expire(&engine.headers, slot);
                }
            }
            Op::Evict => {
                engine.evict();
            }
            Op::Capacity(capacity) => {
                engine.capacity = u64::from(capacity).max(1);
                engine.policy.set_capacity(&engine.activity, engine.capacity);
                engine.make_room();
            }
            Op::Clear => {
                engine.policy.clear(&engine.headers);
                engine.held.clear();
            }
            Op::Sweep => {
                if let Some(slot) = engine.policy.next_cleared(&engine.headers) {
                    engine.free.push(slot);
                }
            }
        }
        engine.check();
    }
});
