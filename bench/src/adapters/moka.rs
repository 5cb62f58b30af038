//! `moka::sync::Cache`, with ahash.

use super::Subject;

pub(crate) struct Moka(moka::sync::Cache<u64, u64, ahash::RandomState>);

impl Subject for Moka {
    fn new(capacity: usize) -> Self {
        let builder = moka::sync::Cache::builder().max_capacity(capacity as u64);
        Self(builder.initial_capacity(capacity).build_with_hasher(ahash::RandomState::new()))
    }

    fn growing(capacity: usize) -> Self {
        let builder = moka::sync::Cache::builder().max_capacity(capacity as u64);
        Self(builder.build_with_hasher(ahash::RandomState::new()))
    }

    #[inline]
    fn get(&self, key: u64) -> Option<u64> {
        self.0.get(&key)
    }

    #[inline]
    fn insert(&self, key: u64, value: u64) {
        self.0.insert(key, value);
    }

    fn held(&self) -> Option<usize> {
        usize::try_from(self.0.entry_count()).ok()
    }

    fn settle(&self) {
        self.0.run_pending_tasks();
    }
}
