//! Everything at once: gone from sight when the call returns, gone from memory a little later.
//!
//! Entries that were cleared keep their room in the budget, so the bound holds for them and for what is new together. A write
//! takes some of them out before it looks for room, and more if it needs their room; `run_pending_tasks` takes all.

use super::Core;
use super::held::Held;
use super::later::Later;
use super::write::Credit;
use crate::notifications::Removed;
use crate::removal::RemovalCause;
use crate::store::cleared::Gone;
use crate::store::locked::Locked;
use crate::sync::{AtomicU64, Ordering};

/// Entries that the call itself takes out of each shard: of a small cache, all.
const AT_ONCE: usize = if cfg!(any(millpond_loom, millpond_shuttle)) { 1 } else { 64 };
/// Entries that a write takes out while any wait, at most, unless it needs their room.
const PER_WRITE: usize = if cfg!(any(millpond_loom, millpond_shuttle)) { 1 } else { 16 };
/// Entries taken out under one lock by who has time.
const PER_LOCK: usize = 256;

/// What waits in all shards. Each part changes under the lock of the shard that it belongs to.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    entries: AtomicU64,
    weight: AtomicU64,
}

impl Waiting {
    pub(crate) fn weight(&self) -> u64 {
        self.weight.load(Ordering::Acquire)
    }

    /// Number and weight.
    pub(crate) fn sums(&self) -> (u64, u64) {
        (self.entries.load(Ordering::Acquire), self.weight())
    }

    /// Whether a write should take some out. One load where nothing was cleared.
    #[inline]
    pub(super) fn any(&self) -> bool {
        self.entries.load(Ordering::Relaxed) != 0
    }

    fn add(&self, (entries, weight): (usize, u64)) {
        self.weight.fetch_add(weight, Ordering::AcqRel);
        self.entries.fetch_add(entries as u64, Ordering::AcqRel);
    }

    fn sub(&self, entries: u64, weight: u64) {
        self.entries.fetch_sub(entries, Ordering::AcqRel);
        self.weight.fetch_sub(weight, Ordering::AcqRel);
    }
}

impl<K, V, S> Core<K, V, S> {
    /// Hides every entry, and keeps loads in flight from storing theirs.
    pub(crate) fn clear(&self) {
        for (index, shard) in self.shards.iter().enumerate() {
            let pin = self.pin_if_watched();
            let mut removed = self.removed();
            let mut locked = shard.lock();
            self.flights[index].detach_all(&locked);
            let now = if locked.timed() { self.ticks.now() } else { 0 };
            self.waiting.add(locked.clear(now));
            self.sweep(&mut locked, AT_ONCE, &mut removed);
            let aftermath = locked.finish();
            self.conclude(pin, index, &removed, aftermath);
        }
    }

    /// Takes out some of what waits in this shard; true if nothing is left.
    fn sweep(&self, locked: &mut Locked<'_, K, V>, most: usize, removed: &mut Removed) -> bool {
        let (mut entries, mut weight) = (0, 0);
        for _ in 0..most {
            let Some(gone) = locked.next_cleared() else { break };
            entries += 1;
            weight += u64::from(gone.weight);
            self.note_cleared(locked, removed, gone);
        }
        if entries > 0 {
            self.waiting.sub(entries, weight);
            self.budget.give(weight);
        }
        !locked.has_cleared()
    }

    fn note_cleared(&self, locked: &Locked<'_, K, V>, removed: &mut Removed, gone: Gone) {
        let cause = if gone.expired { RemovalCause::Expired } else { RemovalCause::Cleared };
        self.note(locked, removed, gone.id, cause);
    }

    /// Takes out one entry that was cleared, for its room: before anybody who lives is evicted.
    #[inline]
    pub(super) fn take_cleared(
        &self,
        locked: &mut Locked<'_, K, V>,
        credit: &mut Credit<'_>,
        removed: &mut Removed,
    ) -> bool {
        let Some(gone) = locked.next_cleared() else { return false };
        self.waiting.sub(1, u64::from(gone.weight));
        credit.amount += u64::from(gone.weight);
        self.note_cleared(locked, removed, gone);
        true
    }

    /// Before a write: takes some entries out that wait in its shard, and in others as many as it needs for its room.
    #[inline]
    pub(super) fn sweep_for(&self, own: usize, need: u64, later: &mut Later<'_, K, V, S>) {
        if self.waiting.any() {
            self.sweep_for_slow(own, need, later);
        }
    }

    #[cold]
    fn sweep_for_slow(&self, own: usize, need: u64, later: &mut Later<'_, K, V, S>) {
        self.sweep_shard(own, PER_WRITE, later);
        for step in 0..self.shards.len() {
            let index = (own + step) % self.shards.len();
            while self.budget.room() < need {
                let most = PER_LOCK.min(usize::try_from(need).unwrap_or(PER_LOCK));
                if self.sweep_shard(index, most, later) {
                    break;
                }
            }
        }
    }

    /// Takes all out that waits.
    pub(super) fn sweep_all(&self) {
        if self.waiting.any() {
            for index in 0..self.shards.len() {
                loop {
                    let mut later = Later::new(Held::Borrowed(self));
                    let done = self.sweep_shard(index, PER_LOCK, &mut later);
                    later.conclude();
                    if done {
                        break;
                    }
                }
            }
        }
    }

    fn sweep_shard(&self, index: usize, most: usize, later: &mut Later<'_, K, V, S>) -> bool {
        let pin = self.pin_if_watched();
        let mut removed = self.removed();
        let mut locked = self.shards[index].lock();
        let done = self.sweep(&mut locked, most, &mut removed);
        let aftermath = locked.finish();
        later.add(pin, index, removed, aftermath);
        done
    }
}

/// What was cleared before the cache's end is still reported.
impl<K, V, S> Drop for Core<K, V, S> {
    fn drop(&mut self) {
        if let Some(outbox) = &self.outbox {
            outbox.hurry();
        }
        if self.watched() {
            self.sweep_all();
        }
    }
}
