//! `std`'s `HashMap` with ahash and no lock: what one lookup costs at the very least. Only for reads, so it is no `Subject`.

use std::collections::HashMap;

pub(crate) struct PlainMap(HashMap<u64, u64, ahash::RandomState>);

impl PlainMap {
    pub(crate) const NAME: &'static str = "hashmap";

    pub(crate) fn of(keys: &[u64]) -> Self {
        Self(keys.iter().map(|&key| (key, key)).collect())
    }

    #[inline]
    pub(crate) fn sum(&self, keys: &[u64]) -> u64 {
        keys.iter().fold(0, |sum: u64, key| sum.wrapping_add(self.0.get(key).copied().unwrap_or(0)))
    }
}
