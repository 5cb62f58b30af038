//! The whole policy under a small engine that keeps the bound, with invariants checked after each step.

use std::collections::{HashMap, HashSet};

use proptest::prelude::*;

use super::random::Random;
use super::*;

/// An engine in miniature: slots, a map from key to slot, and the bound.
struct Engine {
    policy: Policy,
    activity: Activity,
    headers: Headers,
    free: Vec<u32>,
    slots: HashMap<u64, u32>,
    keys: HashMap<u32, u64>,
    /// Slots of entries that were cleared and not named yet.
    cleared: HashSet<u32>,
    capacity: u64,
    hash: fn(u64) -> u32,
}

#[derive(Default)]
struct Headers(Vec<Header>);

impl Entries for Headers {
    fn header(&self, slot: u32) -> &Header {
        &self.0[slot as usize]
    }
}

fn mixed(key: u64) -> u32 {
    (Random::new(key).next() >> 32) as u32
}

impl Engine {
    fn new(capacity: u64, weighted: bool, seed: u64) -> Self {
        Self::of_kind(Kind::TinyLfu, capacity, weighted, seed)
    }

    fn of_kind(kind: Kind, capacity: u64, weighted: bool, seed: u64) -> Self {
        Self {
            policy: Policy::new(Config { capacity, weighted, seed, kind }),
            activity: Activity::new(),
            headers: Headers::default(),
            free: Vec::new(),
            slots: HashMap::new(),
            keys: HashMap::new(),
            cleared: HashSet::new(),
            capacity,
            hash: mixed,
        }
    }

    fn take_slot(&mut self, key: u64) -> u32 {
        let header = Header::new((self.hash)(key));
        let slot = self.free.pop().unwrap_or(self.headers.0.len() as u32);
        if slot as usize == self.headers.0.len() {
            self.headers.0.push(header);
        } else {
            self.headers.0[slot as usize] = header;
        }
        slot
    }

    fn get(&self, key: u64) -> bool {
        let slot = self.slots.get(&key);
        if let Some(&slot) = slot {
            self.headers.header(slot).touch(&self.activity);
        }
        slot.is_some()
    }

    /// Inserts or updates, and makes room. Returns the keys evicted.
    fn insert(&mut self, key: u64, weight: u32) -> Vec<u64> {
        let new = self.take_slot(key);
        match self.slots.insert(key, new) {
            Some(old) => {
                self.policy.replace_by_kind(&self.headers, &self.activity, old, new, weight);
                self.keys.remove(&old);
                self.free.push(old);
            }
            None => self.policy.insert_by_kind(&self.headers, &self.activity, new, weight),
        }
        self.keys.insert(new, key);
        let mut evicted = Vec::new();
        while self.policy.weight() > self.capacity {
            let slot = self.policy.evict_by_kind(&self.headers).expect("there is weight to evict");
            let key = self.keys.remove(&slot).expect("evicted entries were held");
            self.slots.remove(&key);
            self.free.push(slot);
            evicted.push(key);
        }
        if evicted.is_empty() {
            self.policy.settle_by_kind(&self.headers);
        }
        evicted
    }

    fn access(&mut self, key: u64) -> bool {
        let hit = self.get(key);
        if !hit {
            self.insert(key, 1);
        }
        hit
    }

    fn remove(&mut self, key: u64, harvest: bool) {
        if let Some(slot) = self.slots.remove(&key) {
            if harvest {
                self.policy.remove(&self.headers, slot);
            } else {
                self.policy.expire(&self.headers, slot);
            }
            self.keys.remove(&slot);
            self.free.push(slot);
        }
    }

    fn check(&self) {
        self.policy.check_invariants(&self.headers);
        assert_eq!(self.policy.len(), self.slots.len());
        assert!(self.policy.weight() <= self.capacity);
        let mut coldest: Vec<u32> = self.policy.coldest(&self.headers).collect();
        let hottest: Vec<u32> = self.policy.hottest(&self.headers).collect();
        coldest.reverse();
        assert_eq!(coldest, hottest);
        coldest.sort_unstable();
        let mut held: Vec<u32> = self.slots.values().copied().collect();
        held.sort_unstable();
        assert_eq!(coldest, held);
    }
}

#[derive(Clone, Debug)]
enum Op {
    Access(u64),
    Insert(u64, u32),
    Remove(u64, bool),
    /// Evicts although there is room, as an engine does that takes room for another shard.
    Evict,
    Capacity(u64),
    Clear,
    Sweep,
}

fn ops(weights: impl Strategy<Value = u32> + Clone) -> impl Strategy<Value = Vec<Op>> {
    let key = prop_oneof![0..8u64, 0..64u64, 0..400u64];
    let op = prop_oneof![
        60 => key.clone().prop_map(Op::Access),
        20 => (key.clone(), weights).prop_map(|(key, weight)| Op::Insert(key, weight)),
        8 => (key, any::<bool>()).prop_map(|(key, harvest)| Op::Remove(key, harvest)),
        4 => Just(Op::Evict),
        1 => (1..200u64).prop_map(Op::Capacity),
        1 => Just(Op::Clear),
        3 => Just(Op::Sweep),
    ];
    prop::collection::vec(op, 0..600)
}

fn run(mut engine: Engine, ops: Vec<Op>) {
    for op in ops {
        match op {
            Op::Access(key) => {
                engine.access(key);
            }
            Op::Insert(key, weight) => {
                // The engine refuses what is heavier than the cache.
                let weight = u64::from(weight).min(engine.capacity) as u32;
                engine.insert(key, weight);
            }
            Op::Remove(key, harvest) => engine.remove(key, harvest),
            Op::Evict => {
                if let Some(slot) = engine.policy.evict_by_kind(&engine.headers) {
                    assert!(engine.policy.weight_of(slot) > 0, "weight 0 is never evicted");
                    let key = engine.keys.remove(&slot).expect("evicted entries were held");
                    engine.slots.remove(&key);
                    engine.free.push(slot);
                } else {
                    assert_eq!(engine.policy.weight(), 0, "something could have been evicted");
                }
            }
            Op::Capacity(capacity) => {
                engine.capacity = capacity;
                engine.policy.set_capacity(&engine.activity, capacity);
                while engine.policy.weight() > capacity {
                    let slot = engine.policy.evict_by_kind(&engine.headers).expect("has weight");
                    let key = engine.keys.remove(&slot).expect("evicted entries were held");
                    engine.slots.remove(&key);
                    engine.free.push(slot);
                }
            }
            Op::Clear => {
                engine.policy.clear(&engine.headers);
                engine.cleared.extend(engine.slots.drain().map(|(_, slot)| slot));
                engine.keys.clear();
            }
            Op::Sweep => {
                let next = engine.policy.next_cleared(&engine.headers);
                assert_eq!(next.is_none(), engine.cleared.is_empty());
                if let Some(slot) = next {
                    assert!(engine.cleared.remove(&slot), "cleared, and named once");
                    engine.free.push(slot);
                }
            }
        }
        engine.check();
    }
}

fn kinds() -> impl Strategy<Value = Kind> {
    prop::sample::select(vec![Kind::TinyLfu, Kind::SizeAware, Kind::Lru])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn invariants_hold_for_entries(capacity in prop_oneof![1..4u64, 1..40u64, 40..300u64], ops in ops(Just(1u32)), seed: u64) {
        run(Engine::new(capacity, false, seed), ops);
    }

    #[test]
    fn invariants_hold_for_weights(
        capacity in prop_oneof![1..4u64, 1..40u64, 40..300u64],
        ops in ops(prop_oneof![4 => 1..4u32, 1 => Just(0u32), 1 => 0..100u32]),
        kind in kinds(),
        seed: u64,
    ) {
        run(Engine::of_kind(kind, capacity, true, seed), ops);
    }
}

/// Hits among `requests` of the keys that `next` makes, and the engine.
fn hits(capacity: u64, requests: u32, mut next: impl FnMut(u32) -> u64) -> (u32, Engine) {
    let mut engine = Engine::new(capacity, false, 42);
    let mut hits = 0;
    for i in 0..requests {
        hits += u32::from(engine.access(next(i)));
        if i % 1024 == 0 {
            engine.check();
        }
    }
    engine.check();
    (hits, engine)
}

#[test]
fn a_loop_larger_than_the_cache_keeps_nearly_all_it_can() {
    let (hits, _) = hits(500, 200_000, |i| u64::from(i % 1000));
    assert!(hits > 94_000, "{hits} of at most 100000");
}

#[test]
fn a_loop_is_kept_also_after_a_phase_in_which_only_recency_paid() {
    let mut engine = Engine::new(1000, false, 42);
    for key in 0..100_000u64 {
        engine.access(1_000_000 + key);
        engine.access(1_000_000 + key.saturating_sub(250));
    }
    assert!(engine.policy.window_max() > 200, "the window has grown: {}", engine.policy.window_max());
    (0..200_000).for_each(|i| {
        engine.access(i % 1020);
    });
    let hits: u32 = (0..51_000).map(|i| u32::from(engine.access(i % 1020))).sum();
    assert!(hits > 40_000, "{hits} of at most 50000");
}

#[test]
fn a_scan_does_not_wash_out_the_hot_set() {
    let mut random = Random::new(1);
    let (_, mut engine) = hits(500, 50_000, |_| random.next() % 400);
    for key in 0..100_000 {
        engine.access(1_000_000 + key);
    }
    let left = (0..400).filter(|&key| engine.get(key)).count();
    assert!(left > 380, "{left} of 400 are left");
}

#[test]
fn the_window_grows_where_recency_pays_and_shrinks_where_it_does_not() {
    // Each key is used twice, 200 requests apart, and never again.
    let (_, recency) =
        hits(1000, 200_000, |i| if i % 2 == 0 { u64::from(i) } else { u64::from(i.saturating_sub(401)) });
    assert!(recency.policy.window_max() > 150, "{}", recency.policy.window_max());
    let mut random = Random::new(1);
    let (_, frequency) =
        hits(1000, 400_000, |i| if i % 2 == 0 { random.next() % 1200 } else { 10_000 + u64::from(i) });
    assert!(frequency.policy.window_max() <= 30, "{}", frequency.policy.window_max());
}

#[test]
fn the_hot_set_may_change() {
    let mut random = Random::new(9);
    let (_, mut engine) = hits(500, 100_000, |_| random.next() % 400);
    let second: u32 = (0..50_000).map(|_| u32::from(engine.access(1000 + random.next() % 400))).sum();
    assert!(second > 47_000, "{second}");
}

#[test]
fn keys_of_one_hash_still_fit_the_bound() {
    let mut engine = Engine::new(100, false, 7);
    engine.hash = |_| 0xdead_beef;
    for key in 0..10_000 {
        engine.access(key % 300);
    }
    engine.check();
    assert_eq!(engine.slots.len(), 100);
}

#[test]
fn a_flood_of_keys_with_equal_low_bits_takes_bounded_work_and_leaves_the_hot_set() {
    let mut engine = Engine::new(1000, false, 7);
    engine.hash = |key| if key < 800 { mixed(key) } else { (key as u32) << 16 | 0x1234 };
    for round in 0..20 {
        for key in 0..800 {
            engine.access(key);
        }
        for key in 0..1000 {
            engine.access(800 + round * 1000 + key);
        }
    }
    let left = (0..800).filter(|&key| engine.get(key)).count();
    assert!(left > 700, "{left} of 800 are left");
    engine.check();
}

/// Remembers which entries the policy looks at.
struct Counting<'h>(&'h Headers, std::cell::RefCell<HashSet<u32>>);

impl Entries for Counting<'_> {
    fn header(&self, slot: u32) -> &Header {
        self.1.borrow_mut().insert(slot);
        self.0.header(slot)
    }
}

#[test]
fn no_call_does_unbounded_work_even_if_every_entry_was_used() {
    let mut random = Random::new(3);
    let entries: u64 = if cfg!(any(miri, millpond_sanitize)) { 2_000 } else { 20_000 };
    let (_, mut engine) = hits(entries, 10 * entries as u32, |_| random.next() % (2 * entries));
    let mut most = 0;
    for key in 0..entries {
        if key % (entries / 20) == 0 {
            for header in &engine.headers.0 {
                header.touch(&engine.activity);
            }
        }
        let slot = engine.take_slot(1_000_000 + key);
        let counting = Counting(&engine.headers, std::cell::RefCell::default());
        engine.policy.insert(&counting, &engine.activity, slot, 1);
        let evicted = engine.policy.evict(&counting).expect("the cache is full");
        most = most.max(counting.1.borrow().len());
        engine.free.push(evicted);
    }
    engine.policy.check_invariants(&engine.headers);
    assert!(most <= 2 * 16 + 2 * 64 + 2 * 64 + 64 + 8, "one call looked at {most} entries");
}

#[test]
fn unbounded_costs_nothing_but_links() {
    let mut engine = Engine::new(u64::MAX, false, 1);
    for key in 0..10_000 {
        engine.access(key);
    }
    assert!(!engine.policy.sketch.started());
    assert_eq!(engine.policy.ghosts.len(), 0);
    engine.check();
}

#[test]
fn a_part_that_gives_room_before_it_is_half_full_counts_for_what_it_holds() {
    for weighted in [false, true] {
        // As while a resize is under way: its capacity is another already, and it has to give room for the one before.
        let mut engine = Engine::new(100, weighted, 1);
        engine.insert(0, 1);
        engine.policy.set_capacity(&engine.activity, u64::MAX);
        (1..10).for_each(|key| assert!(engine.insert(key, 1).is_empty()));
        // A sketch for all that might come would be gigabytes.
        let evicted = engine.policy.evict_by_kind(&engine.headers);
        assert!(evicted.is_some());
        engine.policy.check_invariants(&engine.headers);
    }
}

#[test]
fn weight_0_is_never_evicted_and_may_change() {
    let mut engine = Engine::new(10, true, 1);
    engine.insert(1, 0);
    assert_eq!(engine.policy.evict(&engine.headers), None);
    for key in 2..1000 {
        engine.insert(key, 3);
        engine.check();
    }
    assert!(engine.get(1));
    engine.insert(1, 2);
    engine.check();
    for key in 1000..2000 {
        engine.insert(key, 3);
    }
    assert!(!engine.get(1), "with a weight it is like all others");
}

#[test]
fn the_clocks_may_come_round() {
    let mut engine = Engine::new(1 << 33, true, 1);
    engine.policy.clocks.misses = u64::MAX - (1 << 34);
    engine.policy.clocks.victims = u64::MAX - (1 << 34);
    for key in 0..40 {
        engine.insert(key, u32::MAX);
        engine.insert(key, u32::MAX);
        engine.insert(key % 3, u32::MAX);
        engine.check();
    }
    assert!(engine.policy.clocks.misses < 1 << 40, "it has come round");
}

#[test]
fn by_weight_a_heavy_entry_must_be_worth_all_that_it_pushes_out() {
    // 250 light entries, and one that weighs as much as 50 of them and is asked for three times as often as each.
    let heavy_gets_in = |kind| {
        let mut engine = Engine::of_kind(kind, 1000, true, 1);
        let mut held = 0;
        for i in 0..20_000u64 {
            if !engine.get(i % 250) {
                engine.insert(i % 250, 4);
            }
            if i > 1000 && i % 83 == 0 {
                held += u32::from(engine.get(9999));
                engine.insert(9999, 200);
            }
            if i % 97 == 0 {
                engine.check();
            }
        }
        held
    };
    assert!(heavy_gets_in(Kind::TinyLfu) > 0);
    assert_eq!(heavy_gets_in(Kind::SizeAware), 0);
}

#[test]
fn by_weight_a_light_entry_is_judged_as_ever() {
    let mut hits = [0, 0];
    for (hits, kind) in hits.iter_mut().zip([Kind::TinyLfu, Kind::SizeAware]) {
        let mut engine = Engine::of_kind(kind, 500, true, 3);
        let mut random = Random::new(5);
        for _ in 0..100_000 {
            let key = (random.next() % 1000).min(random.next() % 1000);
            *hits += u32::from(engine.access(key));
        }
        engine.check();
    }
    assert!(hits[0].abs_diff(hits[1]) < 2_000, "of 100000: {hits:?}");
}

#[test]
fn by_weight_what_is_owed_leaves_without_a_duel() {
    let mut engine = Engine::of_kind(Kind::SizeAware, 100, true, 1);
    for key in 0..100 {
        engine.insert(key, 1);
    }
    for _ in 0..20 {
        engine.insert(5000, 60);
        engine.check();
    }
    let before = engine.slots.len();
    assert!(engine.get(5000), "wanted more than all of those that were never used");
    assert!(before <= 41);
}

#[test]
fn an_entry_heavier_than_the_window_must_prove_itself_at_once() {
    let mut engine = Engine::new(1000, true, 1);
    for _ in 0..5 {
        for key in 0..250 {
            if !engine.get(key) {
                engine.insert(key, 4);
            }
        }
    }
    let evicted = engine.insert(9999, 500);
    assert_eq!(evicted, [9999]);
    engine.check();
}

#[test]
fn a_growing_number_of_lighter_entries_gets_a_larger_sketch() {
    let mut engine = Engine::new(1_000_000, true, 1);
    for key in 0..2000 {
        engine.insert(key, 1000);
    }
    assert!(engine.policy.population < 1100);
    for key in 10_000..300_000 {
        engine.insert(key, 10);
    }
    assert!(engine.policy.population > 50_000, "{}", engine.policy.population);
    assert!(engine.policy.ghosts.len() >= 65_536);
    engine.check();
}

#[test]
fn an_update_keeps_the_place_and_counts_as_a_hit() {
    let mut engine = Engine::new(100, false, 1);
    for key in 0..100 {
        engine.access(key);
    }
    let before: Vec<u64> = engine.policy.coldest(&engine.headers).map(|slot| engine.keys[&slot]).collect();
    engine.insert(50, 1);
    let after: Vec<u64> = engine.policy.coldest(&engine.headers).map(|slot| engine.keys[&slot]).collect();
    assert_eq!(before, after);
    let slot = engine.slots[&50];
    assert!(engine.headers.header(slot).referenced());
}

#[test]
fn removal_counts_the_last_use_only_if_asked() {
    for harvest in [false, true] {
        let mut engine = Engine::new(4, false, 1);
        for key in 0..4 {
            engine.access(key);
        }
        let hash = engine.policy.spread.of(mixed(3));
        let before = engine.policy.sketch.frequency(hash);
        engine.get(3);
        engine.remove(3, harvest);
        assert_eq!(engine.policy.sketch.frequency(hash), before + u32::from(harvest));
    }
}

#[test]
fn the_same_seed_makes_the_same_choices() {
    let run = |seed| {
        let mut engine = Engine::new(64, false, seed);
        let mut random = Random::new(5);
        let mut evicted = Vec::new();
        for _ in 0..5000 {
            let key = random.next() % 200;
            if !engine.get(key) {
                evicted.extend(engine.insert(key, 1));
            }
        }
        evicted
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

#[test]
fn by_weight_the_uses_of_all_victims_count() {
    for (uses, stays) in [(3, false), (9, false), (11, true)] {
        let mut engine = Engine::of_kind(Kind::SizeAware, 1000, true, 1);
        let used = |engine: &mut Engine, key, times| {
            let hash = engine.policy.spread.of(mixed(key));
            for _ in engine.policy.sketch.frequency(hash)..times {
                engine.policy.sketch.increment(hash);
            }
        };
        for key in 0..100 {
            engine.insert(key, 10);
        }
        (0..100).for_each(|key| used(&mut engine, key, 2));
        // Its insert is one more use. It would push out five that were used twice each.
        used(&mut engine, 9999, uses - 1);
        let evicted = engine.insert(9999, 50);
        engine.check();
        assert_eq!(evicted.contains(&9999), !stays, "used {uses} times");
        assert_eq!(evicted.len(), if stays { 5 } else { 1 });
    }
}

#[test]
fn by_weight_heavy_entries_get_into_main_through_duels_only() {
    // One key in ten weighs as much as 128 others. Most of the light ones fit, if the heavy ones stay out.
    let hits = |kind| {
        let mut engine = Engine::of_kind(kind, 16_000, true, 1);
        let mut random = Random::new(5);
        let mut hits = 0;
        for _ in 0..100_000 {
            let unit = (random.next() >> 11) as f64 / (1u64 << 53) as f64;
            let key = (20_000.0 * unit.powi(3)) as u64;
            let hit = engine.get(key);
            hits += u32::from(hit);
            if !hit {
                engine.insert(key, if mixed(key) % 10 == 0 { 128 } else { 1 });
            }
        }
        engine.check();
        hits
    };
    let (each, all) = (hits(Kind::TinyLfu), hits(Kind::SizeAware));
    assert!(all > each + 12_000, "of 100000: {each}, by weight {all}");
}
