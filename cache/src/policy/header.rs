//! The sixteen bytes of an entry that the policy owns.
//!
//! They live at the front of the entry's own memory: a hit has that cache line already, and so has a hand that looks at
//! the entry before it moves it. Hits may only set the reference bit, which therefore has a byte of its own and needs no
//! read-modify-write where it is set already; all else is written under the shard's lock.
//!
//! **An end that comes later.** A hit marks an entry as settled if it has no end, and further hits then check nothing. An entry that
//! is given an end afterwards must not be marked by a hit that has looked before. So the end is stored first, then the entry
//! is *watched*, which takes the mark away and stays; and a hit looks at the byte first, then at the end, and sets the mark
//! only if the byte is still the same.

use std::sync::atomic::{
    AtomicU8, AtomicU16, AtomicU32,
    Ordering::{AcqRel, Acquire, Relaxed},
};

use super::activity::Activity;
use super::region::Region;

/// A reference bit that is set.
const TOUCHED: u8 = 1;
/// The same, in an entry whose hits are of no interest to anybody else: it can't expire, and nobody counts.
const SETTLED: u8 = 2;
/// The same, but that hits are counted.
const COUNTED: u8 = 3;
/// Not a reference: was given an end after it was shown to readers, so it is never settled again.
const WATCHED: u8 = 4;

/// What the policy keeps in an entry. All zero is a valid header.
#[derive(Debug)]
#[repr(C)]
pub struct Header {
    /// Half of the key's hash: all that the policy knows of the key.
    pub hash: u32,
    referenced: AtomicU8,
    region: AtomicU8,
    /// Miss clock, in the policy's units, when the entry last joined the tail of the window.
    stamp: AtomicU16,
    /// Neighbours in the entry's queue: the next older and the next younger one. `prev` of a head means nothing.
    prev: AtomicU32,
    next: AtomicU32,
}

impl Header {
    /// The header of an entry that the policy does not know yet.
    #[must_use]
    pub fn new(hash: u32) -> Self {
        Self {
            hash,
            referenced: AtomicU8::new(0),
            region: AtomicU8::new(Region::Unlinked as u8),
            stamp: AtomicU16::new(0),
            prev: AtomicU32::new(0),
            next: AtomicU32::new(0),
        }
    }

    /// Records a hit. Lock-free; one load, and a compare-and-swap only for the first hit since the policy last looked.
    #[inline]
    pub fn touch(&self, activity: &Activity) {
        self.touch_as(self.referenced.load(Relaxed), TOUCHED, activity);
    }

    /// As [`touch`](Self::touch), and if `endless` says that the entry can't expire, notes that until the policy looks again,
    /// hits have nothing to record, but in the statistics if they are `counted`.
    #[inline]
    pub fn settle(&self, counted: bool, activity: &Activity, endless: impl FnOnce() -> bool) {
        let held = self.referenced.load(Acquire);
        let settles = held & WATCHED == 0 && endless();
        let settled = if counted { COUNTED } else { SETTLED };
        self.touch_as(held, if settles { settled } else { TOUCHED }, activity);
    }

    #[inline]
    fn touch_as(&self, held: u8, mark: u8, activity: &Activity) {
        // What is settled counts as touched; only `watch` takes that back.
        if held & !WATCHED >= mark {
            return;
        }
        // A hit that loses against another, or against the hand, is part of it.
        let marked = self.referenced.compare_exchange(held, held & WATCHED | mark, AcqRel, Relaxed).is_ok();
        if marked && held & !WATCHED == 0 {
            self.activate(activity);
        }
    }

    /// Has all further hits look at the entry's end, which was stored before. Under the shard's lock.
    pub fn watch(&self) {
        let watched = |held| Some(WATCHED | if held & !WATCHED == 0 { 0 } else { TOUCHED });
        let _before = self.referenced.fetch_update(AcqRel, Relaxed, watched);
    }

    /// Whether a hit has nothing to record.
    #[inline]
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.referenced.load(Relaxed) == SETTLED
    }

    /// Whether a hit has only to be counted.
    #[inline]
    #[must_use]
    pub fn is_counted(&self) -> bool {
        self.referenced.load(Relaxed) == COUNTED
    }

    #[cold]
    fn activate(&self, activity: &Activity) {
        activity.record(self.region(), self.stamp.load(Relaxed));
    }

    #[inline]
    pub(super) fn region(&self) -> Region {
        Region::from_byte(self.region.load(Relaxed))
    }

    #[inline]
    pub(super) fn set_region(&self, region: Region) {
        self.region.store(region as u8, Relaxed);
    }

    #[inline]
    pub(super) fn set_stamp(&self, stamp: u16) {
        self.stamp.store(stamp, Relaxed);
    }

    #[inline]
    pub(super) fn referenced(&self) -> bool {
        self.referenced.load(Relaxed) & !WATCHED != 0
    }

    /// Clears the reference bit and says whether it was set. A hit between the two steps merges with the one before it.
    #[inline]
    pub(super) fn take_reference(&self) -> bool {
        let held = self.referenced.load(Relaxed);
        let was = held & !WATCHED != 0;
        if was {
            // Who watches holds the lock, as we do.
            self.referenced.store(held & WATCHED, Relaxed);
        }
        was
    }

    #[inline]
    pub(super) fn prev(&self) -> u32 {
        self.prev.load(Relaxed)
    }

    #[inline]
    pub(super) fn set_prev(&self, slot: u32) {
        self.prev.store(slot, Relaxed);
    }

    /// The neighbour towards the tail. Free for other use while the entry is in no queue.
    #[inline]
    pub(crate) fn next(&self) -> u32 {
        self.next.load(Relaxed)
    }

    #[inline]
    pub(crate) fn set_next(&self, slot: u32) {
        self.next.store(slot, Relaxed);
    }

    /// The header of an entry that takes the place of another, in all its neighbours' eyes. The caller tells the policy.
    #[inline]
    #[must_use]
    pub fn successor(other: &Self) -> Self {
        Self {
            hash: other.hash,
            // Whether it is settled is for the next hit to say.
            referenced: AtomicU8::new(u8::from(other.referenced())),
            region: AtomicU8::new(other.region.load(Relaxed)),
            stamp: AtomicU16::new(other.stamp.load(Relaxed)),
            prev: AtomicU32::new(other.prev()),
            next: AtomicU32::new(other.next()),
        }
    }

    /// Takes over what is known of another entry.
    #[inline]
    pub(super) fn copy_place(&self, other: &Self) {
        self.referenced.store(u8::from(other.referenced()), Relaxed);
        self.region.store(other.region.load(Relaxed), Relaxed);
        self.stamp.store(other.stamp.load(Relaxed), Relaxed);
        self.set_prev(other.prev());
        self.set_next(other.next());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_sixteen_bytes() {
        assert_eq!(size_of::<Header>(), 16);
    }

    #[test]
    fn what_is_watched_never_settles() {
        let activity = Activity::new();
        let header = Header::new(7);
        header.settle(false, &activity, || true);
        assert!(header.is_settled());
        header.watch();
        assert!(!header.is_settled() && header.referenced());
        // A hit that has looked for an end just before there was one.
        let late = Header::new(7);
        late.settle(false, &activity, || {
            late.watch();
            true
        });
        for header in [header, late] {
            for _ in 0..2 {
                header.settle(false, &activity, || true);
                assert!(!header.is_settled() && header.referenced());
                assert!(header.take_reference() && !header.take_reference());
            }
        }
    }

    #[test]
    fn only_the_first_hit_counts_until_the_bit_is_taken() {
        let activity = Activity::new();
        let header = Header::new(7);
        header.set_region(Region::Probation);
        for _ in 0..5 {
            header.touch(&activity);
        }
        assert_eq!(activity.take().probation, 1);
        assert!(header.take_reference());
        assert!(!header.take_reference());
        header.touch(&activity);
        assert_eq!(activity.take().probation, 1);
    }
}
