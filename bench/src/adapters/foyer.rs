//! `foyer`'s in-memory cache (the crate foyer-memory, which foyer re-exports), with ahash and S3-FIFO: of its policies the
//! one whose reads need no exclusive lock.

use foyer_memory::{Cache, CacheBuilder, S3FifoConfig};

use super::{Subject, shards};

pub(crate) struct Foyer(Cache<u64, u64, ahash::RandomState>);

impl Subject for Foyer {
    fn new(capacity: usize) -> Self {
        let builder = CacheBuilder::new(capacity)
            .with_shards(shards(capacity))
            .with_eviction_config(S3FifoConfig::default())
            .with_hash_builder(ahash::RandomState::new());
        Self(builder.build())
    }

    #[inline]
    fn get(&self, key: u64) -> Option<u64> {
        self.0.get(&key).map(|entry| *entry.value())
    }

    #[inline]
    fn insert(&self, key: u64, value: u64) {
        self.0.insert(key, value);
    }

    fn held(&self) -> Option<usize> {
        Some(self.0.usage())
    }
}
