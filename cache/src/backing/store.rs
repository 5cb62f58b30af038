//! What a backing store must do: load and write, with errors that say whether trying again makes sense.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The store behind a [`StoreCache`](super::StoreCache): a database table, a service, a file.
///
/// Methods may be written as `async fn`. For clients that block, see [`BlockingStore`](super::BlockingStore).
///
/// # What the cache relies on
/// - **Writes are idempotent**: an upsert or a delete that is done twice has the effect of one. A write whose outcome is not
///   known is done again.
/// - **An answer is final.** When [`write`](Self::write) has returned, nothing of it is still on its way to the store. An
///   error may leave open what was written, but not what will be.
/// - All processes that write to the store go through their own caches, or the cache has a time to live.
///
/// ```
/// use millpond_cache::backing::{Store, StoreError, Write, Written};
/// use std::collections::HashMap;
/// use std::sync::RwLock;
///
/// #[derive(Default)]
/// struct Memory(RwLock<HashMap<u32, String>>);
///
/// impl Store<u32, String> for Memory {
///     type Error = String;
///
///     async fn load(&self, key: &u32) -> Result<Option<String>, StoreError<String>> {
///         Ok(self.0.read().unwrap().get(key).cloned())
///     }
///
///     async fn write(&self, batch: &[Write<u32, String>]) -> Result<Written<String>, StoreError<String>> {
///         let mut map = self.0.write().unwrap();
///         for write in batch {
///             match write.value() {
///                 Some(value) => map.insert(*write.key(), value.clone()),
///                 None => map.remove(write.key()),
///             };
///         }
///         Ok(Written::all())
///     }
/// }
/// ```
pub trait Store<K, V>: Send + Sync + 'static
where
    K: Sync,
    V: Send,
{
    /// What can go wrong.
    type Error: fmt::Debug + fmt::Display + Send + Sync + 'static;

    /// The value of a key; `None` if there is none.
    ///
    /// # Errors
    /// [`StoreError::Transient`] if the store may answer soon, else [`StoreError::Permanent`].
    ///
    /// # Cancellation
    /// May be dropped at any time.
    fn load(&self, key: &K) -> impl Future<Output = Result<Option<V>, StoreError<Self::Error>>> + Send;

    /// As [`load`](Self::load), and the longest time for which a cache should keep the answer; `None`: as long as it does anyway.
    ///
    /// Default: `load`, and `None`. For stores that know when their answer becomes old, such as a shared cache.
    ///
    /// # Errors
    /// As for [`load`](Self::load).
    fn load_with_life(
        &self,
        key: &K,
    ) -> impl Future<Output = Result<Lasting<V>, StoreError<Self::Error>>> + Send {
        async move { Ok((self.load(key).await?, None)) }
    }

    /// The values of many keys, each with the index of its key; keys without a value are left out. No key comes twice.
    ///
    /// Default: [`load`](Self::load) for one after the other. Override it where one query does.
    ///
    /// # Errors
    /// As for [`load`](Self::load), for all keys together.
    fn load_many(
        &self,
        keys: &[K],
    ) -> impl Future<Output = Result<Vec<(usize, V)>, StoreError<Self::Error>>> + Send {
        async move {
            let mut found = Vec::new();
            for (index, key) in keys.iter().enumerate() {
                found.extend(self.load(key).await?.map(|value| (index, value)));
            }
            Ok(found)
        }
    }

    /// Writes a batch of upserts and deletes, in which no key is there twice; in any order, not necessarily as one
    /// transaction.
    ///
    /// With write-through a batch is one write, or those of one [`put_many`](super::StoreCache::put_many). Several batches may be written at once, never two with the same key.
    ///
    /// # Errors
    /// An error means the batch as a whole: all of it, some or nothing may have been written. After a transient one it is
    /// written again. After a permanent one it is divided, until the writes that the store refuses are found. A store that
    /// knows which writes failed says so with [`Written::except`].
    ///
    /// # Cancellation
    /// Dropped when [`StoreCache::close`](super::StoreCache::close) reaches its deadline, when the runtime shuts down, and
    /// after [`WriteBehind::write_timeout`](super::WriteBehind::write_timeout).
    fn write(
        &self,
        batch: &[Write<K, V>],
    ) -> impl Future<Output = Result<Written<Self::Error>, StoreError<Self::Error>>> + Send;

    /// Whether everybody who reads through such a store sees what was written through this one. Default: yes.
    ///
    /// For a shared cache in front of a store, which may not have been told of a write.
    fn is_settled(&self) -> bool {
        true
    }

    /// Keeps a shared cache from answering with what it has of these keys now: it may be older than the store. Default: nothing.
    ///
    /// Another node could not tell it of a write. Returns at once.
    fn doubt(&self, keys: &[K]) {
        let _ = keys;
    }

    /// The same for all keys. Default: nothing.
    fn doubt_all(&self) {}
}

/// An answer of [`load_with_life`](Store::load_with_life): the value, and the longest time to keep it.
pub type Lasting<V> = (Option<V>, Option<Duration>);

/// An upsert or a delete. Cloning it is cheap.
pub struct Write<K, V> {
    key: Arc<K>,
    value: Option<Arc<V>>,
}

impl<K, V> Write<K, V> {
    pub(super) fn new(key: Arc<K>, value: Option<Arc<V>>) -> Self {
        Self { key, value }
    }

    /// An upsert.
    #[must_use]
    pub fn put(key: K, value: V) -> Self {
        Self::new(Arc::new(key), Some(Arc::new(value)))
    }

    /// A delete.
    #[must_use]
    pub fn delete(key: K) -> Self {
        Self::new(Arc::new(key), None)
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &K {
        &self.key
    }

    /// The value to store; `None`: the key is to be deleted.
    #[must_use]
    pub fn value(&self) -> Option<&V> {
        self.value.as_deref()
    }
}

impl<K, V> Clone for Write<K, V> {
    fn clone(&self) -> Self {
        Self { key: Arc::clone(&self.key), value: self.value.clone() }
    }
}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for Write<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Write").field("key", &self.key).field("value", &self.value).finish()
    }
}

/// What became of a batch that the store has looked at.
///
/// ```
/// use millpond_cache::backing::{StoreError, Written};
/// let all: Written<String> = Written::all();
/// let some = Written::except([(3, StoreError::Permanent("too long"))]);
/// assert_eq!((all.failures().len(), some.failures().len()), (0, 1));
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Written<E> {
    failures: Vec<(usize, StoreError<E>)>,
}

impl<E> Written<E> {
    /// All of it was written.
    pub fn all() -> Self {
        Self { failures: Vec::new() }
    }

    /// All of it was written, except those with these indices in the batch. Of several errors for one index the first
    /// counts; an index beyond the batch is ignored.
    pub fn except(failures: impl IntoIterator<Item = (usize, StoreError<E>)>) -> Self {
        Self { failures: failures.into_iter().collect() }
    }

    /// The writes that failed: index in the batch, and error.
    #[must_use]
    pub fn failures(&self) -> &[(usize, StoreError<E>)] {
        &self.failures
    }

    pub(crate) fn into_failures(self) -> Vec<(usize, StoreError<E>)> {
        self.failures
    }
}

/// An error of a [`Store`], which says whether it makes sense to try again.
///
/// The `?` operator makes a plain error a transient one: to try once too often loses nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError<E> {
    /// It may work soon: the store is down, busy, or chose this transaction as a victim.
    #[error("transient: {0}")]
    Transient(E),
    /// It will never work as it is: the store refuses this key or value.
    #[error("permanent: {0}")]
    Permanent(E),
}

impl<E> StoreError<E> {
    /// Whether it makes sense to try again.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Transient(_))
    }

    /// The store's own error.
    pub fn get_ref(&self) -> &E {
        match self {
            Self::Transient(error) | Self::Permanent(error) => error,
        }
    }

    /// The store's own error.
    pub fn into_inner(self) -> E {
        match self {
            Self::Transient(error) | Self::Permanent(error) => error,
        }
    }
}

impl<E> From<E> for StoreError<E> {
    fn from(error: E) -> Self {
        Self::Transient(error)
    }
}

impl<K, V, St> Store<K, V> for Arc<St>
where
    K: Sync,
    V: Send,
    St: Store<K, V>,
{
    type Error = St::Error;

    fn load(&self, key: &K) -> impl Future<Output = Result<Option<V>, StoreError<Self::Error>>> + Send {
        (**self).load(key)
    }

    fn load_with_life(
        &self,
        key: &K,
    ) -> impl Future<Output = Result<Lasting<V>, StoreError<Self::Error>>> + Send {
        (**self).load_with_life(key)
    }

    fn load_many(
        &self,
        keys: &[K],
    ) -> impl Future<Output = Result<Vec<(usize, V)>, StoreError<Self::Error>>> + Send {
        (**self).load_many(keys)
    }

    fn write(
        &self,
        batch: &[Write<K, V>],
    ) -> impl Future<Output = Result<Written<Self::Error>, StoreError<Self::Error>>> + Send {
        (**self).write(batch)
    }

    fn is_settled(&self) -> bool {
        (**self).is_settled()
    }

    fn doubt(&self, keys: &[K]) {
        (**self).doubt(keys);
    }

    fn doubt_all(&self) {
        (**self).doubt_all();
    }
}
