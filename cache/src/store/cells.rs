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
    // Invariant: points to an array that holds a valid chunk pointer for each id that was ever handed out; it is replaced
    // only by a longer copy, and every array lives as long as the `Allocator`, which the shard keeps as long as `self`.
    directory: AtomicPtr<AtomicPtr<u8>>,
    shift: u32,
    /// The lower bits of an id: its place in the chunk.
    mask: u32,
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
        let mask = cells_per_chunk - 1;
        let cells = Self { directory: AtomicPtr::default(), shift, mask, stride, dated };
        cells.directory.store(allocator.directories[0].as_ptr().cast_mut(), Ordering::Release);
        (cells, allocator)
    }

    /// The address of a cell that was handed out. `T` has the size of the cells: since that is known, the way from an id to an
    /// address is a shift and a mask.
    #[inline]
    #[expect(unsafe_code, reason = "docs/unsafe.md: cells")]
    pub(crate) fn address<T>(&self, id: u32) -> *mut T {
        let chunk = self.chunk::<T>(id);
        // SAFETY: the chunk holds `1 << SHIFT` cells of this size, and the offset is that of one of them.
        unsafe { chunk.add(Place::<T>::of(id) * size_of::<T>()) }.cast()
    }

    /// When the entry in a cell ends; none if these cells are not dated. `id` and `T` as for [`address`](Self::address).
    #[inline]
    #[expect(unsafe_code, reason = "docs/unsafe.md: cells")]
    pub(crate) fn times<T>(&self, id: u32) -> Option<&Times> {
        let behind = const { (size_of::<T>() + size_of::<Quiet>()) << Place::<T>::SHIFT };
        // SAFETY: this is where the times are.
        self.dated.then(|| unsafe { self.behind::<T, Times>(id, behind) })
    }

    /// Until when hits on the entry in a cell have nothing to do; as [`times`](Self::times).
    #[inline]
    #[expect(unsafe_code, reason = "docs/unsafe.md: cells")]
    pub(crate) fn quiet<T>(&self, id: u32) -> Option<&Quiet> {
        let behind = const { size_of::<T>() << Place::<T>::SHIFT };
        // SAFETY: this is where they are.
        self.dated.then(|| unsafe { self.behind::<T, Quiet>(id, behind) })
    }

    /// What belongs to a cell in an array behind the cells of its chunk.
    ///
    /// # Safety
    /// The cells are dated, and `begin` is where a chunk's array of `A` begins.
    #[inline]
    #[expect(unsafe_code, reason = "docs/unsafe.md: cells")]
    unsafe fn behind<T, A>(&self, id: u32, begin: usize) -> &A {
        let place = begin + Place::<T>::of(id) * size_of::<A>();
        // SAFETY: the array has `1 << SHIFT` items, as many as there are cells. These are four or more, of a multiple of four bytes
        // (a header's alignment), so that 16 divides `begin`, and the chunk is aligned to 64.
        let item = unsafe { self.chunk::<T>(id).add(place) }.cast::<A>();
        // SAFETY: chunks begin zeroed, which is valid for both (atomics), live as long as the shard, and these bytes are
        // never used for anything else.
        unsafe { &*item }
    }

    #[inline]
    #[expect(unsafe_code, reason = "docs/unsafe.md: cells")]
    fn chunk<T>(&self, id: u32) -> *mut u8 {
        debug_assert_ne!(id, 0, "0 means no cell");
        debug_assert_eq!(self.stride as usize, size_of::<T>(), "the cells are of this size");
        let directory = self.directory.load(Ordering::Acquire);
        let chunk = (id >> Place::<T>::SHIFT) as usize;
        // SAFETY: `id` was handed out by the allocator, and whoever gave it to us published it after the directory that
        // covers it (release store of the table slot, acquire load by the reader), so `chunk` is inside the array.
        let entry = unsafe { directory.add(chunk) };
        // SAFETY: inside the array, which lives as long as the shard.
        let entry = unsafe { &*entry };
        entry.load(Ordering::Acquire)
    }
}

/// Where in its chunk a cell is, known when compiled but for the id.
struct Place<T>(PhantomData<T>);

impl<T> Place<T> {
    const SHIFT: u32 = chunk_shift(size_of::<T>());

    #[inline]
    fn of(id: u32) -> usize {
        (id & ((1 << Self::SHIFT) - 1)) as usize
    }
}

/// The directory as the holder of the shard's lock sees it: read once and not changed meanwhile, so that an address costs
/// one load and the compiler need not ask again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'l> {
    directory: *const AtomicPtr<u8>,
    shift: u32,
    mask: u32,
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
            mask: self.mask,
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
        let chunk = (id >> self.shift) as usize;
        let offset = (id & self.mask) as usize * self.stride as usize;
        // SAFETY: `id` was handed out under the lock that the caller holds, so `chunk` is inside the directory.
        let entry = unsafe { self.directory.add(chunk) };
        // SAFETY: inside the array. An `AtomicPtr` has the layout of a pointer; chunks are added under the lock alone, so
        // nobody writes it now.
        let chunk = unsafe { entry.cast::<*mut u8>().read() };
        // SAFETY: the chunk holds `1 << shift` cells of `stride` bytes, and the offset is that of one of them.
        unsafe { chunk.add(offset) }
    }

    #[inline]
    #[expect(unsafe_code, reason = "docs/unsafe.md: cells")]
    pub(crate) fn header_of(&self, id: u32) -> &'l Header {
        // SAFETY: a cell begins with a `Header` (`Node` is `repr(C)`), chunks start zeroed, which is a valid header, and
        // the header of a cell is only rewritten by the holder of the shard's lock while nobody can refer to the cell.
        unsafe { &*self.address(id).cast::<Header>() }
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
        let current = self.directories.last().expect("there is always a directory");
        if index < current.len() {
            current[index].store(chunk.as_ptr(), Ordering::Release);
            return;
        }
        let longer: Box<[AtomicPtr<u8>]> = (0..current.len() * 2)
            .map(|i| AtomicPtr::new(self.chunks.get(i).map_or(std::ptr::null_mut(), |c| c.as_ptr())))
            .collect();
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
