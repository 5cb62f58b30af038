//! `std`'s `HashMap` behind a read-write lock, with ahash. Not a cache: it holds all.

use std::collections::HashMap;

use parking_lot::RwLock;

use super::Subject;

pub(crate) struct RwlockMap(RwLock<HashMap<u64, u64, ahash::RandomState>>);

impl Subject for RwlockMap {
    const BOUNDED: bool = false;

    fn new(capacity: usize) -> Self {
        Self(RwLock::new(HashMap::with_capacity_and_hasher(capacity, ahash::RandomState::new())))
    }

    #[inline]
    fn get(&self, key: u64) -> Option<u64> {
        self.0.read().get(&key).copied()
    }

    #[inline]
    fn insert(&self, key: u64, value: u64) {
        self.0.write().insert(key, value);
    }

    fn growing(_: usize) -> Self {
        Self(RwLock::default())
    }

    fn held(&self) -> Option<usize> {
        Some(self.0.read().len())
    }
}
