//! What the policy knows of an entry inside the entry's own memory: eight bytes beside the key, so that a hit touches no
//! other line.

use std::sync::atomic::{AtomicU8, AtomicU16, Ordering};

use super::activity::{Activity, Class};

/// Where an entry stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Region {
    Unlinked,
    Window,
    Probation,
    Protected,
    /// Weight 0: never evicted.
    Pinned,
}

impl Region {
    fn of(value: u8) -> Self {
        match value {
            1 => Self::Window,
            2 => Self::Probation,
            3 => Self::Protected,
            4 => Self::Pinned,
            _ => Self::Unlinked,
        }
    }
}

/// The policy's part of an entry.
///
/// `referenced` is a byte of its own, because hits store to it without a read-modify-write; the other fields change under
/// the policy's lock and are read racily by hits.
#[derive(Debug)]
#[repr(C)]
pub struct Header {
    /// 32 bits of the key's hash.
    pub hash: u32,
    referenced: AtomicU8,
    region: AtomicU8,
    stamp: AtomicU16,
}

impl Header {
    /// The header of an entry that the policy does not know yet.
    #[must_use]
    pub fn new(hash: u32) -> Self {
        Self { hash, referenced: AtomicU8::new(0), region: AtomicU8::new(0), stamp: AtomicU16::new(0) }
    }

    /// Records a hit. Writes nothing if the entry was hit before since the eviction hand last passed it.
    #[inline]
    pub fn touch(&self, activity: &Activity) {
        if self.referenced.load(Ordering::Relaxed) == 0 {
            self.activate(activity);
        }
    }

    #[cold]
    fn activate(&self, activity: &Activity) {
        self.referenced.store(1, Ordering::Relaxed);
        let class = match self.region() {
            Region::Probation => Class::Probation,
            Region::Protected => Class::Protected,
            Region::Window if activity.is_old(self.stamp.load(Ordering::Relaxed)) => Class::OldWindow,
            _ => return,
        };
        activity.record(class, self.hash);
    }

    pub(super) fn region(&self) -> Region {
        Region::of(self.region.load(Ordering::Relaxed))
    }

    pub(super) fn set_region(&self, region: Region) {
        self.region.store(region as u8, Ordering::Relaxed);
    }

    pub(super) fn set_stamp(&self, stamp: u16) {
        self.stamp.store(stamp, Ordering::Relaxed);
    }

    pub(super) fn referenced(&self) -> bool {
        self.referenced.load(Ordering::Relaxed) != 0
    }

    /// Clears the reference; true if it was set. A hit that races with it may be lost, which costs one vote.
    pub(super) fn take_reference(&self) -> bool {
        let referenced = self.referenced();
        if referenced {
            self.referenced.store(0, Ordering::Relaxed);
        }
        referenced
    }

    /// Takes over the place of another header.
    pub(super) fn inherit(&self, old: &Self) {
        self.referenced.store(old.referenced.load(Ordering::Relaxed), Ordering::Relaxed);
        self.region.store(old.region.load(Ordering::Relaxed), Ordering::Relaxed);
        self.stamp.store(old.stamp.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}
