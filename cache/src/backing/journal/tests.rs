//! Journals that were torn, damaged, locked, full; and what the next start makes of them.

mod barrier;
mod compaction;
mod full_disk;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tempfile::tempdir;

use super::format::{BLOCK_HEADER, HEADER, blocks};
use super::writer::Shared;
use super::{Handle, Journal, JournalOptions, JournalSync};
use crate::Cache;
use crate::backing::{
    DeadLetter, JournalError, Store, StoreCache, StoreCacheError, StoreError, Write, WriteBehind, Written,
};

const LONG: Duration = Duration::from_secs(60);

#[derive(Default)]
struct Table {
    values: Mutex<BTreeMap<u64, u64>>,
    done: Mutex<Vec<(u64, Option<u64>)>>,
    is_down: AtomicBool,
    /// It takes no write of this key for now.
    blocked: Mutex<Option<u64>>,
}

impl Store<u64, u64> for Table {
    type Error = &'static str;

    async fn load(&self, key: &u64) -> Result<Option<u64>, StoreError<&'static str>> {
        Ok(self.values.lock().get(key).copied())
    }

    async fn write(
        &self,
        batch: &[Write<u64, u64>],
    ) -> Result<Written<&'static str>, StoreError<&'static str>> {
        if self.is_down.load(Ordering::SeqCst) {
            return Err(StoreError::Transient("down"));
        }
        let blocked = *self.blocked.lock();
        let mut failures = Vec::new();
        for (place, write) in batch.iter().enumerate() {
            if Some(*write.key()) == blocked {
                failures.push((place, StoreError::Transient("blocked")));
                continue;
            }
            match write.value() {
                Some(&value) => self.values.lock().insert(*write.key(), value),
                None => self.values.lock().remove(write.key()),
            };
            self.done.lock().push((*write.key(), write.value().copied()));
        }
        Ok(Written::except(failures))
    }
}

type Backed = StoreCache<u64, u64, Arc<Table>>;

fn build(journal: Journal<u64, u64>, table: &Arc<Table>) -> Backed {
    build_with(journal, table, |letter| panic!("no write is given up: {letter:?}"))
}

fn build_with(
    journal: Journal<u64, u64>,
    table: &Arc<Table>,
    dead: impl Fn(DeadLetter<u64, u64, &'static str>) + Send + Sync + 'static,
) -> Backed {
    let settings = WriteBehind::new(dead).max_delay(Duration::ZERO).journal(journal);
    let builder = Cache::builder().max_capacity(1000).read_through(Arc::clone(table));
    builder.write_behind(settings).build().unwrap()
}

fn down() -> Arc<Table> {
    Arc::new(Table { is_down: AtomicBool::new(true), ..Table::default() })
}

fn options(directory: &Path) -> JournalOptions {
    Journal::options(directory)
}

fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
}

/// Puts that are acknowledged and reach no store.
fn fill(options: JournalOptions, writes: &[(u64, Option<u64>)]) {
    run(async {
        let cache = build(options.open().unwrap(), &down());
        for &(key, value) in writes {
            match value {
                Some(value) => cache.put(key, value).await.unwrap(),
                None => cache.delete(&key).await.unwrap(),
            }
        }
        assert!(cache.close(Duration::ZERO).await.is_err());
    });
}

fn replay(options: JournalOptions) -> Result<Vec<(u64, Option<u64>)>, JournalError> {
    options.open::<u64, u64>().map(|journal| journal.opened.replay)
}

fn segments(directory: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = files.filter(|path| path.extension().is_some()).collect();
    files.sort();
    files
}

fn copy(from: &Path, to: &Path) {
    for file in segments(from) {
        fs::copy(&file, to.join(file.file_name().unwrap())).unwrap();
    }
}

fn numbered(count: u64) -> Vec<(u64, Option<u64>)> {
    (0..count).map(|n| (n % 3, (n % 5 != 4).then_some(n))).collect()
}

#[test]
fn a_torn_last_record_is_dropped_at_every_byte() {
    let original = tempdir().unwrap();
    let writes = numbered(7);
    fill(options(original.path()), &writes);
    let segment = &segments(original.path())[0];
    let bytes = fs::read(segment).unwrap();
    let last = *blocks(&bytes, 1).last().unwrap();
    assert_eq!(last.end, bytes.len());
    for length in last.start..last.end {
        let torn = tempdir().unwrap();
        let file = torn.path().join(segment.file_name().unwrap());
        fs::write(&file, &bytes[..length]).unwrap();
        let journal = options(torn.path()).open::<u64, u64>().unwrap();
        assert_eq!(journal.opened.replay, writes[..6], "{length} bytes");
        assert_eq!(journal.report().torn_bytes(), (length - last.start) as u64);
        drop(journal);
        // Once more: the first opening has tidied up.
        assert_eq!(replay(options(torn.path())).unwrap(), writes[..6]);
        // Power was lost: the rest of the block is there, and nothing in it.
        let mut hollow = bytes.clone();
        hollow[length..].fill(0);
        let torn = tempdir().unwrap();
        fs::write(torn.path().join(segment.file_name().unwrap()), &hollow).unwrap();
        let expected = if hollow == bytes { &writes[..] } else { &writes[..6] };
        assert_eq!(replay(options(torn.path())).unwrap(), expected, "zeros from {length}");
    }
}

#[test]
fn a_segment_that_was_about_to_be_created_is_nothing() {
    let original = tempdir().unwrap();
    fill(options(original.path()), &numbered(4));
    for length in 0..HEADER {
        let torn = tempdir().unwrap();
        copy(original.path(), torn.path());
        let path = super::recover::segment_path(torn.path(), 2);
        fs::write(path, &fs::read(&segments(original.path())[0]).unwrap()[..length]).unwrap();
        assert_eq!(replay(options(torn.path())).unwrap(), numbered(4));
    }
}

#[test]
fn a_flipped_bit_of_each_byte_in_the_middle_is_an_error_with_its_place() {
    let original = tempdir().unwrap();
    let writes = numbered(6);
    fill(options(original.path()), &writes);
    let segment = &segments(original.path())[0];
    let bytes = fs::read(segment).unwrap();
    let all = blocks(&bytes, 1);
    let confirmed = all.last().unwrap().start;
    for at in 0..confirmed {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        let damaged = tempdir().unwrap();
        fs::write(damaged.path().join(segment.file_name().unwrap()), &flipped).unwrap();
        let place = all.iter().position(|block| (block.start..block.end).contains(&at));
        let error = replay(options(damaged.path())).unwrap_err();
        match (place, error) {
            (None, JournalError::Foreign { .. }) => continue,
            (None, JournalError::Corrupt { offset, .. }) => assert_eq!(offset, 0),
            (Some(place), JournalError::Corrupt { offset, .. }) => {
                assert_eq!(offset, all[place].start as u64);
            }
            (_, error) => panic!("byte {at}: {error}"),
        }
        let journal = options(damaged.path()).salvage(true).open::<u64, u64>().unwrap();
        let mut expected = writes.clone();
        if let Some(place) = place {
            expected.remove(place);
        }
        assert_eq!(journal.opened.replay, expected);
        let lost = place.map_or(HEADER, |place| all[place].end - all[place].start);
        assert_eq!((journal.report().damages(), journal.report().lost_bytes()), (1, lost as u64));
    }
}

#[test]
fn a_missing_or_shortened_segment_is_an_error() {
    let original = tempdir().unwrap();
    let writes: Vec<_> = (0..250).map(|n| (n, Some(n))).collect();
    fill(options(original.path()).segment_bytes(4096), &writes);
    let files = segments(original.path());
    assert!(files.len() >= 3, "{files:?}");
    assert_eq!(replay(options(original.path())).unwrap(), writes);

    let missing = tempdir().unwrap();
    copy(original.path(), missing.path());
    fs::remove_file(missing.path().join(files[1].file_name().unwrap())).unwrap();
    assert!(matches!(replay(options(missing.path())), Err(JournalError::Missing { .. })));
    assert!(replay(options(missing.path()).salvage(true)).unwrap().len() < 250);

    let short = tempdir().unwrap();
    copy(original.path(), short.path());
    let bytes = fs::read(&files[0]).unwrap();
    let end = blocks(&bytes, 1).last().unwrap().start;
    fs::write(short.path().join(files[0].file_name().unwrap()), &bytes[..end]).unwrap();
    match replay(options(short.path())) {
        Err(JournalError::Corrupt { path, offset }) => {
            assert_eq!(offset, end as u64);
            assert_eq!(path.file_name(), files[0].file_name());
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_block_inside_a_value_is_no_block() {
    let directory = tempdir().unwrap();
    fill(options(directory.path()), &numbered(3));
    let bytes = fs::read(&segments(directory.path())[0]).unwrap();
    let block = blocks(&bytes, 1)[1];
    // The same bytes at another place, or in another segment.
    let mut moved = bytes[..block.start].to_vec();
    moved.push(0);
    moved.extend(&bytes[block.start..]);
    assert_eq!(blocks(&moved, 1).len(), 1);
    assert_eq!(blocks(&bytes, 2), []);
    assert!(block.end - block.start > BLOCK_HEADER);
}

#[test]
fn replays_in_order_and_as_often_as_need_be() {
    let directory = tempdir().unwrap();
    let writes = numbered(50);
    fill(options(directory.path()), &writes);
    // A start that does not get to the store changes nothing.
    for _ in 0..3 {
        fill(options(directory.path()), &[]);
        assert_eq!(replay(options(directory.path())).unwrap(), writes);
    }
    let expected: BTreeMap<u64, u64> = writes.iter().fold(BTreeMap::new(), |mut map, &(key, value)| {
        match value {
            Some(value) => map.insert(key, value),
            None => map.remove(&key),
        };
        map
    });
    run(async {
        let table = Arc::new(Table::default());
        let cache = build(options(directory.path()).open().unwrap(), &table);
        for key in 0..3 {
            assert_eq!(
                cache.get(&key).await.unwrap(),
                expected.get(&key).copied(),
                "reads see what is replayed"
            );
        }
        cache.flush().await;
        assert_eq!(*table.values.lock(), expected);
        assert_eq!(table.done.lock().len(), 3, "each key once");
        cache.put(1, 1000).await.unwrap();
        cache.close(LONG).await.unwrap();
        cache.check_invariants();
        // The journal is free and empty although the cache lives.
        assert_eq!(replay(options(directory.path())).unwrap(), []);
    });
}

#[test]
fn many_puts_share_the_syncs() {
    let directory = tempdir().unwrap();
    run(async {
        let table = down();
        let cache = build(options(directory.path()).open().unwrap(), &table);
        cache.put_many((0..500).map(|n| (n % 100, n))).await.unwrap();
        let syncs = cache.stats().journal_syncs();
        // How many share one is a matter of how fast the disk is.
        assert!(syncs < 100, "{syncs} syncs of 500 puts");
        assert!(cache.close(Duration::ZERO).await.is_err());
    });
    let writes: Vec<_> = (0..500).map(|n| (n % 100, Some(n))).collect();
    assert_eq!(replay(options(directory.path())).unwrap(), writes);
}

#[test]
fn what_was_left_is_written_without_being_asked() {
    let directory = tempdir().unwrap();
    fill(options(directory.path()), &[(1, Some(1))]);
    run(async {
        let table = Arc::new(Table::default());
        let _cache = build(options(directory.path()).open().unwrap(), &table);
        let written = async {
            while table.values.lock().is_empty() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(LONG, written).await.unwrap();
    });
}

#[test]
fn what_was_replayed_stays_until_it_is_written_also_behind_newer_writes() {
    let directory = tempdir().unwrap();
    fill(options(directory.path()), &[(1, Some(1)), (2, Some(2))]);
    fill(options(directory.path()), &[(1, Some(3)), (9, Some(9))]);
    fill(options(directory.path()), &[(2, None)]);
    let expected = vec![(1, Some(1)), (2, Some(2)), (1, Some(3)), (9, Some(9)), (2, None)];
    assert_eq!(replay(options(directory.path())).unwrap(), expected);
}

#[test]
fn is_truncated_after_a_flush_and_rotated() {
    for sync in [JournalSync::Each, JournalSync::Group, JournalSync::Interval(Duration::from_millis(1))] {
        let directory = tempdir().unwrap();
        run(async {
            let table = Arc::new(Table::default());
            let journal = options(directory.path()).sync(sync).segment_bytes(4096);
            let cache = build(journal.open().unwrap(), &table);
            for n in 0..500 {
                cache.put(n % 10, n).await.unwrap();
            }
            cache.flush().await;
            let shrunk = async {
                while cache.stats().journal_bytes() > 3 * 4096 {
                    tokio::task::yield_now().await;
                }
            };
            tokio::time::timeout(LONG, shrunk).await.unwrap();
            assert!(cache.stats().journal_blocks() >= 500);
            cache.close(LONG).await.unwrap();
        });
        assert_eq!(segments(directory.path()), Vec::<PathBuf>::new(), "{sync:?}");
    }
}

#[test]
fn what_is_written_is_not_replayed_although_its_segment_is_there() {
    let directory = tempdir().unwrap();
    let copied = tempdir().unwrap();
    run(async {
        let table = Arc::new(Table::default());
        let cache = build(options(directory.path()).open().unwrap(), &table);
        cache.put(1, 1).await.unwrap();
        cache.flush().await;
        let marked = async {
            while cache.stats().journal_blocks() < 2 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(LONG, marked).await.unwrap();
        copy(directory.path(), copied.path());
        cache.close(LONG).await.unwrap();
    });
    assert_eq!(replay(options(copied.path())).unwrap(), []);
}

#[test]
fn two_caches_or_processes_can_not_share_a_journal() {
    let directory = tempdir().unwrap();
    let journal = options(directory.path()).open::<u64, u64>().unwrap();
    assert!(matches!(replay(options(directory.path())), Err(JournalError::Locked { .. })));
    let other = |expects: &str| {
        let child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "backing::journal::tests::another_process", "--nocapture"])
            .env("MILLPOND_TEST_JOURNAL", directory.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&child.stderr);
        assert!(child.status.success() && said.contains(expects), "{said}");
    };
    other("the journal says: Locked");
    drop(journal);
    other("the journal says: open");
}

/// Not a test of its own: the other process of the one above.
#[test]
fn another_process() {
    let Some(directory) = std::env::var_os("MILLPOND_TEST_JOURNAL") else { return };
    match replay(options(Path::new(&directory))) {
        Ok(_) => eprintln!("the journal says: open"),
        Err(error) => eprintln!("the journal says: {error:?}"),
    }
}

#[test]
fn other_schemas_and_files_are_refused() {
    let directory = tempdir().unwrap();
    fill(options(directory.path()), &[(1, Some(1))]);
    let other = replay(options(directory.path()).schema(2));
    assert!(matches!(other, Err(JournalError::OtherSchema { found: 0, expected: 2, .. })));
    let types = options(directory.path()).open::<String, Vec<String>>();
    assert!(matches!(types, Err(JournalError::Decode { offset: 44, .. })), "{types:?}");
    fs::write(&segments(directory.path())[0], "a letter to somebody else, and longer than any header is")
        .unwrap();
    assert!(matches!(replay(options(directory.path())), Err(JournalError::Foreign { .. })));
}

/// The same journal as `open`, with the strings that move its disk.
fn open_with_faults(options: JournalOptions) -> (Journal<u64, u64>, Arc<Shared>) {
    let (journal, shared) = options.open_for_test().unwrap();
    (journal, shared)
}

impl JournalOptions {
    fn open_for_test(self) -> Result<(Journal<u64, u64>, Arc<Shared>), JournalError> {
        let (journal, handle): (_, Arc<Handle<u64, u64>>) = self.open_parts()?;
        Ok((journal, Arc::clone(&handle.shared)))
    }
}

#[test]
fn a_full_disk_is_the_callers_error_and_loses_nothing() {
    for room in 0..=60 {
        let directory = tempdir().unwrap();
        run(async {
            let table = down();
            let (journal, faults) = open_with_faults(options(directory.path()));
            let cache = build_with(journal, &table, |_| ());
            cache.put(1, 1).await.unwrap();
            *faults.room.lock() = Some(room);
            match cache.put(1, 2).await {
                Err(StoreCacheError::Journal(error)) => {
                    assert!(matches!(&*error, JournalError::Io { .. }), "{error}");
                    assert!(room < 60);
                }
                Ok(()) => assert!(room > BLOCK_HEADER),
                other => panic!("{other:?}"),
            }
            assert_eq!(cache.get(&1).await.unwrap(), Some(2), "it is in the queue");
            *faults.room.lock() = None;
            cache.put(2, 3).await.unwrap();
            table.is_down.store(false, Ordering::SeqCst);
            let copied = tempdir().unwrap();
            copy(directory.path(), copied.path());
            let left = replay(options(copied.path())).unwrap();
            assert_eq!((left.first(), left.last()), (Some(&(1, Some(1))), Some(&(2, Some(3)))));
            cache.flush().await;
            assert_eq!(*table.values.lock(), BTreeMap::from([(1, 2), (2, 3)]));
            cache.close(LONG).await.unwrap();
        });
    }
}

#[test]
fn what_a_failed_journal_lacks_is_handed_back_at_the_end() {
    let directory = tempdir().unwrap();
    let letters = Arc::new(Mutex::new(Vec::new()));
    run(async {
        let (journal, faults) = open_with_faults(options(directory.path()));
        let log = Arc::clone(&letters);
        let cache = build_with(journal, &down(), move |letter| log.lock().push(*letter.key()));
        *faults.room.lock() = Some(0);
        assert!(cache.put(7, 7).await.is_err());
        assert_eq!(cache.close(Duration::ZERO).await.unwrap_err().unwritten(), 1);
    });
    assert_eq!(*letters.lock(), [7]);
}

#[test]
fn a_failed_sync_is_told_and_not_trusted() {
    for sync in [JournalSync::Group, JournalSync::Interval(Duration::ZERO)] {
        let directory = tempdir().unwrap();
        run(async {
            let (journal, faults) = open_with_faults(options(directory.path()).sync(sync));
            let cache = build_with(journal, &down(), |_| ());
            faults.syncs_fail.store(true, Ordering::SeqCst);
            let told = async {
                // With an interval it is the next write, or a later one, that is told.
                while cache.put(1, 1).await.is_ok() {}
            };
            tokio::time::timeout(LONG, told).await.unwrap();
            faults.syncs_fail.store(false, Ordering::SeqCst);
            let calm = async {
                while cache.put(1, 2).await.is_err() {
                    tokio::task::yield_now().await;
                }
            };
            tokio::time::timeout(LONG, calm).await.unwrap();
            assert!(segments(directory.path()).len() > 1, "a segment that can't be synced is left");
            let copied = tempdir().unwrap();
            copy(directory.path(), copied.path());
            assert_eq!(replay(options(copied.path())).unwrap().last(), Some(&(1, Some(2))));
        });
    }
}

#[test]
fn a_full_journal_refuses_and_recovers() {
    let directory = tempdir().unwrap();
    run(async {
        let table = down();
        let journal = options(directory.path()).segment_bytes(4096).max_bytes(8192);
        let cache = build(journal.open().unwrap(), &table);
        let mut accepted = 0;
        let error = loop {
            // Of many keys: what is written once more would take as much room.
            match cache.put(accepted, accepted).await {
                Ok(()) => accepted += 1,
                Err(error) => break error,
            }
        };
        let StoreCacheError::Journal(error) = error else { panic!("{error}") };
        assert!(matches!(&*error, JournalError::Full(8192..)));
        table.is_down.store(false, Ordering::SeqCst);
        let again = async {
            while cache.put(accepted, accepted).await.is_err() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(LONG, again).await.unwrap();
        cache.close(LONG).await.unwrap();
        assert_eq!(table.values.lock().len() as u64, accepted + 1);
    });
}
