//! Who waits for whom: listeners, receivers of events and drops that ask for a key which is just being written, and writers that
//! wait for a receiver.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Waker};
use std::thread;
use std::time::Duration;

use futures::executor::block_on;
use millpond_cache::compute::Op;
use millpond_cache::{Cache, ManualClock, WhenFull};
use parking_lot::Mutex;

use crate::support::{Fixed, eventually, watchdog};

type Numbers = Cache<u64, u64, Fixed>;
/// Has the cache write a key with a value, in one of its ways.
type Write = fn(&Numbers, u64, u64);

const WRITES: [(&str, Write); 9] = [
    ("insert", |c, key, value| c.insert(key, value)),
    ("load", |c, key, value| assert!(c.try_get_or_insert_with(key, || Ok::<_, ()>(value)).is_ok())),
    ("async load", |c, key, value| {
        drop(block_on(c.try_get_or_insert_with_async(key, async { Ok::<_, ()>(value) })))
    }),
    ("optional load", |c, key, value| drop(c.try_optionally_get_with(key, || Ok::<_, ()>(Some(value))))),
    ("load of nothing", |c, key, _| drop(c.try_optionally_get_with(key, || Ok::<_, ()>(None)))),
    ("bulk load", |c, key, value| {
        drop(c.get_many_with([key, key + 1_000], |_| vec![(key, value), (key + 1_000, value)]))
    }),
    ("upsert", |c, key, value| {
        let _now = c.entry(key).and_upsert_with(|_| value);
    }),
    ("removing compute", |c, key, _| {
        let _gone = c.entry(key).and_compute_with(|_| Op::Remove);
    }),
    ("refresh", |c, key, value| {
        c.insert(key, 1);
        let _done = c.claim_refresh(&key).map(|refresh| refresh.complete(value));
    }),
];

/// A listener that asks for the key that is being written, whatever it is told of, and never ends if that waits for itself.
#[test]
fn b01_a_listener_asks_for_the_key_that_is_being_written() {
    watchdog(60, || {
        for (name, write) in WRITES {
            for heavy in [1, 500, 5_000] {
                let asked = Arc::new(AtomicU64::new(0));
                for key in 0..40 {
                    let (cell, clock) = (Arc::new(Mutex::new(None::<Numbers>)), Arc::new(ManualClock::new()));
                    let (inside, count) = (Arc::clone(&cell), Arc::clone(&asked));
                    let busy = AtomicU64::new(0);
                    let cache: Numbers = Cache::builder()
                        .max_weight(1_000)
                        .weigher(|_, &value| u32::try_from(value).unwrap())
                        .shards(4)
                        .hasher(Fixed::default())
                        .refresh_after(Duration::from_nanos(1))
                        .stale_if_error(Duration::from_secs(1))
                        .clock(Arc::clone(&clock))
                        .eviction_listener(move |_, _, _| {
                            let cache = inside.lock().clone();
                            // Not for what it causes itself.
                            if let (Some(cache), 0) = (cache, busy.fetch_add(1, Ordering::Relaxed)) {
                                count.fetch_add(1, Ordering::Relaxed);
                                cache.get_or_insert_with(key, || 1);
                                let _one = block_on(cache.get_or_insert_with_async(key, async { 1 }));
                                let _now = cache.entry(key).and_upsert_with(|_| 2);
                                cache.invalidate(&key);
                            }
                            busy.fetch_sub(1, Ordering::Relaxed);
                        })
                        .build()
                        .unwrap();
                    // Full, but not in all shards alike; some of it is old.
                    cache.insert_with_ttl(key, 100, Duration::from_secs(1));
                    (100..160).for_each(|other| cache.insert(other, 15));
                    cache.invalidate(&100);
                    if key % 3 == 0 {
                        cache.invalidate_all();
                        (200..210).for_each(|other| cache.insert(other, 15));
                    }
                    clock.advance(Duration::from_secs(1));
                    *cell.lock() = Some(cache.clone());
                    write(&cache, key, heavy);
                    *cell.lock() = None;
                    assert_eq!(cache.loads_in_flight(), 0, "{name} {heavy} {key}");
                    cache.check_invariants();
                }
                assert!(
                    asked.load(Ordering::Relaxed) > 0
                        || name.starts_with("remov")
                        || name.ends_with("nothing"),
                    "{name}"
                );
            }
        }
    });
}

/// The receiver asks for a key, and its writer waits for the receiver.
#[test]
fn b01_a_receiver_waits_for_a_writer_that_waits_for_the_receiver() {
    watchdog(60, || {
        type Way = (&'static str, fn(&Numbers, &dyn Fn()));
        let ways: [Way; 5] = [
            ("upsert", |c, wait| {
                let _now = c.entry(1).and_upsert_with(|_| {
                    wait();
                    2
                });
            }),
            ("compute", |c, wait| {
                let _gone = c.entry(1).and_compute_with(|_| {
                    wait();
                    Op::Remove
                });
            }),
            ("refresh", |c, wait| {
                let refresh = c.claim_refresh(&1).expect("it is due");
                refresh.run(|_| {
                    wait();
                    Ok::<_, ()>(3)
                });
            }),
            ("heavy upsert", |c, wait| {
                let _now = c.entry(1).and_upsert_with(|_| {
                    wait();
                    5_000
                });
            }),
            ("heavy load", |c, wait| {
                c.invalidate(&1);
                c.get_or_insert_with(1, || {
                    wait();
                    5_000
                });
            }),
        ];
        for (name, way) in ways {
            let clock = Arc::new(ManualClock::new());
            let (builder, mut removals) = Cache::builder()
                .max_weight(1_000)
                .weigher(|_, &value| u32::try_from(value).unwrap())
                .hasher(Fixed::default())
                .refresh_after(Duration::from_secs(1))
                .clock(Arc::clone(&clock))
                .notifications(2, WhenFull::Block);
            let cache: Numbers = builder.build().unwrap();
            cache.insert(1, 1);
            clock.advance(Duration::from_secs(1));
            // Who received last never waits for itself.
            assert!(removals.try_recv().is_none());
            let joined = AtomicU64::new(0);
            thread::scope(|scope| {
                let (cache, joined) = (&cache, &joined);
                let inside = || {
                    joined.store(1, Ordering::SeqCst);
                    eventually(|| joined.load(Ordering::SeqCst) == 2);
                };
                let writer = scope.spawn(move || way(cache, &inside));
                eventually(|| joined.load(Ordering::SeqCst) == 1);
                let mut asks = Box::pin(cache.entry(1).and_upsert_with_async(async |_| 7));
                assert!(asks.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending(), "{name}");
                // Others fill the queue.
                let other = scope.spawn(move || (0..4).for_each(|value| cache.insert(2, value)));
                eventually(|| removals.len() > 2);
                joined.store(2, Ordering::SeqCst);
                // The writer has an event now, and has to wait.
                eventually(|| removals.len() > 3);
                assert_eq!(block_on(asks).into_value(), 7, "{name}");
                let mut removals = removals;
                while !writer.is_finished() || !other.is_finished() {
                    removals.try_recv();
                    thread::yield_now();
                }
            });
            cache.check_invariants();
        }
    });
}
