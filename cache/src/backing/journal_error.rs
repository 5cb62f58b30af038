//! What can go wrong with a journal.

use std::io;
use std::path::PathBuf;

/// Why a journal could not be opened, or a write could not be put into it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// The file system failed: no space, no permission, a broken disk.
    #[error("{}: {source}", path.display())]
    Io {
        /// What was read or written.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Another process, or another cache of this one, has the journal open.
    #[error("the journal in {} is in use", path.display())]
    Locked {
        /// Its directory.
        path: PathBuf,
    },
    /// A file is named as a segment and does not begin as one.
    #[error("{} is no segment of a journal", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// Another version of this crate has written it.
    #[error("{} has format {version}, which this version can't read", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u32,
    },
    /// It was written with another `schema`.
    #[error("{} holds schema {found}, not {expected}", path.display())]
    OtherSchema {
        /// The file.
        path: PathBuf,
        /// The number in the file.
        found: u32,
        /// The number that was asked for.
        expected: u32,
    },
    /// What was once synced can't be read any more. `salvage` leaves it out.
    #[error("{} is damaged at byte {offset}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// The first byte that can't be trusted.
        offset: u64,
    },
    /// A segment between two others is gone. `salvage` goes on without it.
    #[error("{} is missing", path.display())]
    Missing {
        /// Where it should be.
        path: PathBuf,
    },
    /// The bytes are those that were written, and no keys and values of these types.
    #[error("{}, block at byte {offset}: not of these types: {message}", path.display())]
    Decode {
        /// The file.
        path: PathBuf,
        /// The first byte of the block.
        offset: u64,
        /// What serde said.
        message: String,
    },
    /// A key or value can't be serialized.
    #[error("a write can't be serialized: {0}")]
    Encode(String),
    /// It has reached `max_bytes`, because the store does not take what is in it.
    #[error("the journal is full: {0} bytes")]
    Full(u64),
    /// It is closed, or its thread has died.
    #[error("the journal has stopped")]
    Stopped,
}

impl JournalError {
    #[cfg(feature = "journal")]
    pub(super) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}
