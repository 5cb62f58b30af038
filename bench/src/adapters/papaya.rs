//! `papaya::HashMap`, with ahash and a pin for each operation. Not a cache: it holds all.

use super::Subject;

pub(crate) struct Papaya(papaya::HashMap<u64, u64, ahash::RandomState>);

impl Subject for Papaya {
    const BOUNDED: bool = false;
    const PINS: bool = true;

    fn new(capacity: usize) -> Self {
        Self(papaya::HashMap::with_capacity_and_hasher(capacity, ahash::RandomState::new()))
    }

    #[inline]
    fn get(&self, key: u64) -> Option<u64> {
        self.0.pin().get(&key).copied()
    }

    #[inline]
    fn insert(&self, key: u64, value: u64) {
        self.0.pin().insert(key, value);
    }

    #[inline]
    fn sum_pinned(&self, keys: &[u64]) -> u64 {
        let pin = self.0.pin();
        keys.iter().fold(0, |sum: u64, key| sum.wrapping_add(pin.get(key).copied().unwrap_or(0)))
    }

    fn growing(_: usize) -> Self {
        Self(papaya::HashMap::with_hasher(ahash::RandomState::new()))
    }

    fn held(&self) -> Option<usize> {
        Some(self.0.len())
    }
}
