//! The sixteen bytes of an entry that the policy owns.
//!
//! They live at the front of the entry's own memory: a hit has that cache line already, and so has a hand that looks at
//! the entry before it moves it. Hits may only set the reference bit, which therefore has a byte of its own and needs no
//! read-modify-write; all else is written under the shard's lock.

use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, Ordering::Relaxed};

use super::activity::Activity;
use super::region::Region;

/// A reference bit that is set.
const TOUCHED: u8 = 1;
/// The same, in an entry whose hits are of no interest to anybody else: it can't expire, and nobody counts.
const SETTLED: u8 = 2;
/// The same, but that hits are counted.
const COUNTED: u8 = 3;

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

    /// Records a hit. Lock-free; one load, and a store only for the first hit since the policy last looked.
    #[inline]
    pub fn touch(&self, activity: &Activity) {
        self.touch_as(TOUCHED, activity);
    }

    /// As [`touch`](Self::touch), and notes that until the policy looks again, hits have nothing to record, but in the
    /// statistics if they are `counted`.
    #[inline]
    pub fn settle(&self, counted: bool, activity: &Activity) {
        self.touch_as(if counted { COUNTED } else { SETTLED }, activity);
    }

    #[inline]
    fn touch_as(&self, mark: u8, activity: &Activity) {
        let held = self.referenced.load(Relaxed);
        if held != mark {
            self.referenced.store(mark, Relaxed);
            if held == 0 {
                self.activate(activity);
            }
        }
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

    // Two racing hits may both come here; the tally is then one too high, which the climber does not notice.
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
        self.referenced.load(Relaxed) != 0
    }

    /// Clears the reference bit and says whether it was set. A hit between the two steps merges with the one before it.
    #[inline]
    pub(super) fn take_reference(&self) -> bool {
        let was = self.referenced();
        if was {
            self.referenced.store(0, Relaxed);
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

    #[inline]
    pub(super) fn next(&self) -> u32 {
        self.next.load(Relaxed)
    }

    #[inline]
    pub(super) fn set_next(&self, slot: u32) {
        self.next.store(slot, Relaxed);
    }

    /// Takes over what is known of another entry, but for its neighbours.
    #[inline]
    pub(super) fn copy_place(&self, other: &Self) {
        // Whether it is settled is for the next hit to say.
        self.referenced.store(u8::from(other.referenced()), Relaxed);
        self.region.store(other.region.load(Relaxed), Relaxed);
        self.stamp.store(other.stamp.load(Relaxed), Relaxed);
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
