//! `millpond_cache::Cache`, as it comes.

use super::Subject;

pub(crate) struct Millpond(millpond_cache::Cache<u64, u64>);

impl Subject for Millpond {
    const NAME: &'static str = "millpond";

    fn new(capacity: usize) -> Self {
        Self(millpond_cache::Cache::new(capacity as u64))
    }

    #[inline]
    fn get(&self, key: u64) -> Option<u64> {
        self.0.get(&key)
    }

    #[inline]
    fn insert(&self, key: u64, value: u64) {
        self.0.insert(key, value);
    }
}
