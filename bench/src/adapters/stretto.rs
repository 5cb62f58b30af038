//! `stretto::Cache`, with ahash for its shards. Its own threads apply inserts later, and may refuse them.

use stretto::{
    Cache, CacheBuilder, DefaultCacheCallback, DefaultCoster, DefaultUpdateValidator, TransparentKeyBuilder,
};

use super::Subject;

type Inner = Cache<
    u64,
    u64,
    TransparentKeyBuilder<u64>,
    DefaultCoster<u64>,
    DefaultUpdateValidator<u64>,
    DefaultCacheCallback<u64>,
    ahash::RandomState,
>;

pub(crate) struct Stretto(Inner);

impl Subject for Stretto {
    const EVENTUAL: bool = true;

    fn new(capacity: usize) -> Self {
        // Ten counters for each entry, as its documentation recommends. Keys are numbers already: it need not hash them.
        let cost = i64::try_from(capacity).unwrap_or(i64::MAX);
        let builder =
            CacheBuilder::new_with_key_builder(10 * capacity, cost, TransparentKeyBuilder::<u64>::default());
        let builder = builder.set_ignore_internal_cost(true).set_hasher(ahash::RandomState::new());
        Self(builder.finalize().expect("the settings are valid and threads can be started"))
    }

    #[inline]
    fn get(&self, key: u64) -> Option<u64> {
        self.0.get(&key).map(|value| *value.value())
    }

    #[inline]
    fn insert(&self, key: u64, value: u64) {
        // False says that it was refused, which a user of a cache can't help either.
        let _accepted = self.0.insert(key, value, 1);
    }

    fn held(&self) -> Option<usize> {
        Some(self.0.len())
    }

    fn settle(&self) {
        self.0.wait().expect("its thread is alive");
    }
}
