//! What a cache must offer to be measured.

/// A map from numbers to numbers that several threads share.
pub(crate) trait Subject: Sized + Send + Sync + 'static {
    /// Whether it holds no more than its capacity; those that do not sit out workloads that evict.
    const BOUNDED: bool = true;
    /// Whether it offers several lookups under one guard.
    const PINS: bool = false;
    /// Whether an insert may take effect after it returned, or not at all.
    const EVENTUAL: bool = false;

    /// An empty one for this many entries, sized for them at once where it can be.
    fn new(capacity: usize) -> Self;

    /// An empty one for this many entries that begins as small as it can.
    fn growing(capacity: usize) -> Self {
        Self::new(capacity)
    }

    /// The value of a key, copied.
    fn get(&self, key: u64) -> Option<u64>;

    /// Inserts or replaces.
    fn insert(&self, key: u64, value: u64);

    /// The sum of the values of keys, under one guard if it `PINS`.
    fn sum_pinned(&self, keys: &[u64]) -> u64 {
        keys.iter().fold(0, |sum, &key| sum.wrapping_add(self.get(key).unwrap_or(0)))
    }

    /// Entries held now, as it counts them; `None` if it does not.
    fn held(&self) -> Option<usize> {
        None
    }

    /// Does what it put off.
    fn settle(&self) {}
}

/// Shards for peers that leave the number to their user: four for each core, each with a thousand entries or more.
pub(super) fn shards(capacity: usize) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    (4 * cores).next_power_of_two().min(1 << (capacity / 1024).max(1).ilog2())
}
