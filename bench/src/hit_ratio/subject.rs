//! What is measured: one name for each cache, and the loop that drives it.

use std::fmt;

use super::{millpond, peers, policy, references};
use crate::trace::Loaded;

/// A cache or a policy.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub enum Subject {
    /// Millpond's eviction policy without a cache around it: one shard
    Policy,
    /// millpond-cache with one shard
    Millpond1,
    /// millpond-cache as it comes
    Millpond,
    /// moka::sync, with its pending tasks run after each request
    Moka,
    /// mini_moka::unsync
    MiniMoka,
    /// quick_cache::sync, as it comes
    QuickCache,
    /// TinyUFO
    Tinyufo,
    /// scc::HashCache; holds up to twice the capacity
    Scc,
    /// The lru crate
    Lru,
    /// Belady's optimum, which knows the future and need not admit
    Belady,
}

impl Subject {
    const ALL: [Self; 9] = [
        Self::Belady,
        Self::Policy,
        Self::Millpond1,
        Self::Millpond,
        Self::Moka,
        Self::MiniMoka,
        Self::QuickCache,
        Self::Tinyufo,
        Self::Lru,
    ];

    /// Those that can be bounded in entries, or in bytes; without scc, which does not keep to the bound.
    #[must_use]
    pub fn all(byte: bool) -> Vec<Self> {
        Self::ALL.into_iter().filter(|subject| !byte || subject.counts_bytes()).collect()
    }

    fn counts_bytes(self) -> bool {
        !matches!(self, Self::Belady | Self::Tinyufo | Self::Scc)
    }

    /// Whether two runs may differ.
    #[must_use]
    pub fn is_random(self) -> bool {
        !matches!(self, Self::Belady | Self::Lru)
    }

    /// Runs a trace; `None` if the subject can't count bytes.
    ///
    /// # Errors
    /// If the cache can't be built.
    pub fn run(
        self,
        trace: &Loaded,
        setup: Setup,
        progress: &mut dyn FnMut(u64),
    ) -> anyhow::Result<Option<Tally>> {
        let Setup { byte, capacity, .. } = setup;
        if byte && !self.counts_bytes() {
            return Ok(None);
        }
        let tally = match self {
            Self::Policy => drive(policy::Simulation::new(setup, &trace.keys), trace, byte, progress),
            Self::Millpond1 => drive(millpond::build(setup, Some(1))?, trace, byte, progress),
            Self::Millpond => drive(millpond::build(setup, setup.shards)?, trace, byte, progress),
            Self::Moka => drive(peers::Moka::new(setup), trace, byte, progress),
            Self::MiniMoka => drive(peers::MiniMoka::new(setup), trace, byte, progress),
            Self::QuickCache => drive(peers::QuickCache::new(setup), trace, byte, progress),
            Self::Tinyufo => drive(peers::Tinyufo::new(setup), trace, byte, progress),
            Self::Scc => drive(peers::Scc::new(setup), trace, byte, progress),
            Self::Lru if byte => drive(references::WeightedLru::new(setup), trace, byte, progress),
            Self::Lru => drive(peers::Lru::new(setup), trace, byte, progress),
            Self::Belady => references::belady(trace, capacity),
        };
        Ok(Some(tally))
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = clap::ValueEnum::to_possible_value(self).expect("no value is skipped");
        f.write_str(value.get_name())
    }
}

/// What a subject is made for.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// Entries, or bytes.
    pub capacity: u64,
    /// Which of the two.
    pub byte: bool,
    /// For hashers and policies.
    pub seed: u64,
    /// Shards of Millpond; the default if not given.
    pub shards: Option<usize>,
    /// Keys in the trace.
    pub distinct: usize,
}

impl Setup {
    /// A hasher whose choices repeat.
    #[must_use]
    pub fn hasher(&self) -> ahash::RandomState {
        ahash::RandomState::with_seeds(self.seed, 0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344, !self.seed)
    }
}

/// One cache under test.
pub trait Access {
    /// A request: true if it hits; if not, the entry is inserted. `size` is 1 unless the cache is bounded in bytes.
    fn access(&mut self, id: u32, size: u32) -> bool;
}

/// Hits among requests.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Requests.
    pub requests: u64,
    /// Requests that hit.
    pub hits: u64,
    /// Bytes requested.
    pub bytes: u64,
    /// Bytes of requests that hit.
    pub hit_bytes: u64,
}

impl Tally {
    /// Notes a request.
    pub fn count(&mut self, hit: bool, size: u32) {
        self.requests += 1;
        self.hits += u64::from(hit);
        self.bytes += u64::from(size);
        self.hit_bytes += u64::from(hit) * u64::from(size);
    }

    /// In percent.
    #[must_use]
    pub fn hit_ratio(&self) -> f64 {
        100.0 * self.hits as f64 / self.requests.max(1) as f64
    }

    /// In percent.
    #[must_use]
    pub fn byte_hit_ratio(&self) -> f64 {
        100.0 * self.hit_bytes as f64 / self.bytes.max(1) as f64
    }
}

/// Requests between two signs of life.
const TICK: usize = 1 << 14;

fn drive(mut cache: impl Access, trace: &Loaded, byte: bool, progress: &mut dyn FnMut(u64)) -> Tally {
    let mut tally = Tally::default();
    for (chunk, ids) in trace.ids.chunks(TICK).enumerate() {
        for (i, &id) in ids.iter().enumerate() {
            let size = trace.size(chunk * TICK + i);
            let hit = cache.access(id, if byte { size } else { 1 });
            tally.count(hit, size);
        }
        progress(ids.len() as u64);
    }
    tally
}
