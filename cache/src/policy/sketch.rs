//! How often a key was in use: a count-min sketch with 4-bit counters that age.
//!
//! Four counters a key, all within one 64-byte block, so that an update or an estimate touches one cache line. Every 10 × C
//! additions all counters are halved: the past fades. From G. Einziger, R. Friedman, B. Manes, "TinyLFU: A Highly Efficient
//! Cache Admission Policy" (ACM ToS 2017) and the block layout of Caffeine.

const HALVE_MASK: u64 = 0x7777_7777_7777_7777;
const ODD_MASK: u64 = 0x1111_1111_1111_1111;
/// Additions per unit of capacity between two halvings.
const SAMPLE: u64 = 10;
const MIN_ENTRIES: u64 = 256;
const BLOCK: usize = 8;

#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Block([u64; BLOCK]);

#[derive(Debug)]
pub(super) struct Sketch {
    blocks: Vec<Block>,
    additions: u64,
    sample: u64,
}

impl Sketch {
    /// A sketch for this many entries.
    pub(super) fn new(entries: u64) -> Self {
        let entries = entries.max(MIN_ENTRIES);
        let words = usize::try_from(entries.next_power_of_two()).expect("a sketch fits the address space");
        Self {
            blocks: vec![Block([0; BLOCK]); words / BLOCK],
            additions: 0,
            sample: entries.saturating_mul(SAMPLE),
        }
    }

    /// Entries the sketch was made for.
    pub(super) fn entries(&self) -> u64 {
        self.sample / SAMPLE
    }

    /// Doubles the sketch. Blocks are chosen by low bits, so copying them keeps every count.
    pub(super) fn double(&mut self) {
        self.blocks.extend_from_within(..);
        self.sample = self.sample.saturating_mul(2);
    }

    #[inline]
    fn block(&self, hash: u64) -> usize {
        hash as usize & (self.blocks.len() - 1)
    }

    /// Word within the block and shift of the key's counter in `row`.
    #[inline]
    fn counter(hash: u64, row: usize) -> (usize, u32) {
        let byte = (hash >> (32 + 8 * row)) as u32;
        (row * 2 + (byte & 1) as usize, ((byte >> 1) & 15) * 4)
    }

    /// The estimate, 0 to 15.
    #[inline]
    pub(super) fn frequency(&self, hash: u64) -> u8 {
        let block = &self.blocks[self.block(hash)].0;
        let mut least = 15;
        for row in 0..4 {
            let (word, shift) = Self::counter(hash, row);
            least = least.min((block[word] >> shift) as u8 & 15);
        }
        least
    }

    /// Counts one use; halves everything when it is time.
    #[inline]
    pub(super) fn increment(&mut self, hash: u64) {
        let index = self.block(hash);
        let block = &mut self.blocks[index].0;
        let mut added = false;
        for row in 0..4 {
            let (word, shift) = Self::counter(hash, row);
            if (block[word] >> shift) & 15 != 15 {
                block[word] += 1 << shift;
                added = true;
            }
        }
        if added {
            self.additions += 1;
            if self.additions >= self.sample {
                self.age();
            }
        }
    }

    #[cold]
    fn age(&mut self) {
        let mut odd = 0u64;
        for block in &mut self.blocks {
            for word in &mut block.0 {
                odd += u64::from((*word & ODD_MASK).count_ones());
                *word = (*word >> 1) & HALVE_MASK;
            }
        }
        self.additions = self.additions.saturating_sub(odd / 4) / 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_up_to_fifteen_and_halves() {
        let mut sketch = Sketch::new(256);
        let hash = 0x1234_5678_9abc_def0;
        for n in 1..=20 {
            sketch.increment(hash);
            assert_eq!(sketch.frequency(hash), n.min(15));
        }
        assert_eq!(sketch.frequency(!hash), 0);
        sketch.age();
        assert_eq!(sketch.frequency(hash), 7);
    }

    #[test]
    fn doubling_keeps_counts() {
        let mut sketch = Sketch::new(256);
        let hashes: Vec<u64> = (1..500u64).map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15)).collect();
        for hash in &hashes {
            sketch.increment(*hash);
        }
        let before: Vec<u8> = hashes.iter().map(|hash| sketch.frequency(*hash)).collect();
        sketch.double();
        let after: Vec<u8> = hashes.iter().map(|hash| sketch.frequency(*hash)).collect();
        assert_eq!(before, after);
    }

    #[test]
    fn ages_after_its_sample() {
        let mut sketch = Sketch::new(256);
        let mut hash = 1u64;
        for _ in 0..2559 {
            hash = hash.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            sketch.increment(hash ^ (hash >> 29));
        }
        let before = sketch.additions;
        for _ in 0..3 {
            sketch.increment(hash);
            hash = hash.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        }
        assert!(sketch.additions < before, "{} additions", sketch.additions);
    }
}
