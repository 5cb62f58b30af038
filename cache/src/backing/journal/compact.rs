//! Writing anew what is still needed, so that one write which is not resolved for long does not keep all that came after it.
//!
//! The queue hands over the newest write of each key that has one which is not resolved ([`Entry::Live`](super::writer::Entry)), in
//! its place among the others. These go to a fresh segment, with the number of the last write before them. When it is on the
//! disk, no segment before it is needed, and they are deleted, oldest first. So, wherever a crash comes, there is
//!
//! - before the sync: all that was there, and behind it a part of what is live, which says the same once more;
//! - after it: what is live, before it the younger ones of the old segments, and behind it what came later.
//!
//! In each case the last record of a key is the last write that was accepted for it, or one that the store has.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;

use super::format::BLOCK_HEADER;
use super::writer::{BLOCK, Encode, Writer};
use crate::backing::journal_error::JournalError;

impl Writer {
    /// Does it, or leaves all as it was.
    pub(super) fn compact(&mut self, number: u64, encode: Encode) {
        self.files.was_compacted = true;
        // A serializer that fails now has worked before; and the journal is whole without this.
        if let Ok(Ok(records)) = catch_unwind(AssertUnwindSafe(encode)) {
            #[cfg(test)]
            self.shared.is_rewriting.store(true, Ordering::Release);
            let _all_is_there = self.rewrite(number, records);
            #[cfg(test)]
            self.shared.is_rewriting.store(false, Ordering::Release);
        }
        self.shared.compactions.fetch_add(1, Ordering::Release);
    }

    fn rewrite(&mut self, number: u64, records: Vec<Vec<u8>>) -> Result<(), JournalError> {
        self.sync_unasked();
        self.abandon();
        let before = self.sealed.len();
        let (mut block, mut count) = (vec![0; BLOCK_HEADER], 0);
        for record in records {
            block.extend(number.to_le_bytes());
            block.extend(record);
            count += 1;
            if block.len() >= BLOCK {
                self.append(std::mem::replace(&mut block, vec![0; BLOCK_HEADER]), count, number)?;
                count = 0;
            }
        }
        if count > 0 {
            self.append(block, count, number)?;
        }
        self.sync()?;
        for segment in &mut self.sealed[..before] {
            segment.last = 0;
        }
        Ok(())
    }

    /// The next time is when it has doubled, so that each byte is written anew once on average.
    pub(super) fn plan_compaction(&mut self, bytes: u64) {
        let at = &self.shared.compact_at;
        if std::mem::take(&mut self.files.was_compacted) {
            at.store(self.compact_from.max(bytes.saturating_mul(2)), Ordering::Release);
        } else if bytes < self.compact_from && at.load(Ordering::Acquire) != u64::MAX {
            at.store(self.compact_from, Ordering::Release);
        }
    }
}
