//! `quick_cache::sync::Cache`, with ahash.

use quick_cache::UnitWeighter;
use quick_cache::sync::{Cache, DefaultLifecycle};

use super::Subject;

pub(crate) struct QuickCache(Cache<u64, u64, UnitWeighter, ahash::RandomState>);

impl Subject for QuickCache {
    fn new(capacity: usize) -> Self {
        let hasher = ahash::RandomState::new();
        Self(Cache::with(capacity, capacity as u64, UnitWeighter, hasher, DefaultLifecycle::default()))
    }

    #[inline]
    fn get(&self, key: u64) -> Option<u64> {
        self.0.get(&key)
    }

    #[inline]
    fn insert(&self, key: u64, value: u64) {
        self.0.insert(key, value);
    }

    fn growing(capacity: usize) -> Self {
        let hasher = ahash::RandomState::new();
        Self(Cache::with(1, capacity as u64, UnitWeighter, hasher, DefaultLifecycle::default()))
    }

    fn held(&self) -> Option<usize> {
        Some(self.0.len())
    }
}
