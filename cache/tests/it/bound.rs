//! The bound holds at every instant, in entries and in weight.

use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use millpond_cache::{BuildError, Cache};

fn weighted(max: u64, shards: usize) -> Cache<u64, u32> {
    Cache::builder().max_weight(max).weigher(|_, weight: &u32| *weight).shards(shards).build().unwrap()
}

/// A thread that samples during churn never sees more than the bound.
#[test]
fn no_observer_ever_sees_more_than_the_bound() {
    for shards in [1, 4] {
        let cache: Cache<u64, u64> = Cache::builder().max_capacity(1000).shards(shards).build().unwrap();
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            let (cache, done) = (&cache, &done);
            let workers: Vec<_> = (0..8u64)
                .map(|thread| {
                    scope.spawn(move || {
                        for n in 0..20_000u64 {
                            cache.insert(thread << 32 | n, n);
                            if n % 7 == 0 {
                                cache.invalidate(&(thread << 32 | n.saturating_sub(5)));
                            }
                        }
                    })
                })
                .collect();
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    assert!(cache.entry_count() <= 1000);
                    assert!(cache.weighted_size() <= 1000);
                }
            });
            for worker in workers {
                worker.join().unwrap();
            }
            done.store(true, Ordering::Relaxed);
        });
        cache.check_invariants();
        assert!(cache.entry_count() > 900);
    }
}

/// All of the capacity is there for keys that all fall into one shard.
#[test]
fn capacity_is_global_not_per_shard() {
    #[derive(Clone, Default)]
    struct OneShard;
    struct Plain(u64);
    impl BuildHasher for OneShard {
        type Hasher = Plain;
        fn build_hasher(&self) -> Plain {
            Plain(0)
        }
    }
    impl Hasher for Plain {
        fn finish(&self) -> u64 {
            // The cache multiplies by this number's inverse twin; what is left of the shard bits is constant.
            (self.0 & 0xffff).wrapping_mul(0xf1de_83e1_9937_733d)
        }
        fn write(&mut self, bytes: &[u8]) {
            for byte in bytes {
                self.0 = self.0.wrapping_mul(257) + u64::from(*byte);
            }
        }
        fn write_u64(&mut self, n: u64) {
            self.0 = n;
        }
    }
    let cache: Cache<u64, u64, _> =
        Cache::builder().max_capacity(1000).shards(8).hasher(OneShard).build().unwrap();
    for key in 0..1000 {
        cache.insert(key, key);
    }
    assert_eq!(cache.entry_count(), 1000);
    cache.check_invariants();
    for key in 0..3000 {
        cache.insert(key, key);
        assert!(cache.entry_count() <= 1000);
    }
    cache.check_invariants();
}

/// B17: equal hashes are slow, never wrong.
#[test]
fn b17_a_constant_hasher_is_correct() {
    #[derive(Clone, Default)]
    struct Same;
    impl BuildHasher for Same {
        type Hasher = Constant;
        fn build_hasher(&self) -> Constant {
            Constant
        }
    }
    struct Constant;
    impl Hasher for Constant {
        fn finish(&self) -> u64 {
            42
        }
        fn write(&mut self, _: &[u8]) {}
    }
    let cache: Cache<u32, u32, _> = Cache::builder().max_capacity(300).hasher(Same).build().unwrap();
    for key in 0..900 {
        cache.insert(key, key + 1);
        assert!(cache.get(&key).is_none_or(|value| value == key + 1));
    }
    cache.check_invariants();
    for key in 0..900 {
        assert!(cache.remove(&key).is_none_or(|value| value == key + 1));
    }
    assert_eq!(cache.entry_count(), 0);
    cache.check_invariants();
}

/// B15: weights of any size add up, also when they change.
#[test]
fn b15_weights_add_up() {
    for shards in [1, 4] {
        let cache = weighted(u64::from(u32::MAX) * 3, shards);
        for key in 0..5 {
            cache.insert(key, u32::MAX);
            cache.check_invariants();
        }
        assert_eq!(cache.weighted_size(), u64::from(u32::MAX) * 3);
        let cache = weighted(1000, shards);
        for n in 0..2000u64 {
            cache.insert(n % 50, (n * 37 % 90) as u32);
            cache.check_invariants();
        }
        cache.invalidate_all();
        assert_eq!((cache.weighted_size(), cache.entry_count()), (0, 0));
        cache.check_invariants();
    }
}

/// One entry may use the whole weight; one that is heavier is not kept, and takes the old value with it.
#[test]
fn b15_heavy_entries() {
    for shards in [1, 4] {
        let cache = weighted(100, shards);
        cache.insert(1, 100);
        assert_eq!(cache.get(&1), Some(100));
        cache.insert(1, 101);
        assert_eq!(cache.get(&1), None);
        assert_eq!(cache.weighted_size(), 0);
        for key in 0..100 {
            cache.insert(key, 1);
        }
        cache.insert(7, 100);
        assert!(cache.weighted_size() <= 100);
        cache.check_invariants();
    }
}

/// B21: weight 0 is pinned; a cache full of pinned entries still makes progress.
#[test]
fn b21_pinned_entries_stay_and_stop_nothing() {
    let cache = weighted(10, 1);
    for key in 0..1000 {
        cache.insert(key, 0);
    }
    for key in 1000..2000 {
        cache.insert(key, 3);
        cache.check_invariants();
    }
    assert!((0..1000).all(|key| cache.contains_key(&key)));
    assert_eq!(cache.weighted_size(), 9);
    cache.insert(5, 4);
    cache.insert(1999, 0);
    cache.check_invariants();
}

/// A load of entries that were used beats a scan.
#[test]
fn a_scan_does_not_flush_what_is_used() {
    let cache: Cache<u64, u64> = Cache::new(1000);
    for round in 0..20u64 {
        for key in 0..500 {
            if cache.get(&key).is_none() {
                cache.insert(key, key);
            }
        }
        for n in 0..500 {
            cache.insert(1_000_000 + round * 500 + n, n);
        }
    }
    let kept = (0..500).filter(|key| cache.contains_key(key)).count();
    assert!(kept >= 480, "{kept} of 500");
}

#[test]
fn wrong_settings_are_named() {
    let builder = || Cache::<u8, u8>::builder();
    assert_eq!(builder().max_capacity(1).max_weight(1).build().unwrap_err(), BuildError::TwoBounds);
    assert_eq!(builder().max_weight(1).build().unwrap_err(), BuildError::NoWeigher);
    assert_eq!(builder().weigher(|_, _| 1).build().unwrap_err(), BuildError::NoMaxWeight);
    assert_eq!(builder().shards(3).build().unwrap_err(), BuildError::Shards(3));
    assert_eq!(builder().shards(0).build().unwrap_err(), BuildError::Shards(0));
    let huge = builder().max_capacity(u64::MAX - 1).build().unwrap();
    huge.insert(1, 1);
    assert_eq!(huge.get(&1), Some(1));
}

/// B27, B23: readers never miss a key that is there, while its table grows and drains under them.
#[test]
fn b27_no_key_is_missed_while_the_table_grows() {
    let cache: Cache<u64, u64> = Cache::builder().shards(1).build().unwrap();
    for key in 0..100 {
        cache.insert(key, key);
    }
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let (cache, done) = (&cache, &done);
        for _ in 0..3 {
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    for key in 0..100 {
                        assert_eq!(cache.get(&key), Some(key));
                    }
                }
            });
        }
        for key in 100..300_000 {
            cache.insert(key, key);
        }
        done.store(true, Ordering::Relaxed);
    });
    cache.check_invariants();
}
