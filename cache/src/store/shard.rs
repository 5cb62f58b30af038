//! One shard: cells, table and policy behind one mutex for writers, and a lookup that takes no lock.
//!
//! Readers touch only the first cache lines: the tables, the cell directory. Writers lock `state`,
//! which brings the policy, the free cells and limbo; what they do there is in `locked`.
//!
//! **Growth.** A full table is followed by a larger one, `next`, to which each write moves a few buckets; when the last has
//! moved, it takes the place of `table`. An entry stands in `next` before it leaves `table`, and readers look in the same
//! order, so none is missed on its way. Who finds nothing asks afterwards whether `table` is still the one that was searched and
//! has no `next`: then the entry was nowhere. A hit asks nothing.

use std::collections::VecDeque;
use std::marker::PhantomData;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize};

use crossbeam_utils::CachePadded;

use super::cells::{Allocator, Cells};
use super::limbo::Limbo;
use super::node::{Node, Nodes};
use super::table::{FULL, Missed, Table};
use super::tags::Tags;
use super::times::{Quiet, Renewal, Side, Times};
use super::wheel::Wheel;
use crate::policy::{Activity, Config, Kind, Marks, Policy, Seen};
use crate::reclaim::Pinned;
use crate::sync::{AtomicPtr, Mutex, Ordering};

/// Tables for fewer entries are made in full size at once.
const SMALL_TABLE: u64 = 2048;

/// One shard of the cache.
#[derive(Debug)]
#[repr(C, align(128))]
pub(crate) struct Shard<K, V> {
    // Invariant: `table` points to a table; `next` to a larger one, to which its entries move, or is null. A table that is
    // replaced waits in `State::retired` until no pinned reader can hold it.
    pub(super) table: AtomicPtr<Table>,
    pub(super) next: AtomicPtr<Table>,
    /// Whether `times` may hold anything: a read asks the clock only then.
    timed: AtomicBool,
    /// The bits of [`Detour`]s that are set. Written under the lock.
    detours: AtomicU8,
    /// Whether each hit has a place in the order of eviction.
    ordered: bool,
    pub(super) cells: Cells,
    /// Times of cells that are not dated.
    pub(super) times: OnceLock<Box<Side<Times>>>,
    pub(super) renewals: OnceLock<Box<Side<Renewal>>>,
    /// When entries were written, where their deadlines do not say so. Under the lock only.
    pub(super) written: OnceLock<Box<Side<AtomicU64>>>,
    /// This shard's part of the capacity, in weight.
    pub(super) share: AtomicU64,
    /// How long an entry stays after its end, in ticks.
    pub(super) grace: u64,
    pub(super) activity: Activity,
    pub(super) load: CachePadded<Load>,
    pub(super) state: CachePadded<Mutex<State<K, V>>>,
}

/// A reason why an overwrite can't go the short way (`swap`). Bits of one byte, so that it asks for all of them at once.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
pub(crate) enum Detour {
    /// Entries end.
    Timed = 1,
    /// The table is followed by another.
    Growth = 2,
    /// Entries carry tags.
    Tags = 4,
    /// Somebody loads or computes a value.
    Flights = 8,
}

/// What other threads may know of the shard without its lock. Written under the lock.
#[derive(Debug, Default)]
pub(super) struct Load {
    pub(super) entries: AtomicUsize,
    pub(super) weight: AtomicU64,
    /// How often the shard was emptied at once.
    pub(super) clears: AtomicU32,
}

/// All that the shard's lock guards. In this order: what each overwrite needs is in the lock's own cache lines.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct State<K, V> {
    pub(super) limbo: Limbo,
    /// Unsealed cells in limbo at which a write looks after it.
    pub(super) tend_at: usize,
    /// Made with the first entry that carries a tag.
    pub(super) tags: Option<Box<Tags>>,
    pub(super) allocator: Allocator,
    pub(super) policy: Policy,
    /// Taken out of their cells by the holder of the lock, which drops them after it has let go.
    pub(super) dead: Vec<(K, V)>,
    /// Tables that readers may still hold, with their stamps.
    pub(super) retired: Vec<(u64, *mut Table)>,
    /// Next bucket to move to the next table.
    pub(super) cursor: usize,
    /// Timers of entries with an end; made with the first of them.
    pub(super) wheel: Option<Box<Wheel>>,
    /// How many of the entries that wait were cleared at which time, in the order in which they leave; one at least each.
    pub(super) clearings: VecDeque<(usize, u64)>,
}

// SAFETY: the raw tables in `retired` are owned by the state alone; keys and values are moved and dropped by whichever
// thread holds the lock, so they must be `Send`.
#[expect(unsafe_code, reason = "docs/unsafe.md: shard")]
unsafe impl<K: Send, V: Send> Send for State<K, V> {}

// SAFETY: a shard gives out `&K` and `&V` to any thread that is pinned (so they must be `Sync`), and moves them between
// threads (so they must be `Send`); all its own fields are atomics or behind the mutex.
#[expect(unsafe_code, reason = "docs/unsafe.md: shard")]
unsafe impl<K: Send + Sync, V: Send + Sync> Sync for Shard<K, V> {}

// SAFETY: as above; the raw pointers are owned.
#[expect(unsafe_code, reason = "docs/unsafe.md: shard")]
unsafe impl<K: Send, V: Send> Send for Shard<K, V> {}

/// An entry as a pinned reader sees it.
#[derive(Debug)]
pub(crate) struct Found<'g, K, V> {
    pub(crate) id: u32,
    // Invariant: the address of the cell `id`, filled for as long as the pin lives that lent `'g`. No reference, because it
    // reaches further than the node does; and the only word but the id, so that a lookup returns both in registers.
    cell: *const Node<K, V>,
    _pin: PhantomData<&'g Node<K, V>>,
}

impl<'g, K, V> Found<'g, K, V> {
    /// The entry.
    #[inline]
    #[expect(unsafe_code, reason = "docs/unsafe.md: shard")]
    pub(crate) fn node(self) -> &'g Node<K, V> {
        // SAFETY: the invariant.
        unsafe { Nodes::<K, V>::at(self.cell) }
    }

    /// Until when hits on it have nothing to do, if it is marked as one whose hits have only to look at that; `counted`: and to be
    /// counted.
    #[inline(always)]
    #[expect(unsafe_code, reason = "docs/unsafe.md: shard")]
    pub(crate) fn quiet_if_ending(self, counted: bool) -> Option<&'g Quiet> {
        let marked = self.node().header.mark().is_ending(counted);
        // SAFETY: the invariant; `Shard::touch` marks so only what is in dated cells.
        marked.then(|| unsafe { Cells::quiet_of_dated(self.id, self.cell) })
    }
}

/// Why a [glance](Shard::glance) found nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Unseen {
    /// There is no entry.
    Absent,
    /// If there is one, [`Shard::find`] finds it.
    Elsewhere,
}

impl<K, V> Clone for Found<'_, K, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, V> Copy for Found<'_, K, V> {}

#[expect(unsafe_code, reason = "docs/unsafe.md: shard")]
impl<K, V> Shard<K, V> {
    /// `share`: this shard's part of the capacity. `dated`: entries end as a rule.
    pub(crate) fn new(share: u64, weighted: bool, dated: bool, seed: u64, kind: Kind) -> Self {
        let expected = if weighted || share == u64::MAX { 0 } else { share };
        let (cells, allocator) = Cells::new(Node::<K, V>::LAYOUT, dated);
        let table = Box::new(Table::for_entries(first_table(expected)));
        Self {
            table: AtomicPtr::new(Box::into_raw(table)),
            next: AtomicPtr::new(std::ptr::null_mut()),
            timed: AtomicBool::new(false),
            detours: AtomicU8::new(0),
            ordered: kind == Kind::Lru,
            cells,
            times: OnceLock::new(),
            renewals: OnceLock::new(),
            written: OnceLock::new(),
            share: AtomicU64::new(share),
            grace: 0,
            activity: Activity::new(),
            load: CachePadded::default(),
            state: CachePadded::new(Mutex::new(State {
                policy: Policy::new(Config { capacity: share, weighted, seed, kind }),
                allocator,
                limbo: Limbo::default(),
                dead: Vec::new(),
                retired: Vec::new(),
                cursor: 0,
                wheel: None,
                clearings: VecDeque::new(),
                tags: None,
                tend_at: 4,
            })),
        }
    }

    /// Lets entries stay for so many ticks after their ends.
    pub(crate) fn lingering(mut self, grace: u64) -> Self {
        self.grace = grace;
        self
    }

    /// Lets each entry have a time at which it is to be loaded again.
    pub(crate) fn renewing(self, renews: bool) -> Self {
        if renews {
            self.set_timed();
        }
        self
    }

    /// When an entry is to be removed; 0 = never.
    pub(super) fn leaves(&self, end: u64) -> u64 {
        if end == 0 { 0 } else { end.saturating_add(self.grace) }
    }

    #[inline]
    pub(crate) fn share(&self) -> u64 {
        self.share.load(Ordering::Relaxed)
    }

    /// What this shard may keep while others are over their share.
    #[inline]
    pub(crate) fn fair(&self) -> u64 {
        let share = self.share();
        share - share / 8
    }

    #[inline]
    pub(crate) fn entries(&self) -> usize {
        self.load.entries.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn weight(&self) -> u64 {
        self.load.weight.load(Ordering::Relaxed)
    }

    /// How often the shard was emptied at once.
    #[inline]
    pub(crate) fn clears(&self) -> u32 {
        self.load.clears.load(Ordering::Acquire)
    }

    /// Whether entries move to a larger table.
    #[cfg(test)]
    pub(crate) fn is_growing(&self) -> bool {
        !self.next.load(Ordering::Relaxed).is_null()
    }

    /// Whether a reader must ask the clock.
    #[inline]
    pub(crate) fn timed(&self) -> bool {
        self.timed.load(Ordering::Relaxed)
    }

    /// Whether any [`Detour`] is set. The caller holds the lock.
    #[inline]
    pub(super) fn has_detours(&self) -> bool {
        self.detours.load(Ordering::Relaxed) != 0
    }

    /// Whether this one is set. The caller holds the lock.
    #[inline]
    pub(super) fn has(&self, detour: Detour) -> bool {
        self.detours.load(Ordering::Relaxed) & detour as u8 != 0
    }

    /// Sets one or takes it back. The caller holds the lock.
    pub(super) fn set(&self, detour: Detour, on: bool) {
        let others = self.detours.load(Ordering::Relaxed) & !(detour as u8);
        self.detours.store(others | if on { detour as u8 } else { 0 }, Ordering::Relaxed);
    }

    /// From now on, reads ask the clock. The caller holds the lock.
    pub(super) fn set_timed(&self) {
        self.timed.store(true, Ordering::Relaxed);
        self.set(Detour::Timed, true);
    }

    /// Deadlines of a cell, if it has any.
    #[inline]
    pub(crate) fn times(&self, id: u32) -> Option<&Times> {
        self.cells.times::<Node<K, V>>(id).or_else(|| self.times.get()?.get(id))
    }

    /// The times of an entry that ends.
    #[inline]
    pub(crate) fn ending(&self, id: u32) -> Option<&Times> {
        if !self.timed() {
            return None;
        }
        self.times(id).filter(|times| times.end() != 0)
    }

    /// Until when hits on an entry have nothing to do; none if that is not kept here.
    #[inline]
    pub(crate) fn quiet(&self, found: Found<'_, K, V>) -> Option<&Quiet> {
        // SAFETY: the invariant of `Found`, which comes from this shard.
        unsafe { self.cells.quiet(found.id, found.cell) }
    }

    /// Has the next hit look at the entry's end.
    pub(super) fn disquiet(&self, id: u32) {
        // SAFETY: `cell` is made of `id`.
        if let Some(quiet) = unsafe { self.cells.quiet::<Node<K, V>>(id, self.cells.address(id)) } {
            quiet.end();
        }
    }

    /// Deadlines of a cell, made if there are none. The caller holds the lock.
    pub(super) fn times_or_new(&self, id: u32) -> &Times {
        self.cells
            .times::<Node<K, V>>(id)
            .unwrap_or_else(|| self.times.get_or_init(|| Box::new(Side::new())).get_or_create(id))
    }

    /// When a cell is to be loaded again, if it ever was.
    #[inline]
    pub(crate) fn renewal(&self, id: u32) -> Option<&Renewal> {
        self.renewals.get()?.get(id)
    }

    /// An entry that the caller has just unlinked.
    #[expect(unsafe_code, reason = "docs/unsafe.md: shard")]
    pub(crate) fn unlinked_node<'g>(&'g self, _pin: &'g Pinned, id: u32) -> &'g Node<K, V> {
        // SAFETY: the caller unlinked the cell under its pin, so it waits in limbo, filled, for as long as the pin lives.
        unsafe { Nodes::<K, V>::get(&self.cells, id) }
    }

    /// Whether each hit has a place in the order of eviction.
    #[inline]
    pub(crate) fn ordered(&self) -> bool {
        self.ordered
    }

    /// Records a hit for the policy, and marks the entry for those that come after.
    #[inline]
    pub(crate) fn touch(&self, found: Found<'_, K, V>, seen: Seen, marks: Marks, endless: bool) {
        if self.ordered {
            return self.touch_in_order(found);
        }
        // `quiet_if_ending` relies on it.
        let marks = if self.cells.dated() { marks } else { marks.unglanced() };
        found.node().header.settle(seen, marks, endless, &self.activity);
    }

    /// Records a hit where it belongs, or if a writer holds the lock, for the eviction hand to find. Never marks the entry as
    /// settled, so that each hit comes here. The caller's pin keeps the cell from being used again.
    #[cold]
    fn touch_in_order(&self, found: Found<'_, K, V>) {
        match self.try_lock() {
            Some(mut locked) => locked.refresh(found.id),
            None => found.node().header.touch(&self.activity),
        }
    }

    #[inline]
    fn table<'g>(&self, _pin: &'g Pinned) -> &'g Table {
        // SAFETY: `table` always points to a table, and one that is replaced outlives every pin that could have read it.
        unsafe { &*self.table.load(Ordering::Acquire) }
    }

    #[inline]
    fn next<'g>(&self, _pin: &'g Pinned) -> Option<&'g Table> {
        // SAFETY: null or a table, protected by the pin as above.
        unsafe { self.next.load(Ordering::Acquire).as_ref() }
    }

    /// Whether a table that was searched held all entries then. Also right if another one had the same address before it:
    /// the pin keeps the memory of the table that was searched from being used again.
    #[inline]
    fn was_whole(&self, table: &Table) -> bool {
        // After the search: a search that missed an entry on its way saw the store that took it out, and so sees `next`, or
        // that it has taken the place of `table`.
        self.next.load(Ordering::Acquire).is_null() && self.is_current(table)
    }

    #[inline]
    fn is_current(&self, table: &Table) -> bool {
        std::ptr::eq(self.table.load(Ordering::Acquire), table)
    }

    /// A look at the place where a key is most likely.
    #[inline]
    pub(crate) fn glance<'g>(
        &'g self,
        pin: &'g Pinned,
        hash: u32,
        is_key: impl Fn(&K) -> bool,
    ) -> Result<Found<'g, K, V>, Unseen> {
        let table = self.table(pin);
        match table.glance(hash, |id| self.check(id, &is_key)) {
            Ok(found) => Ok(found),
            Err(Missed::Last) if self.was_whole(table) => Err(Unseen::Absent),
            Err(_) => Err(Unseen::Elsewhere),
        }
    }

    /// Looks a key up without a lock. `hash` and `is_key` belong to the key.
    #[inline]
    pub(crate) fn find<'g>(
        &'g self,
        pin: &'g Pinned,
        hash: u32,
        is_key: impl Fn(&K) -> bool,
    ) -> Option<Found<'g, K, V>> {
        loop {
            let table = self.table(pin);
            let found = table
                .find(hash, |id| self.check(id, &is_key))
                .or_else(|| self.next(pin)?.find(hash, |id| self.check(id, &is_key)));
            // After the search, as in `was_whole`. A table that is replaced meanwhile is twice as large, so this ends.
            if found.is_some() || self.is_current(table) {
                return found;
            }
        }
    }

    /// The entry of a cell that was read from a table under a pin, if it is the one.
    #[inline]
    fn check<'g>(&'g self, id: u32, is_key: &impl Fn(&K) -> bool) -> Option<Found<'g, K, V>> {
        let cell = self.cells.address(id);
        // SAFETY: the id was read from a table under a pin, so the cell is filled while the pin lives.
        let node = unsafe { Nodes::<K, V>::at(cell) };
        is_key(&node.key).then_some(Found { id, cell, _pin: PhantomData })
    }
}

/// Entries the first table of a shard is made for: the expected number halved until it is small, so that doubling lands on
/// it exactly.
fn first_table(expected: u64) -> usize {
    // Room for the imbalance between shards.
    let mut entries = expected.saturating_add(expected / 16).saturating_add(FULL as u64);
    while entries > SMALL_TABLE {
        entries = entries.div_ceil(2);
    }
    usize::try_from(entries).expect("a small number")
}

impl<K, V> Drop for Shard<K, V> {
    #[expect(unsafe_code, reason = "docs/unsafe.md: shard")]
    fn drop(&mut self) {
        let state = self.state.get_mut();
        // SAFETY: nobody else has the shard.
        let view = unsafe { self.cells.view() };
        let mut ids = state.limbo.drain();
        let mut tables = vec![self.table.load(Ordering::Acquire), self.next.load(Ordering::Acquire)];
        ids.extend(state.policy.each_cleared(&view));
        tables.retain(|table| !table.is_null());
        let live = tables.len();
        tables.extend(state.retired.drain(..).map(|(_, table)| table));
        for (index, table) in tables.into_iter().enumerate() {
            // SAFETY: made by `Box::into_raw`, in one of the three places only, and nobody else has the shard.
            let table = unsafe { Box::from_raw(table) };
            if index < live {
                table.for_each(|id| ids.push(id));
            }
        }
        if Node::<K, V>::NEEDS_DROP {
            drop(Remains { cells: &self.cells, ids: ids.into_iter(), _entries: PhantomData::<(K, V)> });
        }
    }
}

/// Filled cells of a shard that is being dropped, to be emptied also when a drop of one of them panics.
struct Remains<'s, K, V> {
    cells: &'s Cells,
    ids: std::vec::IntoIter<u32>,
    _entries: PhantomData<(K, V)>,
}

impl<K, V> Remains<'_, K, V> {
    #[expect(unsafe_code, reason = "docs/unsafe.md: shard")]
    fn empty(&mut self) {
        for id in self.ids.by_ref() {
            // SAFETY: made by `Shard::drop` alone: linked in a table or waiting in limbo means filled, each id stands in
            // one place and is taken once, and `&mut Shard` means that no reader is left.
            drop(unsafe { Nodes::<K, V>::take(self.cells, id) });
        }
    }
}

impl<K, V> Drop for Remains<'_, K, V> {
    fn drop(&mut self) {
        /// Goes on after a panic; a second one aborts, as everywhere in Rust.
        struct GoOn<'r, 's, K, V>(&'r mut Remains<'s, K, V>);
        impl<K, V> Drop for GoOn<'_, '_, K, V> {
            fn drop(&mut self) {
                self.0.empty();
            }
        }
        GoOn(self).0.empty();
    }
}
