//! `scc::HashCache`, with ahash. A set-associative map; its bound is rounded up to a power of two.

use super::Subject;

pub(crate) struct Scc(scc::HashCache<u64, u64, ahash::RandomState>);

impl Subject for Scc {
    fn new(capacity: usize) -> Self {
        Self(scc::HashCache::with_capacity_and_hasher(0, capacity, ahash::RandomState::new()))
    }

    #[inline]
    fn get(&self, key: u64) -> Option<u64> {
        self.0.read_sync(&key, |_, value| *value)
    }

    #[inline]
    fn insert(&self, key: u64, value: u64) {
        // Its insert does not replace.
        if let Err((key, value)) = self.0.put_sync(key, value)
            && let Some(mut held) = self.0.get_sync(&key)
        {
            *held.get_mut() = value;
        }
    }

    fn held(&self) -> Option<usize> {
        Some(self.0.len())
    }
}
