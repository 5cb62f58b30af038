//! A store whose writes are announced.

use std::fmt;
use std::sync::{Arc, Once};

use serde::Serialize;

use super::bus::Bus;
use super::invalidations::{CutOff, Invalidations};
use crate::backing::{Lasting, Store, StoreError, Write, Written};

/// A store whose writes are told to other nodes; from [`Invalidations::announce`].
pub struct Announced<St, B> {
    store: Arc<St>,
    changes: Invalidations<B>,
    /// Whether what tells them asks the store, too: it may never be attached to.
    is_asked: Once,
}

impl<B: Bus> Invalidations<B> {
    /// A store whose writes are announced. Put it right behind the cache, before any shared tier.
    pub fn announce<St>(&self, store: St) -> Announced<St, B> {
        Announced { store: Arc::new(store), changes: self.clone(), is_asked: Once::new() }
    }
}

impl<St, B> Announced<St, B> {
    /// The store behind it.
    #[must_use]
    pub fn store(&self) -> &St {
        &self.store
    }

    /// What tells them.
    #[must_use]
    pub fn changes(&self) -> &Invalidations<B> {
        &self.changes
    }
}

/// What can go wrong with an [`Announced`] store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnnounceError<E> {
    /// Nothing was written, because the other nodes can't be told.
    #[error(transparent)]
    CutOff(#[from] CutOff),
    /// The store's own.
    #[error("{0}")]
    Store(E),
}

fn own<E>(error: StoreError<E>) -> StoreError<AnnounceError<E>> {
    match error {
        StoreError::Transient(error) => StoreError::Transient(AnnounceError::Store(error)),
        StoreError::Permanent(error) => StoreError::Permanent(AnnounceError::Store(error)),
    }
}

impl<K, V, St, B> Store<K, V> for Announced<St, B>
where
    K: Serialize + Send + Sync + 'static,
    V: Send + Sync + 'static,
    St: Store<K, V>,
    B: Bus,
{
    type Error = AnnounceError<St::Error>;

    async fn load(&self, key: &K) -> Result<Option<V>, StoreError<Self::Error>> {
        self.store.load(key).await.map_err(own)
    }

    async fn load_with_life(&self, key: &K) -> Result<Lasting<V>, StoreError<Self::Error>> {
        self.store.load_with_life(key).await.map_err(own)
    }

    async fn load_many(&self, keys: &[K]) -> Result<Vec<(usize, V)>, StoreError<Self::Error>> {
        self.store.load_many(keys).await.map_err(own)
    }

    async fn write(&self, batch: &[Write<K, V>]) -> Result<Written<Self::Error>, StoreError<Self::Error>> {
        self.is_asked
            .call_once(|| self.changes.ask(Arc::downgrade(&self.store), <St as Store<K, V>>::is_settled));
        let keys: Vec<&K> = batch.iter().map(Write::key).collect();
        let written = self.changes.writing(&keys, self.store.write(batch)).await;
        let written =
            written.map_err(|cut| StoreError::Transient(AnnounceError::CutOff(cut)))?.map_err(own)?;
        Ok(Written::except(written.into_failures().into_iter().map(|(index, error)| (index, own(error)))))
    }

    fn is_settled(&self) -> bool {
        self.store.is_settled()
    }

    fn doubt(&self, keys: &[K]) {
        self.store.doubt(keys);
    }

    fn doubt_all(&self) {
        self.store.doubt_all();
    }
}

impl<St: fmt::Debug, B: fmt::Debug> fmt::Debug for Announced<St, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Announced").field("store", &self.store).field("changes", &self.changes).finish()
    }
}
