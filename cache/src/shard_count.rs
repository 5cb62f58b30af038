//! How many shards a cache has where nobody says so.

use std::thread::available_parallelism;

/// Shards are of unequal weight by chance, by about the root of their size: where a loop just fits the cache, a small shard
/// with more than its part of the loop thrashes. At 256 that cost 39 points on one trace, at 1024 nothing (docs/design.md).
const MIN_ENTRIES: u64 = 1024;
/// What an entry is taken to weigh, if its weigher is not a number of bytes either: a guess that errs towards fewer shards, which
/// cost nobody but writers at the same time.
const ASSUMED_WEIGHT: u64 = 4096;

/// `max`: the bound, in weight if `weighted`. `expected`: the number of entries that the user expects.
pub(crate) fn default_shards(max: u64, weighted: bool, expected: Option<u64>) -> usize {
    choose(available_parallelism().map_or(1, usize::from), max, weighted, expected)
}

fn choose(cores: usize, max: u64, weighted: bool, expected: Option<u64>) -> usize {
    let by_cores =
        cores.saturating_mul(4).checked_next_power_of_two().map_or(1 << 10, |count| count.min(1 << 10));
    let entries = match expected {
        // A bound in entries is never passed.
        Some(expected) if weighted => expected,
        Some(expected) => expected.min(max),
        None if weighted => max / ASSUMED_WEIGHT,
        None => max,
    };
    let by_entries = (entries / MIN_ENTRIES).max(1).ilog2();
    by_cores.min(1usize.checked_shl(by_entries).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_shard_has_a_thousand_entries_as_far_as_anybody_knows() {
        let mib = 1 << 20;
        for (max, weighted, expected, shards) in [
            (0, false, None, 1),
            (2047, false, None, 1),
            (2048, false, None, 2),
            (u64::MAX, false, None, 16),
            (u64::MAX, false, Some(5_000), 4),
            (3_000, false, Some(1_000_000), 2),
            // 4 MiB a shard.
            (0, true, None, 1),
            (7 * mib, true, None, 1),
            (8 * mib, true, None, 2),
            (64 * mib, true, None, 16),
            (u64::MAX, true, None, 16),
            // Small weights, many entries; and the other way round.
            (100_000, true, Some(50_000), 16),
            (64 * mib, true, Some(100), 1),
            (64 * mib, true, Some(0), 1),
            (64 * mib, true, Some(u64::MAX), 16),
        ] {
            assert_eq!(choose(4, max, weighted, expected), shards, "{max} {weighted} {expected:?}");
        }
        assert_eq!(choose(3, u64::MAX, false, None), 16);
        assert_eq!(choose(usize::MAX, u64::MAX, false, None), 1024);
    }
}
