//! A disk that is full and stays so: the journal has only the room that it frees itself.

use super::*;

/// Puts new keys until one is refused; those that were acknowledged.
async fn until_full(cache: &Backed, next: &mut u64) -> Vec<u64> {
    let mut acknowledged = Vec::new();
    loop {
        *next += 1;
        match cache.put(*next, *next).await {
            Ok(()) => acknowledged.push(*next),
            Err(StoreCacheError::Journal(error)) => {
                let JournalError::Io { source, .. } = &*error else { panic!("{error}") };
                assert_eq!(source.kind(), std::io::ErrorKind::StorageFull);
                return acknowledged;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

async fn until_accepted(cache: &Backed, next: &mut u64) {
    let accepted = async {
        loop {
            *next += 1;
            if cache.put(*next, *next).await.is_ok() {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), accepted).await.expect("nothing was freed");
}

fn replayed(directory: &Path) -> Vec<u64> {
    let copied = tempdir().unwrap();
    copy(directory, copied.path());
    replay(options(copied.path())).unwrap().into_iter().map(|(key, _)| key).collect()
}

/// What becomes of a disk with so much room, when it is full and the store comes back, three times.
fn heals(options: JournalOptions, directory: &Path, room: usize) {
    run(async {
        let table = down();
        let (journal, faults) = open_with_faults(options);
        let cache = build_with(journal, &table, |letter| panic!("{letter:?}"));
        *faults.room.lock() = Some(room);
        let mut next = 0;
        for _ in 0..3 {
            table.is_down.store(true, Ordering::SeqCst);
            let acknowledged = until_full(&cache, &mut next).await;
            let kept = replayed(directory);
            assert!(acknowledged.iter().all(|key| kept.contains(key)), "{acknowledged:?}, {kept:?}");
            table.is_down.store(false, Ordering::SeqCst);
            cache.flush().await;
            until_accepted(&cache, &mut next).await;
            cache.flush().await;
        }
        assert_eq!(table.values.lock().len() as u64, next, "also what was refused was in the queue");
        cache.close(LONG).await.unwrap();
    });
    assert_eq!(segments(directory), Vec::<PathBuf>::new());
}

#[test]
fn a_full_disk_is_freed_when_all_is_written() {
    // A block of one write takes 51 bytes or more, a mark 40, a header 44: so each of them is the one that has no room.
    for room in (100..200).step_by(3).chain([1000]) {
        let directory = tempdir().unwrap();
        heals(options(directory.path()), directory.path(), room);
    }
}

#[test]
fn a_disk_that_is_full_when_the_next_segment_is_due_is_freed() {
    for room in (4040..4140).step_by(17).chain([2 * 4096]) {
        let directory = tempdir().unwrap();
        heals(options(directory.path()).segment_bytes(4096), directory.path(), room);
    }
}

#[test]
fn what_waits_is_kept_on_a_full_disk() {
    let directory = tempdir().unwrap();
    run(async {
        let table = Arc::new(Table { blocked: Mutex::new(Some(1)), ..Table::default() });
        let (journal, faults) = open_with_faults(options(directory.path()));
        let cache = build_with(journal, &table, |_| ());
        cache.put(1, 1).await.unwrap();
        *faults.room.lock() = Some(500);
        let mut next = 1;
        let _written = until_full(&cache, &mut next).await;
        let others = async {
            while table.values.lock().len() as u64 != next - 1 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(LONG, others).await.unwrap();
        assert!(replayed(directory.path()).contains(&1), "it is nowhere else");
        *table.blocked.lock() = None;
        cache.flush().await;
        until_accepted(&cache, &mut next).await;
        cache.close(LONG).await.unwrap();
    });
}
