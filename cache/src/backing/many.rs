//! Many writes in one call: one statement with write-through, one wait for the journal with write-behind.

use std::collections::HashMap;
use std::fmt;
use std::future::poll_fn;
use std::hash::Hash;
use std::panic::resume_unwind;
use std::pin::pin;
use std::sync::Arc;

use super::behind::Behind;
use super::error::StoreCacheError;
use super::inner::{Inner, Mode, Through};
use super::store::{Store, Write};
use super::turns::Turn;
use super::write_through::Writing;

/// Some of the writes of a [`put_many`](super::StoreCache::put_many) failed. The others were done.
#[derive(Debug)]
pub struct PutManyError<K, E> {
    failures: Vec<(K, StoreCacheError<E>)>,
}

impl<K, E> PutManyError<K, E> {
    /// The keys whose writes failed, and why.
    #[must_use]
    pub fn failures(&self) -> &[(K, StoreCacheError<E>)] {
        &self.failures
    }

    /// The keys whose writes failed, and why.
    #[must_use]
    pub fn into_failures(self) -> Vec<(K, StoreCacheError<E>)> {
        self.failures
    }
}

impl<K, E: fmt::Display> fmt::Display for PutManyError<K, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.failures.len();
        match self.failures.first() {
            Some((_, first)) => write!(f, "{count} writes failed, the first because {first}"),
            None => f.write_str("no write failed"),
        }
    }
}

impl<K: fmt::Debug, E: fmt::Debug + fmt::Display> std::error::Error for PutManyError<K, E> {}

type Failures<K, E> = Vec<(K, StoreCacheError<E>)>;

impl<K, V, St> Inner<K, V, St>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    St: Store<K, V>,
{
    pub(crate) async fn put_many(
        self: &Arc<Self>,
        writes: impl IntoIterator<Item = (K, V)>,
    ) -> Result<(), PutManyError<K, St::Error>> {
        let failures = match &self.mode {
            Mode::ReadOnly => writes.into_iter().map(|(key, _)| (key, StoreCacheError::ReadOnly)).collect(),
            Mode::Through(through) => {
                // Of a key that is there twice the last value counts.
                let newest: HashMap<K, V> = writes.into_iter().collect();
                self.many_through(through, newest.into_iter().collect()).await
            }
            Mode::Behind(behind) => self.many_behind(behind, writes.into_iter().collect()).await,
        };
        if failures.is_empty() { Ok(()) } else { Err(PutManyError { failures }) }
    }

    async fn many_behind(
        self: &Arc<Self>,
        behind: &Behind<K, V, St::Error>,
        writes: Vec<(K, V)>,
    ) -> Failures<K, St::Error> {
        let (mut receipts, mut failures) = (Vec::new(), Vec::new());
        for (key, value) in writes {
            match self.accept_behind(behind, Arc::new(key.clone()), Some(value)).await {
                Ok(receipt) => receipts.extend(receipt.map(|receipt| (key, receipt))),
                Err(error) => failures.push((key, error)),
            }
        }
        // All are in the journal's hands before the first is waited for, so that they share its syncs.
        for (key, receipt) in receipts {
            if let Err(error) = receipt.wait().await {
                failures.push((key, StoreCacheError::Journal(error)));
            }
        }
        failures
    }

    async fn many_through(
        self: &Arc<Self>,
        through: &Through<K>,
        writes: Vec<(K, V)>,
    ) -> Failures<K, St::Error> {
        let mut left: Vec<(u64, K, V)> =
            writes.into_iter().map(|(key, value)| (through.hasher.hash_one(&key), key, value)).collect();
        left.sort_by_key(|&(hash, ..)| hash);
        let mut failures = Vec::new();
        while !left.is_empty() {
            // Turns are taken in the order of hashes, so that no two callers hold what the other waits for. Keys of one hash have no
            // order: only one of them is in a batch.
            let (mut batch, mut later): (Vec<(u64, K, V)>, Vec<_>) = (Vec::new(), Vec::new());
            for write in left {
                let goes = batch.last().is_none_or(|&(before, ..)| before != write.0);
                if goes { &mut batch } else { &mut later }.push(write);
            }
            left = later;
            failures.extend(self.batch_through(through, batch).await);
        }
        failures
    }

    async fn batch_through(
        self: &Arc<Self>,
        through: &Through<K>,
        batch: Vec<(u64, K, V)>,
    ) -> Failures<K, St::Error> {
        let all = |keys: &[Arc<K>], error: &StoreCacheError<St::Error>| {
            keys.iter().map(|key| (K::clone(key), error.clone())).collect::<Vec<_>>()
        };
        let keys: Vec<Arc<K>> = batch.iter().map(|(_, key, _)| Arc::new(key.clone())).collect();
        let Some(writing) = Writing::begin(self, through, batch.len()) else {
            return all(&keys, &StoreCacheError::Closed);
        };
        let (mut turns, mut writes) = (Vec::new(), Vec::new());
        for ((hash, _, value), key) in batch.into_iter().zip(&keys) {
            turns.push(through.turns.take(hash, Arc::clone(key)).await);
            writes.push(Write::new(Arc::clone(key), Some(Arc::new(value))));
        }
        // Nothing has happened so far. From here on it happens to the end, whoever leaves.
        match tokio::spawn(writing.run_many(turns, writes)).await {
            Ok(Ok(failures)) => {
                failures.into_iter().map(|(place, error)| (K::clone(&keys[place]), error)).collect()
            }
            Ok(Err(error)) => all(&keys, &error),
            Err(error) => match error.try_into_panic() {
                Ok(panic) => resume_unwind(panic),
                Err(_) => all(&keys, &StoreCacheError::Interrupted),
            },
        }
    }
}

impl<K, V, St> Writing<K, V, St>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    St: Store<K, V>,
{
    /// As [`run`](Self::run), for many keys by one write of the store. Which failed, by place; or why all did.
    async fn run_many(
        self,
        turns: Vec<Turn<K>>,
        writes: Vec<Write<K, V>>,
    ) -> Result<Vec<(usize, StoreCacheError<St::Error>)>, StoreCacheError<St::Error>> {
        let inner = &*self.inner;
        let permit = inner.breaker.permit(inner.now()).ok_or(StoreCacheError::Unavailable)?;
        let leaders: Vec<_> = writes.iter().map(|write| inner.lead_alone(write.key())).collect();
        let mut writing = pin!(async { inner.store.write(&writes).await });
        let written = poll_fn(|context| {
            // A store that asks the cache for one of these keys would wait for itself: it panics instead.
            let _inside: Vec<_> = leaders.iter().map(|leader| leader.flight().enter()).collect();
            writing.as_mut().poll(context)
        });
        let written = written.await;
        match &written {
            Err(error) if error.is_transient() => permit.failed(inner.now()),
            _ => permit.answered(),
        }
        let (failures, for_all) = match written {
            Ok(written) => (written.into_failures(), None),
            Err(error) => (Vec::new(), Some(StoreCacheError::from(error))),
        };
        let mut failed: HashMap<usize, StoreCacheError<St::Error>> = HashMap::new();
        for (place, error) in failures.into_iter().filter(|&(place, _)| place < writes.len()) {
            failed.entry(place).or_insert_with(|| error.into());
        }
        for (place, (leader, write)) in leaders.into_iter().zip(&writes).enumerate() {
            let is_done = for_all.is_none() && !failed.contains_key(&place);
            inner.conclude_through(leader, write.key(), is_done.then(|| write.value().cloned()));
        }
        drop(turns);
        match for_all {
            Some(error) => Err(error),
            None => Ok(failed.into_iter().collect()),
        }
    }
}
