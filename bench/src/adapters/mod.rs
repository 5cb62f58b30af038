//! The caches under measurement, one file each, behind one trait. Loops are generic over it, so nothing is dispatched while
//! the clock runs. All but those that fix their own use the same hasher.

mod dashmap;
mod lru_mutex;
mod map_lock;
mod millpond;
mod mini_moka;
mod moka;
mod papaya;
mod quick_cache;
mod scc;
mod tinyufo;

pub(crate) use dashmap::DashMap;
pub(crate) use lru_mutex::LruMutex;
pub(crate) use map_lock::MapLock;
pub(crate) use millpond::Millpond;
pub(crate) use mini_moka::MiniMoka;
pub(crate) use moka::Moka;
pub(crate) use papaya::Papaya;
pub(crate) use quick_cache::QuickCache;
pub(crate) use scc::Scc;
pub(crate) use tinyufo::TinyUfo;

/// A map from numbers to numbers that several threads share.
pub(crate) trait Subject: Sync {
    /// What tables call it.
    const NAME: &'static str;
    /// Whether it holds no more than its capacity; those that do not sit out workloads that evict.
    const BOUNDED: bool = true;
    /// An empty one for this many entries.
    fn new(capacity: usize) -> Self;
    /// The value of a key, copied.
    fn get(&self, key: u64) -> Option<u64>;
    /// Inserts or replaces.
    fn insert(&self, key: u64, value: u64);
}
