//! A life of its own for each entry, by the user's rule.

use std::sync::Arc;
use std::time::Duration;

/// Says how long each entry lives, for [`CacheBuilder::expire_after`](crate::CacheBuilder::expire_after).
///
/// Every method has a default that leaves lives as they are, so implement what you need. All of them run on the thread that
/// reads or writes, outside the cache's locks: they may use the cache. A panic in one goes to that caller; a write has then
/// changed nothing.
///
/// `Duration::ZERO` ends a life at once, `Duration::MAX` never.
///
/// ```
/// use millpond_cache::{Cache, Expiry};
/// use std::time::Duration;
///
/// /// What was not found is asked for again soon.
/// struct ByResult;
///
/// impl Expiry<u32, Option<String>> for ByResult {
///     fn expire_after_create(&self, _: &u32, value: &Option<String>) -> Option<Duration> {
///         Some(Duration::from_secs(if value.is_some() { 600 } else { 5 }))
///     }
///
///     fn expire_after_update(
///         &self,
///         key: &u32,
///         value: &Option<String>,
///         _: Option<Duration>,
///     ) -> Option<Duration> {
///         self.expire_after_create(key, value)
///     }
/// }
///
/// let cache = Cache::builder().max_capacity(100).expire_after(ByResult).build()?;
/// cache.insert(1, None);
/// assert!(cache.expires_after(&1) <= Some(Duration::from_secs(5)));
/// cache.insert(1, Some(String::from("found")));
/// assert!(cache.expires_after(&1) > Some(Duration::from_secs(500)));
/// # Ok::<(), millpond_cache::BuildError>(())
/// ```
pub trait Expiry<K, V>: Send + Sync {
    /// The life of an entry that is about to be created. `None`, the default: for ever.
    fn expire_after_create(&self, key: &K, value: &V) -> Option<Duration> {
        let _ = (key, value);
        None
    }

    /// The life of an entry from a read on. `None`, the default: it ends when it was to. `remaining`: what is left of it,
    /// `None` where it never ends.
    ///
    /// Part of each hit, so it should be quick. Where reads race with each other or with
    /// [`set_expires_after`](crate::Cache::set_expires_after), one of the answers counts.
    ///
    /// If a read shortens a life, the entry is not returned past the new end, but gives its room back only at the old one,
    /// at the next [`run_pending_tasks`](crate::Cache::run_pending_tasks), or when it is evicted.
    fn expire_after_read(&self, key: &K, value: &V, remaining: Option<Duration>) -> Option<Duration> {
        let _ = (key, value, remaining);
        None
    }

    /// The life of an entry that is about to get a new value. `None`, the default: it ends when the old value was to.
    /// `remaining` as for [`expire_after_read`](Self::expire_after_read).
    ///
    /// Asked about the entry as it was when the write began. If another write to the key comes in between, the answer
    /// counts all the same.
    fn expire_after_update(&self, key: &K, value: &V, remaining: Option<Duration>) -> Option<Duration> {
        let _ = (key, value, remaining);
        None
    }
}

impl<K, V, E: Expiry<K, V> + ?Sized> Expiry<K, V> for Arc<E> {
    fn expire_after_create(&self, key: &K, value: &V) -> Option<Duration> {
        (**self).expire_after_create(key, value)
    }

    fn expire_after_read(&self, key: &K, value: &V, remaining: Option<Duration>) -> Option<Duration> {
        (**self).expire_after_read(key, value, remaining)
    }

    fn expire_after_update(&self, key: &K, value: &V, remaining: Option<Duration>) -> Option<Duration> {
        (**self).expire_after_update(key, value, remaining)
    }
}
