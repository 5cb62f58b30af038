//! What the handles of a `StoreCache` and its tasks share, and how it loads.

use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use tokio::sync::Notify;

use super::behind::Behind;
use super::breaker::Breaker;
use super::error::StoreCacheError;
use super::log::Log;
use super::store::{Store, StoreError};
use super::turns::Turns;
use crate::cache::Cache;
use crate::clock::nanos;
use crate::core::write::Life;

pub(crate) struct Inner<K, V, St: Store<K, V>>
where
    K: Sync,
    V: Send,
{
    pub(crate) cache: Cache<K, Option<V>>,
    pub(crate) store: St,
    pub(crate) breaker: Breaker,
    pub(crate) load_timeout: Option<Duration>,
    pub(crate) mode: Mode<K, V, St::Error>,
}

/// How writes reach the store.
pub(crate) enum Mode<K, V, E> {
    ReadOnly,
    Through(Through<K>),
    Behind(Box<Behind<K, V, E>>),
}

/// Write-through: who writes which key now.
pub(crate) struct Through<K> {
    pub(crate) hasher: ahash::RandomState,
    pub(crate) turns: Arc<Turns<K>>,
    /// Writes that are waiting for their turn or on their way.
    pub(crate) writing: parking_lot::Mutex<usize>,
    pub(crate) is_closed: AtomicBool,
    /// Rings when no write is left.
    pub(crate) idle: Notify,
}

impl<K, V, St> Inner<K, V, St>
where
    K: Sync,
    V: Send,
    St: Store<K, V>,
{
    pub(crate) fn log(&self) -> Option<&dyn Log<K, V>> {
        match &self.mode {
            Mode::Behind(behind) => behind.journal.as_deref(),
            _ => None,
        }
    }
}

impl<K, V, St> Inner<K, V, St>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    St: Store<K, V>,
{
    pub(crate) fn now(&self) -> u64 {
        self.cache.core.ticks.now()
    }

    pub(crate) fn behind(&self) -> Option<&Behind<K, V, St::Error>> {
        match &self.mode {
            Mode::Behind(behind) => Some(behind),
            _ => None,
        }
    }

    /// The value of a key that is accepted and not written yet, cloned.
    pub(crate) fn pending(&self, key: &K) -> Option<Option<V>> {
        let value = self.behind()?.pending(key)?;
        Some(value.map(|value| V::clone(&value)))
    }

    /// What a load of the key brings: what waits to be written, or else what the store has.
    pub(crate) async fn load(&self, key: &K) -> Result<Option<V>, StoreCacheError<St::Error>> {
        match self.pending(key) {
            Some(value) => Ok(value),
            None => self.ask(self.store.load(key)).await,
        }
    }

    /// As [`load`](Self::load), and how long the answer may be kept.
    pub(crate) async fn load_with_life(
        &self,
        key: &K,
    ) -> Result<(Option<V>, Life), StoreCacheError<St::Error>> {
        if let Some(value) = self.pending(key) {
            return Ok((value, Life::Configured));
        }
        let (value, life) = self.ask(self.store.load_with_life(key)).await?;
        Ok((value, life.map_or(Life::Configured, |life| Life::AtMost(nanos(life)))))
    }

    /// Has a value that is due loaded again, in the background.
    pub(crate) fn refresh_if_due(self: &Arc<Self>, key: &K) {
        if let Some(refresh) = self.cache.claim_refresh(key) {
            let (inner, key) = (Arc::clone(self), key.clone());
            tokio::spawn(refresh.run_async(async move { inner.load(&key).await }));
        }
    }

    /// As [`load`](Self::load) for many keys; each is in the result.
    pub(crate) async fn load_many(
        &self,
        keys: Vec<K>,
    ) -> Result<Vec<(K, Option<V>)>, StoreCacheError<St::Error>> {
        let (mut found, mut missing) = (Vec::with_capacity(keys.len()), Vec::new());
        for key in keys {
            match self.pending(&key) {
                Some(value) => found.push((key, value)),
                None => missing.push(key),
            }
        }
        if !missing.is_empty() {
            let mut values: Vec<Option<V>> = missing.iter().map(|_| None).collect();
            for (index, value) in self.ask(self.store.load_many(&missing)).await? {
                // An index beyond the keys is the store's mistake, and nobody's value.
                if let Some(slot) = values.get_mut(index) {
                    *slot = Some(value);
                }
            }
            found.extend(missing.into_iter().zip(values));
        }
        Ok(found)
    }

    /// Asks the store, unless the breaker is open, and tells the breaker how it went.
    async fn ask<T>(
        &self,
        answer: impl Future<Output = Result<T, StoreError<St::Error>>>,
    ) -> Result<T, StoreCacheError<St::Error>> {
        let permit = self.breaker.permit(self.now()).ok_or(StoreCacheError::Unavailable)?;
        let answer = match self.load_timeout {
            None => answer.await,
            Some(limit) => match tokio::time::timeout(limit, answer).await {
                Ok(answer) => answer,
                Err(_) => {
                    permit.failed(self.now());
                    return Err(StoreCacheError::TimedOut);
                }
            },
        };
        match &answer {
            Err(error) if error.is_transient() => permit.failed(self.now()),
            _ => permit.answered(),
        }
        answer.map_err(StoreCacheError::from)
    }
}
