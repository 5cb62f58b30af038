//! Key sequences, made before the clock runs.

use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_distr::{Distribution, Zipf};

/// Spreads small numbers over all 64 bits, so that no subject profits from keys that follow each other.
#[inline]
pub(crate) fn spread(n: u64) -> u64 {
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

/// `count` keys from place `begin` on, round and round, in pieces that loops can run over without a check for the end.
pub(crate) fn pieces(keys: &[u64], begin: usize, count: usize) -> impl Iterator<Item = &[u64]> {
    let mut at = begin % keys.len();
    let mut left = count;
    std::iter::from_fn(move || {
        if left == 0 {
            return None;
        }
        let piece = &keys[at..keys.len().min(at + left)];
        left -= piece.len();
        at = (at + piece.len()) % keys.len();
        Some(piece)
    })
}

/// Bytes of the last cache level of this processor, where the system tells.
pub(crate) fn last_level_cache() -> Option<u64> {
    let text = std::fs::read_to_string("/sys/devices/system/cpu/cpu0/cache/index3/size").ok()?;
    let text = text.trim();
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let unit = match unit {
        "K" => 1 << 10,
        "M" => 1 << 20,
        _ => 1,
    };
    Some(digits.parse::<u64>().ok()? * unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_go_round() {
        let joined = |begin, count| pieces(&[1, 2, 3], begin, count).flatten().copied().collect::<Vec<_>>();
        assert_eq!(joined(1, 5), [2, 3, 1, 2, 3]);
        assert_eq!(joined(5, 2), [3, 1]);
        assert!(joined(0, 0).is_empty());
    }
}
