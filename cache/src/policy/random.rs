//! The policy's own randomness: how it spreads a 32-bit hash, and its coin.
//!
//! The engine keeps 32 bits of a keyed 64-bit hash. Sketch and ghosts need more bits, and bits that are independent of
//! those that choose shard, bucket and tag; the secrets are drawn per shard, so collisions in one do not carry over.

/// Turns a 32-bit hash into 64 bits by a multiplication to 128 bits with its halves folded together.
#[derive(Debug)]
pub(super) struct Spread {
    mask: u64,
    factor: u64,
}

impl Spread {
    pub(super) fn new(random: &mut Random) -> Self {
        Self { mask: random.next(), factor: random.next() | 1 }
    }

    #[inline]
    pub(super) fn of(&self, hash: u32) -> u64 {
        let product = u128::from(u64::from(hash) ^ self.mask).wrapping_mul(u128::from(self.factor));
        (product as u64) ^ ((product >> 64) as u64)
    }
}

/// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", OOPSLA 2014).
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    #[inline]
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_with_equal_low_bits_spread_over_all_bits() {
        let spread = Spread::new(&mut Random::new(42));
        let mut ones = [0u32; 64];
        for i in 0..4096u32 {
            let x = spread.of(i << 20);
            for (bit, count) in ones.iter_mut().enumerate() {
                *count += (x >> bit & 1) as u32;
            }
        }
        assert!(ones.iter().all(|&count| (1600..=2500).contains(&count)), "{ones:?}");
    }

    #[test]
    fn buckets_of_consecutive_hashes_are_even() {
        let spread = Spread::new(&mut Random::new(1));
        let mut buckets = [0u32; 256];
        for i in 0..65_536u32 {
            buckets[(spread.of(i) & 255) as usize] += 1;
        }
        assert!(buckets.iter().all(|&count| (150..=370).contains(&count)), "{buckets:?}");
    }

    #[test]
    fn seeds_differ_and_repeat() {
        assert_eq!(Random::new(5).next(), Random::new(5).next());
        assert_ne!(Random::new(5).next(), Random::new(6).next());
    }
}
