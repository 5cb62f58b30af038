//! How often a key was in use lately: a count-min sketch of 4-bit counters, aged by halving.
//!
//! Count-min: G. Cormode and S. Muthukrishnan, "An improved data stream summary: the count-min sketch and its
//! applications", J. Algorithms 2005. Ageing and the use for admission: G. Einziger, R. Friedman, B. Manes, "TinyLFU: A
//! highly efficient cache admission policy", ACM ToS 2017. The four counters of a key share one cache line.
//!
//! **No pause.** Halving or doubling a sketch of millions of counters takes milliseconds, so both happen lazily: a block
//! is brought up to date when it is next used, and each use updates one more block besides. The estimates are the same,
//! at every moment, as if it had happened at once; ageing block by block *without* that costs loops and scans up to 12
//! points of hit ratio. The count of additions after a halving needs the number of odd counters; it is known when the
//! last block is done, long before the count matters again.

use crate::prefetch::prefetch;
use crate::zeroed::Zeroed;

/// The table has at least this many words, so that a tiny cache still has counters to tell its keys apart.
const MIN_WORDS: u64 = 256;
/// A halving is due after this many additions for each entry of the capacity.
const SAMPLE_FACTOR: u64 = 10;
const WORDS_PER_BLOCK: usize = 8;
/// Counters of 4 bits stop here.
const MAX_COUNT: u64 = 15;
/// The lowest bit of each counter, and all but the highest.
const ODD: u64 = 0x1111_1111_1111_1111;
const HALF: u64 = 0x7777_7777_7777_7777;

/// One cache line.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Block([u64; WORDS_PER_BLOCK]);

/// Estimates of use, by 64-bit hash. Counts nothing before [`start`](Self::start).
#[derive(Debug)]
pub(super) struct Sketch {
    /// None before the start.
    table: Option<Table>,
    /// Additions since the last halving, in which each halving leaves half of those before it.
    additions: u64,
    /// Additions at which the next halving is due.
    sample: u64,
    pending: Option<Box<Pending>>,
    /// Times that counters went down. 0 before the start.
    halvings: u32,
}

/// A change of the whole table that is under way.
#[derive(Debug)]
struct Pending {
    change: Change,
    /// Blocks below are done.
    next: usize,
    /// Blocks done out of turn, a bit each.
    done: Vec<u64>,
}

#[derive(Debug)]
enum Change {
    /// All counters are halved. Counts the odd ones met, and remembers the additions when it began.
    Halve { odd: u64, began: u64 },
    /// Each block of a smaller table becomes two equal ones.
    Double { from: Table },
}

impl Sketch {
    pub(super) fn new() -> Self {
        Self { table: None, additions: 0, sample: u64::MAX, pending: None, halvings: 0 }
    }

    #[inline]
    pub(super) fn started(&self) -> bool {
        self.table.is_some()
    }

    /// Changes whenever counters went down; see [`Sketch::frequency`].
    #[inline]
    pub(super) fn halvings(&self) -> u32 {
        self.halvings
    }

    /// Begins to count, for about `entries` entries.
    pub(super) fn start(&mut self, entries: u64) {
        self.halvings = self.halvings.wrapping_add(1);
        self.table = Some(zeroed(blocks_for(entries)));
        self.additions = 0;
        self.pending = None;
        self.set_sample(entries);
    }

    /// Fits sample and size to a new number of entries. A table that is too large stays; one that is too small grows,
    /// twofold at a time, unless it is still busy with its last change: then ask again later.
    pub(super) fn resize(&mut self, entries: u64) {
        let Some(table) = &mut self.table else { return };
        if self.pending.is_none() && table.len() < blocks_for(entries) {
            let larger = zeroed(table.len() * 2);
            let from = std::mem::replace(table, larger);
            self.begin(Change::Double { from });
        }
        self.set_sample(entries);
    }

    /// Whether it is too small for so many entries.
    pub(super) fn is_small_for(&self, entries: u64) -> bool {
        self.table.as_ref().is_some_and(|table| table.len() < blocks_for(entries))
    }

    /// Back to the time before the start.
    pub(super) fn forget(&mut self) {
        *self = Self { halvings: self.halvings.wrapping_add(1), ..Self::new() };
    }

    fn set_sample(&mut self, entries: u64) {
        self.sample = entries.max(MIN_WORDS).saturating_mul(SAMPLE_FACTOR);
    }

    /// Says that a key will be counted or estimated soon.
    #[inline]
    pub(super) fn prefetch(&self, hash: u64) {
        if let Some(block) = self.table.as_ref().and_then(|table| table.get(index(table, hash))) {
            prefetch(block);
        }
    }

    /// Counts one use.
    #[inline]
    pub(super) fn increment(&mut self, hash: u64) {
        let Some(Block(block)) = self.block(hash) else { return };
        let mut added = 0;
        for row in 0..4 {
            let (word, shift) = position(hash, row);
            let one = u64::from(block[word] >> shift & MAX_COUNT != MAX_COUNT);
            block[word] += one << shift;
            added |= one;
        }
        self.additions += added;
        if self.additions >= self.sample {
            self.age();
        }
    }

    /// Sees to it that the estimate is so much, at least. Not a use: no halving comes nearer.
    #[cfg(feature = "snapshot")]
    pub(super) fn raise(&mut self, hash: u64, frequency: u64) {
        let Some(Block(block)) = self.block(hash) else { return };
        let least = frequency.min(MAX_COUNT);
        for row in 0..4 {
            let (word, shift) = position(hash, row);
            let held = block[word] >> shift & MAX_COUNT;
            block[word] += least.saturating_sub(held) << shift;
        }
    }

    /// Estimates the uses, at most 15. Never too low, but for halvings.
    #[inline]
    pub(super) fn frequency(&mut self, hash: u64) -> u32 {
        let Some(Block(block)) = self.block(hash) else { return 0 };
        let mut least = MAX_COUNT;
        for row in 0..4 {
            let (word, shift) = position(hash, row);
            least = least.min(block[word] >> shift & MAX_COUNT);
        }
        least as u32
    }

    /// A key's block, up to date.
    #[inline]
    fn block(&mut self, hash: u64) -> Option<&mut Block> {
        if self.pending.is_some() {
            self.advance(hash);
        }
        let table = self.table.as_mut()?;
        let index = index(table, hash);
        table.get_mut(index)
    }

    #[cold]
    fn age(&mut self) {
        // A halving is over long before the next is due; only a doubling can still be under way. Then the halving waits.
        if self.pending.is_none() {
            let began = self.additions;
            self.halvings = self.halvings.wrapping_add(1);
            self.begin(Change::Halve { odd: 0, began });
            // What the odd counters lose besides is taken off when they are known.
            self.additions = began / 2;
        }
    }

    fn begin(&mut self, change: Change) {
        let blocks = self.table.as_ref().map_or(0, |table| table.len());
        self.pending = Some(Box::new(Pending { change, next: 0, done: vec![0; blocks.div_ceil(64)] }));
    }

    /// Brings a key's block up to date, and the next one in turn.
    #[cold]
    fn advance(&mut self, hash: u64) {
        let (Some(pending), Some(table)) = (&mut self.pending, &mut self.table) else { return };
        pending.update(table, index(table, hash));
        while pending.next < table.len() && pending.is_done(pending.next) {
            pending.next += 1;
        }
        if pending.next < table.len() {
            pending.update(table, pending.next);
            pending.next += 1;
            return;
        }
        if let Change::Halve { odd, began } = pending.change {
            let since = self.additions - began / 2;
            self.additions = began.saturating_sub(odd / 4) / 2 + since;
        }
        self.pending = None;
    }
}

impl Pending {
    fn is_done(&self, index: usize) -> bool {
        self.done[index / 64] >> (index % 64) & 1 != 0
    }

    fn update(&mut self, table: &mut Table, index: usize) {
        if self.is_done(index) {
            return;
        }
        self.done[index / 64] |= 1 << (index % 64);
        match &mut self.change {
            Change::Halve { odd, .. } => {
                for word in &mut table[index].0 {
                    *odd += u64::from((*word & ODD).count_ones());
                    *word = (*word >> 1) & HALF;
                }
            }
            Change::Double { from } => {
                table[index] = from[index & (from.len() - 1)];
            }
        }
    }
}

/// Word within its block, and shift within the word, of a key's counter in a row.
#[inline]
fn position(hash: u64, row: usize) -> (usize, u32) {
    let bits = (hash >> (32 + 8 * row)) as u32;
    (2 * row + (bits & 1) as usize, bits << 1 & 60)
}

fn blocks_for(entries: u64) -> usize {
    // Beyond 2^32 entries there are no slots.
    let words = entries.clamp(MIN_WORDS, 1 << 32).next_power_of_two();
    words as usize / WORDS_PER_BLOCK
}

/// A power of two of blocks, each on a cache line of its own.
type Table = Zeroed<Block>;

#[expect(unsafe_code, reason = "docs/unsafe.md: zeroed")]
fn zeroed(blocks: usize) -> Table {
    // SAFETY: zero bytes are valid words.
    unsafe { Zeroed::new(blocks) }
}

#[inline]
fn index(table: &Table, hash: u64) -> usize {
    hash as usize & table.len().wrapping_sub(1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::policy::random::Random;

    /// The same sketch, changed at once.
    struct Plain {
        words: Vec<u64>,
        additions: u64,
        sample: u64,
    }

    impl Plain {
        fn new(entries: u64) -> Self {
            let words = vec![0; blocks_for(entries) * WORDS_PER_BLOCK];
            Self { words, additions: 0, sample: entries.max(256) * 10 }
        }

        fn places(&self, hash: u64) -> [(usize, u32); 4] {
            let block = (hash as usize & (self.words.len() / 8 - 1)) * 8;
            std::array::from_fn(|row| {
                let byte = (hash >> 32).to_le_bytes()[row];
                (block + 2 * row + usize::from(byte & 1), u32::from(byte >> 1 & 15) * 4)
            })
        }

        fn increment(&mut self, hash: u64) {
            let mut added = false;
            for (word, shift) in self.places(hash) {
                if self.words[word] >> shift & 15 < 15 {
                    self.words[word] += 1 << shift;
                    added = true;
                }
            }
            self.additions += u64::from(added);
            if self.additions >= self.sample {
                let mut odd = 0;
                for word in &mut self.words {
                    odd += u64::from((*word & ODD).count_ones());
                    *word = *word >> 1 & HALF;
                }
                self.additions = (self.additions - odd / 4) / 2;
            }
        }

        fn frequency(&self, hash: u64) -> u32 {
            self.places(hash)
                .map(|(word, shift)| (self.words[word] >> shift & 15) as u32)
                .into_iter()
                .min()
                .unwrap()
        }

        fn double(&mut self) {
            let copy = self.words.clone();
            self.words.extend(copy);
            self.sample *= 2;
        }
    }

    #[test]
    fn before_the_start_it_counts_nothing() {
        let mut sketch = Sketch::new();
        sketch.increment(1);
        assert_eq!(sketch.frequency(1), 0);
        sketch.resize(1 << 40);
        assert!(!sketch.started());
    }

    #[test]
    fn counters_stop_at_15() {
        let mut sketch = Sketch::new();
        sketch.start(1);
        for _ in 0..100 {
            sketch.increment(99);
        }
        assert_eq!(sketch.frequency(99), 15);
        assert_eq!(sketch.additions, 15);
    }

    #[test]
    fn lazy_halving_equals_halving_at_once_over_many_ages() {
        for entries in [1, 256, 1000, 5000] {
            let mut random = Random::new(entries);
            let (mut lazy, mut plain) = (Sketch::new(), Plain::new(entries));
            lazy.start(entries);
            for step in 0..entries.max(256) * 60 {
                // Skewed, so that some counters are full and some are empty.
                let hash = random.next();
                let key = (random.next() % (entries * 3)) & hash;
                let key = key.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
                lazy.increment(key);
                plain.increment(key);
                let other = random.next();
                assert_eq!(lazy.frequency(other), plain.frequency(other), "step {step}");
                assert_eq!(lazy.frequency(key), plain.frequency(key), "step {step}");
                if lazy.pending.is_none() {
                    assert_eq!(lazy.additions, plain.additions, "step {step}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn doubling_keeps_the_counts(hashes in prop::collection::vec(any::<u64>(), 1..300), before in 0..300usize) {
            let (mut lazy, mut plain) = (Sketch::new(), Plain::new(256));
            lazy.start(256);
            for (i, &hash) in hashes.iter().enumerate() {
                if i == before {
                    lazy.resize(512);
                    plain.double();
                }
                lazy.increment(hash);
                plain.increment(hash);
                prop_assert_eq!(lazy.frequency(hash), plain.frequency(hash));
            }
            for hash in hashes {
                prop_assert_eq!(lazy.frequency(hash), plain.frequency(hash));
            }
        }
    }

    #[test]
    fn growing_far_takes_several_doublings() {
        let mut sketch = Sketch::new();
        sketch.start(256);
        let mut random = Random::new(3);
        for _ in 0..10_000 {
            sketch.resize(4096);
            sketch.increment(random.next());
        }
        assert_eq!(sketch.table.map(|table| table.len()), Some(4096 / WORDS_PER_BLOCK));
        assert!(sketch.pending.is_none());
    }
}
