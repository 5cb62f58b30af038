//! Stores whose clients block, on tokio's threads for such work.

use std::fmt;
use std::panic::resume_unwind;
use std::sync::Arc;

use super::store::{Store, StoreError, Write, Written};

/// A [`Store`] whose calls block: an embedded database, a file, a client without async. Wrap it in [`Blocking`].
pub trait BlockingStore<K, V>: Send + Sync + 'static {
    /// What can go wrong.
    type Error: fmt::Debug + fmt::Display + Send + Sync + 'static;

    /// As [`Store::load`].
    ///
    /// # Errors
    /// As for [`Store::load`].
    fn load(&self, key: &K) -> Result<Option<V>, StoreError<Self::Error>>;

    /// As [`Store::load_many`].
    ///
    /// # Errors
    /// As for [`Store::load_many`].
    fn load_many(&self, keys: &[K]) -> Result<Vec<(usize, V)>, StoreError<Self::Error>> {
        let mut found = Vec::new();
        for (index, key) in keys.iter().enumerate() {
            found.extend(self.load(key)?.map(|value| (index, value)));
        }
        Ok(found)
    }

    /// As [`Store::write`].
    ///
    /// # Errors
    /// As for [`Store::write`].
    fn write(&self, batch: &[Write<K, V>]) -> Result<Written<Self::Error>, StoreError<Self::Error>>;
}

/// Makes a [`Store`] of a [`BlockingStore`]: each call runs on a thread for blocking work.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// use millpond_cache::Cache;
/// use millpond_cache::backing::{Blocking, BlockingStore, StoreError, Write, Written};
///
/// struct Squares;
///
/// impl BlockingStore<u32, u32> for Squares {
///     type Error = std::io::Error;
///
///     fn load(&self, key: &u32) -> Result<Option<u32>, StoreError<std::io::Error>> {
///         Ok(key.checked_mul(*key))
///     }
///
///     fn write(&self, _: &[Write<u32, u32>]) -> Result<Written<std::io::Error>, StoreError<std::io::Error>> {
///         Err(StoreError::Permanent(std::io::ErrorKind::ReadOnlyFilesystem.into()))
///     }
/// }
///
/// let cache = Cache::builder().max_capacity(100).read_through(Blocking::new(Squares)).build().unwrap();
/// assert_eq!(cache.get(&7).await.unwrap(), Some(49));
/// # }
/// ```
///
/// # Cancellation
/// A call that has begun runs to its end, also when its future is dropped. A write that was given up
/// ([`StoreCache::close`](super::StoreCache::close) reached its deadline) may thus still be done.
/// [`WriteBehind::write_timeout`](super::WriteBehind::write_timeout) must not be used with it.
#[derive(Debug)]
pub struct Blocking<B> {
    store: Arc<B>,
}

impl<B> Blocking<B> {
    /// Wraps a blocking store.
    pub fn new(store: B) -> Self {
        Self { store: Arc::new(store) }
    }

    /// The store inside.
    #[must_use]
    pub fn get_ref(&self) -> &B {
        &self.store
    }

    async fn run<T: Send + 'static>(&self, call: impl FnOnce(&B) -> T + Send + 'static) -> T
    where
        B: Send + Sync + 'static,
    {
        let store = Arc::clone(&self.store);
        match tokio::task::spawn_blocking(move || call(&store)).await {
            Ok(answer) => answer,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => resume_unwind(panic),
                // The runtime shuts down, and all its tasks with it.
                Err(_) => std::future::pending().await,
            },
        }
    }
}

impl<K, V, B> Store<K, V> for Blocking<B>
where
    K: Clone + Send + Sync + 'static,
    V: Send + Sync + 'static,
    B: BlockingStore<K, V>,
{
    type Error = B::Error;

    async fn load(&self, key: &K) -> Result<Option<V>, StoreError<B::Error>> {
        let key = key.clone();
        self.run(move |store| store.load(&key)).await
    }

    async fn load_many(&self, keys: &[K]) -> Result<Vec<(usize, V)>, StoreError<B::Error>> {
        let keys = keys.to_vec();
        self.run(move |store| store.load_many(&keys)).await
    }

    async fn write(&self, batch: &[Write<K, V>]) -> Result<Written<B::Error>, StoreError<B::Error>> {
        let batch = batch.to_vec();
        self.run(move |store| store.write(&batch)).await
    }
}
