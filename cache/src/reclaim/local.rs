//! The process-wide domain and this thread's place in it.

use std::cell::Cell;

use crossbeam_utils::CachePadded;

use super::domain::{Domain, Participant, Pinned};

#[cfg(not(millpond_loom))]
static DOMAIN: Domain = Domain::new();

#[cfg(millpond_loom)]
loom::lazy_static! {
    static ref DOMAIN: Domain = Domain::new();
}

thread_local! {
    /// No destructor, so reading it is one load from the thread's block; `OWNED` clears it.
    static LOCAL: Cell<Option<&'static CachePadded<Participant>>> = const { Cell::new(None) };
    static OWNED: Owned = Owned(DOMAIN.join());
}

/// Gives the participant back when the thread ends.
struct Owned(&'static CachePadded<Participant>);

impl Drop for Owned {
    fn drop(&mut self) {
        LOCAL.set(None);
        DOMAIN.leave(self.0);
    }
}

/// Pins this thread. About 1 ns after the first call of a thread.
#[inline]
pub(crate) fn pin() -> Pinned {
    match LOCAL.get() {
        Some(participant) => DOMAIN.pin(participant, false),
        None => pin_slow(),
    }
}

#[cold]
fn pin_slow() -> Pinned {
    match OWNED.try_with(|owned| owned.0) {
        Ok(participant) => {
            LOCAL.set(Some(participant));
            DOMAIN.pin(participant, false)
        }
        // A thread-local destructor that outlived ours: borrow a participant for this one pin.
        Err(_) => DOMAIN.pin(DOMAIN.join(), true),
    }
}

pub(super) fn leave(participant: &'static CachePadded<Participant>) {
    DOMAIN.leave(participant);
}

/// A stripe number for counters, without pinning.
#[inline]
pub(crate) fn stripe() -> u32 {
    match LOCAL.get() {
        Some(participant) => participant.index(),
        None => pin_slow().stripe(),
    }
}

pub(crate) fn seal() -> u64 {
    DOMAIN.seal()
}

#[inline]
pub(crate) fn safe() -> u64 {
    DOMAIN.safe()
}

pub(crate) fn advance() -> u64 {
    DOMAIN.advance()
}
