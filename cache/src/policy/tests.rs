//! The policy on a bare array of headers.

use proptest::prelude::*;

use super::*;

struct Slots(Vec<Header>);

impl Entries for Slots {
    fn header(&self, slot: u32) -> &Header {
        &self.0[slot as usize]
    }
}

/// A cache of hashes in the smallest form: what the engine does around the policy.
struct Model {
    policy: Policy,
    activity: Activity,
    slots: Slots,
    free: Vec<u32>,
    live: std::collections::HashMap<u32, u32>,
    capacity: u64,
}

impl Model {
    fn new(capacity: u64, weighted: bool) -> Self {
        Self {
            policy: Policy::new(Config { capacity, weighted, seed: 1 }),
            activity: Activity::new(),
            slots: Slots(vec![Header::new(0)]),
            free: Vec::new(),
            live: std::collections::HashMap::new(),
            capacity,
        }
    }

    fn slot(&mut self, hash: u32) -> u32 {
        match self.free.pop() {
            Some(slot) => {
                self.slots.0[slot as usize] = Header::new(hash);
                slot
            }
            None => {
                self.slots.0.push(Header::new(hash));
                u32::try_from(self.slots.0.len() - 1).unwrap()
            }
        }
    }

    fn hit(&self, hash: u32) -> bool {
        let Some(&slot) = self.live.get(&hash) else { return false };
        self.slots.header(slot).touch(&self.activity);
        true
    }

    fn fit(&mut self) {
        if self.policy.weight() <= self.capacity {
            self.policy.settle(&self.slots);
        }
        while self.policy.weight() > self.capacity {
            let slot = self.policy.evict(&self.slots).expect("something is evictable");
            self.live.remove(&self.slots.header(slot).hash).expect("it was live");
            self.free.push(slot);
        }
    }

    fn put(&mut self, hash: u32, weight: u32) {
        if u64::from(weight) > self.capacity {
            return;
        }
        let slot = self.slot(hash);
        if let Some(old) = self.live.insert(hash, slot) {
            self.policy.replace(&self.slots, &self.activity, old, slot, weight);
            self.free.push(old);
        } else {
            self.policy.insert(&self.slots, &self.activity, slot, weight);
        }
        self.fit();
    }

    fn remove(&mut self, hash: u32) {
        if let Some(slot) = self.live.remove(&hash) {
            self.policy.remove(&self.slots, slot);
            self.free.push(slot);
        }
    }

    fn check(&self) {
        self.policy.check_invariants(&self.slots);
        assert_eq!(self.policy.len(), self.live.len());
        assert!(self.policy.weight() <= self.capacity);
    }
}

#[derive(Clone, Debug)]
enum Op {
    Get(u32),
    Put(u32, u32),
    Remove(u32),
}

fn op() -> impl Strategy<Value = Op> {
    let hash = prop_oneof![0..40u32, 0..400u32];
    prop_oneof![
        4 => hash.clone().prop_map(Op::Get),
        4 => (hash.clone(), prop_oneof![Just(0), Just(1), 1..20u32, 50..200u32]).prop_map(|(h, w)| Op::Put(h, w)),
        1 => hash.prop_map(Op::Remove),
    ]
}

proptest! {
    #[test]
    fn stays_consistent(
        capacity in prop_oneof![Just(1u64), Just(2), Just(3), Just(7), 1..300u64],
        weighted in any::<bool>(),
        ops in prop::collection::vec(op(), 0..600),
    ) {
        let mut model = Model::new(capacity, weighted);
        for op in ops {
            match op {
                Op::Get(hash) => { model.hit(hash); }
                Op::Put(hash, weight) => model.put(hash, if weighted { weight } else { 1 }),
                Op::Remove(hash) => model.remove(hash),
            }
            model.check();
        }
    }
}

#[test]
fn a_scan_does_not_flush_what_is_used() {
    let mut model = Model::new(1000, false);
    for round in 0..50u32 {
        for hash in 0..500 {
            if !model.hit(hash) {
                model.put(hash, 1);
            }
        }
        for n in 0..500 {
            model.put(1_000_000 + round * 500 + n, 1);
        }
    }
    let kept = (0..500).filter(|&hash| model.hit(hash)).count();
    assert!(kept >= 490, "{kept} of 500 used entries are left");
    model.check();
}

#[test]
fn a_flood_of_equal_hashes_is_harmless() {
    let mut model = Model::new(100, false);
    for n in 0..10_000 {
        model.put(n << 20, 1);
        model.check();
    }
}

#[test]
fn an_unbounded_policy_evicts_nothing() {
    let mut model = Model::new(u64::MAX, false);
    for hash in 0..10_000 {
        model.put(hash, 1);
    }
    assert_eq!(model.live.len(), 10_000);
    model.check();
}
