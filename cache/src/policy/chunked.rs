//! An array by slot that grows without moving what it holds.
//!
//! A `Vec` of a million weights copies them all when it grows, in the middle of somebody's insert. Here growth allocates one
//! chunk; only the list of chunks, 8 bytes for 256 slots, is ever copied.

/// Slots in a chunk: 1 KiB of weights, little enough for a cache of a handful of entries.
const CHUNK: usize = 256;

#[derive(Debug)]
pub(crate) struct Chunked<T> {
    chunks: Vec<Box<[T; CHUNK]>>,
}

impl<T: Copy + Default> Chunked<T> {
    pub(crate) fn new() -> Self {
        Self { chunks: Vec::new() }
    }

    /// Makes `slot` valid, and all below it.
    #[inline]
    pub(crate) fn reserve(&mut self, slot: u32) {
        if slot as usize / CHUNK >= self.chunks.len() {
            self.grow(slot);
        }
    }

    #[cold]
    fn grow(&mut self, slot: u32) {
        self.chunks.resize_with(slot as usize / CHUNK + 1, || Box::new([T::default(); CHUNK]));
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, slot: u32) -> &mut T {
        &mut self.chunks[slot as usize / CHUNK][slot as usize % CHUNK]
    }

    /// The value at a slot that may not have been reserved.
    pub(crate) fn try_get(&self, slot: u32) -> Option<T> {
        Some(self.chunks.get(slot as usize / CHUNK)?[slot as usize % CHUNK])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_what_was_put_in_across_growth() {
        let mut array = Chunked::new();
        for slot in 0..10_000u32 {
            array.reserve(slot);
            *array.get_mut(slot) = slot;
        }
        assert!((0..10_000).all(|slot| array.try_get(slot) == Some(slot)));
        assert_eq!(array.chunks.len(), 10_000usize.div_ceil(CHUNK));
        assert_eq!(array.try_get(9_999), Some(9_999));
        assert_eq!(array.try_get(1_000_000), None);
    }

    #[test]
    fn a_slot_far_ahead_may_come_first() {
        let mut array = Chunked::<u32>::new();
        array.reserve(5000);
        assert_eq!(array.try_get(5000), Some(0));
    }
}
