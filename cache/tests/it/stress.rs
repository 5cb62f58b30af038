//! Many threads, all operations; at the end everything adds up.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use millpond_cache::Cache;

/// A value names its key: a lookup that returned another key's value would show.
#[test]
fn b12_values_are_never_torn_or_mixed_up() {
    let cache: Cache<u64, [u64; 4]> =
        Cache::builder().max_capacity(2000).shards(4).record_stats().build().unwrap();
    let gets = AtomicU64::new(0);
    thread::scope(|scope| {
        for thread in 0..8u64 {
            let (cache, gets) = (&cache, &gets);
            scope.spawn(move || {
                let mut random = thread + 1;
                for n in 0..40_000u64 {
                    random = random
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1_442_695_040_888_963_407);
                    let key = (random >> 33) % 5000;
                    match random >> 60 {
                        0..9 => {
                            gets.fetch_add(1, Ordering::Relaxed);
                            if let Some(value) = cache.get(&key) {
                                assert_eq!((value[0], value[1], value[2]), (key, value[3] ^ key, !key));
                            }
                        }
                        9..13 => cache.insert(key, [key, n ^ key, !key, n]),
                        13 => cache.invalidate(&key),
                        14 => {
                            let value = cache.get_or_insert_with(key, || [key, key, !key, 0]);
                            gets.fetch_add(1, Ordering::Relaxed);
                            assert_eq!(value[0], key);
                        }
                        _ if n % 1000 == 0 => cache.run_pending_tasks(),
                        _ if n % 3001 == 0 => cache.invalidate_all(),
                        _ => {
                            let pin = cache.pin();
                            let all: Vec<_> = (key..key + 5).filter_map(|key| pin.get(&key)).collect();
                            assert!(all.iter().all(|value| value[2] == !value[0]));
                            gets.fetch_add(5, Ordering::Relaxed);
                        }
                    }
                }
            });
        }
    });
    cache.check_invariants();
    assert_eq!(cache.loads_in_flight(), 0);
    let stats = cache.stats();
    // Loading callers that waited look once more: never fewer lookups than calls.
    assert!(stats.requests() >= gets.load(Ordering::Relaxed));
}

#[test]
fn handles_and_guards_have_the_right_markers() {
    fn is_send_sync<T: Send + Sync>() {}
    fn is_unwind_safe<T: std::panic::RefUnwindSafe>() {}
    is_send_sync::<Cache<String, Vec<u8>>>();
    is_send_sync::<millpond_cache::Stats>();
    let _ = is_unwind_safe::<millpond_cache::Stats>;
}
