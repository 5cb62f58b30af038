//! `TinyUfo::TinyUfo`, which brings its own hasher (ahash).

use super::Subject;

pub(crate) struct TinyUfo(::TinyUfo::TinyUfo<u64, u64>);

impl Subject for TinyUfo {
    fn new(capacity: usize) -> Self {
        Self(::TinyUfo::TinyUfo::new(capacity, capacity))
    }

    #[inline]
    fn get(&self, key: u64) -> Option<u64> {
        self.0.get(&key)
    }

    #[inline]
    fn insert(&self, key: u64, value: u64) {
        self.0.put(key, value, 1);
    }

    fn growing(capacity: usize) -> Self {
        Self(::TinyUfo::TinyUfo::new(capacity, 1))
    }
}
