//! All shards of a cache, found by bits of a hash.

use std::ops::Deref;

use super::shard::Shard;

/// A power of two of shards.
#[derive(Debug)]
pub(crate) struct Shards<K, V> {
    // Invariant: `mask + 1` shards.
    all: Box<[Shard<K, V>]>,
    mask: usize,
}

impl<K, V> Shards<K, V> {
    /// As many shards as `all` yields, which must be a power of two.
    pub(crate) fn new(all: impl Iterator<Item = Shard<K, V>>) -> Self {
        let all: Box<[_]> = all.collect();
        assert!(all.len().is_power_of_two(), "a power of two of shards");
        Self { mask: all.len() - 1, all }
    }

    /// The number of the shard that these bits choose.
    #[inline]
    pub(crate) fn index(&self, bits: usize) -> usize {
        bits & self.mask
    }

    /// The shard that these bits choose.
    #[inline]
    #[expect(unsafe_code, reason = "docs/unsafe.md: shards")]
    pub(crate) fn of(&self, bits: usize) -> &Shard<K, V> {
        // SAFETY: the mask is one less than the number of shards.
        unsafe { self.all.get_unchecked(bits & self.mask) }
    }
}

impl<K, V> Deref for Shards<K, V> {
    type Target = [Shard<K, V>];

    #[inline]
    fn deref(&self) -> &[Shard<K, V>] {
        &self.all
    }
}
