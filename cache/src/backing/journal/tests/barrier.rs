//! The store is never ahead of the disk.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tempfile::tempdir;
use tokio::task::yield_now;

use super::super::JournalSync;
use super::{LONG, Table, build, open_with_faults, options, run};

/// A store that had a write which the journal lost would be taken back by the next replay.
#[test]
#[expect(clippy::await_holding_lock, reason = "the lock keeps the disk from answering")]
fn no_write_reaches_the_store_before_it_is_on_the_disk() {
    for sync in [JournalSync::Each, JournalSync::Group, JournalSync::Interval(LONG)] {
        let directory = tempdir().unwrap();
        run(async {
            let table = Arc::new(Table::default());
            let (journal, faults) = open_with_faults(options(directory.path()).sync(sync));
            let cache = build(journal, &table);
            let gate = faults.sync_gate.lock();
            let writer = cache.clone();
            let put = tokio::spawn(async move { writer.put(1, 1).await });
            // With an interval nobody asks for a sync but the batch that is about to go.
            while faults.syncs_begun.load(Ordering::SeqCst) == 0 && table.done.lock().is_empty() {
                yield_now().await;
            }
            // The sync has begun and does not end. Whoever does not wait for it has time enough to write.
            for _ in 0..1000 {
                yield_now().await;
            }
            assert!(table.done.lock().is_empty(), "{sync:?}: the store is ahead of the disk");
            assert_eq!(cache.stats().in_flight(), 1, "and the batch is on its way");
            drop(gate);
            put.await.unwrap().unwrap();
            cache.flush().await;
            assert_eq!(*table.done.lock(), [(1, Some(1))]);
            cache.close(LONG).await.unwrap();
        });
    }
}
