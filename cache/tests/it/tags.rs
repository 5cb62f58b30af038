//! Entries removed together, by tag.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use futures::executor::block_on;
use millpond_cache::{Cache, ManualClock, RemovalCause};
use parking_lot::Mutex;

use crate::support::{Random, scaled};

type Numbers = Cache<u64, u64>;

#[test]
fn a_tag_takes_its_entries_and_no_others() {
    for shards in [1, 4] {
        let causes = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&causes);
        let cache: Numbers = Cache::builder()
            .shards(shards)
            .eviction_listener(move |_, _, cause| into.lock().push(cause))
            .build()
            .unwrap();
        for key in 0..1_000 {
            let (third, fifth) = (format!("third:{}", key % 3), format!("fifth:{}", key % 5));
            // The same twice is once.
            cache.insert_with_tags(key, key, &[&third, &fifth, &third]);
        }
        cache.insert(5_000, 0);
        assert_eq!(cache.tag_links(), 2_000);
        cache.check_invariants();
        assert_eq!((cache.invalidate_tag("third:1"), cache.invalidate_tag("third:1")), (333, 0));
        cache.check_invariants();
        assert_eq!(cache.invalidate_tag("fifth:0"), 134, "those of the first are gone");
        assert_eq!(cache.invalidate_tag("no such tag"), 0);
        for key in 0..1_000 {
            assert_eq!(cache.contains_key(&key), key % 3 != 1 && key % 5 != 0, "{key}");
        }
        assert!(cache.contains_key(&5_000));
        assert_eq!(*causes.lock(), vec![RemovalCause::Explicit; 467]);
        cache.check_invariants();
    }
}

#[test]
fn tags_belong_to_the_value() {
    let cache: Numbers = Cache::builder().shards(1).build().unwrap();
    cache.insert_with_tags(1, 1, &["a", "b"]);
    cache.insert_with_tags(1, 2, &["b", "c"]);
    assert_eq!((cache.invalidate_tag("a"), cache.get(&1)), (0, Some(2)));
    cache.insert(1, 3);
    assert_eq!((cache.invalidate_tag("b"), cache.tag_links(), cache.get(&1)), (0, 0, Some(3)));
    cache.insert_with_tags(1, 4, &["c"]);
    cache.entry(1).and_upsert_with(|_| 5);
    assert_eq!((cache.invalidate_tag("c"), cache.get(&1)), (0, Some(5)));
    cache.insert_with_tags(1, 6, &[] as &[&str]);
    assert_eq!((cache.tag_links(), cache.get(&1)), (0, Some(6)));
    cache.check_invariants();
}

#[test]
fn b18_tags_of_what_has_left_are_forgotten() {
    let clock = Arc::new(ManualClock::new());
    let cache: Numbers = Cache::builder()
        .max_capacity(500)
        .shards(2)
        .time_to_live(Duration::from_secs(10))
        .clock(Arc::clone(&clock))
        .build()
        .unwrap();
    let mut random = Random::new(7);
    for step in 0..scaled(30_000, 500) {
        let key = random.below(2_000);
        // Every tag is new now and then.
        let tags = [format!("{}", step / 100), format!("{}", key % 10)];
        match random.below(20) {
            0 => cache.invalidate(&key),
            1 => cache.insert(key, step),
            2 => clock.advance(Duration::from_millis(200)),
            3 if step % 50 == 0 => cache.invalidate_all(),
            4 => drop(cache.invalidate_tag(&tags[0])),
            _ => cache.insert_with_tags(key, step, &tags),
        }
        if step % 1_000 == 0 {
            cache.check_invariants();
        }
        // What was cleared may still wait, in the room of the bound.
        assert!(cache.tag_links() <= 1_000);
    }
    cache.run_pending_tasks();
    assert!(cache.tag_links() as u64 <= 2 * cache.entry_count());
    clock.advance(Duration::from_secs(100));
    cache.run_pending_tasks();
    assert_eq!((cache.tag_links(), cache.entry_count()), (0, 0));
    cache.check_invariants();
}

#[test]
fn b24_a_tag_does_not_take_what_was_cleared_once_more() {
    let cache: Numbers = Cache::builder().shards(1).record_stats().build().unwrap();
    (0..1_000).for_each(|key| cache.insert_with_tags(key, 0, &["t"]));
    cache.invalidate_all();
    (0..10).for_each(|key| cache.insert_with_tags(key, 1, &["t"]));
    assert_eq!(cache.invalidate_tag("t"), 10);
    cache.check_invariants();
    assert_eq!((cache.entry_count(), cache.iter().count()), (0, 0));
    cache.run_pending_tasks();
    assert_eq!((cache.stats().cleared(), cache.stats().removed(), cache.tag_links()), (1_000, 10, 0));
    cache.check_invariants();
}

#[test]
fn b04_a_load_whose_tag_is_invalidated_is_not_stored() {
    let cache = Numbers::new(100);
    let tags = ["a", "b"];
    assert_eq!(cache.get_or_insert_with_tags(1, &tags, || 1), 1);
    assert_eq!((cache.get(&1), cache.invalidate_tag("b"), cache.get(&1)), (Some(1), 1, None));
    for tag in tags {
        let loaded = cache.get_or_insert_with_tags(1, &tags, || {
            assert_eq!(cache.invalidate_tag(tag), 0);
            2
        });
        assert_eq!((loaded, cache.get(&1)), (2, None));
        let loaded = block_on(cache.get_or_insert_with_tags_async(1, &tags, async {
            assert_eq!(cache.invalidate_tag(tag), 0);
            3
        }));
        assert_eq!((loaded, cache.get(&1)), (3, None));
    }
    // Another tag is nothing to this load, and its failure leaves nothing.
    assert_eq!(
        cache.get_or_insert_with_tags(1, &tags, || {
            cache.invalidate_tag("c");
            4
        }),
        4
    );
    assert_eq!(cache.get(&1), Some(4));
    assert!(cache.try_get_or_insert_with_tags(2, &tags, || Err::<u64, _>("no")).is_err());
    assert_eq!(cache.tag_links(), 2, "only what is in the cache");
    assert_eq!(cache.invalidate_tag("a"), 1);
    assert_eq!(cache.tag_links(), 0);
    cache.check_invariants();
}

#[test]
fn b24_an_insert_that_has_returned_is_gone_after_its_tag_is_invalidated() {
    let cache: Numbers = Cache::builder().shards(4).build().unwrap();
    let returned = AtomicU64::new(0);
    let stop = AtomicU64::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            for stamp in 1..scaled(20_000, 100) {
                if stamp % 2 == 0 {
                    cache.insert_with_tags(stamp % 97, stamp, &["t", "u"]);
                } else {
                    cache.invalidate(&(stamp % 97));
                    cache.get_or_insert_with_tags(stamp % 97, &["t"], || stamp);
                }
                returned.store(stamp, Ordering::SeqCst);
            }
            stop.store(1, Ordering::SeqCst);
        });
        while stop.load(Ordering::SeqCst) == 0 {
            let complete = returned.load(Ordering::SeqCst);
            cache.invalidate_tag("t");
            for (key, stamp) in cache.iter() {
                assert!(stamp > complete, "key {key}: {stamp} was there when {complete} had returned");
            }
        }
    });
    cache.check_invariants();
    cache.invalidate_tag("t");
    assert_eq!((cache.entry_count(), cache.tag_links()), (0, 0));
}

#[test]
fn a_refreshed_value_keeps_its_tags() {
    let clock = Arc::new(ManualClock::new());
    let cache: Numbers =
        Cache::builder().refresh_after(Duration::from_secs(1)).clock(Arc::clone(&clock)).build().unwrap();
    cache.insert_with_tags(1, 1, &["a", "b"]);
    clock.advance(Duration::from_secs(1));
    let refresh = cache.claim_refresh(&1).unwrap();
    assert!(refresh.complete(2));
    assert_eq!(cache.get(&1), Some(2));
    clock.advance(Duration::from_secs(1));
    // One that is invalidated meanwhile comes to nothing.
    let refresh = cache.claim_refresh(&1).unwrap();
    assert_eq!(cache.invalidate_tag("b"), 1);
    assert!(!refresh.complete(3));
    assert_eq!((cache.get(&1), cache.invalidate_tag("a")), (None, 0));
    cache.check_invariants();
}
