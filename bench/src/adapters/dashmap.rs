//! `dashmap::DashMap`, with ahash. Not a cache: it holds all.

use super::Subject;

pub(crate) struct DashMap(dashmap::DashMap<u64, u64, ahash::RandomState>);

impl Subject for DashMap {
    const BOUNDED: bool = false;

    fn new(capacity: usize) -> Self {
        Self(dashmap::DashMap::with_capacity_and_hasher(capacity, ahash::RandomState::new()))
    }

    #[inline]
    fn get(&self, key: u64) -> Option<u64> {
        self.0.get(&key).map(|value| *value)
    }

    #[inline]
    fn insert(&self, key: u64, value: u64) {
        self.0.insert(key, value);
    }

    fn growing(_: usize) -> Self {
        Self(dashmap::DashMap::with_hasher(ahash::RandomState::new()))
    }

    fn held(&self) -> Option<usize> {
        Some(self.0.len())
    }
}
