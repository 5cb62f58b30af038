//! What can be wrong with a snapshot.

use std::io;

/// Why a snapshot could not be saved or loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// Reading or writing failed.
    #[error("reading or writing the snapshot failed: {0}")]
    Io(#[from] io::Error),
    /// The file does not begin as a snapshot does.
    #[error("this is no snapshot of a cache")]
    Foreign,
    /// A later version of this crate has written it.
    #[error("the snapshot has format {0}, and this version reads up to {max}", max = super::format::VERSION)]
    Version(u16),
    /// It ends too early.
    #[error("the snapshot is cut off")]
    Truncated,
    /// Its bytes are not those that were written.
    #[error("the snapshot is damaged: a checksum does not fit")]
    Damaged,
    /// It holds keys or values of another type.
    #[error("the snapshot holds {found}, not {expected}")]
    OtherTypes {
        /// The name of the type in the snapshot.
        found: String,
        /// The name of the cache's.
        expected: &'static str,
    },
    /// Its bytes are those that were written, but no entries of these types.
    #[error("the snapshot can't be read as entries of these types: {0}")]
    Decode(String),
    /// An entry can't be written.
    #[error("an entry can't be written: {0}")]
    Encode(String),
    /// An entry is larger than the format allows.
    #[error("an entry has {0} bytes, more than a snapshot can hold")]
    TooLarge(usize),
}
