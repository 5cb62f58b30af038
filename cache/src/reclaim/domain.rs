//! The epoch clock: which retired memory no reader can still see.
//!
//! A writer unlinks entries, then seals them with a stamp ([`Domain::seal`]: one read-modify-write of the clock for a
//! batch). A reader publishes the clock's value when it pins. Memory stamped `s` may be reused once every pinned reader
//! shows an epoch above `s`:
//!
//! - a reader that loaded an epoch above `s` acquired it from the seal of `s` or from a later one in its release
//!   sequence, so the unlinking happens before its loads: it cannot reach the memory;
//! - a reader whose pin the scan did not see runs its loads after the heavy barrier, so it sees the unlinking too.
//!
//! The result is a watermark for the whole process, [`Domain::safe`]: one barrier by any cache serves all of them, and a
//! pin that lives long delays frees but never blocks a thread. Epoch reclamation follows K. Fraser, "Practical
//! lock-freedom" (2004); the scan for the oldest pin takes the place of his three-epoch rotation, so that one scan is
//! enough to free what was sealed just before it.

use std::marker::PhantomData;

use crossbeam_utils::CachePadded;

use super::barrier;
use crate::sync::{AtomicU64, Mutex, Ordering};

/// Epoch of a participant that is not pinned. The clock starts above it.
const UNPINNED: u64 = 0;

/// One thread's announcement. Only its owner writes it; the freeing side reads `epoch`.
#[derive(Debug)]
pub(crate) struct Participant {
    epoch: AtomicU64,
    /// Pins alive on the owning thread. Atomic only so that the type is `Sync`; no other thread reads it. 64 bits, because
    /// forgotten guards add to it for ever, and a count that wrapped to zero would let go of a live pin.
    depth: AtomicU64,
    /// A small number, unique among the live participants; picks a stripe for counters.
    index: u32,
}

impl Participant {
    #[inline]
    #[cfg(not(millpond_loom))]
    pub(crate) fn index(&self) -> u32 {
        self.index
    }
}

#[derive(Debug, Default)]
struct Registry {
    all: Vec<&'static CachePadded<Participant>>,
    free: Vec<&'static CachePadded<Participant>>,
}

#[derive(Debug)]
pub(crate) struct Domain {
    clock: CachePadded<AtomicU64>,
    /// Everything stamped below this may be reused. Only grows.
    safe: CachePadded<AtomicU64>,
    registry: Mutex<Registry>,
}

impl Domain {
    #[cfg(not(any(millpond_loom, millpond_shuttle)))]
    pub(crate) const fn new() -> Self {
        Self {
            clock: CachePadded::new(AtomicU64::new(1)),
            safe: CachePadded::new(AtomicU64::new(0)),
            registry: Mutex::new(Registry { all: Vec::new(), free: Vec::new() }),
        }
    }

    #[cfg(any(millpond_loom, millpond_shuttle))]
    pub(crate) fn new() -> Self {
        Self {
            clock: CachePadded::new(AtomicU64::new(1)),
            safe: CachePadded::new(AtomicU64::new(0)),
            registry: Mutex::new(Registry::default()),
        }
    }

    /// A participant for a thread that has none. It lives for ever and is reused after [`Domain::leave`].
    pub(crate) fn join(&self) -> &'static CachePadded<Participant> {
        barrier::prepare();
        let mut registry = self.registry.lock();
        if let Some(participant) = registry.free.pop() {
            return participant;
        }
        let index = u32::try_from(registry.all.len()).unwrap_or(u32::MAX);
        let participant: &'static _ = Box::leak(Box::new(CachePadded::new(Participant {
            epoch: AtomicU64::new(UNPINNED),
            depth: AtomicU64::new(0),
            index,
        })));
        registry.all.push(participant);
        participant
    }

    /// Gives a participant back when its thread ends. One whose pin was leaked stays pinned: memory leaks, nothing dangles.
    pub(crate) fn leave(&self, participant: &'static CachePadded<Participant>) {
        if participant.depth.load(Ordering::Relaxed) == 0 {
            self.registry.lock().free.push(participant);
        }
    }

    /// Pins: nothing that is reachable from now on is reused before the guard is dropped. Wait-free.
    #[inline]
    pub(crate) fn pin(&self, participant: &'static CachePadded<Participant>, ephemeral: bool) -> Pinned {
        let depth = participant.depth.load(Ordering::Relaxed);
        participant.depth.store(depth + 1, Ordering::Relaxed);
        if depth == 0 {
            // Release: whoever reads this epoch also sees that the previous pin's reads are over.
            participant.epoch.store(self.clock.load(Ordering::Acquire), Ordering::Release);
            barrier::light();
        }
        Pinned { participant, ephemeral, _not_send: PhantomData }
    }

    /// The stamp for everything that the caller has unlinked so far.
    pub(crate) fn seal(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::AcqRel)
    }

    /// What is stamped below this may be reused.
    #[inline]
    pub(crate) fn safe(&self) -> u64 {
        self.safe.load(Ordering::Acquire)
    }

    /// Looks who is pinned and moves the watermark. One heavy barrier and a scan of the threads.
    pub(crate) fn advance(&self) -> u64 {
        let mut oldest = self.clock.load(Ordering::Acquire);
        if !barrier::heavy() {
            return self.safe();
        }
        for participant in &self.registry.lock().all {
            let epoch = participant.epoch.load(Ordering::Acquire);
            if epoch != UNPINNED {
                oldest = oldest.min(epoch);
            }
        }
        self.safe.fetch_max(oldest, Ordering::AcqRel).max(oldest)
    }
}

/// Proof that this thread is pinned.
#[derive(Debug)]
pub(crate) struct Pinned {
    participant: &'static CachePadded<Participant>,
    /// Taken while the thread's own participant is already gone (in a thread-local destructor): given back on drop.
    ephemeral: bool,
    _not_send: PhantomData<*const ()>,
}

impl Pinned {
    /// A small number that differs between threads that run at the same time.
    #[inline]
    pub(crate) fn stripe(&self) -> u32 {
        self.participant.index
    }
}

impl Drop for Pinned {
    #[inline]
    fn drop(&mut self) {
        let depth = self.participant.depth.load(Ordering::Relaxed) - 1;
        self.participant.depth.store(depth, Ordering::Relaxed);
        if depth == 0 {
            self.participant.epoch.store(UNPINNED, Ordering::Release);
            if self.ephemeral {
                super::local::leave(self.participant);
            }
        }
    }
}
