//! What a call leaves to be done until it holds nothing any more that somebody may wait for: no lock, no room, no flight.
//!
//! Reports and drops run user code, and who is told of a removal may ask for the very key that is being written; and where a queue
//! of events is full, a call waits for its receiver, who may wait for the key. Room for a write is taken from other shards
//! before its own is locked, so what that has removed waits here.

use super::Core;
use super::held::Held;
use crate::notifications::{Note, Removed};
use crate::reclaim::Pinned;
use crate::store::locked::Aftermath;

/// What happened under one lock.
struct Part<K, V> {
    pin: Option<Pinned>,
    shard: usize,
    removed: Vec<Note>,
    aftermath: Aftermath<K, V>,
}

/// What there is to do.
struct Work<K, V> {
    parts: Vec<Part<K, V>>,
    /// A value that was too heavy.
    refused: Option<(K, V)>,
    /// A key and a value that came too late.
    late: (Option<K>, Option<V>),
}

/// Reports and drops that a call has brought about. Nearly free for a call that leaves nothing here.
#[must_use = "reports are lost without `conclude`"]
pub(crate) struct Later<'c, K, V, S> {
    core: Held<'c, K, V, S>,
    work: Option<Box<Work<K, V>>>,
}

impl<'c, K, V, S> Later<'c, K, V, S> {
    #[inline]
    pub(super) fn new(core: Held<'c, K, V, S>) -> Self {
        Self { core, work: None }
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.work.is_none()
    }

    #[cold]
    fn work(&mut self) -> &mut Work<K, V> {
        self.work
            .get_or_insert_with(|| Box::new(Work { parts: Vec::new(), refused: None, late: (None, None) }))
    }

    /// After an unlock. `pin`: from before the lock, if there is something to report.
    pub(super) fn add(
        &mut self,
        pin: Option<Pinned>,
        shard: usize,
        removed: Removed<'_>,
        aftermath: Aftermath<K, V>,
    ) {
        self.work().parts.push(Part { pin, shard, removed: removed.detach(), aftermath });
    }

    /// A value that is heavier than the whole cache, to be reported.
    pub(super) fn refuse(&mut self, key: K, value: V) {
        self.work().refused = Some((key, value));
    }

    /// What is of no use any more, to be dropped.
    pub(super) fn throw_away(&mut self, key: Option<K>, value: Option<V>) {
        self.work().late = (key, value);
    }

    /// Runs listeners and drops of the user's; waits for the receiver of events, where that was asked for.
    pub(crate) fn conclude(mut self) {
        let core = &*self.core;
        let Some(work) = &mut self.work else { return };
        let mut waits = false;
        // All reports before the first drop, which may panic.
        for part in &mut work.parts {
            let notes = std::mem::take(&mut part.removed);
            waits |= !notes.is_empty();
            let removed = core.removed_before(notes);
            if let Some(pin) = &part.pin {
                core.report(pin, part.shard, &removed);
            }
        }
        if let Some((key, value)) = &work.refused {
            core.report_refused(key, value);
            waits = true;
        }
        // Our own pins would hold back what was unlinked under them.
        work.parts.iter_mut().for_each(|part| part.pin = None);
        for Part { aftermath, .. } in std::mem::take(&mut work.parts) {
            Core::<K, V, S>::bury(None, aftermath);
        }
        if waits {
            core.wait_for_receiver();
        }
    }

    /// The same with what happened last.
    #[cold]
    #[inline(never)]
    pub(super) fn conclude_with(
        mut self,
        pin: Option<Pinned>,
        shard: usize,
        removed: Removed<'_>,
        aftermath: Aftermath<K, V>,
    ) {
        self.add(pin, shard, removed, aftermath);
        self.conclude();
    }

    #[cold]
    #[inline(never)]
    fn cancel(&mut self) {
        for part in self.work.iter_mut().flat_map(|work| &mut work.parts) {
            drop(self.core.removed_before(std::mem::take(&mut part.removed)));
        }
    }
}

impl<K, V, S> Drop for Later<'_, K, V, S> {
    #[inline]
    fn drop(&mut self) {
        // Somebody panicked before us: at least nobody shall wait for the reports.
        if self.work.is_some() {
            self.cancel();
        }
    }
}
