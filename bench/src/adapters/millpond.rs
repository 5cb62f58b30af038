//! `millpond_cache::Cache`, as it comes.

use super::Subject;

pub(crate) struct Millpond(millpond_cache::Cache<u64, u64>);

impl Subject for Millpond {
    const PINS: bool = true;

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

    #[inline]
    fn sum_pinned(&self, keys: &[u64]) -> u64 {
        let pin = self.0.pin();
        keys.iter().fold(0, |sum: u64, key| sum.wrapping_add(pin.get(key).copied().unwrap_or(0)))
    }

    fn held(&self) -> Option<usize> {
        usize::try_from(self.0.entry_count()).ok()
    }

    fn settle(&self) {
        self.0.run_pending_tasks();
    }
}
