//! What is handed back where an entry is too heavy to be kept.

use std::error::Error;
use std::fmt;

/// An entry heavier than the whole cache, handed back by [`Cache::try_insert`](crate::Cache::try_insert).
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rejected<K, V> {
    /// The key, as it was given.
    pub key: K,
    /// The value, as it was given.
    pub value: V,
    /// What the entry weighs.
    pub weight: u32,
    /// The bound of the cache at that time, in the same unit.
    pub max: u64,
}

impl<K, V> fmt::Debug for Rejected<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rejected")
            .field("weight", &self.weight)
            .field("max", &self.max)
            .finish_non_exhaustive()
    }
}

impl<K, V> fmt::Display for Rejected<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the entry weighs {}, the whole cache may weigh {}", self.weight, self.max)
    }
}

impl<K, V> Error for Rejected<K, V> {}
