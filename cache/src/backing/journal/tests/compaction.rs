//! A journal whose oldest write is not resolved for long stays small, and each crash on the way leaves all that counts.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tempfile::tempdir;
use tokio::task::yield_now;

use super::super::format::blocks;
use super::super::recover::segment_path;
use super::super::{JournalOptions, JournalSync};
use crate::Cache;
use crate::backing::{DeadLetter, WriteBehind};

use super::{
    Backed, LONG, Table, build, build_with, copy, down, open_with_faults, options, replay, run, segments,
};

const SEGMENT: u64 = 4096;

fn small(directory: &Path) -> JournalOptions {
    options(directory).segment_bytes(SEGMENT)
}

/// What the store has after the next start: what it had, and what is replayed.
fn after_a_start(table: &Table, directory: &Path) -> BTreeMap<u64, u64> {
    let mut values = table.values.lock().clone();
    for (key, value) in replay(small(directory)).unwrap() {
        match value {
            Some(value) => values.insert(key, value),
            None => values.remove(&key),
        };
    }
    values
}

/// One of many writes to ten keys, some of them deletes.
async fn write(cache: &Backed, n: u64) {
    let key = n % 10;
    if n % 7 == 6 { cache.delete(&key).await.unwrap() } else { cache.put(key, n).await.unwrap() }
}

/// What was accepted last for each of the ten keys.
async fn accepted(cache: &Backed) -> BTreeMap<u64, u64> {
    cache.get_many(0..10).await.unwrap().into_iter().collect()
}

async fn until(what: &str, so: impl Fn() -> bool) {
    let waiting = async {
        while !so() {
            yield_now().await;
        }
    };
    assert!(tokio::time::timeout(LONG, waiting).await.is_ok(), "{what}");
}

#[test]
fn a_key_that_is_blocked_does_not_let_the_journal_grow() {
    for sync in [JournalSync::Group, JournalSync::Interval(Duration::from_millis(1))] {
        let directory = tempdir().unwrap();
        run(async {
            let table = Arc::new(Table::default());
            *table.blocked.lock() = Some(5);
            let (journal, faults) = open_with_faults(small(directory.path()).sync(sync));
            let cache = build(journal, &table);
            let mut most = 0;
            for n in 0..1500 {
                write(&cache, n).await;
                most = most.max(cache.stats().journal_bytes());
            }
            // 1,500 blocks of 50 bytes and more; ten keys are live.
            let compactions = faults.compactions.load(Ordering::SeqCst);
            assert!(compactions > 2 && most < 6 * SEGMENT, "{sync:?}: {compactions}, {most} bytes");
            let copied = tempdir().unwrap();
            copy(directory.path(), copied.path());
            let all = accepted(&cache).await;
            assert_eq!(after_a_start(&table, copied.path()), all, "{sync:?}");
            *table.blocked.lock() = None;
            cache.close(LONG).await.unwrap();
            assert_eq!(*table.values.lock(), all);
        });
        assert_eq!(segments(directory.path()).len(), 0, "{sync:?}");
    }
}

#[test]
fn a_store_that_is_down_does_not_let_the_journal_grow_beyond_what_waits() {
    let directory = tempdir().unwrap();
    run(async {
        let table = down();
        // Without a sync for each, which a test does not need.
        let sync = JournalSync::Interval(Duration::from_millis(5));
        let cache = build(small(directory.path()).sync(sync).max_bytes(8 * SEGMENT).open().unwrap(), &table);
        for n in 0..5000 {
            cache.put(n % 3, n).await.unwrap();
        }
        assert!(cache.close(Duration::ZERO).await.is_err());
        let expected = BTreeMap::from([(0, 4998), (1, 4999), (2, 4997)]);
        assert_eq!(after_a_start(&table, directory.path()), expected);
    });
}

#[test]
fn a_crash_at_any_point_of_a_compaction_leaves_all_that_counts() {
    let (directory, original) = (tempdir().unwrap(), tempdir().unwrap());
    run(async {
        let table = Arc::new(Table::default());
        *table.blocked.lock() = Some(5);
        let (journal, faults) = open_with_faults(small(directory.path()));
        // The old segments stay, as if the crash had come before they were deleted.
        faults.keeps_all.store(true, Ordering::SeqCst);
        let cache = build_with(journal, &table, |_| ());
        let mut n = 0;
        while faults.compactions.load(Ordering::SeqCst) == 0 {
            write(&cache, n).await;
            n += 1;
            until("at rest", || faults.state.lock().is_idle).await;
        }
        copy(directory.path(), original.path());
        let stored = Table::default();
        *stored.values.lock() = table.values.lock().clone();
        assert!(!stored.values.lock().is_empty(), "what is not blocked is in the store");
        let expected = accepted(&cache).await;
        let files = segments(original.path());
        let old = files.len() - 1;
        let (fresh, id) = (&files[old], old as u64 + 1);
        assert_eq!(*fresh, segment_path(original.path(), id));
        let bytes = fs::read(fresh).unwrap();
        let live = blocks(&bytes, id);
        assert!(old >= 4 && live.len() == 1 && live[0].count >= 1 && live[0].end == bytes.len());
        // Before the sync: a part of it is there.
        for length in 0..=bytes.len() {
            let crashed = tempdir().unwrap();
            copy(original.path(), crashed.path());
            fs::write(crashed.path().join(fresh.file_name().unwrap()), &bytes[..length]).unwrap();
            assert_eq!(after_a_start(&stored, crashed.path()), expected, "{length} bytes");
        }
        // After it: the old ones go, one by one.
        for gone in 0..=old {
            let crashed = tempdir().unwrap();
            copy(original.path(), crashed.path());
            for file in &files[..gone] {
                fs::remove_file(crashed.path().join(file.file_name().unwrap())).unwrap();
            }
            assert_eq!(after_a_start(&stored, crashed.path()), expected, "{gone} are gone");
        }
        let _is_blocked = cache.close(Duration::ZERO).await;
    });
}

#[test]
fn nothing_is_deleted_before_what_is_live_is_on_the_disk() {
    let directory = tempdir().unwrap();
    run(async {
        let table = down();
        let (journal, faults) = open_with_faults(small(directory.path()));
        let cache = build_with(journal, &table, |_| ());
        faults.live_syncs_fail.store(true, Ordering::SeqCst);
        let mut n = 0;
        while faults.compactions.load(Ordering::SeqCst) == 0 {
            cache.put(n % 3, n).await.unwrap();
            n += 1;
        }
        // One more, so that what follows the compaction is over, too.
        cache.put(n % 3, n).await.unwrap();
        let first = segment_path(directory.path(), 1);
        assert!(first.exists(), "the old ones are there");
        let expected = accepted(&cache).await;
        let copied = tempdir().unwrap();
        copy(directory.path(), copied.path());
        assert_eq!(after_a_start(&table, copied.path()), expected);
        faults.live_syncs_fail.store(false, Ordering::SeqCst);
        while first.exists() {
            n += 1;
            cache.put(n % 3, n).await.unwrap();
        }
        assert_eq!(faults.compactions.load(Ordering::SeqCst), 2, "it is tried again, when it has doubled");
        let expected = accepted(&cache).await;
        assert!(cache.close(Duration::ZERO).await.is_err());
        assert_eq!(after_a_start(&table, directory.path()), expected);
    });
}

#[test]
fn a_full_journal_has_room_again_although_a_key_is_blocked() {
    let directory = tempdir().unwrap();
    run(async {
        let table = down();
        *table.blocked.lock() = Some(0);
        let sync = JournalSync::Interval(Duration::from_millis(5));
        let cache = build(small(directory.path()).sync(sync).max_bytes(8 * SEGMENT).open().unwrap(), &table);
        // Each key is live: it is compacted some times, and then it is full of what counts.
        let mut accepted = 0;
        while cache.put(accepted, accepted).await.is_ok() {
            accepted += 1;
        }
        let compactions = cache.stats().journal_compactions();
        assert!(accepted > 1000 && compactions > 3, "{accepted}, {compactions}");
        table.is_down.store(false, Ordering::SeqCst);
        let again = async {
            while cache.put(accepted, accepted).await.is_err() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        assert!(tokio::time::timeout(LONG, again).await.is_ok(), "it stays full");
        *table.blocked.lock() = None;
        cache.close(LONG).await.unwrap();
        assert_eq!(table.values.lock().len() as u64, accepted + 1);
    });
}

/// While a letter is being handed over, its write is in no queue, and in the journal alone.
#[test]
fn a_letter_that_is_not_yet_reported_is_kept() {
    let directory = tempdir().unwrap();
    run(async {
        let table = down();
        let (journal, faults) = open_with_faults(small(directory.path()));
        let (reporting, is_reported) = std::sync::mpsc::channel::<()>();
        let (told, hears) = tokio::sync::oneshot::channel();
        let (told, is_reported) = (parking_lot::Mutex::new(Some(told)), parking_lot::Mutex::new(is_reported));
        let settings = WriteBehind::new(move |letter: DeadLetter<u64, u64, &'static str>| {
            if let (1000, Some(told)) = (*letter.key(), told.lock().take()) {
                told.send(()).unwrap();
                is_reported.lock().recv().unwrap();
            }
        });
        let settings = settings.max_delay(Duration::ZERO).max_attempts(1).journal(journal);
        let builder = Cache::builder().read_through(Arc::clone(&table)).write_behind(settings);
        let cache = builder.build().unwrap();
        // On a runtime of its own: the callback blocks.
        let driver =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let writer = cache.clone();
        driver.spawn(async move { writer.put(1000, 1000).await }).await.unwrap().unwrap();
        hears.await.unwrap();
        for n in 0..1000 {
            cache.put(n % 3, n).await.unwrap();
        }
        let copied = tempdir().unwrap();
        copy(directory.path(), copied.path());
        assert_eq!(replay(small(copied.path())).unwrap()[0], (1000, Some(1000)));
        assert_eq!(faults.compactions.load(Ordering::SeqCst), 0);
        reporting.send(()).unwrap();
        for n in 0..1000 {
            cache.put(n % 3, n).await.unwrap();
        }
        assert!(faults.compactions.load(Ordering::SeqCst) > 0 || cache.stats().journal_bytes() < 4 * SEGMENT);
        let _may_be_left = cache.close(Duration::ZERO).await;
        driver.shutdown_background();
    });
}
