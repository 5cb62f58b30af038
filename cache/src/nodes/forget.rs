//! What is made to forget.

use std::hash::{BuildHasher, Hash};
use std::sync::Weak;

use crate::cache::Cache;
use crate::core::Core;

/// What other nodes' writes make wrong: a cache, or several that show the same in different ways.
pub trait Forget<K>: Send + 'static {
    /// Forgets one key, and keeps loads in flight from storing what they read before.
    fn forget(&self, key: &K);

    /// Forgets everything, and keeps loads in flight from storing what they read before.
    fn forget_all(&self);

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
