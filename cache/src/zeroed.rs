//! A slice of zeroed values that the allocator need not write: tables and sketches.
//!
//! A large block of zeroed memory costs nothing until it is touched, because the system maps it when it is. Rust's allocator
//! passes that on only up to an alignment of 16: for a type of 64 it would write all of the block, and a table of 20 MB
//! stopped an insert for 6 ms. So a little more is asked for, and the slice begins at the first place that is aligned.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

/// Up to here a block comes zeroed for free.
const FREE_ALIGN: usize = 16;

#[derive(Debug)]
pub(crate) struct Zeroed<T> {
    // Invariant: `len` values from `first` on, inside the block of `layout` at `base`, which is ours alone.
    first: NonNull<T>,
    len: usize,
    base: NonNull<u8>,
    layout: Layout,
}

// SAFETY: it owns its values like a `Box<[T]>`.
#[expect(unsafe_code, reason = "docs/unsafe.md: zeroed")]
unsafe impl<T: Send> Send for Zeroed<T> {}

// SAFETY: as above; it gives out `&T` only.
#[expect(unsafe_code, reason = "docs/unsafe.md: zeroed")]
unsafe impl<T: Sync> Sync for Zeroed<T> {}

#[expect(unsafe_code, reason = "docs/unsafe.md: zeroed")]
impl<T> Zeroed<T> {
    /// `len` values, at least one.
    ///
    /// # Safety
    /// Zero bytes are a valid `T`.
    pub(crate) unsafe fn new(len: usize) -> Self {
        const { assert!(!std::mem::needs_drop::<T>() && size_of::<T>() > 0) };
        let bytes = Layout::array::<T>(len).expect("a table fits the address space").size();
        let bytes = bytes.checked_add(align_of::<T>()).expect("a table fits the address space");
        let align = align_of::<T>().min(FREE_ALIGN);
        let layout = Layout::from_size_align(bytes, align).expect("a table fits the address space");
        // SAFETY: the size is not zero: the alignment alone is more.
        let base = unsafe { alloc_zeroed(layout) };
        let Some(base) = NonNull::new(base) else { handle_alloc_error(layout) };
        let padding = base.as_ptr().addr().next_multiple_of(align_of::<T>()) - base.as_ptr().addr();
        // SAFETY: the padding is below the alignment, by which the block is longer than the values.
        let first = unsafe { base.add(padding) }.cast::<T>();
        Self { first, len, base, layout }
    }
}

impl<T> Deref for Zeroed<T> {
    type Target = [T];

    #[inline]
    #[expect(unsafe_code, reason = "docs/unsafe.md: zeroed")]
    fn deref(&self) -> &[T] {
        // SAFETY: the invariant; aligned by the padding, and zero bytes were promised to be valid.
        unsafe { std::slice::from_raw_parts(self.first.as_ptr(), self.len) }
    }
}

impl<T> DerefMut for Zeroed<T> {
    #[inline]
    #[expect(unsafe_code, reason = "docs/unsafe.md: zeroed")]
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above, and the values are ours alone.
        unsafe { std::slice::from_raw_parts_mut(self.first.as_ptr(), self.len) }
    }
}

impl<T> Drop for Zeroed<T> {
    #[expect(unsafe_code, reason = "docs/unsafe.md: zeroed")]
    fn drop(&mut self) {
        // SAFETY: allocated with this layout in `new`, and freed once; `T` needs no drop.
        unsafe { dealloc(self.base.as_ptr(), self.layout) };
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[repr(align(64))]
    struct Line([AtomicU64; 8]);

    #[test]
    #[expect(unsafe_code, reason = "docs/unsafe.md: zeroed")]
    fn is_zero_aligned_and_of_its_length() {
        for len in [1, 2, 7, 1000] {
            // SAFETY: zero bytes are valid atomics.
            let lines = unsafe { Zeroed::<Line>::new(len) };
            assert_eq!(lines.len(), len);
            assert_eq!(lines.as_ptr().addr() % 64, 0);
            for line in lines.iter() {
                assert!(line.0.iter().all(|word| word.load(Ordering::Relaxed) == 0));
                line.0[7].store(1, Ordering::Relaxed);
            }
        }
    }
}
