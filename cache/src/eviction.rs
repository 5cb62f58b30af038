//! The choice of an eviction policy.

/// Who may come into a full cache; see [`CacheBuilder::admission`](crate::CacheBuilder::admission).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
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
