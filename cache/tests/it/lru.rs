//! `EvictionPolicy::Lru`: against a list in the order of use, and where the order can't be kept, that nothing breaks.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use millpond_cache::{Cache, EvictionPolicy};

use crate::support::{Random, scaled};

/// The reference: oldest first.
struct List {
    entries: Vec<(u64, u32)>,
    max: u64,
}

impl List {
    fn weight(&self) -> u64 {
        self.entries.iter().map(|&(_, weight)| u64::from(weight)).sum()
    }

    fn take(&mut self, key: u64) -> Option<(u64, u32)> {
        let place = self.entries.iter().position(|&(held, _)| held == key)?;
        Some(self.entries.remove(place))
    }

    fn get(&mut self, key: u64) -> Option<u32> {
        let entry = self.take(key)?;
        self.entries.push(entry);
        Some(entry.1)
    }

    fn insert(&mut self, key: u64, weight: u32) {
        self.take(key);
        if u64::from(weight) > self.max {
            return;
        }
        self.entries.push((key, weight));
        while self.weight() > self.max {
            let oldest = self.entries.iter().position(|&(_, weight)| weight > 0).expect("has weight");
            self.entries.remove(oldest);
        }
    }
}

fn compare(weighted: bool, max: u64, seed: u64) {
    let builder = Cache::builder().eviction_policy(EvictionPolicy::Lru).shards(1);
    let cache: Cache<u64, u32> = if weighted {
        builder.max_weight(max).weigher(|_, &weight| weight).build().unwrap()
    } else {
        builder.max_capacity(max).build().unwrap()
    };
    let mut list = List { entries: Vec::new(), max };
    let mut random = Random::new(seed);
    for step in 0..scaled(20_000, 300) {
        let key = random.below(2 * max.min(60));
        let weight = if weighted { random.below(12).saturating_sub(1) as u32 } else { 1 };
        match random.below(10) {
            0..5 => assert_eq!(cache.get(&key), list.get(key), "step {step}, key {key}"),
            5 => assert_eq!(cache.pin().get(&key).copied(), list.get(key)),
            6..9 => {
                cache.insert(key, weight);
                list.insert(key, weight);
            }
            _ => assert_eq!(cache.remove(&key), list.take(key).map(|(_, weight)| weight)),
        }
        // A look that is no use.
        let probe = random.below(2 * max.min(60));
        assert_eq!(cache.contains_key(&probe), list.entries.iter().any(|&(held, _)| held == probe));
        if step % 32 == 0 {
            cache.check_invariants();
            let mut held: Vec<(u64, u32)> = cache.iter().collect();
            let mut expected = list.entries.clone();
            held.sort_unstable();
            expected.sort_unstable();
            assert_eq!(held, expected, "step {step}");
        }
    }
}

#[test]
fn one_shard_keeps_the_order_of_use() {
    for (max, seed) in [(1, 1), (2, 2), (7, 3), (50, 4)] {
        compare(false, max, seed);
    }
}

#[test]
fn one_shard_keeps_the_order_of_use_with_weights() {
    for (max, seed) in [(10, 1), (40, 2), (200, 3)] {
        compare(true, max, seed);
    }
}

#[test]
fn a_scan_flushes_an_lru_and_does_not_flush_the_default() {
    let left = |policy| {
        let cache: Cache<u64, u64> =
            Cache::builder().max_capacity(100).eviction_policy(policy).shards(1).build().unwrap();
        for _ in 0..20 {
            for key in 0..50 {
                if cache.get(&key).is_none() {
                    cache.insert(key, key);
                }
            }
        }
        (1_000..2_000).for_each(|key| cache.insert(key, key));
        (0..50).filter(|key| cache.contains_key(key)).count()
    };
    assert_eq!(left(EvictionPolicy::Lru), 0);
    assert!(left(EvictionPolicy::TinyLfu) > 40);
}

#[test]
fn hits_on_eight_threads_lose_nothing_and_break_nothing() {
    for shards in [1, 4] {
        let cache: Cache<u64, u64> = Cache::builder()
            .max_capacity(200)
            .eviction_policy(EvictionPolicy::Lru)
            .record_stats()
            .shards(shards)
            .build()
            .unwrap();
        let writing = AtomicBool::new(true);
        thread::scope(|scope| {
            for thread in 0..6 {
                let (cache, writing) = (&cache, &writing);
                scope.spawn(move || {
                    let mut random = Random::new(thread + 1);
                    while writing.load(Ordering::Relaxed) {
                        let key = random.below(400);
                        assert!(cache.get(&key).is_none_or(|value| value == key));
                    }
                });
            }
            let writers: Vec<_> = (6..8)
                .map(|thread| {
                    let cache = &cache;
                    scope.spawn(move || {
                        let mut random = Random::new(thread + 1);
                        for _ in 0..scaled(10_000, 50) {
                            let key = random.below(400);
                            if random.below(8) == 0 {
                                cache.invalidate(&key);
                            } else {
                                cache.insert(key, key);
                            }
                            assert!(cache.entry_count() <= 200);
                        }
                    })
                })
                .collect();
            for writer in writers {
                writer.join().unwrap();
            }
            writing.store(false, Ordering::Relaxed);
        });
        cache.check_invariants();
        cache.run_pending_tasks();
        cache.check_invariants();
    }
}

#[test]
fn a_hit_on_an_entry_that_leaves_meanwhile_changes_no_order() {
    let cache: Cache<u64, u64> =
        Cache::builder().max_capacity(100).eviction_policy(EvictionPolicy::Lru).shards(1).build().unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for thread in 0..4 {
            let (cache, done) = (&cache, &done);
            scope.spawn(move || {
                let mut random = Random::new(thread + 1);
                while !done.load(Ordering::Relaxed) {
                    let key = random.below(150);
                    assert!(cache.get(&key).is_none_or(|value| value == key));
                }
            });
        }
        for round in 0..scaled(300, 20) {
            (0..20).for_each(|n| cache.insert((7 * round + n) % 150, (7 * round + n) % 150));
            match round % 3 {
                0 => cache.invalidate_all(),
                1 => cache.set_max_capacity(20 + round % 80).unwrap(),
                _ => cache.run_pending_tasks(),
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    cache.check_invariants();
}
