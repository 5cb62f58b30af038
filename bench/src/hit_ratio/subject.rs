//! What can be measured: one name for each cache.

use std::fmt;

use millpond_cache::Admission;
use millpond_cache::policy::Kind;

use super::access::{Setup, Tally, drive};
use super::{millpond, peers, policy, references};
use crate::trace::Loaded;

/// A cache or a policy.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub enum Subject {
    /// Millpond's eviction policy without a cache around it: one shard
    Policy,
    /// The policy with admission by size; the same as `policy` where entries are counted
    PolicySizeAware,
    /// millpond-cache with one shard
    Millpond1,
    /// millpond-cache as it comes
    Millpond,
    /// millpond-cache with admission by size
    MillpondSizeAware,
    /// moka::sync, with its pending tasks run after each request
    Moka,
    /// mini_moka::unsync
    MiniMoka,
    /// quick_cache::sync, as it comes
    QuickCache,
    /// foyer's in-memory cache with S3-FIFO, one shard
    Foyer,
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
    const ALL: [Self; 10] = [
        Self::Belady,
        Self::Policy,
        Self::Millpond1,
        Self::Millpond,
        Self::Moka,
        Self::MiniMoka,
        Self::QuickCache,
        Self::Foyer,
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

    /// Whether it is another crate's cache: not ours, and no optimum.
    #[must_use]
    pub fn is_peer(self) -> bool {
        !matches!(
            self,
            Self::Policy
                | Self::PolicySizeAware
                | Self::Millpond1
                | Self::Millpond
                | Self::MillpondSizeAware
                | Self::Belady
        )
    }

    /// Whether two runs may differ.
    #[must_use]
    pub fn is_random(self) -> bool {
        !matches!(self, Self::Belady | Self::Foyer | Self::Lru)
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
            Self::Policy => {
                drive(policy::Simulation::new(setup, &trace.keys, Kind::TinyLfu), trace, byte, progress)
            }
            Self::PolicySizeAware => {
                let kind = if byte { Kind::SizeAware } else { Kind::TinyLfu };
                drive(policy::Simulation::new(setup, &trace.keys, kind), trace, byte, progress)
            }
            Self::Millpond1 => {
                drive(millpond::build(setup, Some(1), Admission::Frequency)?, trace, byte, progress)
            }
            Self::Millpond => {
                drive(millpond::build(setup, setup.shards, Admission::Frequency)?, trace, byte, progress)
            }
            Self::MillpondSizeAware => {
                drive(millpond::build(setup, setup.shards, Admission::SizeAware)?, trace, byte, progress)
            }
            Self::Moka => drive(peers::Moka::new(setup), trace, byte, progress),
            Self::MiniMoka => drive(peers::MiniMoka::new(setup), trace, byte, progress),
            Self::QuickCache => drive(peers::QuickCache::new(setup), trace, byte, progress),
            Self::Foyer => drive(peers::Foyer::new(setup), trace, byte, progress),
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
