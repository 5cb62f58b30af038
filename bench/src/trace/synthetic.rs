//! Traces from generators: for sanity, and as unseen ground for what was tuned on files.
//!
//! Written `name:keys:requests[:parameter][+sizes][@seed]`, for example `zipf:100000:1000000:0.9+pareto@7`. The same text
//! gives the same trace.

use std::fmt;
use std::str::FromStr;

use anyhow::Context as _;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use rand_distr::{Distribution as _, Zipf};

use super::sizes::Sizes;
use super::{Request, Requests};

/// What a generator makes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pattern {
    /// Independent draws, rank `i` with probability ~ 1 / i^parameter (default 0.99).
    Zipf,
    /// Independent draws, all keys alike.
    Uniform,
    /// 0, 1, 2, … and again.
    Loop,
    /// 0, 1, 2, … never again.
    Scan,
    /// Zipf draws, into which a scan of `keys` new keys breaks each time `parameter` (default 10) times `keys` have passed.
    ScanBursts,
    /// Each key is asked for twice, `parameter` (default 0.2) times `keys` requests apart, and never again.
    Echo,
    /// Zipf whose ranking is another every 20 times `keys` requests.
    Shift,
    /// Zipf over keys that drift: a new key enters, the oldest leaves, every `parameter` (default 10) requests.
    Drift,
    /// A loop over `keys` and a Zipf over as many others, taking turns for 10 times `keys` requests each.
    Phases,
    /// Half Zipf, a quarter echo, a quarter loop.
    Mixture,
}

/// A generator.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Synthetic {
    /// What it makes.
    pub pattern: Pattern,
    /// How many keys there are, or a part of the pattern needs.
    pub keys: u64,
    /// How many requests it makes.
    pub requests: u64,
    /// See the pattern.
    pub parameter: Option<f64>,
    /// How large the keys' values are; all 1 if not given.
    pub sizes: Option<Sizes>,
    /// Which of the traces of this kind.
    pub seed: u64,
}

const NAMES: [(&str, Pattern); 10] = [
    ("zipf", Pattern::Zipf),
    ("uniform", Pattern::Uniform),
    ("loop", Pattern::Loop),
    ("scan", Pattern::Scan),
    ("scan-bursts", Pattern::ScanBursts),
    ("echo", Pattern::Echo),
    ("shift", Pattern::Shift),
    ("drift", Pattern::Drift),
    ("phases", Pattern::Phases),
    ("mixture", Pattern::Mixture),
];

impl FromStr for Synthetic {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        const FORM: &str = "expected name:keys:requests[:parameter][+sizes][@seed]";
        let (text, seed) = match text.split_once('@') {
            Some((text, seed)) => (text, seed.parse().context(FORM)?),
            None => (text, 1),
        };
        let (text, sizes) = match text.split_once('+') {
            Some((text, sizes)) => (text, Some(sizes.parse()?)),
            None => (text, None),
        };
        let parts: Vec<&str> = text.split(':').collect();
        let (&[name, keys, requests], parameter) = parts.split_at_checked(3).context(FORM)? else {
            anyhow::bail!(FORM)
        };
        let pattern = NAMES.iter().find(|(known, _)| *known == name).map(|&(_, pattern)| pattern);
        let names = NAMES.map(|(known, _)| known).join(", ");
        let pattern =
            pattern.with_context(|| format!("no generator is called {name:?}; there are {names}"))?;
        let parameter = match parameter {
            [] => None,
            [one] => Some(one.parse().context(FORM)?),
            _ => anyhow::bail!(FORM),
        };
        let made = Self {
            pattern,
            keys: keys.parse().context(FORM)?,
            requests: requests.parse().context(FORM)?,
            parameter,
            sizes,
            seed,
        };
        anyhow::ensure!(made.keys > 0, "a generator needs at least one key");
        anyhow::ensure!(
            made.parameter.is_none_or(|parameter| parameter.is_finite() && parameter >= 0.0),
            "a parameter is a number from 0 on"
        );
        Ok(made)
    }
}

impl fmt::Display for Synthetic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = NAMES.iter().find(|(_, pattern)| *pattern == self.pattern).map_or("", |(name, _)| name);
        write!(f, "{name}:{}:{}", self.keys, self.requests)?;
        if let Some(parameter) = self.parameter {
            write!(f, ":{parameter}")?;
        }
        if let Some(sizes) = self.sizes {
            write!(f, "+{sizes}")?;
        }
        if self.seed != 1 {
            write!(f, "@{}", self.seed)?;
        }
        Ok(())
    }
}

/// Keys of different parts of a pattern do not meet.
const PART: u64 = 1 << 40;

impl Synthetic {
    /// Makes the requests.
    #[must_use]
    pub fn requests(&self) -> Requests {
        let Self { pattern, keys, requests, parameter, sizes, seed } = *self;
        let mut random = SmallRng::seed_from_u64(seed);
        let exponent = match pattern {
            Pattern::Zipf | Pattern::Shift => parameter.unwrap_or(0.99),
            _ => 0.99,
        };
        let zipf = Zipf::new(keys as f64, exponent).expect("at least one key and an exponent from 0 on");
        let rank = move |random: &mut SmallRng| zipf.sample(random) as u64;
        let echo = move |i: u64| {
            let lag = (parameter.unwrap_or(0.2).max(1e-3) * keys as f64) as u64 | 1;
            // Odd requests repeat the even one that was `lag` before.
            if i.is_multiple_of(2) { i } else { i.saturating_sub(lag) & !1 }
        };
        Box::new((0..requests).map(move |i| {
            let key = match pattern {
                Pattern::Zipf => rank(&mut random),
                Pattern::Uniform => random.random_range(0..keys),
                Pattern::Loop => i % keys,
                Pattern::Scan => i,
                Pattern::ScanBursts => {
                    let period = ((parameter.unwrap_or(10.0) * keys as f64) as u64).max(1) + keys;
                    if i % period >= period - keys { PART + i } else { rank(&mut random) }
                }
                Pattern::Echo => echo(i),
                Pattern::Shift => {
                    let phase = i / (20 * keys);
                    // The ranking of each phase is a rotation; far enough that the hot keys of one are cold in the next.
                    (rank(&mut random) + phase * (keys / 3 + 1)) % keys
                }
                Pattern::Drift => (i as f64 / parameter.unwrap_or(10.0).max(1e-3)) as u64 + rank(&mut random),
                Pattern::Phases if i / (10 * keys) % 2 == 0 => i % keys,
                Pattern::Phases => PART + rank(&mut random),
                Pattern::Mixture => match i % 4 {
                    0 | 1 => rank(&mut random),
                    2 => PART + echo(i / 4),
                    _ => 2 * PART + i / 4 % keys,
                },
            };
            Ok(Request { key, size: sizes.map_or(1, |sizes| sizes.of(key)) })
        }))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn keys(text: &str) -> Vec<u64> {
        text.parse::<Synthetic>().unwrap().requests().map(|request| request.unwrap().key).collect()
    }

    #[test]
    fn text_and_back() {
        for text in ["zipf:10:20", "loop:10:20", "scan-bursts:10:20:2.5@9", "zipf:10:20:0.9+pareto@2"] {
            assert_eq!(text.parse::<Synthetic>().unwrap().to_string(), text);
        }
        for text in [
            "zipf",
            "zipf:1",
            "zipf:x:1",
            "zipf:0:1",
            "zipf:1:1:-1",
            "zipf:1:1:1:1",
            "other:1:1",
            "zipf:1:1+huge",
            "zipf:1:1@x",
        ] {
            assert!(text.parse::<Synthetic>().is_err(), "{text}");
        }
    }

    #[test]
    fn every_pattern_is_repeatable_and_as_long_as_asked() {
        for (name, _) in NAMES {
            let text = format!("{name}:100:5000");
            let made = keys(&text);
            assert_eq!(made.len(), 5000, "{name}");
            assert_eq!(made, keys(&text), "{name}");
        }
    }

    #[test]
    fn zipf_is_skewed_and_uniform_is_not() {
        let top = |made: &[u64]| {
            let mut counts = std::collections::HashMap::new();
            made.iter().for_each(|key| *counts.entry(*key).or_insert(0) += 1);
            counts.into_values().max().unwrap_or(0)
        };
        assert!(top(&keys("zipf:1000:100000")) > 10_000);
        assert!(top(&keys("uniform:1000:100000")) < 200);
    }

    #[test]
    fn a_scan_never_repeats_and_an_echo_repeats_once() {
        let scan = keys("scan:1:1000");
        assert_eq!(scan.iter().collect::<HashSet<_>>().len(), 1000);
        let echo = keys("echo:100:10000");
        let distinct = echo.iter().collect::<HashSet<_>>().len();
        assert!((5000..5030).contains(&distinct), "{distinct}");
    }
}
