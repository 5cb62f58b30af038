//! A shard under its lock: all changes of what it holds.

use super::cells::View;
use super::node::{Node, Nodes};
use super::shard::{Detour, Shard, State};
use super::table::{Place, Table};
use crate::policy::{Entries, Header};
use crate::reclaim::{self, Pinned};
use crate::sync::{MutexGuard, Ordering};

/// Buckets moved by each write while a shard grows.
const MOVE_STEP: usize = 2;
/// Dead entries taken out together: one allocation for so many.
const COLLECT: usize = 16;

/// Bytes of a shard that may wait in limbo whatever the number of its entries, if nothing in them needs a drop.
const IDLE_BYTES: usize = 32 * 1024;

/// A shard whose lock this thread holds. Every change goes through here; none of it runs user code but `is_key`.
#[derive(Debug)]
pub(crate) struct Locked<'s, K, V> {
    pub(super) shard: &'s Shard<K, V>,
    pub(super) state: MutexGuard<'s, State<K, V>>,
}

/// A linked entry, as found under the lock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spot {
    pub(crate) id: u32,
    place: Place,
    /// Whether it is in the next table already.
    moved: bool,
}

/// When an entry ends, in ticks: its deadline, and where it is not used; when it is to be loaded again, and how many
/// microseconds its load took; when it was written, where its deadline does not say so. 0 = never.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ends {
    pub(crate) deadline: u64,
    pub(crate) idle: u64,
    pub(crate) due: u64,
    pub(crate) cost: u32,
    pub(crate) written: u64,
}

/// Entries as the policy sees them while it evicts: with the table, to ask for the bucket of whom it will take.
struct Linked<'l> {
    view: View<'l>,
    table: &'l Table,
}

impl Entries for Linked<'_> {
    #[inline]
    fn header(&self, slot: u32) -> &Header {
        self.view.header_of(slot)
    }

    #[inline]
    fn prefetch(&self, slot: u32) {
        self.view.prefetch(slot);
    }

    #[inline]
    fn prefetch_place(&self, hash: u32) {
        self.table.prefetch(hash);
    }
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

impl<K, V> Shard<K, V> {
    /// Takes the lock.
    #[inline]
    pub(crate) fn lock(&self) -> Locked<'_, K, V> {
        Locked { shard: self, state: self.state.lock() }
    }

    /// Takes the lock if nobody has it.
    pub(super) fn try_lock(&self) -> Option<Locked<'_, K, V>> {
        Some(Locked { shard: self, state: self.state.try_lock()? })
    }
}

#[expect(unsafe_code, reason = "docs/unsafe.md: shard")]
impl<'s, K, V> Locked<'s, K, V> {
    #[inline]
    pub(super) fn table(&self) -> &'s Table {
        // SAFETY: tables are replaced under the lock only, and freed after they were replaced.
        unsafe { &*self.shard.table.load(Ordering::Relaxed) }
    }

    #[inline]
    fn next(&self) -> Option<&'s Table> {
        // SAFETY: as above.
        unsafe { self.shard.next.load(Ordering::Relaxed).as_ref() }
    }

    /// Where new entries go.
    #[inline]
    fn newest(&self) -> &'s Table {
        self.next().unwrap_or_else(|| self.table())
    }

    /// Of the two tables, the one that holds the spot.
    #[inline]
    fn table_of(&self, spot: Spot) -> &'s Table {
        if spot.moved { self.next().expect("it was found there") } else { self.table() }
    }

    #[inline]
    pub(super) fn view(&self) -> View<'s> {
        // SAFETY: we hold the lock; each caller is done with the view before it takes a cell.
        unsafe { self.shard.cells.view() }
    }

    /// The entry of a cell that is linked or in limbo.
    #[inline]
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

    #[inline]
    pub(crate) fn hash_of(&self, id: u32) -> u32 {
        self.view().header_of(id).hash
    }

    /// Says that a new key will be admitted soon.
    #[inline]
    pub(crate) fn prefetch(&self, hash: u32) {
        self.state.policy.prefetch(hash);
    }

    /// Finds a key.
    #[inline(always)]
    pub(crate) fn find(&self, hash: u32, is_key: impl Fn(&K) -> bool) -> Option<Spot> {
        let check = |id| is_key(&self.node(id).key).then_some(id);
        if let Some((place, id)) = self.table().locate(hash, check) {
            return Some(Spot { id, place, moved: false });
        }
        let (place, id) = self.next()?.locate(hash, check)?;
        Some(Spot { id, place, moved: true })
    }

    /// Fills a cell with a new entry and shows it to the policy; readers do not see it before [`Locked::publish`].
    #[inline]
    pub(crate) fn admit(&mut self, hash: u32, key: K, value: V, weight: u32, ends: Ends) -> u32 {
        let id = self.fill(hash, key, value, ends);
        let view = self.view();
        self.state.policy.insert_by_kind(&view, &self.shard.activity, id, weight);
        id
    }

    /// As [`Locked::admit`], where each entry weighs 1 and none ends.
    #[inline]
    pub(crate) fn admit_plain(&mut self, hash: u32, key: K, value: V) -> u32 {
        debug_assert!(!self.shard.timed(), "entries that end go another way");
        let id = self.fill_endless(hash, key, value);
        let view = self.view();
        self.state.policy.insert(&view, &self.shard.activity, id, 1);
        id
    }

    #[inline]
    fn fill_endless(&mut self, hash: u32, key: K, value: V) -> u32 {
        let id = self.take();
        // SAFETY: the cell was just taken, under the lock.
        unsafe { Nodes::write(&self.shard.cells, id, Node { header: Header::new(hash), key, value }) };
        id
    }

    #[inline]
    pub(super) fn fill(&mut self, hash: u32, key: K, value: V, ends: Ends) -> u32 {
        let id = self.fill_endless(hash, key, value);
        if ends.deadline != 0 || ends.idle != 0 || ends.written != 0 || self.shard.timed() {
            self.date(id, ends);
        }
        id
    }

    /// Whether overwrites have to go around for this reason.
    #[inline]
    pub(crate) fn has(&self, detour: Detour) -> bool {
        self.shard.has(detour)
    }

    /// Says whether overwrites have to go around for this reason.
    pub(crate) fn set(&self, detour: Detour, on: bool) {
        self.shard.set(detour, on);
    }

    /// Into limbo, once it is in no table any more.
    #[inline]
    pub(super) fn lay_out(&mut self, id: u32) {
        if self.shard.timed() {
            self.cancel(id);
        }
        if let Some(tags) = &mut self.state.tags {
            tags.detach(id);
        }
        self.state.limbo.push(id);
    }

    /// An empty cell.
    #[inline]
    fn take(&mut self) -> u32 {
        let state = &mut *self.state;
        // Where cells come from in the long run is asked first.
        let at_hand =
            if Node::<K, V>::NEEDS_DROP { state.allocator.reuse() } else { state.limbo.pop_ready() };
        at_hand.unwrap_or_else(|| self.take_slow())
    }

    #[cold]
    fn take_slow(&mut self) -> u32 {
        if Node::<K, V>::NEEDS_DROP {
            self.collect(COLLECT);
        } else if let Some(id) = self.state.limbo.pop(reclaim::safe) {
            return id;
        }
        let state = &mut *self.state;
        state.allocator.reuse().unwrap_or_else(|| state.allocator.fresh(&self.shard.cells))
    }

    /// Makes an admitted entry visible.
    #[inline]
    pub(crate) fn publish(&mut self, hash: u32, id: u32) {
        if self.state.policy.len() > self.newest().capacity() {
            self.grow();
        }
        self.newest().insert(hash, id);
    }

    /// Puts a new value in the place of an entry's old one. Counts as a hit.
    #[inline]
    pub(crate) fn update(&mut self, spot: Spot, hash: u32, key: K, value: V, weight: u32, ends: Ends) -> u32 {
        let id = self.fill(hash, key, value, ends);
        let view = self.view();
        let state = &mut *self.state;
        state.policy.replace_by_kind(&view, &self.shard.activity, spot.id, id, weight);
        self.table_of(spot).replace(spot.place, id);
        self.lay_out(spot.id);
        id
    }

    /// Moves an entry to its place as the one used last, in a shard that keeps the order of use.
    pub(super) fn refresh(&mut self, id: u32) {
        // One that was cleared waits in a queue of its own.
        if self.has_cleared() && self.spot_of(self.hash_of(id), id).is_none() {
            return;
        }
        let view = self.view();
        self.state.policy.refresh(&view, id);
    }

    /// Where an entry stands that is known by its cell, if it is linked.
    pub(crate) fn spot_of(&self, hash: u32, id: u32) -> Option<Spot> {
        let is_it = |candidate| (candidate == id).then_some(());
        if let Some((place, ())) = self.table().locate(hash, is_it) {
            return Some(Spot { id, place, moved: false });
        }
        let (place, ()) = self.next()?.locate(hash, is_it)?;
        Some(Spot { id, place, moved: true })
    }

    /// Unlinks an entry that is past its time: its last use does not count.
    pub(crate) fn expire(&mut self, id: u32) {
        let view = self.view();
        self.state.policy.expire(&view, id);
        self.unlink(id);
    }

    /// Unlinks an entry that the policy still holds.
    pub(crate) fn remove(&mut self, id: u32) {
        let view = self.view();
        self.state.policy.remove(&view, id);
        self.unlink(id);
    }

    /// Lets the policy choose an entry and unlinks it. None if there is nothing it may take. `newcomer` is in no table yet.
    #[inline]
    pub(crate) fn evict<const PLAIN: bool>(&mut self, newcomer: Option<u32>) -> Option<u32> {
        let view = Linked { view: self.view(), table: self.table() };
        let state = &mut *self.state;
        let id = if PLAIN { state.policy.evict(&view) } else { state.policy.evict_by_kind(&view) }?;
        if newcomer == Some(id) {
            self.lay_out(id);
        } else {
            self.unlink(id);
        }
        Some(id)
    }

    /// Tells the policy that nothing had to go.
    #[inline]
    pub(crate) fn settle<const PLAIN: bool>(&mut self) {
        let view = self.view();
        if PLAIN {
            self.state.policy.settle(&view);
        } else {
            self.state.policy.settle_by_kind(&view);
        }
    }

    /// Out of the tables (if it was ever there) and into limbo.
    #[inline]
    fn unlink(&mut self, id: u32) {
        self.hide(id);
        self.lay_out(id);
    }

    /// Out of the tables, if it was ever there.
    #[inline]
    pub(super) fn hide(&mut self, id: u32) {
        let hash = self.hash_of(id);
        if !self.table().remove(hash, id) {
            // A newcomer that was rejected is in neither.
            let _linked = self.next().is_some_and(|table| table.remove(hash, id));
        }
    }

    #[inline]
    pub(crate) fn weight_of(&self, id: u32) -> u32 {
        self.state.policy.weight_of(id)
    }

    /// Gives the shard another part of the capacity. Nothing is evicted yet.
    pub(crate) fn set_share(&mut self, share: u64) {
        self.shard.share.store(share, Ordering::Relaxed);
        self.state.policy.set_capacity(&self.shard.activity, share);
    }

    /// What the policy holds, in weight.
    pub(crate) fn weight(&self) -> u64 {
        self.state.policy.weight()
    }

    /// Every linked entry.
    pub(crate) fn ids(&self) -> Vec<u32> {
        let mut ids = Vec::with_capacity(self.state.policy.len());
        self.table().for_each(|id| ids.push(id));
        if let Some(next) = self.next() {
            next.for_each(|id| ids.push(id));
        }
        ids
    }

    #[cold]
    fn grow(&mut self) {
        // A table that still has entries to move while the next one is full: finish it first. Cannot happen while growth at
        // least doubles, but the bound must not rest on that.
        while self.next().is_some() {
            self.move_step();
        }
        let larger = Box::new(Table::for_entries(self.table().capacity().saturating_mul(2)));
        self.state.cursor = 0;
        self.shard.next.store(Box::into_raw(larger), Ordering::Release);
        self.shard.set(Detour::Growth, true);
    }

    /// Moves a few buckets to the next table.
    #[cold]
    fn move_step(&mut self) {
        let Some(next) = self.next() else { return };
        let table = self.table();
        let end = (self.state.cursor + MOVE_STEP).min(table.buckets());
        for bucket in self.state.cursor..end {
            table.for_each_in(bucket, |id| {
                let hash = self.hash_of(id);
                // In this order: a reader looks here first, then there.
                next.insert(hash, id);
                table.remove(hash, id);
            });
        }
        self.state.cursor = end;
        if end == table.buckets() {
            let emptied = self.shard.table.load(Ordering::Relaxed);
            // First the table: a reader that sees no `next` must see that it has become the table.
            self.shard.table.store(self.shard.next.load(Ordering::Relaxed), Ordering::Release);
            self.shard.next.store(std::ptr::null_mut(), Ordering::Release);
            self.shard.set(Detour::Growth, false);
            self.state.retired.push((reclaim::seal(), emptied));
        }
    }

    /// Moves up to so many portions of buckets to the next table; whether there is nothing left to move. Writes do it by the way;
    /// where they stop in the middle, reads are slower until somebody comes here.
    pub(crate) fn settle_table(&mut self, portions: usize) -> bool {
        (0..portions).for_each(|_| self.move_step());
        self.next().is_none()
    }

    /// Ends a write: publishes the load, moves a little, now and then looks after limbo.
    #[inline]
    pub(crate) fn finish(mut self) -> Aftermath<K, V> {
        if !self.shard.next.load(Ordering::Relaxed).is_null() {
            self.move_step();
        }
        self.publish_load();
        let push = self.state.limbo.unsealed() >= self.state.tend_at && self.tend();
        Aftermath { dead: self.take_dead(), push }
    }

    /// What was taken out of its cells, to be dropped after the unlock.
    #[inline]
    fn take_dead(&mut self) -> Vec<(K, V)> {
        if Node::<K, V>::NEEDS_DROP { std::mem::take(&mut self.state.dead) } else { Vec::new() }
    }

    /// Seals what has come into limbo. Where removals outnumber inserts, takes out a bounded number of dead entries. Says
    /// whether the watermark should be pushed.
    #[cold]
    fn tend(&mut self) -> bool {
        let slack = self.slack();
        let batch = slack / 4;
        self.state.limbo.seal(reclaim::seal());
        self.state.tend_at = batch;
        let held = self.state.limbo.len();
        self.free_tables();
        if held < slack {
            return false;
        }
        if !self.state.limbo.look(reclaim::safe) {
            return true;
        }
        // Cells with nothing to drop are as well kept in limbo: an insert takes them from there.
        if Node::<K, V>::NEEDS_DROP && held >= 2 * slack {
            self.collect(2 * batch);
        }
        false
    }

    /// Limbo may hold this many before somebody looks whether readers are done, which costs a system call: few where keys
    /// or values wait there for their drop, in proportion to the entries, because a bound in weight says nothing about
    /// their number. Where nothing needs a drop, what waits costs its own bytes only.
    fn slack(&self) -> usize {
        let entries = self.state.policy.len();
        if Node::<K, V>::NEEDS_DROP {
            (entries / 32).clamp(16, 512)
        } else {
            (entries / 8).min(4096).max(IDLE_BYTES / size_of::<Node<K, V>>()).max(16)
        }
    }

    /// Ends maintenance, first half: stamps all that is in limbo.
    pub(crate) fn seal(mut self) {
        self.publish_load();
        self.state.limbo.seal(reclaim::seal());
    }

    /// Ends maintenance, second half: takes out all that no reader can see.
    pub(crate) fn collect_all(mut self) -> Vec<(K, V)> {
        self.collect(usize::MAX);
        self.take_dead()
    }

    #[inline]
    fn publish_load(&self) {
        self.shard.load.entries.store(self.state.policy.len(), Ordering::Relaxed);
        self.shard.load.weight.store(self.state.policy.weight(), Ordering::Relaxed);
    }

    /// Moves up to `limit` cells from limbo to the free ones, and what was in them to the dead.
    fn collect(&mut self, limit: usize) {
        let state = &mut *self.state;
        for _ in 0..limit {
            let Some(id) = state.limbo.pop(reclaim::safe) else { break };
            if Node::<K, V>::NEEDS_DROP {
                if state.dead.capacity() == 0 {
                    state.dead.reserve(limit.min(state.limbo.len() + 1));
                }
                // SAFETY: unlinked before its stamp, and the watermark says that no pin from before it is left.
                state.dead.push(unsafe { Nodes::take(&self.shard.cells, id) });
            }
            state.allocator.give(id);
        }
        self.free_tables();
    }

    /// Frees tables that no reader can hold any more.
    fn free_tables(&mut self) {
        if self.state.retired.is_empty() {
            return;
        }
        let safe = reclaim::safe();
        self.state.retired.retain(|&(stamp, table)| {
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
        if let Some(next) = self.next() {
            linked += next.check_invariants(hash_of);
        }
        self.state.policy.check_invariants(&self.view());
        assert_eq!(linked, self.state.policy.len(), "every entry is in a table and known to the policy");
        assert_eq!(
            self.state.allocator.in_use(),
            linked + self.cleared().0 + self.state.limbo.len(),
            "a cell is linked, cleared, in limbo, or free"
        );
        assert_eq!(self.shard.entries(), linked, "the published load is current");
        assert_eq!(self.shard.weight(), self.state.policy.weight(), "the published weight is current");
        let weight: u64 = self.ids().iter().map(|&id| u64::from(self.weight_of(id))).sum();
        assert_eq!(weight, self.state.policy.weight(), "the weights add up");
        assert_eq!(self.has(Detour::Growth), self.next().is_some(), "whether it grows is noted");
        assert_eq!(self.has(Detour::Timed), self.shard.timed(), "whether entries end is noted");
        assert_eq!(self.has(Detour::Tags), self.state.tags.is_some(), "whether entries carry tags is noted");
        self.check_timers();
        self.check_cleared();
        self.check_tags();
    }
}
