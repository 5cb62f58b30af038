//! What is done, on which keys.

use clap::ValueEnum;

use crate::keys;

/// What is done.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Workload {
    /// Reads of 16,384 keys, all present
    HotReads,
    /// The same reads, 64 under one guard, beside a HashMap without a lock
    Pin,
    /// Reads of 16,384 keys, none present
    Miss,
    /// Reads of one key
    OneKey,
    /// Three reads, one overwrite
    Mixed,
    /// Overwrites of keys that are present
    Overwrite,
    /// Read, and insert on a miss: Zipf 0.9 over 16 times the capacity
    Churn,
    /// Inserts of new keys, each evicting
    Unique,
    /// Uniform reads, all present, of more entries than the last cache level holds
    Large,
}

/// Keys that are hot.
const HOT: u64 = 16_384;
/// Keys of the workload `large`, at least and at most.
const LARGE: (u64, u64) = (2_000_000, 16_000_000);
/// Draws of `churn`, in parts of the capacity, that are there before the clock runs.
pub(super) const WARM: usize = 4;
/// Draws made for a workload; longer rounds go over them again.
pub(super) const DRAWS: usize = 1 << 21;

/// Keys whose 16 bytes of key and value alone fill the last cache level.
pub(super) fn beyond_the_caches() -> usize {
    let keys = keys::last_level_cache().unwrap_or(0) / 16;
    keys.clamp(LARGE.0, LARGE.1) as usize
}

/// The keys of a workload.
pub(super) struct Keys {
    /// Inserted before the clock runs.
    pub(super) present: Vec<u64>,
    /// Asked for, in this order, round and round.
    pub(super) sequence: Vec<u64>,
    /// Entries that the caches are made for.
    pub(super) capacity: usize,
}

impl Workload {
    /// Whether it inserts more than the caches hold.
    pub(crate) fn evicts(self) -> bool {
        matches!(self, Self::Churn | Self::Unique)
    }

    pub(super) fn keys(self, capacity: usize, large: usize, draws: usize) -> anyhow::Result<Keys> {
        let (present, sequence) = match self {
            Self::HotReads | Self::Pin | Self::Mixed | Self::Overwrite => {
                let hot = keys::shuffled(HOT);
                (hot.clone(), hot)
            }
            Self::Miss => {
                let mut keys = keys::shuffled(2 * HOT);
                let absent = keys.split_off(HOT as usize);
                (keys, absent)
            }
            Self::OneKey => (vec![keys::spread(1)], vec![keys::spread(1); 4096]),
            Self::Large => (keys::shuffled(large as u64), keys::uniform(large as u64, draws)),
            Self::Churn => {
                let sequence = keys::zipf(16 * capacity as u64, 0.9, draws)?;
                (sequence[..draws.min(WARM * capacity)].to_vec(), sequence)
            }
            // They are numbers never used before, made on the way: the caches begin full of others.
            Self::Unique => (keys::shuffled(capacity as u64), vec![0]),
        };
        let room = if self.evicts() { capacity } else { capacity.max(2 * present.len()) };
        Ok(Keys { present, sequence, capacity: room })
    }
}

impl std::fmt::Display for Workload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let value = self.to_possible_value().expect("no value is skipped");
        f.pad(value.get_name())
    }
}
