//! The choice of an eviction policy.

/// Which entry leaves a full cache; see [`CacheBuilder::eviction_policy`](crate::CacheBuilder::eviction_policy).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum EvictionPolicy {
    /// Adaptive W-TinyLFU: what is used often stays, scans pass through, and hits write nothing.
    #[default]
    TinyLfu,
    /// The least recently used entry of a shard leaves, and every new one comes in.
    ///
    /// For where the order of use is what counts, or to compare. With [`shards(1)`](crate::CacheBuilder::shards) the order is
    /// that of the whole cache.
    ///
    /// Cost: each hit takes the shard's lock for a moment to move its entry; it never waits for it. A hit that finds the lock
    /// taken marks the entry instead, which then moves when it has become the oldest. So the order is exact as far as calls do
    /// not overlap, and no use is lost.
    Lru,
}

/// Who may come into a full cache; see [`CacheBuilder::admission`](crate::CacheBuilder::admission).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Admission {
    /// A new entry is compared with one victim at a time, whatever they weigh.
    #[default]
    Frequency,
    /// A new entry is compared with all victims that its weight would push out, together: a heavy entry must be wanted more
    /// often than all of them.
    ///
    /// The rule "aggregated victims" of G. Einziger, O. Eytan, R. Friedman, B. Manes, "Lightweight Robust Size Aware Cache
    /// Management" (ACM Transactions on Storage, 2022).
    SizeAware,
}
