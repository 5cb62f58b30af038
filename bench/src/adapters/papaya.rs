//! `papaya::HashMap`, with ahash and a pin for each operation. Not a cache: it holds all.

use super::Subject;

pub(crate) struct Papaya(papaya::HashMap<u64, u64, ahash::RandomState>);

impl Subject for Papaya {
    const NAME: &'static str = "papaya";
    const BOUNDED: bool = false;

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
}
