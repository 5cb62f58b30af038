//! Write-behind: the queue first, and the cache never against it.
//!
//! The queue is the truth for the keys that are in it; the cache is filled by loads only, and a load asks the queue before it
//! asks the store. So a write takes the key out of the cache *after* it was accepted: what is loaded from then on is the new
//! value, and a load that began before loses its right to publish. Then the writer leads a load itself, for the next reader.

use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use super::behind::Behind;
use super::error::{CloseError, StoreCacheError};
use super::inner::Inner;
use super::log::Receipt;
use super::store::Store;
use crate::core::load::Boarding;
use crate::core::write::Life;

impl<K, V, St> Inner<K, V, St>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    St: Store<K, V>,
{
    pub(crate) async fn write_behind(
        self: &Arc<Self>,
        behind: &Behind<K, V, St::Error>,
        key: K,
        value: Option<V>,
    ) -> Result<(), StoreCacheError<St::Error>> {
        match self.accept_behind(behind, Arc::new(key), value).await? {
            Some(receipt) => receipt.wait().await.map_err(StoreCacheError::Journal),
            None => Ok(()),
        }
    }

    /// Up to the moment from which it is only the journal that is waited for.
    pub(crate) async fn accept_behind(
        self: &Arc<Self>,
        behind: &Behind<K, V, St::Error>,
        key: Arc<K>,
        value: Option<V>,
    ) -> Result<Option<Receipt>, StoreCacheError<St::Error>> {
        let (now, start) = (|| self.now(), || self.start_driver());
        let receipt = behind.accept(Arc::clone(&key), value.map(Arc::new), now, start).await?;
        // It is accepted: up to the receipt there is no await, so nobody can leave in between.
        self.ensure_driven(behind);
        self.cache.invalidate(&*key);
        self.publish(&key);
        Ok(receipt)
    }

    /// Loads a key from the queue into the cache, unless somebody else is loading it or it is there.
    pub(crate) fn publish(&self, key: &K) {
        if let Boarding::Lead(leader) = self.cache.core.board(key.clone()) {
            let inside = leader.flight().enter();
            let pending = self.pending(key);
            drop(inside);
            // Written meanwhile: the store has it, and the next reader asks there.
            if let Some(value) = pending {
                leader.uncounted().loaded(value, Life::Configured);
            }
        }
    }

    pub(crate) async fn flush(self: &Arc<Self>, behind: &Behind<K, V, St::Error>) {
        behind.driven.flush(|| self.start_driver()).await;
    }

    pub(crate) async fn close_behind(
        self: &Arc<Self>,
        behind: &Behind<K, V, St::Error>,
        deadline: Duration,
    ) -> Result<(), CloseError> {
        let number = {
            let mut queue = behind.driven.lock();
            queue.close();
            queue.flush()
        };
        behind.driven.ring();
        // Those who wait for room learn that there will be none.
        behind.driven.tell();
        if tokio::time::timeout(deadline, behind.driven.until_resolved(number, || self.start_driver()))
            .await
            .is_ok()
        {
            close_journal(behind).await;
            return Ok(());
        }
        let unwritten = behind.give_up(|key| self.cache.invalidate(key));
        // The driver ends, and drops what is in flight.
        behind.driven.ring();
        close_journal(behind).await;
        if unwritten == 0 { Ok(()) } else { Err(CloseError { unwritten }) }
    }
}

async fn close_journal<K, V, E>(behind: &Behind<K, V, E>) {
    if let Some(receipt) = behind.journal.as_ref().and_then(|log| log.close()) {
        let _ended = receipt.wait().await;
    }
}
