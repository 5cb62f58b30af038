//! `lru::LruCache` behind a mutex.

use std::num::NonZeroUsize;

use parking_lot::Mutex;

use super::Subject;

pub(crate) struct MutexLru(Mutex<lru::LruCache<u64, u64, ahash::RandomState>>);

impl Subject for MutexLru {
    fn new(capacity: usize) -> Self {
        let capacity = NonZeroUsize::new(capacity).unwrap_or(NonZeroUsize::MIN);
        Self(Mutex::new(lru::LruCache::with_hasher(capacity, ahash::RandomState::new())))
    }

    #[inline]
    fn get(&self, key: u64) -> Option<u64> {
        self.0.lock().get(&key).copied()
    }

    #[inline]
    fn insert(&self, key: u64, value: u64) {
        self.0.lock().put(key, value);
    }

    fn growing(_: usize) -> Self {
        Self(Mutex::new(lru::LruCache::unbounded_with_hasher(ahash::RandomState::new())))
    }

    fn held(&self) -> Option<usize> {
        Some(self.0.lock().len())
    }
}
