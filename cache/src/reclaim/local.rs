//! The process-wide domain and this thread's place in it.

#[cfg(not(millpond_loom))]
use std::cell::Cell;

use crossbeam_utils::CachePadded;

#[cfg(not(millpond_loom))]
use super::barrier;
use super::domain::{Domain, Participant, Pinned};

#[cfg(not(any(millpond_loom, millpond_shuttle)))]
static DOMAIN: Domain = Domain::new();

// A model begins each execution with a new one.
#[cfg(any(millpond_loom, millpond_shuttle))]
crate::sync::model::lazy_static! {
    static ref DOMAIN: Domain = Domain::new();
}

#[cfg(not(millpond_loom))]
crate::sync::thread_local! {
    /// No destructor, so reading it is one load from the thread's block; `OWNED` clears it. Stays empty in processes without
    /// asymmetric barriers, so that a pin need not ask.
    static LOCAL: Cell<Option<&'static CachePadded<Participant>>> = const { Cell::new(None) };
    static OWNED: Owned = Owned(DOMAIN.join());
}

/// Gives the participant back when the thread ends.
#[cfg(not(millpond_loom))]
struct Owned(&'static CachePadded<Participant>);

#[cfg(not(millpond_loom))]
impl Drop for Owned {
    fn drop(&mut self) {
        // Cannot fail; only shuttle destroys what has no destructor, too.
        let _ = LOCAL.try_with(|local| local.set(None));
        DOMAIN.leave(self.0);
    }
}

/// Pins this thread. About 1 ns after the first call of a thread.
#[inline]
#[cfg(not(millpond_loom))]
pub(crate) fn pin() -> Pinned {
    match LOCAL.with(Cell::get) {
        Some(participant) => Domain::pin(participant),
        None => pin_slow(),
    }
}

/// loom's threads share the thread-locals of one real thread, so each pin there has a participant of its own.
#[cfg(millpond_loom)]
pub(crate) fn pin() -> Pinned {
    Domain::pin_borrowed(DOMAIN.join())
}

#[cold]
#[cfg(not(millpond_loom))]
fn pin_slow() -> Pinned {
    match OWNED.try_with(|owned| owned.0) {
        Ok(participant) => {
            if barrier::asymmetric() {
                LOCAL.with(|local| local.set(Some(participant)));
            }
            Domain::pin_fenced(participant)
        }
        // A thread-local destructor that outlived ours: borrow a participant for this one pin.
        Err(_) => Domain::pin_borrowed(DOMAIN.join()),
    }
}

/// For models: a participant that a thread is given before it starts, so that joining orders nothing.
#[cfg(all(test, millpond_loom))]
pub(crate) fn join() -> &'static CachePadded<Participant> {
    DOMAIN.join()
}

#[cfg(all(test, millpond_loom))]
pub(crate) fn pin_as(participant: &'static CachePadded<Participant>) -> Pinned {
    Domain::pin(participant)
}

pub(super) fn leave(participant: &'static CachePadded<Participant>) {
    DOMAIN.leave(participant);
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
