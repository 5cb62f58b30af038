//! An array indexed by slot that grows by chunks, so that growing never copies what is there.

const CHUNK: usize = 1024;

#[derive(Debug, Default)]
pub(super) struct Chunked<T> {
    chunks: Vec<Box<[T; CHUNK]>>,
}

impl<T: Copy + Default> Chunked<T> {
    /// Makes room for a slot.
    #[inline]
    pub(super) fn cover(&mut self, slot: u32) {
        while self.chunks.len() <= slot as usize / CHUNK {
            self.add();
        }
    }

    #[cold]
    fn add(&mut self) {
        let chunk: Box<[T]> = vec![T::default(); CHUNK].into_boxed_slice();
        self.chunks
            .push(chunk.try_into().unwrap_or_else(|_| unreachable!("the slice has the chunk's length")));
    }

    #[inline]
    pub(super) fn get(&self, slot: u32) -> T {
        self.chunks[slot as usize / CHUNK][slot as usize % CHUNK]
    }

    #[inline]
    pub(super) fn get_mut(&mut self, slot: u32) -> &mut T {
        &mut self.chunks[slot as usize / CHUNK][slot as usize % CHUNK]
    }
}
