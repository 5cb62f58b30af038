//! From a cache's builder to a cache with a store behind it.

use std::fmt;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use super::behind::Behind;
use super::breaker::Breaker;
use super::face::StoreCache;
use super::inner::{Inner, Mode, Through};
use super::settings::WriteBehind;
use super::store::Store;
use crate::builder::CacheBuilder;
use crate::clock::nanos;
use crate::error::BuildError;

impl<K, V> CacheBuilder<K, Option<V>> {
    /// Puts a store behind the cache: a miss asks it.
    ///
    /// The cache's values are `Option<V>`: that a key has no value is cached too. Give it a short life with
    /// [`negative_time_to_live`](CacheBuilder::negative_time_to_live), which takes `Option::is_none`. Weighers, listeners and
    /// rules of expiry see the `Option`. With [`stale_if_error`](CacheBuilder::stale_if_error), reads get the old value while
    /// the store fails. See [`backing`](super) for an example. Needs the feature `store`.
    ///
    /// Only for the default hasher, which is keyed and resists floods of chosen keys: that of a builder with
    /// [`hasher`](CacheBuilder::hasher) would be a fourth type parameter on everything here. A key whose `Hash` writes one
    /// precomputed `u64` costs little with it.
    pub fn read_through<St>(self, store: St) -> StoreCacheBuilder<K, V, St>
    where
        K: Sync,
        V: Send,
        St: Store<K, V>,
    {
        StoreCacheBuilder {
            cache: self,
            store,
            mode: Writes::No,
            failures_to_open: 0,
            cool_down: Duration::ZERO,
            load_timeout: None,
        }
    }
}

enum Writes<K, V, E> {
    No,
    Through,
    Behind(Box<WriteBehind<K, V, E>>),
}

/// Configures a [`StoreCache`]; from [`CacheBuilder::read_through`](crate::CacheBuilder::read_through).
#[must_use = "a builder does nothing before `build`"]
pub struct StoreCacheBuilder<K, V, St: Store<K, V>>
where
    K: Sync,
    V: Send,
{
    cache: CacheBuilder<K, Option<V>>,
    store: St,
    mode: Writes<K, V, St::Error>,
    failures_to_open: u32,
    cool_down: Duration,
    load_timeout: Option<Duration>,
}

impl<K, V, St> StoreCacheBuilder<K, V, St>
where
    K: Sync,
    V: Send,
    St: Store<K, V>,
{
    /// Writes go to the store before they return. Default: the cache does not write.
    ///
    /// Of this and [`write_behind`](Self::write_behind), the last call counts.
    ///
    /// # What it promises
    /// After a success, the cache holds what the store has, or nothing. During a write, after an error, a cancelled call or a
    /// panic of the store it holds nothing for the key, and the next read asks the store. Writers of one key take turns.
    /// A read that misses during a write waits for it and gets its value. See docs/guides/write-modes.md for why.
    pub fn write_through(mut self) -> Self {
        self.mode = Writes::Through;
        self
    }

    /// Writes go to a queue and return; the queue is written to the store in batches. Default: the cache does not write.
    ///
    /// # What it promises
    /// Reads see an accepted write at once, also after its eviction. Of each key the last accepted write reaches the store, and
    /// writes of one key in the order in which they were accepted, those between left out. What can't be written is handed
    /// to the dead-letter callback, once. A crash of the process loses what is in the queue, unless it is in a
    /// journal (`WriteBehind::journal`).
    pub fn write_behind(mut self, settings: WriteBehind<K, V, St::Error>) -> Self {
        self.mode = Writes::Behind(Box::new(settings));
        self
    }

    /// Leaves the store alone for `cool_down` after so many transient failures in a row; then one call tries it. Default:
    /// never; 0 means that too.
    ///
    /// Meanwhile reads get what the cache has, old values included ([`stale_if_error`](crate::CacheBuilder::stale_if_error)), or
    /// else [`StoreCacheError::Unavailable`](super::StoreCacheError::Unavailable), and so do writes of write-through, without
    /// touching the cached value. Counted are loads and writes of write-through, and a load that takes longer than
    /// [`load_timeout`](Self::load_timeout). Write-behind has a backoff of its own.
    pub fn circuit_breaker(mut self, failures: u32, cool_down: Duration) -> Self {
        self.failures_to_open = failures;
        self.cool_down = cool_down;
        self
    }

    /// The longest time that a load may take. Default: no limit. Its future is dropped then.
    pub fn load_timeout(mut self, timeout: Duration) -> Self {
        self.load_timeout = Some(timeout);
        self
    }

    /// Builds the cache. Needs no runtime; reads and writes do.
    ///
    /// # Errors
    /// [`BuildError`] names the setting of the cache that can't be honoured.
    pub fn build(self) -> Result<StoreCache<K, V, St>, BuildError>
    where
        K: Hash + Eq + Clone + Send + Sync + 'static,
        V: Clone + Send + Sync + 'static,
    {
        let cache = self.cache.build()?;
        let now = cache.core.ticks.now();
        let built = StoreCache {
            inner: Arc::new(Inner {
                cache,
                store: self.store,
                breaker: Breaker::new(self.failures_to_open, nanos(self.cool_down)),
                load_timeout: self.load_timeout,
                mode: match self.mode {
                    Writes::No => Mode::ReadOnly,
                    Writes::Through => Mode::Through(Through::new()),
                    Writes::Behind(settings) => Mode::Behind(Box::new(Behind::new(*settings, now))),
                },
            }),
        };
        if let (Mode::Behind(behind), Ok(_)) = (&built.inner.mode, tokio::runtime::Handle::try_current()) {
            // The journal may have brought something to write.
            built.inner.ensure_driven(behind);
        }
        Ok(built)
    }
}

impl<K, V, St> fmt::Debug for StoreCacheBuilder<K, V, St>
where
    K: Sync,
    V: Send,
    St: Store<K, V>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode: &dyn fmt::Debug = match &self.mode {
            Writes::No => &"read-only",
            Writes::Through => &"write-through",
            Writes::Behind(settings) => &**settings,
        };
        f.debug_struct("StoreCacheBuilder")
            .field("cache", &self.cache)
            .field("mode", mode)
            .field("circuit_breaker", &(self.failures_to_open, self.cool_down))
            .field("load_timeout", &self.load_timeout)
            .finish_non_exhaustive()
    }
}
