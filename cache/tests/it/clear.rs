//! Everything at once: out of sight when the call returns, taken out and reported a little later, once.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use millpond_cache::compute::Op;
use millpond_cache::{Cache, CacheBuilder, EvictionPolicy, ManualClock, RemovalCause};
use parking_lot::Mutex;

use crate::support::Census;

type Told = Arc<Mutex<HashMap<(u64, u64), RemovalCause>>>;

fn told(builder: CacheBuilder<u64, u64>) -> (CacheBuilder<u64, u64>, Told) {
    let told = Told::default();
    let into = Arc::clone(&told);
    let builder = builder.eviction_listener(move |&key, &value, cause| {
        assert_eq!(into.lock().insert((key, value), cause), None, "{key}={value} was told before");
    });
    (builder, told)
}

fn count(told: &Told, cause: RemovalCause) -> usize {
    told.lock().values().filter(|&&told| told == cause).count()
}

#[test]
fn what_was_cleared_is_out_of_sight_at_once_and_leaves_by_and_by() {
    for shards in [1, 4] {
        let (builder, told) = told(Cache::builder().max_capacity(10_000).shards(shards).record_stats());
        let cache = builder.build().unwrap();
        (0..10_000).for_each(|key| cache.insert(key, 0));
        let held = cache.entry_count() as usize;
        let evicted = count(&told, RemovalCause::Size);
        let mut before = cache.iter();
        assert!(before.next().is_some());
        cache.invalidate_all();
        assert_eq!((cache.entry_count(), cache.weighted_size(), cache.iter().count()), (0, 0, 0));
        assert!(before.next().is_none(), "an iterator that had begun shows nothing any more");
        assert!((0..10_000).all(|key| cache.get(&key).is_none() && !cache.contains_key(&key)));
        assert_eq!(count(&told, RemovalCause::Cleared), 64 * shards, "the call takes out so many");
        cache.check_invariants();
        // What is new takes the room of what was cleared, and nobody who lives is evicted for it.
        for key in 0..10_000 {
            cache.insert(key, 1);
            assert!(cache.entry_count() <= key + 1);
            if key % 1_000 == 0 {
                cache.check_invariants();
            }
        }
        assert_eq!(count(&told, RemovalCause::Size), evicted, "{shards}");
        assert!((0..10_000).all(|key| cache.get(&key) == Some(1)));
        cache.run_pending_tasks();
        assert_eq!(count(&told, RemovalCause::Cleared), held);
        assert_eq!(cache.stats().cleared() as usize, held);
        cache.check_invariants();
    }
}

#[test]
fn run_pending_tasks_takes_out_all_that_was_cleared() {
    let census = Census::default();
    let cache = Cache::builder().max_capacity(5_000).shards(2).build().unwrap();
    for round in 0..3 {
        (0..5_000u64).for_each(|key| cache.insert(key, census.one()));
        // Not only once.
        cache.invalidate_all();
        cache.insert(1, census.one());
        cache.invalidate_all();
        cache.check_invariants();
        crate::support::eventually(|| {
            cache.run_pending_tasks();
            census.alive() == 0
        });
        cache.check_invariants();
        assert_eq!(cache.entry_count(), 0, "{round}");
    }
}

#[test]
fn b18_b26_the_end_of_the_cache_tells_of_what_was_cleared_before() {
    let (builder, told) = told(Cache::builder().shards(1));
    let cache = builder.build().unwrap();
    (0..1_000).for_each(|key| cache.insert(key, 0));
    cache.invalidate_all();
    (0..10).for_each(|key| cache.insert(key, 1));
    drop(cache);
    assert_eq!(count(&told, RemovalCause::Cleared), 1_000);
    assert_eq!(told.lock().len(), 1_000);
    let census = Census::default();
    let cache = Cache::builder().shards(1).build().unwrap();
    (0..1_000u64).for_each(|key| cache.insert(key, census.one()));
    cache.invalidate_all();
    (0..10).for_each(|key| cache.insert(key, census.one()));
    drop(cache);
    assert_eq!(census.alive(), 0);
}

#[test]
fn b26_what_was_dead_before_expired_and_what_dies_afterwards_was_cleared() {
    let clock = Arc::new(ManualClock::new());
    let (builder, told) = told(Cache::builder().shards(1).clock(Arc::clone(&clock)));
    let cache = builder.build().unwrap();
    let seconds = Duration::from_secs;
    (0..500).for_each(|key| cache.insert_with_ttl(key, 0, seconds(1)));
    (500..1_000).for_each(|key| cache.insert_with_ttl(key, 0, seconds(10)));
    (1_000..1_500).for_each(|key| cache.insert(key, 0));
    clock.advance(seconds(5));
    cache.invalidate_all();
    // Their timers went with them.
    clock.advance(seconds(100));
    (0..300).for_each(|key| cache.insert_with_ttl(key, 1, seconds(1)));
    cache.check_invariants();
    clock.advance(seconds(1));
    cache.run_pending_tasks();
    cache.check_invariants();
    let told = told.lock();
    assert_eq!(told.len(), 1_800);
    for (&(key, value), &cause) in &*told {
        let dead = value == 1 || key < 500;
        assert_eq!(cause, if dead { RemovalCause::Expired } else { RemovalCause::Cleared }, "{key}={value}");
    }
}

#[test]
fn an_entry_that_needs_all_the_room_gets_that_of_the_cleared() {
    for shards in [1, 4] {
        let cache: Cache<u64, u32> =
            Cache::builder().max_weight(1_000).weigher(|_, &weight| weight).shards(shards).build().unwrap();
        // Pinned ones too.
        (0..2_000).for_each(|key| cache.insert(key, (key % 3) as u32));
        cache.invalidate_all();
        assert_eq!((cache.entry_count(), cache.weighted_size()), (0, 0));
        cache.check_invariants();
        cache.insert(5_000, 1_000);
        assert_eq!((cache.get(&5_000), cache.weighted_size()), (Some(1_000), 1_000));
        cache.check_invariants();
        cache.run_pending_tasks();
        assert_eq!((cache.entry_count(), cache.weighted_size()), (1, 1_000));
        cache.check_invariants();
    }
}

#[test]
fn b24_loads_and_computes_across_a_clearing() {
    let cache: Cache<u64, u64> = Cache::builder().shards(2).build().unwrap();
    (0..1_000).for_each(|key| cache.insert(key, key));
    // A load of a missing key.
    assert_eq!(
        cache.get_or_insert_with(5_000, || {
            cache.invalidate_all();
            7
        }),
        7
    );
    assert_eq!(cache.get(&5_000), None, "what was loaded before is not stored");
    // A compute that saw a value is asked again, and sees none. From another thread: its own clearing would be recursion.
    (0..1_000).for_each(|key| cache.insert(key, key));
    let mut saw = Vec::new();
    cache.entry(9).and_compute_with(|entry| {
        saw.push(entry.map(|entry| entry.into_value()));
        if saw.len() == 1 {
            std::thread::scope(|scope| {
                scope.spawn(|| cache.invalidate_all());
            });
        }
        Op::Put(1)
    });
    assert_eq!((saw, cache.get(&9)), (vec![Some(9), None], Some(1)));
    assert_eq!(cache.iter().collect::<Vec<_>>(), [(9, 1)]);
    cache.check_invariants();
}

#[test]
fn b27_a_table_that_drains_is_cleared_too() {
    for entries in (0..600).step_by(7) {
        let cache: Cache<u64, u64> = Cache::builder().shards(1).build().unwrap();
        (0..entries).for_each(|key| cache.insert(key, key));
        cache.invalidate_all();
        assert!((0..entries).all(|key| cache.get(&key).is_none()));
        cache.check_invariants();
        (0..entries).for_each(|key| cache.insert(key, key + 1));
        assert!((0..entries).all(|key| cache.get(&key) == Some(key + 1)));
        cache.check_invariants();
        cache.run_pending_tasks();
        cache.check_invariants();
        assert_eq!(cache.entry_count(), entries);
    }
}

#[test]
fn a_borrowed_value_outlives_its_clearing() {
    let cache: Cache<u64, String> = Cache::builder().shards(1).build().unwrap();
    (0..100).for_each(|key| cache.insert(key, key.to_string()));
    let pin = cache.pin();
    let held = pin.get(&7).unwrap();
    cache.invalidate_all();
    cache.run_pending_tasks();
    (0..1_000).for_each(|key| cache.insert(key, String::from("new")));
    cache.run_pending_tasks();
    assert_eq!(held, "7");
    assert_eq!(pin.get(&7).map(String::as_str), Some("new"));
}

/// Empties the cache as soon as the key was found, which is before the hit is recorded.
struct Trap<'c>(u64, &'c Cache<u64, u64>);

impl std::hash::Hash for Trap<'_> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl equivalent::Equivalent<u64> for Trap<'_> {
    fn equivalent(&self, key: &u64) -> bool {
        if self.0 == *key {
            self.1.invalidate_all();
        }
        self.0 == *key
    }
}

#[test]
fn a_hit_on_what_is_being_cleared_moves_nothing() {
    for policy in [EvictionPolicy::Lru, EvictionPolicy::default()] {
        let cache: Cache<u64, u64> =
            Cache::builder().max_capacity(200).shards(1).eviction_policy(policy).build().unwrap();
        for round in 0..3 {
            (0..150).for_each(|key| cache.insert(key, round));
            assert_eq!(cache.get(&Trap(100, &cache)), Some(round), "found before it was cleared");
            cache.check_invariants();
            (500..530).for_each(|key| cache.insert(key, round));
            cache.check_invariants();
            assert_eq!(cache.get(&100), None);
        }
        cache.run_pending_tasks();
        cache.check_invariants();
        assert_eq!(cache.entry_count(), 30);
    }
}
