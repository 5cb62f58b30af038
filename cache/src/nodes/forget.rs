//! What is made to forget.

use std::hash::{BuildHasher, Hash};
use std::sync::{Arc, Weak};

use crate::backing::inner::Inner;
use crate::backing::{Store, StoreCache};
use crate::cache::Cache;
use crate::core::Core;

/// What other nodes' writes make wrong: a cache, or several that show the same in different ways.
pub trait Forget<K>: Send + 'static {
    /// Forgets one key, and keeps loads in flight from storing what they read before.
    fn forget(&self, key: &K);

    /// Forgets everything, and keeps loads in flight from storing what they read before.
    fn forget_all(&self);

    /// Keeps a shared cache behind it from answering with what it has of these keys: [`Store::doubt`]. Default: nothing.
    ///
    /// They are forgotten next.
    fn doubt(&self, keys: &[K]) {
        let _ = keys;
    }

    /// The same for all keys. Default: nothing.
    fn doubt_all(&self) {}

    /// Whether such a shared cache knows of all writes of this node: [`Store::is_settled`]. Default: yes.
    fn is_settled(&self) -> bool {
        true
    }

    /// Whether nobody uses it any more. Default: never.
    fn is_gone(&self) -> bool {
        false
    }
}

/// A cache that may end.
pub(crate) struct WeakCache<K, V, S>(pub(crate) Weak<Core<K, V, S>>);

impl<K, V, S> Forget<K> for WeakCache<K, V, S>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher + Send + Sync + 'static,
{
    fn forget(&self, key: &K) {
        if let Some(core) = self.0.upgrade() {
            Cache { core }.invalidate(key);
        }
    }

    fn forget_all(&self) {
        if let Some(core) = self.0.upgrade() {
            Cache { core }.invalidate_all();
        }
    }

    fn is_gone(&self) -> bool {
        self.0.strong_count() == 0
    }
}

/// A cache over a store, which may be a shared cache itself. Either may end.
pub(crate) struct WeakStoreCache<K, V, St>
where
    K: Sync,
    V: Send,
    St: Store<K, V>,
{
    cache: WeakCache<K, Option<V>, ahash::RandomState>,
    inner: Weak<Inner<K, V, St>>,
}

impl<K, V, St> WeakStoreCache<K, V, St>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    St: Store<K, V>,
{
    pub(crate) fn of(cache: &StoreCache<K, V, St>) -> Self {
        Self { cache: WeakCache(Arc::downgrade(&cache.cache().core)), inner: Arc::downgrade(&cache.inner) }
    }
}

impl<K, V, St> Forget<K> for WeakStoreCache<K, V, St>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    St: Store<K, V>,
{
    fn forget(&self, key: &K) {
        self.cache.forget(key);
    }

    fn forget_all(&self) {
        Forget::<K>::forget_all(&self.cache);
    }

    fn doubt(&self, keys: &[K]) {
        if let Some(inner) = self.inner.upgrade() {
            inner.store.doubt(keys);
        }
    }

    fn doubt_all(&self) {
        if let Some(inner) = self.inner.upgrade() {
            inner.store.doubt_all();
        }
    }

    fn is_settled(&self) -> bool {
        self.inner.upgrade().is_none_or(|inner| inner.store.is_settled())
    }

    fn is_gone(&self) -> bool {
        Forget::<K>::is_gone(&self.cache)
    }
}
