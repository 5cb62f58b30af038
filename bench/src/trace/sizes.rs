//! Sizes for generated traces. A key's size is drawn from its hash, so that it is the same in each request.

use std::fmt;
use std::str::FromStr;

use anyhow::Context as _;
use rand::SeedableRng as _;
use rand::rngs::SmallRng;
use rand_distr::{Distribution as _, LogNormal, Pareto};

use super::hash_of;

/// No value is larger: 64 MiB.
const LARGEST: f64 = (64 << 20) as f64;

/// A distribution of sizes, in bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Sizes {
    /// From 1 KiB on, with the tail of web objects: shape 1.2.
    Pareto,
    /// Median 16 KiB, sigma 1.5 of the natural logarithm.
    Lognormal,
    /// Nine in ten are 1 KiB, the others 128 KiB.
    Two,
}

const NAMES: [(&str, Sizes); 3] =
    [("pareto", Sizes::Pareto), ("lognormal", Sizes::Lognormal), ("two", Sizes::Two)];

impl Sizes {
    /// The size of a key's value.
    #[must_use]
    pub fn of(self, key: u64) -> u32 {
        let hash = hash_of(key);
        let mut random = SmallRng::seed_from_u64(hash);
        let size = match self {
            Self::Pareto => Pareto::new(1024.0, 1.2).expect("both above 0").sample(&mut random),
            Self::Lognormal => {
                LogNormal::new(16_384f64.ln(), 1.5).expect("a finite sigma").sample(&mut random)
            }
            Self::Two if hash.is_multiple_of(10) => 131_072.0,
            Self::Two => 1024.0,
        };
        size.clamp(1.0, LARGEST) as u32
    }
}

impl FromStr for Sizes {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let known = NAMES.map(|(name, _)| name).join(", ");
        let found = NAMES.iter().find(|(name, _)| *name == text).map(|&(_, sizes)| sizes);
        found.with_context(|| format!("no sizes are called {text:?}; there are {known}"))
    }
}

impl fmt::Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(NAMES.iter().find(|(_, sizes)| sizes == self).map_or("", |(name, _)| name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_one_size_and_the_tails_are_as_said() {
        for (_, sizes) in NAMES {
            let all: Vec<u32> = (0..10_000).map(|key| sizes.of(key)).collect();
            assert!(all.iter().enumerate().all(|(key, &size)| sizes.of(key as u64) == size));
            assert!(all.iter().all(|&size| f64::from(size) <= LARGEST));
        }
        let above = |sizes: Sizes, bytes| (0..10_000).filter(|&key| sizes.of(key) > bytes).count();
        assert!(above(Sizes::Pareto, 1023) >= 9_999 && (400..900).contains(&above(Sizes::Pareto, 10_240)));
        assert!((4_700..5_300).contains(&above(Sizes::Lognormal, 16_384)));
        assert!((900..1_100).contains(&above(Sizes::Two, 1024)));
    }
}
