//! The engine's side of the policy's interface.

use super::header::Header;

/// How the policy sees entries.
pub trait Entries {
    /// The header of an entry that is inserted and not yet evicted or removed.
    fn header(&self, slot: u32) -> &Header;

    /// Says that the header will be looked at soon.
    #[inline]
    fn prefetch(&self, slot: u32) {
        let _ = slot;
    }

    /// Says that the place where an entry with this hash is linked will be looked at soon.
    #[inline]
    fn prefetch_place(&self, hash: u32) {
        let _ = hash;
    }
}
