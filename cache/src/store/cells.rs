//! Cells: equal pieces of raw memory that never move, addressed by a `u32`.
//!
//! Cells come in chunks; a directory maps the upper bits of an id to its chunk. Growing adds a chunk and, now and then,
//! a directory of twice the size: nothing is copied but pointers, so no insert pays for all that came before it, and an
//! address stays valid until the cache is dropped. A `u32` in place of a pointer halves the table and the links, and a
//! stale id is a failed check where a stale pointer is undefined behaviour.
//!
//! Each cell begins with a [`Header`], so that the eviction policy reads entries without knowing their types.
//!
//! In a cache whose entries end, behind the cells of a chunk lie what hits on them ask for ([`Quiet`]), then their [`Times`]: from an
//! entry to its end it is arithmetic.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicPtr, Ordering};

use super::times::{Quiet, Times};
use crate::policy::{Entries, Header};
use crate::prefetch::prefetch;

/// Chunks aim at this size: large enough that a directory entry costs nothing per cell, small enough for a small cache.
const CHUNK_BYTES: usize = 8 * 1024;

/// Cells of `size` bytes in a chunk, as a power of two.
pub(crate) const fn chunk_shift(size: usize) -> u32 {
    let shift = if size > CHUNK_BYTES { 0 } else { (CHUNK_BYTES / size).ilog2() };
    if shift < 2 { 2 } else { shift }
}

/// Directories double; none is freed before the cache, because a reader may hold the previous one.
const FIRST_DIRECTORY: usize = 8;

/// The readers' part: from an id to an address in two loads and a multiplication.
#[derive(Debug)]
pub(crate) struct Cells {
    // Invariant: points to an array that holds, for each id that was ever handed out, at `id >> shift`, a pointer from which
    // the cell is `id * stride` bytes away: into its chunk, less the bytes of all cells before that chunk. It is replaced only by
    // a longer copy, and every array lives as long as the `Allocator`, which the shard keeps as long as `self`.
    directory: AtomicPtr<AtomicPtr<u8>>,
    shift: u32,
    stride: u32,
    /// Whether times lie behind the cells of each chunk.
    dated: bool,
}

/// The writer's part: which cells are free. Guarded by the shard's lock.
#[derive(Debug)]
pub(crate) struct Allocator {
    free: Vec<u32>,
    /// Ids below this were handed out at least once. Id 0 is never used: in the table it means "no cell".
    next: u32,
    directories: Vec<Box<[AtomicPtr<u8>]>>,
    chunks: Vec<NonNull<u8>>,
    chunk: Layout,
}

// SAFETY: the allocator owns its chunks alone; the pointers are not tied to a thread.
#[expect(unsafe_code, reason = "docs/unsafe.md: cells")]
unsafe impl Send for Allocator {}

impl Cells {
    /// Cells for values of `layout`, which has its full size; `dated` ones have times from the start.
    pub(crate) fn new(layout: Layout, dated: bool) -> (Self, Allocator) {
        let shift = chunk_shift(layout.size());
        let cells_per_chunk = 1u32 << shift;
        let each = layout.size() + if dated { size_of::<Times>() + size_of::<Quiet>() } else { 0 };
        let size = each.checked_mul(cells_per_chunk as usize).expect("a chunk fits the address space");
        let chunk =
            Layout::from_size_align(size, layout.align().max(64)).expect("a chunk fits the address space");
        let first: Box<[AtomicPtr<u8>]> = (0..FIRST_DIRECTORY).map(|_| AtomicPtr::default()).collect();
        let allocator =
            Allocator { free: Vec::new(), next: 1, directories: vec![first], chunks: Vec::new(), chunk };
        let stride = u32::try_from(layout.size()).expect("an entry is smaller than 4 GiB");
        let cells = Self { directory: AtomicPtr::default(), shift, stride, dated };
        cells.directory.store(allocator.directories[0].as_ptr().cast_mut(), Ordering::Release);
        (cells, allocator)
    }

    /// The address of a cell that was handed out. `T` has the size of the cells: since that is known, the way from an id to an
    /// address is two shifts.
    #[inline]
    #[expect(unsafe_code, reason = "docs/unsafe.md: cells")]
    pub(crate) fn address<T>(&self, id: u32) -> *mut T {
        debug_assert_ne!(id, 0, "0 means no cell");
        debug_assert_eq!(self.stride as usize, size_of::<T>(), "the cells are of this size");
        let shift = const { chunk_shift(size_of::<T>()) };
        let directory = self.directory.load(Ordering::Acquire);
        // SAFETY: `id` was handed out by the allocator, and whoever gave it to us published it after the directory that
        // covers it (release store of the table slot, acquire load by the reader), so this is inside the array.
        let entry = unsafe { directory.add((id >> shift) as usize) };
        // SAFETY: inside the array, which lives as long as the shard.
        let entry = unsafe { &*entry };
        entry.load(Ordering::Acquire).wrapping_add(id as usize * size_of::<T>()).cast()
    }

    /// When the entry in a cell ends; none if these cells are not dated. `id` and `T` as for [`address`](Self::address).
    #[inline]
    #[expect(unsafe_code, reason = "docs/unsafe.md: cells")]
    pub(crate) fn times<T>(&self, id: u32) -> Option<&Times> {
        let after = const { size_of::<Quiet>() << chunk_shift(size_of::<T>()) };
        // SAFETY: the times begin where the quiet ones end; the address is that of the cell.
        self.dated.then(|| unsafe { Self::behind::<T, Times>(id, self.address(id), after) })
    }

    /// Until when hits on the entry in a cell have nothing to do; as [`times`](Self::times).
    ///
    /// # Safety
    /// `cell` came from [`address`](Self::address) with this `id`.
    #[inline]
    #[expect(unsafe_code, reason = "docs/unsafe.md: cells")]
    pub(crate) unsafe fn quiet<T>(&self, id: u32, cell: *const T) -> Option<&Quiet> {
        // SAFETY: dated; the rest is the caller's promise.
        self.dated.then(|| unsafe { Self::quiet_of_dated(id, cell) })
    }

    /// The same for a caller who knows that these cells are dated.
    ///
    /// # Safety
    /// As for [`quiet`](Self::quiet), the cells are dated, and the result does not outlive them.
    #[inline]
    #[expect(unsafe_code, reason = "docs/unsafe.md: cells")]
    pub(crate) unsafe fn quiet_of_dated<'c, T>(id: u32, cell: *const T) -> &'c Quiet {
        // SAFETY: they begin where the cells end; the rest is the caller's promise.
        unsafe { Self::behind::<T, Quiet>(id, cell, 0) }
    }

    /// Whether there are times and quiet ones.
    #[inline]
    pub(crate) fn dated(&self) -> bool {
        self.dated
    }

    /// What belongs to a cell in an array behind the cells of its chunk. From the cell on, so that its address, which a hit has, is
    /// not computed again.
    ///
    /// # Safety
    /// The cells are dated, `cell` came from [`address`](Self::address) with this `id`, and a chunk's array of `A` begins `after`
    /// bytes behind its last cell.
    #[inline]
    #[expect(unsafe_code, reason = "docs/unsafe.md: cells")]
    unsafe fn behind<'c, T, A>(id: u32, cell: *const T, after: usize) -> &'c A {
        const { assert!(size_of::<T>() >= size_of::<A>()) };
        let cells = const { 1 << chunk_shift(size_of::<T>()) };
        let place = id as usize % cells;
        // From the cell back to where item 0 would be if they were as far apart as cells, and on to the array: one product and one sum.
        let back = place.wrapping_mul(size_of::<A>().wrapping_sub(size_of::<T>()));
        let item = cell.wrapping_byte_add(back.wrapping_add(cells * size_of::<T>() + after)).cast::<A>();
        // SAFETY: behind a cell, whose address is not null; said, so that an `Option` of the result is not asked for it.
        unsafe { std::hint::assert_unchecked(!item.is_null()) };
        // SAFETY: the array has as many items as there are cells in the chunk, and this is item `place`. Cells are four or more, of a
        // multiple of four bytes (a header's alignment), so 16 divides where they end, and the chunk is aligned to 64. Chunks begin
        // zeroed, which is valid for both (atomics), live as long as the shard, and these bytes are never used for
        // anything else.
        unsafe { &*item }
    }
}

/// The directory as the holder of the shard's lock sees it: read once and not changed meanwhile, so that an address costs
/// one load and the compiler need not ask again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'l> {
    directory: *const AtomicPtr<u8>,
    shift: u32,
    stride: u32,
    _lock: PhantomData<&'l Cells>,
}

impl Cells {
    /// The view for one change of the shard.
    ///
    /// # Safety
    /// The caller holds the shard's lock for as long as it uses the result, and adds no chunk meanwhile.
    #[inline]
    #[expect(unsafe_code, reason = "docs/unsafe.md: cells")]
    pub(crate) unsafe fn view(&self) -> View<'_> {
        View {
            directory: self.directory.load(Ordering::Relaxed),
            shift: self.shift,
            stride: self.stride,
            _lock: PhantomData,
        }
    }
}

impl<'l> View<'l> {
    /// The address of a cell that was handed out.
    #[inline]
    #[expect(unsafe_code, reason = "docs/unsafe.md: cells")]
    pub(crate) fn address(&self, id: u32) -> *mut u8 {
        debug_assert_ne!(id, 0, "0 means no cell");
        // SAFETY: `id` was handed out under the lock that the caller holds, so this is inside the directory.
        let entry = unsafe { self.directory.add((id >> self.shift) as usize) };
        // SAFETY: inside the array. An `AtomicPtr` has the layout of a pointer; chunks are added under the lock alone, so
        // nobody writes it now.
        let base = unsafe { entry.cast::<*mut u8>().read() };
        base.wrapping_add(id as usize * self.stride as usize)
    }

    #[inline]
    #[expect(unsafe_code, reason = "docs/unsafe.md: cells")]
    pub(crate) fn header_of(&self, id: u32) -> &'l Header {
        // SAFETY: a cell begins with a `Header` (`Node` is `repr(C)`), chunks start zeroed, which is a valid header, and
        // the header of a cell is only rewritten by the holder of the shard's lock while nobody can refer to the cell.
        unsafe { &*self.address(id).cast::<Header>() }
    }
}

/// The same for cells whose type is known: shift, mask and stride are constants.
#[derive(Debug)]
pub(super) struct Typed<'l, T> {
    directory: *const AtomicPtr<u8>,
    _cells: PhantomData<&'l T>,
}

impl Cells {
    /// As [`Cells::view`], for cells that hold a `T`.
    ///
    /// # Safety
    /// As for [`Cells::view`]; and the cells were made for `T`, which begins with a [`Header`].
    #[inline]
    #[expect(unsafe_code, reason = "docs/unsafe.md: cells")]
    pub(super) unsafe fn typed<T>(&self) -> Typed<'_, T> {
        debug_assert_eq!(self.stride as usize, size_of::<T>(), "the cells are of this size");
        Typed { directory: self.directory.load(Ordering::Relaxed), _cells: PhantomData }
    }
}

impl<T> Typed<'_, T> {
    /// The address of a cell that was handed out.
    #[inline]
    #[expect(unsafe_code, reason = "docs/unsafe.md: cells")]
    pub(super) fn address(&self, id: u32) -> *mut T {
        debug_assert_ne!(id, 0, "0 means no cell");
        let shift = const { chunk_shift(size_of::<T>()) };
        // SAFETY: as in `View::address`.
        let entry = unsafe { self.directory.add((id >> shift) as usize) };
        // SAFETY: as in `View::address`.
        let base = unsafe { entry.cast::<*mut u8>().read() };
        base.wrapping_add(id as usize * size_of::<T>()).cast()
    }
}

impl<T> Entries for Typed<'_, T> {
    #[inline]
    #[expect(unsafe_code, reason = "docs/unsafe.md: cells")]
    fn header(&self, slot: u32) -> &Header {
        // SAFETY: as in `View::header_of`; that `T` begins with a header is the promise of who made this.
        unsafe { &*self.address(slot).cast::<Header>() }
    }
}

impl Entries for View<'_> {
    #[inline]
    fn header(&self, slot: u32) -> &Header {
        self.header_of(slot)
    }

    #[inline]
    fn prefetch(&self, slot: u32) {
        prefetch(self.address(slot));
    }
}

impl Allocator {
    /// A cell that was given back; its bytes are whatever was there before.
    #[inline]
    pub(crate) fn reuse(&mut self) -> Option<u32> {
        self.free.pop()
    }

    /// A cell that was never used.
    pub(crate) fn fresh(&mut self, cells: &Cells) -> u32 {
        let id = self.next;
        if (id as usize) >> cells.shift >= self.chunks.len() {
            self.add_chunk(cells);
        }
        self.next = id.checked_add(1).expect("a shard holds at most 2^32 - 1 entries");
        id
    }

    /// Gives a cell back. The caller has moved its contents out, and no reader can reach it.
    pub(crate) fn give(&mut self, id: u32) {
        debug_assert!(id != 0 && id < self.next);
        self.free.push(id);
    }

    /// Cells that are handed out now.
    pub(crate) fn in_use(&self) -> usize {
        (self.next - 1) as usize - self.free.len()
    }

    #[cold]
    #[expect(unsafe_code, reason = "docs/unsafe.md: cells")]
    fn add_chunk(&mut self, cells: &Cells) {
        // SAFETY: the layout's size is not zero, a header alone has eight bytes.
        let chunk = unsafe { alloc_zeroed(self.chunk) };
        let Some(chunk) = NonNull::new(chunk) else { handle_alloc_error(self.chunk) };
        let index = self.chunks.len();
        self.chunks.push(chunk);
        // The pointer keeps the provenance of its chunk, and is of use only with the number of a cell in it.
        let before = (index << cells.shift) * cells.stride as usize;
        let base = chunk.as_ptr().wrapping_sub(before);
        let current = self.directories.last().expect("there is always a directory");
        if let Some(entry) = current.get(index) {
            entry.store(base, Ordering::Release);
            return;
        }
        let held = current.iter().map(|entry| entry.load(Ordering::Relaxed)).chain([base]);
        let empty = std::iter::repeat(std::ptr::null_mut());
        let longer: Box<[AtomicPtr<u8>]> =
            held.chain(empty).take(current.len() * 2).map(AtomicPtr::new).collect();
        cells.directory.store(longer.as_ptr().cast_mut(), Ordering::Release);
        self.directories.push(longer);
    }
}

impl Drop for Allocator {
    #[expect(unsafe_code, reason = "docs/unsafe.md: cells")]
    fn drop(&mut self) {
        for chunk in &self.chunks {
            // SAFETY: each chunk came from `alloc_zeroed` with this layout and is freed once.
            unsafe { dealloc(chunk.as_ptr(), self.chunk) };
        }
    }
}
