//! Other people's caches, each with the settings its documentation recommends for a bound in entries (or bytes) and a
//! hasher of ours where it takes one, so that runs repeat.

use std::fmt;
use std::num::NonZeroUsize;

use super::access::{Access, Setup};

type Hasher = ahash::RandomState;

fn entries(setup: &Setup) -> usize {
    usize::try_from(setup.capacity).unwrap_or(usize::MAX)
}

/// moka applies reads and writes in batches; running its pending tasks after each request gives it the most it can reach.
#[derive(Debug)]
pub struct Moka(moka::sync::Cache<u32, u32, Hasher>);

impl Moka {
    /// An empty cache.
    #[must_use]
    pub fn new(setup: Setup) -> Self {
        let mut builder = moka::sync::Cache::builder().max_capacity(setup.capacity);
        if setup.byte {
            builder = builder.weigher(|_, size| *size);
        }
        Self(builder.build_with_hasher(setup.hasher()))
    }
}

impl Access for Moka {
    fn access(&mut self, id: u32, size: u32) -> bool {
        let hit = self.0.get(&id).is_some();
        if !hit {
            self.0.insert(id, size);
        }
        self.0.run_pending_tasks();
        hit
    }
}

/// The unsynchronized twin, which has no batches.
pub struct MiniMoka(mini_moka::unsync::Cache<u32, u32, Hasher>);

impl fmt::Debug for MiniMoka {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MiniMoka")
    }
}

impl MiniMoka {
    /// An empty cache.
    #[must_use]
    pub fn new(setup: Setup) -> Self {
        let mut builder = mini_moka::unsync::Cache::builder().max_capacity(setup.capacity);
        if setup.byte {
            builder = builder.weigher(|_, size| *size);
        }
        Self(builder.build_with_hasher(setup.hasher()))
    }
}

impl Access for MiniMoka {
    fn access(&mut self, id: u32, size: u32) -> bool {
        let hit = self.0.get(&id).is_some();
        if !hit {
            self.0.insert(id, size);
        }
        hit
    }
}

/// quick_cache needs an estimate of the entries; in bytes we give it capacity over the mean size it will see.
pub struct QuickCache(quick_cache::sync::Cache<u32, u32, BySize, Hasher>);

impl fmt::Debug for QuickCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("QuickCache")
    }
}

/// Weighs an entry by its value. Sizes are 1 where entries are counted.
#[derive(Clone, Copy, Debug)]
pub struct BySize;

impl quick_cache::Weighter<u32, u32> for BySize {
    fn weight(&self, _: &u32, size: &u32) -> u64 {
        u64::from(*size)
    }
}

impl QuickCache {
    /// An empty cache.
    #[must_use]
    pub fn new(setup: Setup) -> Self {
        let room = usize::try_from(setup.capacity / setup.mean_size).unwrap_or(usize::MAX);
        let estimate = room.clamp(1, setup.distinct.max(1));
        let lifecycle = quick_cache::sync::DefaultLifecycle::default();
        Self(quick_cache::sync::Cache::with(estimate, setup.capacity, BySize, setup.hasher(), lifecycle))
    }
}

impl Access for QuickCache {
    fn access(&mut self, id: u32, size: u32) -> bool {
        let hit = self.0.get(&id).is_some();
        if !hit {
            self.0.insert(id, size);
        }
        hit
    }
}

/// foyer with the policy that the throughput is measured with; one shard, so that its bound is the whole.
pub struct Foyer(foyer_memory::Cache<u32, u32, Hasher>);

impl fmt::Debug for Foyer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Foyer")
    }
}

impl Foyer {
    /// An empty cache.
    #[must_use]
    pub fn new(setup: Setup) -> Self {
        let mut builder = foyer_memory::CacheBuilder::new(entries(&setup))
            .with_shards(1)
            .with_eviction_config(foyer_memory::S3FifoConfig::default());
        if setup.byte {
            builder = builder.with_weighter(|_, size| *size as usize);
        }
        Self(builder.with_hash_builder(setup.hasher()).build())
    }
}

impl Access for Foyer {
    fn access(&mut self, id: u32, size: u32) -> bool {
        let hit = self.0.get(&id).is_some();
        if !hit {
            self.0.insert(id, size);
        }
        hit
    }
}

/// TinyUFO hashes with its own random state, so its runs differ a little.
pub struct Tinyufo(TinyUfo::TinyUfo<u32, u32>);

impl fmt::Debug for Tinyufo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tinyufo")
    }
}

impl Tinyufo {
    /// An empty cache.
    #[must_use]
    pub fn new(setup: Setup) -> Self {
        Self(TinyUfo::TinyUfo::new(entries(&setup), entries(&setup).min(setup.distinct)))
    }
}

impl Access for Tinyufo {
    fn access(&mut self, id: u32, size: u32) -> bool {
        let hit = self.0.get(&id).is_some();
        if !hit {
            self.0.put(id, size, 1);
        }
        hit
    }
}

/// scc's cache is 32-way associative LRU and rounds its capacity up to a power of two.
#[derive(Debug)]
pub struct Scc(scc::HashCache<u32, u32, Hasher>);

impl Scc {
    /// An empty cache.
    #[must_use]
    pub fn new(setup: Setup) -> Self {
        Self(scc::HashCache::with_capacity_and_hasher(0, entries(&setup), setup.hasher()))
    }
}

impl Access for Scc {
    fn access(&mut self, id: u32, size: u32) -> bool {
        let hit = self.0.read_sync(&id, |_, _| ()).is_some();
        if !hit {
            // The error would be an entry that is there already.
            let _evicted = self.0.put_sync(id, size);
        }
        hit
    }
}

/// The lru crate.
#[derive(Debug)]
pub struct Lru(lru::LruCache<u32, u32, Hasher>);

impl Lru {
    /// An empty cache.
    #[must_use]
    pub fn new(setup: Setup) -> Self {
        let capacity = NonZeroUsize::new(entries(&setup)).unwrap_or(NonZeroUsize::MIN);
        Self(lru::LruCache::with_hasher(capacity, setup.hasher()))
    }
}

impl Access for Lru {
    fn access(&mut self, id: u32, size: u32) -> bool {
        let hit = self.0.get(&id).is_some();
        if !hit {
            self.0.put(id, size);
        }
        hit
    }
}
