//! Why an entry left.

/// Why an entry was removed from the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RemovalCause {
    /// The caller removed it: `remove`, `invalidate`, `invalidate_if`, `retain`, a compute's `Op::Remove`.
    Explicit,
    /// A write put a new value in its place.
    Replaced,
    /// Its time to live or time to idle was over. Wins over the other causes when both hold.
    Expired,
    /// The cache was full and the policy chose it, or it was heavier than the whole cache.
    Size,
    /// The caller emptied the cache: `invalidate_all`.
    Cleared,
}

impl RemovalCause {
    /// Whether the cache removed the entry by itself, rather than on the caller's word.
    ///
    /// ```
    /// use millpond_cache::RemovalCause;
    /// assert!(RemovalCause::Size.was_evicted());
    /// assert!(!RemovalCause::Replaced.was_evicted());
    /// ```
    #[must_use]
    pub fn was_evicted(self) -> bool {
        matches!(self, Self::Expired | Self::Size)
    }
}
