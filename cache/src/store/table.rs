//! From a hash to a cell: an open-addressing table with one writer and any number of readers that take no lock.
//!
//! A bucket is one cache line: twelve one-byte tags, twelve cell ids, which slots are taken, and a count of the entries
//! that wanted this bucket and had to go further. A lookup compares all tags of a bucket at once, follows only ids whose
//! tag fits, and stops at the first bucket that nobody overflowed: no tombstones, so churn never needs a rehash. The
//! overflow counts are those of Facebook's F14 (N. Bronson, X. Shi, 2019).
//!
//! The writer holds the shard's lock. It stores an id before its tag and clears the tag before the id, so that a reader
//! that sees a tag sees an id that is or was valid; ids read under a pin stay readable (see `reclaim`).

use crate::prefetch::prefetch;
use crate::sync::{AtomicU32, AtomicU64, Ordering};
#[cfg(not(any(millpond_loom, millpond_shuttle)))]
use crate::zeroed::Zeroed;

const SLOTS: usize = 12;
#[cfg(not(target_arch = "x86_64"))]
const LSB: u64 = 0x0101_0101_0101_0101;
#[cfg(not(target_arch = "x86_64"))]
const MSB: u64 = 0x8080_8080_8080_8080;
/// In the second tag word: above four tags, a bit for each slot that is taken, and the count of overflow.
const TAKEN: u32 = 32;
const ONE_OVERFLOW: u64 = 1 << 44;
/// A count that cannot go on stays for ever: lookups then look further than they need.
const MOST_OVERFLOW: u64 = u64::MAX - (ONE_OVERFLOW - 1);

/// Entries a bucket holds on average when the table is as full as it may be. At 8 of 12 slots one lookup in 20 goes on to
/// another bucket; at 10 it is every third, for 1.6 bytes less an entry. In models a table is soon full, so that growth is
/// few steps.
pub(crate) const FULL: usize = if cfg!(millpond_loom) { 2 } else { 8 };

#[derive(Debug)]
#[repr(C, align(64))]
struct Bucket {
    tags: [AtomicU64; 2],
    ids: [AtomicU32; SLOTS],
}

/// A slot that a search of one bucket found, and what the search made of its cell.
struct Hit<'b, R> {
    slot: u32,
    link: Link<'b>,
    found: R,
}

/// Where the table holds the number of a cell.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link<'t>(&'t AtomicU32);

impl Link<'_> {
    /// Puts another cell, whose key has the same hash, in the place of this one. One store for readers. The caller has held the
    /// shard's lock since the search.
    #[inline]
    pub(super) fn replace(self, new: u32) {
        self.0.store(new, Ordering::Release);
    }
}

/// How a search of one bucket ended without success.
pub(super) enum Missed {
    /// Nobody who wanted this bucket is in another.
    Last,
    Overflowed,
}
use Missed::{Last, Overflowed};

/// Tells the compiler that what comes next is seldom needed.
#[cold]
#[inline(always)]
fn rare() {}

impl Bucket {
    /// The first slot whose cell `check` accepts.
    #[inline]
    fn search<R>(&self, tag: u8, check: impl Fn(u32) -> Option<R>) -> Result<Hit<'_, R>, Missed> {
        let mut matches = self.matches(tag);
        while matches.any() {
            let slot = matches.slot();
            let link = &self.ids[slot];
            let id = link.load(Ordering::Acquire);
            // 0: free, or not yet or no longer taken.
            if id != 0 {
                if let Some(found) = check(id) {
                    return Ok(Hit { slot: slot as u32, link: Link(link), found });
                }
            }
            rare();
            matches = matches.without_first();
        }
        // Loaded after the tags: an entry that stays, and wants this bucket but is in another, is counted all the time.
        let high = self.tags[1].load(Ordering::Acquire);
        Err(if high < ONE_OVERFLOW { Last } else { Overflowed })
    }

    /// Takes a free slot for a cell. False if there is none. The caller holds the shard's lock.
    #[inline]
    fn fill(&self, tag: u8, id: u32) -> bool {
        let high = self.tags[1].load(Ordering::Relaxed);
        let slot = (!(high >> TAKEN) as u32 & ((1 << SLOTS) - 1)).trailing_zeros() as usize;
        let Some(place) = self.ids.get(slot) else { return false };
        place.store(id, Ordering::Release);
        let tag = u64::from(tag) << (8 * (slot % 8));
        let taken = high | 1 << (TAKEN as usize + slot);
        if slot < 8 {
            self.tags[0].store(self.tags[0].load(Ordering::Relaxed) | tag, Ordering::Release);
            self.tags[1].store(taken, Ordering::Release);
        } else {
            self.tags[1].store(taken | tag, Ordering::Release);
        }
        true
    }

    /// Frees a slot. The caller holds the shard's lock.
    #[inline]
    fn free(&self, slot: usize) {
        let mask = !(0xff << (8 * (slot % 8)));
        let mut high = self.tags[1].load(Ordering::Relaxed) & !(1 << (TAKEN as usize + slot));
        if slot < 8 {
            self.tags[0].store(self.tags[0].load(Ordering::Relaxed) & mask, Ordering::Release);
        } else {
            high &= mask;
        }
        self.tags[1].store(high, Ordering::Release);
        self.ids[slot].store(0, Ordering::Release);
    }

    /// Counts an entry that goes on to the next bucket.
    #[inline]
    fn pass(&self) {
        let high = self.tags[1].load(Ordering::Relaxed);
        if high < MOST_OVERFLOW {
            self.tags[1].store(high + ONE_OVERFLOW, Ordering::Release);
        }
    }

    /// Takes back a [`Bucket::pass`].
    #[inline]
    fn unpass(&self) {
        let high = self.tags[1].load(Ordering::Relaxed);
        if high < MOST_OVERFLOW {
            self.tags[1].store(high - ONE_OVERFLOW, Ordering::Release);
        }
    }

    #[inline]
    #[cfg(not(all(target_arch = "x86_64", not(any(miri, millpond_loom, millpond_shuttle)))))]
    fn matches(&self, tag: u8) -> Matches {
        Matches::of(self.tags[0].load(Ordering::Acquire), self.tags[1].load(Ordering::Acquire), tag)
    }

    /// Both words of tags in one load.
    #[inline]
    #[cfg(all(target_arch = "x86_64", not(any(miri, millpond_loom, millpond_shuttle))))]
    #[expect(unsafe_code, reason = "docs/unsafe.md: table")]
    fn matches(&self, tag: u8) -> Matches {
        let tags: std::arch::x86_64::__m128i;
        // SAFETY: does what two acquire loads of the words would: each aligned half of the load is atomic on x86-64, no
        // later load is moved before it by the processor, nor by the compiler, which takes the block to touch any memory.
        unsafe {
            std::arch::asm!(
                "movdqa {tags}, xmmword ptr [{at}]",
                tags = out(xmm_reg) tags,
                at = in(reg) self.tags.as_ptr(),
                options(nostack, preserves_flags),
            );
        }
        Matches::among(tags, tag)
    }
}

#[cfg(not(any(millpond_loom, millpond_shuttle)))]
type Buckets = Zeroed<Bucket>;
/// Atomics of a model are no plain memory.
#[cfg(any(millpond_loom, millpond_shuttle))]
type Buckets = Box<[Bucket]>;

/// A table of a fixed size. Growth is the shard's affair.
#[derive(Debug)]
pub(crate) struct Table {
    buckets: Buckets,
    /// Entries that fit before the table should grow.
    capacity: usize,
}

/// Where a table holds a cell.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    bucket: u32,
    slot: u32,
}

#[inline]
fn tag(hash: u32) -> u8 {
    hash as u8
}

/// A mask with the top bit of each byte that is zero in `word`. Exact at its lowest set bit; above it a byte of one may be
/// taken for zero.
#[inline]
#[cfg(not(target_arch = "x86_64"))]
fn zero_bytes(word: u64) -> u64 {
    word.wrapping_sub(LSB) & !word & MSB
}

/// The slots of a bucket whose tag fits, free ones too if that is 0; a few more may be named, which costs a comparison of
/// keys.
///
/// One mask for all slots, so that a lookup branches once and not for each word of tags.
#[derive(Clone, Copy)]
struct Matches(u64);

#[cfg(target_arch = "x86_64")]
impl Matches {
    #[inline]
    #[cfg(any(miri, millpond_loom, millpond_shuttle))]
    fn of(low: u64, high: u64, tag: u8) -> Self {
        // SAFETY: SSE2 is part of every x86-64 target; the intrinsic takes and returns plain values.
        #[expect(unsafe_code, reason = "docs/unsafe.md: table")]
        #[allow(unused_unsafe, reason = "these intrinsics are safe from Rust 1.87 on")]
        let tags = unsafe { std::arch::x86_64::_mm_set_epi64x(high as i64, low as i64) };
        Self::among(tags, tag)
    }

    #[inline]
    #[expect(unsafe_code, clippy::multiple_unsafe_ops_per_block, reason = "docs/unsafe.md: table")]
    #[allow(unused_unsafe, reason = "these intrinsics are safe from Rust 1.87 on")]
    fn among(tags: std::arch::x86_64::__m128i, tag: u8) -> Self {
        use std::arch::x86_64::{_mm_cmpeq_epi8, _mm_movemask_epi8, _mm_set1_epi8};
        // SAFETY: SSE2 is part of every x86-64 target; the intrinsics take and return plain values.
        let mask = unsafe { _mm_movemask_epi8(_mm_cmpeq_epi8(tags, _mm_set1_epi8(tag as i8))) };
        Self(u64::from(mask as u32) & ((1 << SLOTS) - 1))
    }

    #[inline]
    fn slot(self) -> usize {
        self.0.trailing_zeros() as usize
    }
}

#[cfg(not(target_arch = "x86_64"))]
impl Matches {
    #[inline]
    fn of(low: u64, high: u64, tag: u8) -> Self {
        let needle = u64::from(tag) * LSB;
        // Bit 8i is slot i, bit 8i + 1 is slot 8 + i.
        Self(zero_bytes(low ^ needle) >> 7 | zero_bytes((high ^ needle) | u64::MAX << TAKEN) >> 6)
    }

    #[inline]
    fn slot(self) -> usize {
        let bit = self.0.trailing_zeros() as usize;
        bit / 8 + 8 * (bit % 8)
    }
}

impl Matches {
    #[inline]
    fn any(self) -> bool {
        self.0 != 0
    }

    #[inline]
    fn without_first(self) -> Self {
        Self(self.0 & (self.0 - 1))
    }
}

impl Table {
    /// A table for `entries` entries. The memory is zeroed by the allocator, which for a large one costs nothing until
    /// it is touched.
    pub(crate) fn for_entries(entries: usize) -> Self {
        Self::with_buckets(entries.div_ceil(FULL).max(1))
    }

    #[cfg_attr(
        not(any(millpond_loom, millpond_shuttle)),
        expect(unsafe_code, reason = "docs/unsafe.md: table")
    )]
    fn with_buckets(count: usize) -> Self {
        let count = count.min(u32::MAX as usize);
        let capacity = count * FULL;
        #[cfg(any(millpond_loom, millpond_shuttle))]
        {
            let buckets = (0..count)
                .map(|_| Bucket {
                    tags: std::array::from_fn(|_| AtomicU64::new(0)),
                    ids: std::array::from_fn(|_| AtomicU32::new(0)),
                })
                .collect();
            Self { buckets, capacity }
        }
        #[cfg(not(any(millpond_loom, millpond_shuttle)))]
        {
            // SAFETY: zero bytes are a valid bucket: nothing but atomics.
            let buckets = unsafe { Zeroed::new(count) };
            Self { buckets, capacity }
        }
    }

    /// Entries that fit before the table should grow.
    #[inline]
    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(crate) fn buckets(&self) -> usize {
        self.buckets.len()
    }

    #[inline]
    fn home(&self, hash: u32) -> usize {
        // Multiply and shift (D. Lemire): any number of buckets, by the upper bits; the tag uses the lowest.
        ((u64::from(hash) * self.buckets.len() as u64) >> 32) as usize
    }

    #[inline]
    #[expect(unsafe_code, reason = "docs/unsafe.md: table")]
    fn home_bucket(&self, home: usize) -> &Bucket {
        debug_assert!(home < self.buckets.len());
        // SAFETY: `home` comes from `Table::home`: `hash * len >> 32` is below `len`, because `hash` is below 2^32.
        unsafe { self.buckets.get_unchecked(home) }
    }

    #[inline]
    fn next(&self, bucket: usize) -> usize {
        if bucket + 1 == self.buckets.len() { 0 } else { bucket + 1 }
    }

    /// Says that a key will be looked for soon.
    #[inline]
    pub(crate) fn prefetch(&self, hash: u32) {
        prefetch(self.home_bucket(self.home(hash)));
    }

    /// As [`Table::find`], in the home bucket alone. If there is nothing, tells whether that is the last word.
    #[inline]
    pub(super) fn glance<R>(&self, hash: u32, check: impl Fn(u32) -> Option<R>) -> Result<R, Missed> {
        self.peek(hash, check).map(|(_, found)| found)
    }

    /// As [`Table::glance`], and says where the cell is.
    #[inline]
    pub(super) fn peek<R>(
        &self,
        hash: u32,
        check: impl Fn(u32) -> Option<R>,
    ) -> Result<(Link<'_>, R), Missed> {
        self.home_bucket(self.home(hash)).search(tag(hash), check).map(|hit| (hit.link, hit.found))
    }

    /// Calls `check` with each cell that may hold the key until it returns something.
    #[inline]
    pub(crate) fn find<R>(&self, hash: u32, check: impl Fn(u32) -> Option<R>) -> Option<R> {
        self.locate(hash, check).map(|(_, found)| found)
    }

    /// As [`Table::find`], and says where the cell is.
    #[inline]
    pub(crate) fn locate<R>(&self, hash: u32, check: impl Fn(u32) -> Option<R>) -> Option<(Place, R)> {
        let home = self.home(hash);
        match self.home_bucket(home).search(tag(hash), &check) {
            Ok(hit) => Some((Place { bucket: home as u32, slot: hit.slot }, hit.found)),
            Err(Last) => None,
            Err(Overflowed) => self.locate_further(hash, check),
        }
    }

    /// The search behind the home bucket.
    #[inline(never)]
    fn locate_further<R>(&self, hash: u32, check: impl Fn(u32) -> Option<R>) -> Option<(Place, R)> {
        let mut index = self.home(hash);
        for _ in 1..self.buckets.len() {
            index = self.next(index);
            match self.buckets[index].search(tag(hash), &check) {
                Ok(hit) => return Some((Place { bucket: index as u32, slot: hit.slot }, hit.found)),
                Err(Last) => return None,
                Err(Overflowed) => {}
            }
        }
        None
    }

    /// Where a cell is that is known by its number.
    #[inline]
    fn place_of(&self, hash: u32, id: u32) -> Option<Place> {
        self.locate(hash, |candidate| (candidate == id).then_some(())).map(|(place, ())| place)
    }

    /// Adds a cell. The caller holds the shard's lock and keeps the table below [`Table::capacity`].
    #[inline]
    pub(crate) fn insert(&self, hash: u32, id: u32) {
        if !self.home_bucket(self.home(hash)).fill(tag(hash), id) {
            self.insert_further(hash, id);
        }
    }

    #[inline(never)]
    fn insert_further(&self, hash: u32, id: u32) {
        let mut index = self.home(hash);
        for _ in 1..self.buckets.len() {
            self.buckets[index].pass();
            index = self.next(index);
            if self.buckets[index].fill(tag(hash), id) {
                return;
            }
        }
        unreachable!("the table grows before it is full");
    }

    /// Removes a cell; false if it is not here. The caller holds the shard's lock.
    #[inline]
    pub(crate) fn remove(&self, hash: u32, id: u32) -> bool {
        let Some(place) = self.place_of(hash, id) else { return false };
        self.clear(hash, place);
        true
    }

    /// Removes the cell that was just located. The caller has held the shard's lock since.
    #[inline]
    pub(crate) fn clear(&self, hash: u32, place: Place) {
        let (found, slot) = (place.bucket as usize, place.slot as usize);
        self.buckets[found].free(slot);
        let mut index = self.home(hash);
        while index != found {
            self.buckets[index].unpass();
            index = self.next(index);
        }
    }

    /// Puts `new` in the place of the cell that was just located, which has the same hash. One store for readers. The
    /// caller has held the shard's lock since.
    #[inline]
    pub(crate) fn replace(&self, place: Place, new: u32) {
        self.buckets[place.bucket as usize].ids[place.slot as usize].store(new, Ordering::Release);
    }

    /// Calls `f` with each cell of one bucket, which `f` may remove. The caller holds the shard's lock, or has the table
    /// to itself.
    pub(crate) fn for_each_in(&self, bucket: usize, mut f: impl FnMut(u32)) {
        let bucket = &self.buckets[bucket];
        let mut taken = bucket.tags[1].load(Ordering::Relaxed) >> TAKEN & ((1 << SLOTS) - 1);
        while taken != 0 {
            f(bucket.ids[taken.trailing_zeros() as usize].load(Ordering::Relaxed));
            taken &= taken - 1;
        }
    }

    /// Calls `f` with each cell.
    pub(crate) fn for_each(&self, mut f: impl FnMut(u32)) {
        for bucket in 0..self.buckets.len() {
            self.for_each_in(bucket, &mut f);
        }
    }

    /// Panics unless tags, ids and overflow counts agree; returns the number of entries.
    pub(crate) fn check_invariants(&self, hash_of: impl Fn(u32) -> u32) -> usize {
        let mut entries = 0;
        let mut overflow = vec![0u64; self.buckets.len()];
        for (index, bucket) in self.buckets.iter().enumerate() {
            for slot in 0..SLOTS {
                let id = bucket.ids[slot].load(Ordering::Relaxed);
                let held = (bucket.tags[slot / 8].load(Ordering::Relaxed) >> (8 * (slot % 8))) as u8;
                let taken = bucket.tags[1].load(Ordering::Relaxed) >> (TAKEN as usize + slot) & 1 != 0;
                assert_eq!(taken, id != 0, "slots that are taken are marked");
                if id == 0 {
                    assert_eq!(held, 0, "an empty slot has no tag");
                    continue;
                }
                entries += 1;
                let hash = hash_of(id);
                assert_eq!(held, tag(hash), "the tag is that of the entry");
                let mut passed = self.home(hash);
                while passed != index {
                    overflow[passed] += 1;
                    passed = self.next(passed);
                }
            }
        }
        for (index, bucket) in self.buckets.iter().enumerate() {
            let counted = bucket.tags[1].load(Ordering::Relaxed) / ONE_OVERFLOW;
            let stuck = counted == MOST_OVERFLOW / ONE_OVERFLOW;
            assert!(stuck || counted == overflow[index], "bucket {index} counts those that passed it");
        }
        entries
    }
}
