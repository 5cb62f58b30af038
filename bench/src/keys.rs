//! Key sequences, made before the clock runs.

use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_distr::{Distribution, Zipf};

/// Spreads small numbers over all 64 bits, so that no subject profits from keys that follow each other.
fn spread(n: u64) -> u64 {
    n.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// The keys 0..n in random order.
pub(crate) fn shuffled(n: u64) -> Vec<u64> {
    let mut keys: Vec<u64> = (0..n).map(spread).collect();
    keys.shuffle(&mut SmallRng::seed_from_u64(1));
    keys
}

/// `count` uniform draws from n keys.
pub(crate) fn uniform(n: u64, count: usize) -> Vec<u64> {
    let mut random = SmallRng::seed_from_u64(2);
    (0..count).map(|_| spread(random.random_range(0..n))).collect()
}

/// `count` draws from n keys by Zipf's law.
pub(crate) fn zipf(n: u64, exponent: f64, count: usize) -> anyhow::Result<Vec<u64>> {
    let law = Zipf::new(n as f64, exponent)?;
    let mut random = SmallRng::seed_from_u64(3);
    Ok((0..count).map(|_| spread(law.sample(&mut random) as u64)).collect())
}
