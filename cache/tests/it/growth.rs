//! Growth of the table, and hashers that are no good.

use std::hash::BuildHasher;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use millpond_cache::Cache;

use crate::support::{FewBits, Random, scaled};

#[test]
fn b27_readers_never_miss_while_the_table_migrates() {
    // No bound, so the tables begin small and double again and again under the readers.
    let cache: Cache<u64, u64> = Cache::builder().shards(2).build().unwrap();
    let present = AtomicU64::new(0);
    let done = AtomicBool::new(false);
    let total = scaled(60_000, 200);
    thread::scope(|scope| {
        for t in 0..4 {
            let (cache, present, done) = (&cache, &present, &done);
            scope.spawn(move || {
                let mut random = Random::new(t + 1);
                while !done.load(Ordering::Relaxed) {
                    let count = present.load(Ordering::Acquire);
                    if count == 0 {
                        thread::yield_now();
                        continue;
                    }
                    // The oldest and the newest are the likeliest to be on the move.
                    let key = if random.below(2) == 0 {
                        random.below(count)
                    } else {
                        count - 1 - random.below(count.min(64))
                    };
                    let value = cache.get(&key).unwrap_or_else(|| panic!("false miss of {key} of {count}"));
                    assert_eq!(value & 0xffff_ffff, key);
                }
            });
        }
        for key in 0..total {
            cache.insert(key, key);
            present.store(key + 1, Ordering::Release);
            if key % 3 == 0 {
                // Updates while draining replace in either table.
                let other = key / 2;
                cache.insert(other, other | key << 32);
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    cache.check_invariants();
    assert_eq!(cache.entry_count(), total);
}

#[test]
fn b27_removals_and_growth_together() {
    let cache: Cache<u64, u64> = Cache::builder().shards(1).build().unwrap();
    let mut random = Random::new(3);
    let mut expected = std::collections::HashMap::new();
    for step in 0..scaled(40_000, 500) {
        let key = random.below(step / 2 + 1);
        if random.below(4) == 0 {
            assert_eq!(cache.remove(&key), expected.remove(&key));
        } else {
            cache.insert(key, step);
            expected.insert(key, step);
        }
        if step % 997 == 0 {
            cache.check_invariants();
        }
    }
    cache.check_invariants();
    assert_eq!(cache.entry_count(), expected.len() as u64);
    assert!(expected.iter().all(|(key, value)| cache.get(key) == Some(*value)));
    let all: std::collections::HashMap<_, _> = cache.iter().collect();
    assert_eq!(all, expected);
}

fn with_hasher<H: BuildHasher + Default + Send + Sync + 'static>(keys: u64) {
    let cache: Cache<u64, u64, H> = Cache::builder().hasher(H::default()).build().unwrap();
    for key in 0..keys {
        cache.insert(key, key);
    }
    cache.check_invariants();
    assert!((0..keys).all(|key| cache.get(&key) == Some(key)));
    assert_eq!(cache.get(&keys), None, "equal hashes are not equal keys");
    for key in (0..keys).step_by(3) {
        assert_eq!(cache.remove(&key), Some(key));
    }
    for key in (0..keys).step_by(2) {
        cache.insert(key, key + 1);
    }
    cache.check_invariants();
    for key in 0..keys {
        let expected = if key % 2 == 0 {
            Some(key + 1)
        } else if key % 3 == 0 {
            None
        } else {
            Some(key)
        };
        assert_eq!(cache.get(&key), expected);
    }
    let bounded: Cache<u64, u64, H> =
        Cache::builder().max_capacity(keys / 4).shards(4).hasher(H::default()).build().unwrap();
    for key in 0..keys {
        bounded.insert(key, key);
        assert!(bounded.get(&key).is_none_or(|v| v == key));
        assert!(bounded.entry_count() <= keys / 4);
    }
    bounded.check_invariants();
    assert_eq!(bounded.entry_count(), keys / 4);
}

#[test]
fn b17_a_constant_hasher_is_slow_and_right() {
    with_hasher::<FewBits<0>>(scaled(600, 60));
}

#[test]
fn b17_hashers_with_few_bits() {
    with_hasher::<FewBits<1>>(scaled(600, 60));
    with_hasher::<FewBits<4>>(scaled(1_500, 60));
    with_hasher::<FewBits<10>>(scaled(3_000, 60));
}

#[test]
fn b17_a_constant_hasher_under_threads() {
    let cache: Cache<u64, u64, FewBits<0>> =
        Cache::builder().max_capacity(64).hasher(FewBits::default()).build().unwrap();
    thread::scope(|scope| {
        for t in 0..4 {
            let cache = &cache;
            scope.spawn(move || {
                let mut random = Random::new(t + 1);
                for _ in 0..scaled(2_000, 60) {
                    let key = random.below(128);
                    match random.below(4) {
                        0 => cache.insert(key, key),
                        1 => assert!(cache.remove(&key).is_none_or(|v| v == key)),
                        2 => assert_eq!(cache.get_or_insert_with(key, || key), key),
                        _ => assert!(cache.get(&key).is_none_or(|v| v == key)),
                    }
                }
            });
        }
    });
    cache.check_invariants();
}

#[test]
#[cfg_attr(miri, ignore = "too many steps to interpret, and none of them unsafe in a new way")]
fn b17_a_flooded_key_still_gets_in() {
    // Keys that all share one sketch row with the victim: it must not be shut out for ever.
    let cache: Cache<u64, u64, FewBits<0>> =
        Cache::builder().max_capacity(32).hasher(FewBits::default()).build().unwrap();
    for round in 0..50 {
        for key in 0..32 {
            cache.get(&key);
            cache.insert(key, round);
        }
    }
    let admitted = (0..5_000).any(|_| {
        cache.insert(1_000, 1);
        cache.get(&1_000).is_some()
    });
    assert!(admitted, "a key of a flooded bucket is admitted in the end");
}
