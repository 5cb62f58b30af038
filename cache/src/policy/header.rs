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
/// The same, in an entry whose hits have only to look at the time: it ends, and nobody counts.
const ENDING: u8 = 2;
/// The same, in an entry whose hits are of no interest to anybody else: it can't expire, and nobody counts.
const SETTLED: u8 = 3;
/// The same, but that hits are counted.
const COUNTED: u8 = 4;
/// The same, in an entry that ends: its hits are counted, and have to look at the time.
const COUNTED_ENDING: u8 = 5;
/// Not a reference: was given an end after it was shown to readers, so it is never settled again.
const WATCHED: u8 = 8;

/// How a hit marks an entry, so that those after it have less to do.
#[derive(Clone, Copy, Debug)]
pub struct Marks {
    endless: u8,
    ending: u8,
}

impl Marks {
    /// `counted`: hits are counted. `glanced`: hits on entries that end have only to look at the time, besides.
    #[must_use]
    pub fn new(counted: bool, glanced: bool) -> Self {
        Self {
            endless: if counted { COUNTED } else { SETTLED },
            ending: match (glanced, counted) {
                (false, _) => TOUCHED,
                (true, false) => ENDING,
                (true, true) => COUNTED_ENDING,
            },
        }
    }

    /// For entries of which nobody keeps what hits would have to look at.
    #[inline]
    #[must_use]
    pub fn unglanced(self) -> Self {
        Self { ending: TOUCHED, ..self }
    }
}

/// An entry's mark as a hit found it, before it looked for the entry's end.
#[derive(Clone, Copy, Debug)]
pub struct Seen(u8);

impl Seen {
    /// Whether a hit need not touch it, and what hits before have found out of its end still holds.
    #[inline]
    #[must_use]
    pub fn is_touched(self) -> bool {
        (TOUCHED..WATCHED).contains(&self.0)
    }
}

/// An entry's mark.
#[derive(Clone, Copy, Debug)]
pub struct Mark(u8);

impl Mark {
    /// Whether a hit has nothing to record.
    #[inline]
    #[must_use]
    pub fn is_settled(self) -> bool {
        self.0 == SETTLED
    }

    /// Whether a hit has only to be counted.
    #[inline]
    #[must_use]
    pub fn is_counted(self) -> bool {
        self.0 == COUNTED
    }

    /// Whether a hit has only to look at the time; `counted`: and to be counted.
    #[inline]
    #[must_use]
    pub fn is_ending(self, counted: bool) -> bool {
        self.0 == if counted { COUNTED_ENDING } else { ENDING }
    }
}

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

/// Where an entry is in the eyes of the policy, in registers: what is read back from memory just written is read again.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    hash: u32,
    was_referenced: bool,
    region: u8,
    stamp: u16,
    prev: u32,
    next: u32,
}

impl Place {
    #[inline]
    pub(super) fn region(self) -> Region {
        Region::from_byte(self.region)
    }

    /// The older and the younger neighbour.
    #[inline]
    pub(super) fn neighbours(self) -> (u32, u32) {
        (self.prev, self.next)
    }

    /// Tells of the use of an entry that was not used since the hand passed.
    #[inline]
    pub(super) fn touch(self, activity: &Activity) {
        if !self.was_referenced {
            self.activate(activity);
        }
    }

    #[cold]
    fn activate(self, activity: &Activity) {
        activity.record(self.region(), self.stamp);
    }
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

    /// To be asked before a hit looks for the entry's end.
    #[inline]
    #[must_use]
    pub fn seen(&self) -> Seen {
        Seen(self.referenced.load(Acquire))
    }

    /// As [`touch`](Self::touch), and until the policy looks again, hits have less to do: what `marks` say for an entry that
    /// ends or is `endless`, as it was found after `seen`.
    #[inline]
    pub fn settle(&self, Seen(held): Seen, marks: Marks, endless: bool, activity: &Activity) {
        let mark = match endless {
            _ if held & WATCHED != 0 => TOUCHED,
            true => marks.endless,
            false => marks.ending,
        };
        self.touch_as(held, mark, activity);
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

    /// What hits before have found out.
    #[inline]
    #[must_use]
    pub fn mark(&self) -> Mark {
        Mark(self.referenced.load(Relaxed))
    }

    #[cold]
    fn activate(&self, activity: &Activity) {
        self.place().activate(activity);
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

    /// The neighbour towards the tail.
    #[inline]
    pub(crate) fn next(&self) -> u32 {
        self.next.load(Relaxed)
    }

    #[inline]
    pub(crate) fn set_next(&self, slot: u32) {
        self.next.store(slot, Relaxed);
    }

    /// What a successor of this entry has to know.
    #[inline]
    #[must_use]
    pub fn place(&self) -> Place {
        Place {
            hash: self.hash,
            was_referenced: self.referenced(),
            region: self.region.load(Relaxed),
            stamp: self.stamp.load(Relaxed),
            prev: self.prev(),
            next: self.next(),
        }
    }

    /// The header of an entry that takes the place of another and counts as used. The caller tells the policy.
    #[inline]
    #[must_use]
    pub fn successor(place: Place) -> Self {
        Self {
            hash: place.hash,
            // Whether it is settled is for the next hit to say.
            referenced: AtomicU8::new(TOUCHED),
            region: AtomicU8::new(place.region),
            stamp: AtomicU16::new(place.stamp),
            prev: AtomicU32::new(place.prev),
            next: AtomicU32::new(place.next),
        }
    }

    /// Takes the place of another entry.
    #[inline]
    pub(super) fn take_place(&self, place: Place) {
        self.referenced.store(u8::from(place.was_referenced), Relaxed);
        self.region.store(place.region, Relaxed);
        self.stamp.store(place.stamp, Relaxed);
        self.set_prev(place.prev);
        self.set_next(place.next);
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
        for (endless, counted) in [(true, true), (true, false), (false, true), (false, false)] {
            let marks = Marks::new(counted, true);
            let ends = |mark: Mark| mark.is_ending(counted);
            let settled = |mark: Mark| if counted { mark.is_counted() } else { mark.is_settled() };
            let marked = |header: &Header| settled(header.mark()) || ends(header.mark());
            let header = Header::new(7);
            header.settle(header.seen(), marks, endless, &activity);
            assert!(settled(header.mark()) == endless && ends(header.mark()) != endless);
            header.watch();
            assert!(!marked(&header) && header.referenced());
            // A hit that has looked for an end just before there was one.
            let late = Header::new(7);
            let seen = late.seen();
            late.watch();
            late.settle(seen, marks, endless, &activity);
            assert!(!marked(&late) && !late.referenced(), "part of the next hit");
            for header in [header, late] {
                for _ in 0..2 {
                    header.settle(header.seen(), marks, endless, &activity);
                    assert!(!marked(&header) && header.referenced());
                    assert!(header.take_reference() && !header.take_reference());
                }
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
