//! When a write is safe, and what a start has found.

use std::time::Duration;

use crate::backing::journal_error::JournalError;

/// When a write that is in the journal counts as accepted.
///
/// What a killed process loses: nothing, in each mode. What a machine loses that loses power: see each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum JournalSync {
    /// When it was synced to the disk, with a sync of its own. Nothing is lost. For comparison; `Group` promises the same.
    Each,
    /// When it was synced to the disk, with all that came while the sync before was under way. Nothing is lost.
    #[default]
    Group,
    /// When the system has it; it is synced at the latest so long after. What came in that time may be lost.
    Interval(Duration),
}

/// What opening a journal found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JournalReport {
    pub(super) replayed: u64,
    pub(super) torn_bytes: u64,
    pub(super) damages: u64,
    pub(super) lost_bytes: u64,
}

impl JournalReport {
    /// Writes that are written to the store again.
    #[must_use]
    pub fn replayed(&self) -> u64 {
        self.replayed
    }

    /// Bytes at the ends of segments that were never confirmed to anybody, and were dropped.
    #[must_use]
    pub fn torn_bytes(&self) -> u64 {
        self.torn_bytes
    }

    /// Places at which [`salvage`](super::JournalOptions::salvage) left something out; else 0.
    #[must_use]
    pub fn damages(&self) -> u64 {
        self.damages
    }

    /// Bytes that it left out. Of a segment that is gone nobody knows how many.
    #[must_use]
    pub fn lost_bytes(&self) -> u64 {
        self.lost_bytes
    }

    pub(super) fn complain(
        &mut self,
        salvages: bool,
        error: JournalError,
        bytes: u64,
    ) -> Result<(), JournalError> {
        if !salvages {
            return Err(error);
        }
        self.damages += 1;
        self.lost_bytes += bytes;
        Ok(())
    }
}
