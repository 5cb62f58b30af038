//! The `lru` crate, sharded by hash: each shard behind a mutex, the plainest concurrent cache that scales.

use std::num::NonZeroUsize;

use parking_lot::Mutex;

use super::{Subject, shards};

pub(crate) struct ShardedLru {
    hasher: ahash::RandomState,
    shards: Box<[Mutex<lru::LruCache<u64, u64, ahash::RandomState>>]>,
}

impl ShardedLru {
    #[inline]
    fn shard(&self, key: u64) -> &Mutex<lru::LruCache<u64, u64, ahash::RandomState>> {
        // The high bits: the map inside takes the low ones.
        &self.shards[(self.hasher.hash_one(key) >> 40) as usize & (self.shards.len() - 1)]
    }
}

impl Subject for ShardedLru {
    fn new(capacity: usize) -> Self {
        let count = shards(capacity);
        let share = NonZeroUsize::new(capacity.div_ceil(count)).unwrap_or(NonZeroUsize::MIN);
        let shard = |_| Mutex::new(lru::LruCache::with_hasher(share, ahash::RandomState::new()));
        Self { hasher: ahash::RandomState::new(), shards: (0..count).map(shard).collect() }
    }

    fn growing(capacity: usize) -> Self {
        let count = shards(capacity);
        let shard = |_| Mutex::new(lru::LruCache::unbounded_with_hasher(ahash::RandomState::new()));
        Self { hasher: ahash::RandomState::new(), shards: (0..count).map(shard).collect() }
    }

    #[inline]
    fn get(&self, key: u64) -> Option<u64> {
        self.shard(key).lock().get(&key).copied()
    }

    #[inline]
    fn insert(&self, key: u64, value: u64) {
        self.shard(key).lock().put(key, value);
    }

    fn held(&self) -> Option<usize> {
        Some(self.shards.iter().map(|shard| shard.lock().len()).sum())
    }
}
