//! One shard: cells, table and policy behind one mutex for writers, and a lookup that takes no lock.
//!
//! Readers touch only the first cache lines: the tables, the move counter, the cell directory. Writers lock `state`,
//! which brings the policy, the free cells and limbo.
//!
//! **Growth.** A full table is replaced by a larger empty one; the old one is drained a few buckets per write. A reader
//! looks in the new table, then in the one that drains. Only entries on the move could be missed, so each step of the
//! drain is bracketed by `moves` (odd while it runs) and a reader that found nothing tries again if `moves` changed. A
//! hit never looks at it twice.

use std::marker::PhantomData;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};

use crossbeam_utils::CachePadded;

use super::cells::{Allocator, Cells};
use super::limbo::Limbo;
use super::node::{Node, Nodes};
use super::table::Table;
use super::times::{Times, TimesTable};
use crate::policy::{Activity, Config, Entries, Header, Policy};
use crate::reclaim::{self, Pinned};
use crate::sync::{AtomicPtr, AtomicU32, Mutex, MutexGuard, Ordering, fence};

/// Buckets moved by each write while a table drains.
const DRAIN_STEP: usize = 2;
/// Tables for fewer entries are made in full size at once.
const SMALL_TABLE: u64 = 2048;
/// Dead entries handed out by one write.
const COLLECT: usize = 16;
/// Lookups without the lock before a reader that keeps racing with a drain takes it.
const ATTEMPTS: usize = 16;

/// One shard of the cache.
#[derive(Debug)]
#[repr(C, align(128))]
pub(crate) struct Shard<K, V> {
    // Invariant: `table` points to a table; `draining` to one or is null. A table that leaves either waits in
    // `State::retired` until no pinned reader can hold it.
    table: AtomicPtr<Table>,
    draining: AtomicPtr<Table>,
    /// Odd while entries move from the draining table.
    moves: AtomicU32,
    /// Whether `times` may hold anything: a read asks the clock only then.
    timed: AtomicBool,
    cells: Cells,
    times: OnceLock<Box<TimesTable>>,
    /// This shard's part of the capacity, in weight.
    share: u64,
    activity: Activity,
    load: CachePadded<Load>,
    state: CachePadded<Mutex<State<K, V>>>,
}

/// What other threads may know of the shard without its lock. Written under the lock.
#[derive(Debug, Default)]
struct Load {
    entries: AtomicUsize,
    weight: AtomicU64,
}

/// All that the shard's lock guards.
#[derive(Debug)]
pub(crate) struct State<K, V> {
    policy: Policy,
    allocator: Allocator,
    limbo: Limbo,
    /// Tables that readers may still hold, with their stamps.
    retired: Vec<(u64, *mut Table)>,
    /// Next bucket of the draining table.
    cursor: usize,
    /// Next cell that the sweep for expired entries looks at.
    sweep: usize,
    /// Length of limbo at which the next push is due.
    push_at: usize,
    _entries: PhantomData<(K, V)>,
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
    pub(crate) node: &'g Node<K, V>,
}

/// What a write leaves to be done after its lock is released.
#[derive(Debug)]
#[must_use = "dead entries must be dropped after the unlock, not under it"]
pub(crate) struct Aftermath<K, V> {
    /// Entries whose last reader is gone.
    pub(crate) dead: Vec<(K, V)>,
    /// Whether the caller should push the watermark.
    pub(crate) push: bool,
}

#[expect(unsafe_code, reason = "docs/unsafe.md: shard")]
impl<K, V> Shard<K, V> {
    /// `share`: this shard's part of the capacity.
    pub(crate) fn new(share: u64, weighted: bool, seed: u64) -> Self {
        let expected = if weighted || share == u64::MAX { 0 } else { share };
        let (cells, allocator) = Cells::new(Node::<K, V>::LAYOUT, expected);
        let table = Box::new(Table::for_entries(first_table(expected)));
        Self {
            table: AtomicPtr::new(Box::into_raw(table)),
            draining: AtomicPtr::new(std::ptr::null_mut()),
            moves: AtomicU32::new(0),
            timed: AtomicBool::new(false),
            cells,
            times: OnceLock::new(),
            share,
            activity: Activity::new(),
            load: CachePadded::default(),
            state: CachePadded::new(Mutex::new(State {
                policy: Policy::new(Config { capacity: share, weighted, seed }),
                allocator,
                limbo: Limbo::default(),
                retired: Vec::new(),
                cursor: 0,
                sweep: 0,
                push_at: 0,
                _entries: PhantomData,
            })),
        }
    }

    pub(crate) fn share(&self) -> u64 {
        self.share
    }

    pub(crate) fn entries(&self) -> usize {
        self.load.entries.load(Ordering::Relaxed)
    }

    pub(crate) fn weight(&self) -> u64 {
        self.load.weight.load(Ordering::Relaxed)
    }

    /// Whether a reader must ask the clock.
    #[inline]
    pub(crate) fn timed(&self) -> bool {
        self.timed.load(Ordering::Relaxed)
    }

    /// Deadlines of a cell, if it has any.
    #[inline]
    pub(crate) fn times(&self, id: u32) -> Option<&Times> {
        self.times.get()?.get(id)
    }

    /// An entry that the caller has just unlinked.
    #[expect(unsafe_code, reason = "docs/unsafe.md: shard")]
    pub(crate) fn unlinked_node<'g>(&'g self, _pin: &'g Pinned, id: u32) -> &'g Node<K, V> {
        // SAFETY: the caller unlinked the cell under its pin, so it waits in limbo, filled, for as long as the pin lives.
        unsafe { Nodes::<K, V>::get(&self.cells, id) }
    }

    /// Records a hit for the policy.
    #[inline]
    pub(crate) fn touch(&self, header: &Header) {
        header.touch(&self.activity);
    }

    #[inline]
    fn table<'g>(&self, _pin: &'g Pinned) -> &'g Table {
        // SAFETY: `table` always points to a table, and one that is replaced outlives every pin that could have read it.
        unsafe { &*self.table.load(Ordering::Acquire) }
    }

    #[inline]
    fn draining<'g>(&self, _pin: &'g Pinned) -> Option<&'g Table> {
        // SAFETY: null or a table, protected by the pin as above.
        unsafe { self.draining.load(Ordering::Acquire).as_ref() }
    }

    /// Looks a key up without a lock. `hash` and `is_key` belong to the key.
    #[inline]
    pub(crate) fn find<'g>(
        &'g self,
        pin: &'g Pinned,
        hash: u32,
        is_key: impl Fn(&K) -> bool,
    ) -> Option<Found<'g, K, V>> {
        let moves = self.moves.load(Ordering::Acquire);
        let check = |id| {
            // SAFETY: the id was read from a table under `pin`, so the cell is filled while the pin lives.
            let node = unsafe { Nodes::<K, V>::get(&self.cells, id) };
            is_key(&node.key).then_some(Found { id, node })
        };
        let found = self.table(pin).find(hash, check);
        if found.is_some() {
            return found;
        }
        if self.draining.load(Ordering::Acquire).is_null() && self.still(moves) {
            return None;
        }
        self.find_moving(pin, hash, &is_key)
    }

    /// Whether nothing has moved since `moves` was read.
    #[inline]
    fn still(&self, moves: u32) -> bool {
        fence(Ordering::Acquire);
        moves % 2 == 0 && self.moves.load(Ordering::Relaxed) == moves
    }

    /// The lookup while a table drains.
    #[cold]
    fn find_moving<'g>(
        &'g self,
        pin: &'g Pinned,
        hash: u32,
        is_key: &impl Fn(&K) -> bool,
    ) -> Option<Found<'g, K, V>> {
        let check = |id| {
            // SAFETY: read from a table under `pin`.
            let node = unsafe { Nodes::<K, V>::get(&self.cells, id) };
            is_key(&node.key).then_some(Found { id, node })
        };
        for _ in 0..ATTEMPTS {
            let moves = self.moves.load(Ordering::Acquire);
            let found = self
                .table(pin)
                .find(hash, check)
                .or_else(|| self.draining(pin).and_then(|draining| draining.find(hash, check)));
            if found.is_some() || self.still(moves) {
                return found;
            }
            std::hint::spin_loop();
        }
        // Writers move entries as fast as we look: wait for one of them.
        let _state = self.state.lock();
        self.table(pin)
            .find(hash, check)
            .or_else(|| self.draining(pin).and_then(|draining| draining.find(hash, check)))
    }

    /// Says that a key will be written soon.
    #[inline]
    pub(crate) fn prefetch(&self, pin: &Pinned, hash: u32) {
        self.table(pin).prefetch(hash);
    }

    /// Takes the lock.
    #[inline]
    pub(crate) fn lock(&self) -> Locked<'_, K, V> {
        Locked { shard: self, state: self.state.lock() }
    }
}

/// Entries the first table of a shard is made for: the expected number halved until it is small, so that doubling lands on
/// it exactly.
fn first_table(expected: u64) -> usize {
    // Room for the imbalance between shards.
    let mut entries = expected + expected / 16 + 8;
    while entries > SMALL_TABLE {
        entries = entries.div_ceil(2);
    }
    usize::try_from(entries).expect("a small number")
}

impl<K, V> Drop for Shard<K, V> {
    #[expect(unsafe_code, reason = "docs/unsafe.md: shard")]
    fn drop(&mut self) {
        let state = self.state.get_mut();
        let mut ids: Vec<u32> = state.limbo.drain().collect();
        let mut tables = vec![self.table.load(Ordering::Acquire), self.draining.load(Ordering::Acquire)];
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

/// A shard whose lock this thread holds. Every change goes through here; none of it runs user code but `is_key`.
#[derive(Debug)]
pub(crate) struct Locked<'s, K, V> {
    shard: &'s Shard<K, V>,
    state: MutexGuard<'s, State<K, V>>,
}

#[expect(unsafe_code, reason = "docs/unsafe.md: shard")]
impl<'s, K, V> Locked<'s, K, V> {
    fn table(&self) -> &'s Table {
        // SAFETY: tables are replaced under the lock only, and freed after they were replaced.
        unsafe { &*self.shard.table.load(Ordering::Relaxed) }
    }

    fn draining(&self) -> Option<&'s Table> {
        // SAFETY: as above.
        unsafe { self.shard.draining.load(Ordering::Relaxed).as_ref() }
    }

    /// The entry of a cell that is linked or in limbo.
    pub(crate) fn node(&self, id: u32) -> &Node<K, V> {
        // SAFETY: the id came from this shard under this lock, so the cell is filled, and while `self` is borrowed nobody
        // empties it.
        unsafe { Nodes::<K, V>::get(&self.shard.cells, id) }
    }

    /// The same for longer: a cell in limbo stays filled while a pin from before it was unlinked lives.
    pub(crate) fn pinned_node<'g>(&self, _pin: &'g Pinned, id: u32) -> &'g Node<K, V>
    where
        's: 'g,
    {
        // SAFETY: the id came from this shard under this lock, and the pin is older than any later unlinking.
        unsafe { Nodes::<K, V>::get(&self.shard.cells, id) }
    }

    fn hash_of(&self, id: u32) -> u32 {
        self.node(id).header.hash
    }

    /// Says that a key will be inserted soon.
    #[inline]
    pub(crate) fn prefetch(&self, hash: u32) {
        self.state.policy.prefetch(hash);
    }

    /// Finds a key.
    #[inline]
    pub(crate) fn find(&self, hash: u32, is_key: impl Fn(&K) -> bool) -> Option<u32> {
        let check = |id| is_key(&self.node(id).key).then_some(id);
        self.table().find(hash, check).or_else(|| self.draining()?.find(hash, check))
    }

    /// Fills a cell with a new entry and shows it to the policy; readers do not see it before [`Locked::publish`].
    pub(crate) fn admit(
        &mut self,
        hash: u32,
        key: K,
        value: V,
        weight: u32,
        deadline: u64,
        idle: u64,
    ) -> u32 {
        let id = self.fill(hash, key, value, deadline, idle);
        let state = &mut *self.state;
        state.policy.insert(&self.shard.cells, &self.shard.activity, id, weight);
        id
    }

    fn fill(&mut self, hash: u32, key: K, value: V, deadline: u64, idle: u64) -> u32 {
        let shard = self.shard;
        let id = self.state.allocator.take(&shard.cells);
        // SAFETY: the cell was just taken, under the lock.
        unsafe { Nodes::write(&shard.cells, id, Node { header: Header::new(hash), key, value }) };
        if deadline != 0 || idle != 0 {
            shard.times.get_or_init(|| Box::new(TimesTable::new())).get_or_create(id).set(deadline, idle);
            shard.timed.store(true, Ordering::Relaxed);
        } else if let Some(times) = shard.times(id) {
            times.set(0, 0);
        }
        id
    }

    /// Makes an admitted entry visible.
    pub(crate) fn publish(&mut self, id: u32) {
        if self.state.policy.len() > self.table().capacity() {
            self.grow();
        }
        self.table().insert(self.hash_of(id), id);
    }

    /// Puts a new value in the place of an entry's old one. Counts as a hit.
    pub(crate) fn update(
        &mut self,
        old: u32,
        key: K,
        value: V,
        weight: u32,
        deadline: u64,
        idle: u64,
    ) -> u32 {
        let hash = self.hash_of(old);
        let id = self.fill(hash, key, value, deadline, idle);
        let state = &mut *self.state;
        state.policy.replace(&self.shard.cells, &self.shard.activity, old, id, weight);
        let replaced = self.table().replace(hash, old, id)
            || self.draining().is_some_and(|draining| draining.replace(hash, old, id));
        assert!(replaced, "an entry that is found is in a table");
        self.state.limbo.push(old);
        id
    }

    /// Unlinks an entry that is past its time: its last use does not count.
    pub(crate) fn expire(&mut self, id: u32) {
        let state = &mut *self.state;
        state.policy.expire(&self.shard.cells, id);
        self.unlink(id);
    }

    /// Unlinks an entry that the policy still holds.
    pub(crate) fn remove(&mut self, id: u32) {
        let state = &mut *self.state;
        state.policy.remove(&self.shard.cells, id);
        self.unlink(id);
    }

    /// Lets the policy choose an entry and unlinks it. None if there is nothing it may take.
    pub(crate) fn evict(&mut self) -> Option<u32> {
        let state = &mut *self.state;
        let id = state.policy.evict(&self.shard.cells)?;
        for next in state.policy.next_victims() {
            self.table().prefetch(self.hash_of(next));
        }
        self.unlink(id);
        Some(id)
    }

    /// Tells the policy that nothing had to go.
    pub(crate) fn settle(&mut self) {
        let state = &mut *self.state;
        state.policy.settle(&self.shard.cells);
    }

    /// Out of the tables (if it was ever there) and into limbo.
    fn unlink(&mut self, id: u32) {
        let hash = self.hash_of(id);
        // A newcomer that was rejected is in neither.
        let _linked =
            self.table().remove(hash, id) || self.draining().is_some_and(|table| table.remove(hash, id));
        self.state.limbo.push(id);
    }

    /// Deadlines of a linked entry, if it has any.
    pub(crate) fn times(&self, id: u32) -> Option<&'s Times> {
        self.shard.timed().then(|| self.shard.times(id)).flatten()
    }

    /// Whether anything in this shard can expire.
    pub(crate) fn timed(&self) -> bool {
        self.shard.timed()
    }

    pub(crate) fn weight_of(&self, id: u32) -> u32 {
        self.state.policy.weight_of(id)
    }

    /// What the policy holds, in weight.
    pub(crate) fn weight(&self) -> u64 {
        self.state.policy.weight()
    }

    /// Every linked entry.
    pub(crate) fn ids(&self) -> Vec<u32> {
        let mut ids = Vec::with_capacity(self.state.policy.len());
        self.table().for_each(|id| ids.push(id));
        if let Some(draining) = self.draining() {
            draining.for_each(|id| ids.push(id));
        }
        ids
    }

    /// Linked entries of the next few buckets, going round; `None` for the whole shard at once.
    pub(crate) fn next_ids(&mut self, buckets: usize) -> Vec<u32> {
        let table = self.table();
        let mut ids = Vec::new();
        for _ in 0..buckets.min(table.buckets()) {
            self.state.sweep = (self.state.sweep + 1) % table.buckets();
            table.for_each_in(self.state.sweep, |id| ids.push(id));
        }
        ids
    }

    #[cold]
    fn grow(&mut self) {
        // A table that still drains while the next one is full: finish it first. Cannot happen while growth at least
        // doubles, but the bound must not rest on that.
        while self.draining().is_some() {
            self.drain_step();
        }
        let larger = Box::new(Table::for_entries(self.table().capacity().saturating_mul(2)));
        let current = self.shard.table.load(Ordering::Relaxed);
        self.state.cursor = 0;
        // The old table first: a reader that sees the new one must know where else to look.
        self.shard.draining.store(current, Ordering::Release);
        self.shard.table.store(Box::into_raw(larger), Ordering::Release);
    }

    /// Moves a few buckets of the draining table.
    fn drain_step(&mut self) {
        let Some(draining) = self.draining() else { return };
        let table = self.table();
        let moves = self.shard.moves.load(Ordering::Relaxed);
        self.shard.moves.store(moves.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        let end = (self.state.cursor + DRAIN_STEP).min(draining.buckets());
        for bucket in self.state.cursor..end {
            draining.for_each_in(bucket, |id| {
                let hash = self.hash_of(id);
                table.insert(hash, id);
                draining.remove(hash, id);
            });
        }
        self.state.cursor = end;
        if end == draining.buckets() {
            let emptied = self.shard.draining.swap(std::ptr::null_mut(), Ordering::Release);
            self.state.retired.push((reclaim::seal(), emptied));
        }
        self.shard.moves.store(moves.wrapping_add(2), Ordering::Release);
    }

    /// Limbo may hold this many before the watermark is pushed: in proportion to the entries, because a bound in weight says
    /// nothing about their number.
    fn slack(&self) -> usize {
        (self.state.policy.len() / 32).clamp(16, 512)
    }

    /// Ends a write: publishes the load, drains a little, and takes out a bounded number of dead entries.
    pub(crate) fn finish(mut self) -> Aftermath<K, V> {
        if !self.shard.draining.load(Ordering::Relaxed).is_null() {
            self.drain_step();
        }
        self.publish_load();
        if let Some(next) = self.state.allocator.peek() {
            self.shard.cells.prefetch(next);
        }
        let slack = self.slack();
        let limbo = &mut self.state.limbo;
        if limbo.unsealed() as usize >= (slack / 4).max(4) {
            limbo.seal(reclaim::seal());
        }
        let mut aftermath = Aftermath { dead: Vec::new(), push: false };
        if limbo.len() >= slack {
            let safe = reclaim::safe();
            if limbo.ready(safe) {
                self.collect(safe, COLLECT, &mut aftermath.dead);
            } else if limbo.len() >= self.state.push_at {
                self.state.push_at = self.state.limbo.len() + slack;
                aftermath.push = true;
            }
        }
        aftermath
    }

    /// Ends maintenance, first half: stamps all that is in limbo.
    pub(crate) fn seal(mut self) {
        self.publish_load();
        self.state.limbo.seal(reclaim::seal());
    }

    /// Ends maintenance, second half: takes out all that no reader can see.
    pub(crate) fn collect_all(mut self) -> Vec<(K, V)> {
        let mut dead = Vec::new();
        self.collect(reclaim::safe(), usize::MAX, &mut dead);
        dead
    }

    fn publish_load(&self) {
        self.shard.load.entries.store(self.state.policy.len(), Ordering::Relaxed);
        self.shard.load.weight.store(self.state.policy.weight(), Ordering::Relaxed);
    }

    fn collect(&mut self, safe: u64, limit: usize, dead: &mut Vec<(K, V)>) {
        let state = &mut *self.state;
        if Node::<K, V>::NEEDS_DROP {
            dead.reserve(limit.min(state.limbo.len()));
        }
        for _ in 0..limit {
            let Some(id) = state.limbo.pop(safe) else { break };
            if Node::<K, V>::NEEDS_DROP {
                // SAFETY: unlinked before its stamp, and the watermark says that no pin from before it is left.
                dead.push(unsafe { Nodes::take(&self.shard.cells, id) });
            }
            state.allocator.give(id);
        }
        state.push_at = state.limbo.len();
        state.retired.retain(|&(stamp, table)| {
            if stamp < safe {
                // SAFETY: made by `Box::into_raw`, replaced before its stamp, and no reader can hold it any more.
                drop(unsafe { Box::from_raw(table) });
            }
            stamp >= safe
        });
    }

    /// Panics unless tables, policy, cells and counters agree.
    pub(crate) fn check_invariants(&self) {
        let hash_of = |id| self.hash_of(id);
        let mut linked = self.table().check_invariants(hash_of);
        if let Some(draining) = self.draining() {
            linked += draining.check_invariants(hash_of);
        }
        self.state.policy.check_invariants(&self.shard.cells);
        assert_eq!(linked, self.state.policy.len(), "every entry is in a table and known to the policy");
        assert_eq!(
            self.state.allocator.in_use(),
            linked + self.state.limbo.len(),
            "a cell is linked, in limbo, or free"
        );
        assert_eq!(self.shard.entries(), linked, "the published load is current");
        assert_eq!(self.shard.weight(), self.state.policy.weight(), "the published weight is current");
        let weight: u64 = self.ids().iter().map(|&id| u64::from(self.weight_of(id))).sum();
        assert_eq!(weight, self.state.policy.weight(), "the weights add up");
    }
}
