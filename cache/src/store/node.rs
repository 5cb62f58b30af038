//! The typed view of a cell: header, key, value.

use std::alloc::Layout;
use std::marker::PhantomData;

use super::cells::Cells;
use crate::policy::Header;

/// What a cell holds. `repr(C)`: the header comes first, so that untyped code finds it.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Node<K, V> {
    pub(crate) header: Header,
    pub(crate) key: K,
    pub(crate) value: V,
}

impl<K, V> Node<K, V> {
    pub(crate) const LAYOUT: Layout = Layout::new::<Self>();
    /// Whether anything happens when an entry is dropped; if not, its cell is reused without a look at it.
    pub(crate) const NEEDS_DROP: bool = std::mem::needs_drop::<K>() || std::mem::needs_drop::<V>();
}

/// The three things that may happen to a typed cell. All users of raw cells go through here.
#[derive(Debug)]
pub(crate) struct Nodes<K, V>(PhantomData<fn() -> (K, V)>);

#[expect(unsafe_code, reason = "docs/unsafe.md: node")]
impl<K, V> Nodes<K, V> {
    /// Fills a cell that nobody else can reach.
    ///
    /// # Safety
    /// `id` came from `Allocator::take` of the same shard, the cell is empty, and the caller holds the shard's lock.
    #[inline]
    pub(crate) unsafe fn write(cells: &Cells, id: u32, node: Node<K, V>) {
        // SAFETY: the cell has the size and alignment of `Node<K, V>` and is the caller's alone.
        unsafe { cells.address::<Node<K, V>>(id).write(node) };
    }

    /// A shared view of a filled cell.
    ///
    /// # Safety
    /// The cell is filled and stays so while the result lives: the caller holds the shard's lock, or is pinned since before it read the
    /// id from the table (so that the cell, if unlinked meanwhile, waits in limbo).
    #[inline]
    pub(crate) unsafe fn get(cells: &Cells, id: u32) -> &Node<K, V> {
        // SAFETY: the caller's promise.
        unsafe { Self::at(cells.address::<Node<K, V>>(id)) }
    }

    /// The same by its address.
    ///
    /// # Safety
    /// As for [`get`](Self::get), and `cell` is its address.
    #[inline]
    pub(crate) unsafe fn at<'c>(cell: *const Node<K, V>) -> &'c Node<K, V> {
        // SAFETY: the address of a cell is never null; said, so that `Option<&Node>` is not asked for it again.
        unsafe { std::hint::assert_unchecked(!cell.is_null()) };
        // SAFETY: filled, by the caller's promise; filled cells are only read until they are taken out.
        unsafe { &*cell }
    }

    /// Moves key and value out; the cell is empty afterwards.
    ///
    /// # Safety
    /// The cell is filled, no reader can reach it any more, and the caller alone decides on it.
    #[inline]
    pub(crate) unsafe fn take(cells: &Cells, id: u32) -> (K, V) {
        // SAFETY: filled and ours; nobody reads these bytes as a node again before the next `write`.
        let node = unsafe { cells.address::<Node<K, V>>(id).read() };
        (node.key, node.value)
    }
}
