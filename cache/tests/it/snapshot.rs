//! Snapshots: what comes back, what does not, and what damage is noticed.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::Duration;

use millpond_cache::{Cache, EvictionPolicy, ManualClock, SnapshotError};

use crate::support::Random;

type Texts = Cache<u64, String>;

fn saved<K, V>(cache: &Cache<K, V>) -> Vec<u8>
where
    K: std::hash::Hash + Eq + serde::Serialize,
    V: serde::Serialize,
{
    let mut bytes = Vec::new();
    cache.save_snapshot(&mut bytes).unwrap();
    bytes
}

#[test]
fn everything_comes_back() {
    for policy in [EvictionPolicy::default(), EvictionPolicy::Lru] {
        for (before, after) in [(1, 1), (4, 2), (1, 8)] {
            let build =
                |shards| Cache::builder().max_capacity(2_000).shards(shards).eviction_policy(policy).build();
            let cache: Texts = build(before).unwrap();
            (0..1_500).for_each(|key| cache.insert(key, format!("value {key}")));
            cache.insert_with_tags(9_000, String::from("tagged"), &["a", "b"]);
            let count = cache.entry_count();
            let bytes = saved(&cache);
            let warm: Texts = build(after).unwrap();
            warm.insert(3, String::from("newer"));
            let report = warm.load_snapshot(&bytes[..]).unwrap();
            warm.check_invariants();
            assert_eq!((report.entries, report.skipped, warm.entry_count()), (count - 1, 1, count));
            for (key, value) in &cache {
                let expected = if key == 3 { "newer" } else { &value };
                assert_eq!(warm.get(&key).as_deref(), Some(expected));
            }
            assert_eq!((warm.invalidate_tag("b"), warm.get(&9_000)), (1, None));
            // It goes on as any other.
            (5_000..9_000).for_each(|key| warm.insert(key, String::new()));
            warm.check_invariants();
            assert!(warm.entry_count() <= 2_000);
        }
    }
}

#[test]
fn an_empty_cache_and_one_of_units() {
    let cache: Cache<(), ()> = Cache::new(10);
    assert_eq!(cache.load_snapshot(&saved(&cache)[..]).unwrap().entries, 0);
    cache.insert((), ());
    let other: Cache<(), ()> = Cache::new(10);
    assert_eq!(other.load_snapshot(&saved(&cache)[..]).unwrap().entries, 1);
    assert!(other.contains_key(&()));
}

#[test]
fn lives_go_on_where_they_were() {
    let seconds = Duration::from_secs;
    let clock = Arc::new(ManualClock::new());
    clock.advance(seconds(1_000));
    let cache: Texts = Cache::builder().clock(Arc::clone(&clock)).build().unwrap();
    cache.insert_with_ttl(1, String::from("long"), seconds(10_000));
    cache.insert_with_ttl(2, String::from("dead"), seconds(5));
    cache.insert(3, String::from("for ever"));
    clock.advance(seconds(4_000));
    let bytes = saved(&cache);
    let later = Arc::new(ManualClock::new());
    let warm: Texts = Cache::builder().clock(Arc::clone(&later)).build().unwrap();
    assert_eq!(warm.load_snapshot(&bytes[..]).unwrap().entries, 2);
    // Less the time that has passed by the system's clock.
    let left = warm.expires_after(&1).unwrap();
    assert!(left <= seconds(6_000) && left > seconds(5_400), "{left:?}");
    assert_eq!((warm.get(&2), warm.expires_after(&3)), (None, None));
    later.advance(seconds(6_000));
    assert_eq!((warm.get(&1), warm.get(&3).as_deref()), (None, Some("for ever")));
    warm.run_pending_tasks();
    warm.check_invariants();
    assert_eq!(warm.entry_count(), 1);
    // What has no end gets the configured one; an idle time does not begin anew.
    let idle: Texts = Cache::builder()
        .time_to_idle(seconds(50))
        .time_to_live(seconds(500))
        .clock(Arc::clone(&later))
        .build()
        .unwrap();
    idle.load_snapshot(&bytes[..]).unwrap();
    assert_eq!(idle.expires_after(&3), Some(seconds(50)));
    later.advance(seconds(40));
    let again: Texts = Cache::builder().time_to_idle(seconds(50)).clock(Arc::clone(&later)).build().unwrap();
    again.load_snapshot(&saved(&idle)[..]).unwrap();
    assert!(again.expires_after(&3).unwrap() <= seconds(10));
    again.check_invariants();
}

/// As on a machine that has just started: less time has passed by its clock than the entry has to live without use.
#[test]
fn what_is_restored_at_the_beginning_of_time_lives_while_it_is_used_and_no_longer() {
    let seconds = Duration::from_secs;
    let build = |clock: &Arc<ManualClock>| -> Cache<u64, u64> {
        Cache::builder().time_to_idle(seconds(3600)).clock(Arc::clone(clock)).build().unwrap()
    };
    let clock = Arc::new(ManualClock::new());
    let cache = build(&clock);
    cache.insert(1, 1);
    cache.insert(2, 2);
    clock.advance(seconds(1800));
    let clock = Arc::new(ManualClock::new());
    let warm = build(&clock);
    warm.load_snapshot(&saved(&cache)[..]).unwrap();
    for _ in 0..3 {
        for _ in 0..3 {
            assert_eq!(warm.get(&1), Some(1));
        }
        clock.advance(seconds(1700));
        warm.run_pending_tasks();
    }
    assert_eq!((warm.get(&1), warm.get(&2)), (Some(1), None));
    for _ in 0..3 {
        assert_eq!(warm.get(&1), Some(1));
    }
    clock.advance(seconds(3600));
    assert_eq!(warm.get(&1), None);
    // Also the one that nobody used before its end is near.
    let clock = Arc::new(ManualClock::new());
    let warm = build(&clock);
    warm.load_snapshot(&saved(&cache)[..]).unwrap();
    for _ in 0..3 {
        assert_eq!(warm.get(&2), Some(2));
    }
    clock.advance(seconds(3600));
    assert_eq!(warm.get(&2), None);
}

#[test]
fn of_a_snapshot_that_is_too_large_the_hottest_are_taken() {
    let cache = Cache::<u64, u64>::builder().max_capacity(10_000).shards(1).build().unwrap();
    (0..10_000).for_each(|key| cache.insert(key, key));
    for round in 1..6 {
        assert!((0..500).filter(|key| cache.get(key).is_some()).count() > 400);
        // Nobody asks for these again.
        (0..5_000).for_each(|key| cache.insert(10_000 * round + key, key));
    }
    let bytes = saved(&cache);
    for shards in [1, 2] {
        let small = Cache::<u64, u64>::builder().max_capacity(1_000).shards(shards).build().unwrap();
        let report = small.load_snapshot(&bytes[..]).unwrap();
        assert_eq!((report.entries, small.entry_count()), (1_000, 1_000));
        assert!(report.skipped > 5_000);
        let hot = (0..500).filter(|key| small.contains_key(key)).count();
        let was = (0..500).filter(|key| cache.contains_key(key)).count();
        assert!(was > 400 && hot * 10 >= was * 9, "{hot} of {was}");
        small.check_invariants();
    }
    let weighted = Cache::<u64, u64>::builder().max_weight(100).weigher(|_, _| 7).build().unwrap();
    assert_eq!(weighted.load_snapshot(&bytes[..]).unwrap().entries, 14);
    assert_eq!(weighted.weighted_size(), 98);
    weighted.check_invariants();
}

/// Keys by a power law.
fn skewed(random: &mut Random) -> u64 {
    let x = (random.below(1 << 30) as f64 + 1.0) / f64::from(1 << 30);
    (x.powf(-1.1) * 3.0) as u64 % 100_000
}

fn hit_ratio(cache: &Cache<u64, u64>, random: &mut Random, requests: u64) -> f64 {
    let mut hits = 0;
    for _ in 0..requests {
        let key = skewed(random);
        if cache.get(&key).is_some() {
            hits += 1;
        } else {
            cache.insert(key, key);
        }
    }
    hits as f64 / requests as f64
}

#[test]
fn a_restored_cache_is_warm() {
    let build = |seed| Cache::<u64, u64>::builder().max_capacity(600).seed(seed).build().unwrap();
    let cache = build(1);
    hit_ratio(&cache, &mut Random::new(1), 60_000);
    let warm = build(2);
    warm.load_snapshot(&saved(&cache)[..]).unwrap();
    assert_eq!(warm.entry_count(), cache.entry_count());
    let cold = build(3);
    // The next requests, the same for all.
    let [cold, warm, before] = [cold, warm, cache].map(|cache| hit_ratio(&cache, &mut Random::new(2), 3_000));
    assert!((warm - before).abs() < 0.015, "{warm} after {before}");
    assert!(cold < before - 0.05, "the test can tell: {cold} where {before} was");
}

#[test]
fn every_truncation_is_noticed_and_changes_nothing() {
    let cache: Texts = Cache::new(100);
    (0..20).for_each(|key| cache.insert_with_tags(key, format!("{key}"), &["t"]));
    let bytes = saved(&cache);
    let target: Texts = Cache::new(100);
    for length in 0..bytes.len() {
        let error = target.load_snapshot(&bytes[..length]).unwrap_err();
        assert!(matches!(error, SnapshotError::Truncated), "{length} of {}: {error}", bytes.len());
        assert_eq!(target.entry_count(), 0);
    }
    // What follows is somebody else's.
    let mut rest = &[&bytes[..], b"more"].concat()[..];
    assert_eq!(target.load_snapshot(&mut rest).unwrap().entries, 20);
    assert_eq!(rest, b"more");
}

#[test]
fn every_flipped_bit_is_noticed_and_changes_nothing() {
    let cache: Texts = Cache::new(100);
    (0..10).for_each(|key| cache.insert_with_ttl(key, format!("{key}"), Duration::from_secs(1_000)));
    let bytes = saved(&cache);
    let target: Texts = Cache::new(100);
    for bit in 0..8 * bytes.len() {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let error = target.load_snapshot(&damaged[..]).unwrap_err();
        match (bit / 8, &error) {
            (0..8, SnapshotError::Foreign) => {}
            (8.., SnapshotError::Damaged | SnapshotError::Truncated) => {}
            _ => panic!("bit {bit}: {error}"),
        }
        assert_eq!(target.entry_count(), 0, "bit {bit}");
    }
}

#[test]
fn foreign_files_are_told_apart() {
    let target: Texts = Cache::new(10);
    let error = target.load_snapshot(&b"SQLite format 3\0 and so on"[..]).unwrap_err();
    assert!(matches!(error, SnapshotError::Foreign), "{error}");
    let other: Cache<u64, u64> = Cache::new(10);
    other.insert(1, 1);
    let error = target.load_snapshot(&saved(&other)[..]).unwrap_err();
    assert!(matches!(error, SnapshotError::OtherTypes { .. }), "{error}");
    assert!(error.to_string().contains("u64") && error.to_string().contains("String"));
    // A later format, whole: its head fits.
    let mut head = b"MILLPOND\x07\x00".to_vec();
    let checksum = crc32(&head);
    head.extend(checksum.to_le_bytes());
    let error = target.load_snapshot(&head[..]).unwrap_err();
    assert!(matches!(error, SnapshotError::Version(7)), "{error}");
}

/// As in the specification of the checksum.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(
            crc ^ u32::from(*byte),
            |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 },
        )
    })
}

#[test]
fn a_block_that_is_moved_or_left_out_is_noticed() {
    // Large enough for several blocks of entries.
    let cache: Texts = Cache::builder().max_capacity(100).shards(1).build().unwrap();
    (0..40).for_each(|key| cache.insert(key, "x".repeat(10_000)));
    let bytes = saved(&cache);
    let mut blocks = Vec::new();
    let mut at = 14;
    while at < bytes.len() {
        let length = u32::from_le_bytes(bytes[at + 1..at + 5].try_into().unwrap()) as usize;
        blocks.push(&bytes[at..at + 9 + length]);
        at += 9 + length;
    }
    assert!(blocks.len() >= 5, "{}", blocks.len());
    let target: Texts = Cache::new(100);
    let load = |blocks: &[&[u8]]| target.load_snapshot(&[&[&bytes[..14]], blocks].concat().concat()[..]);
    let mut swapped = blocks.clone();
    swapped.swap(1, 2);
    assert!(matches!(load(&swapped), Err(SnapshotError::Damaged)));
    let mut less = blocks.clone();
    less.remove(2);
    assert!(matches!(load(&less), Err(SnapshotError::Damaged)));
    assert_eq!(load(&blocks).unwrap().entries, 40);
}

/// A head, and then a block that promises much and sends little by little.
#[test]
fn a_length_is_not_believed() {
    struct Promise(usize);
    impl Read for Promise {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            assert!(buffer.len() <= 1 << 20, "room for {} bytes that nobody has sent", buffer.len());
            let sent = self.0.min(buffer.len());
            buffer[..sent].fill(0);
            self.0 -= sent;
            Ok(sent)
        }
    }
    let cache: Texts = Cache::new(10);
    let bytes = saved(&cache);
    let promise = [&bytes[..14], &[2], &(200u32 << 20).to_le_bytes()].concat();
    let error = cache.load_snapshot(promise.chain(Promise(1_000))).unwrap_err();
    assert!(matches!(error, SnapshotError::Truncated), "{error}");
    let promise = [&bytes[..14], &[2], &u32::MAX.to_le_bytes()].concat();
    let error = cache.load_snapshot(promise.chain(Promise(1_000))).unwrap_err();
    assert!(matches!(error, SnapshotError::Damaged), "{error}");
}

#[test]
fn a_file_is_the_old_one_or_the_new_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cache.snapshot");
    let cache: Texts = Cache::new(10);
    let error = cache.load_snapshot_from(&path).unwrap_err();
    assert!(matches!(&error, SnapshotError::Io(error) if error.kind() == io::ErrorKind::NotFound), "{error}");
    for key in 0..3 {
        cache.insert(key, key.to_string());
        assert_eq!(cache.save_snapshot_to(&path).unwrap().entries, key + 1);
        let warm: Texts = Cache::new(10);
        assert_eq!(warm.load_snapshot_from(&path).unwrap().entries, key + 1);
    }
    // A value that can't be written.
    #[derive(PartialEq)]
    struct Sick;
    impl serde::Serialize for Sick {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("unwell"))
        }
    }
    let sick: Cache<u64, Sick> = Cache::new(10);
    sick.insert(1, Sick);
    let error = sick.save_snapshot_to(&path).unwrap_err();
    assert!(matches!(error, SnapshotError::Encode(_)), "{error}");
    let warm: Texts = Cache::new(10);
    assert_eq!(warm.load_snapshot_from(&path).unwrap().entries, 3, "as it was");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
}

#[test]
fn errors_of_the_writer_and_the_reader_are_told() {
    struct Full(usize);
    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::StorageFull)?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let cache: Texts = Cache::new(10);
    cache.insert(1, String::from("one"));
    let length = saved(&cache).len();
    for room in 0..length {
        assert!(matches!(cache.save_snapshot(Full(room)), Err(SnapshotError::Io(_))), "{room}");
    }
    assert!(cache.save_snapshot(Full(length)).is_ok());
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::ConnectionReset.into())
        }
    }
    let bytes = saved(&cache);
    for length in 0..bytes.len() {
        assert!(matches!(cache.load_snapshot(bytes[..length].chain(Broken)), Err(SnapshotError::Io(_))));
    }
}
