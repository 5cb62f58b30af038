//! Entries by tag: the surface.

use std::convert::Infallible;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use crate::cache::Cache;
use crate::core::write::Life;

/// Tags: names under which entries can be removed together, whatever their keys.
impl<K, V, S> Cache<K, V, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    /// Inserts an entry that carries `tags`, or replaces one; then it carries these and no others. A later write of the key
    /// without tags takes them away.
    ///
    /// Cost: a few hash lookups more than [`insert`](Self::insert) for each tag, here and when the entry leaves, and about 40 bytes. A
    /// cache without tags pays nothing.
    ///
    /// ```
    /// let cache = millpond_cache::Cache::new(100);
    /// cache.insert_with_tags("/users/7", "Ada", &["user:7"]);
    /// cache.insert_with_tags("/users", "Ada, Bob", &["user:7", "user:8"]);
    /// cache.insert("/about", "…");
    /// assert_eq!(cache.invalidate_tag("user:7"), 2);
    /// assert!(!cache.contains_key("/users") && cache.contains_key("/about"));
    /// ```
    pub fn insert_with_tags(&self, key: K, value: V, tags: &[impl AsRef<str>]) {
        self.core.insert_tagged(key, value, Life::Configured, &names(tags));
    }

    /// Removes all entries that carry a tag, before it returns, and tells how many. An entry whose insert had returned when
    /// this was called is gone. Loads in flight that [will carry](Self::get_or_insert_with_tags) the tag do not store their results.
    ///
    /// See [`insert_with_tags`](Self::insert_with_tags) for an example. The listener is told
    /// [`Explicit`](crate::RemovalCause::Explicit). Cost: proportional to the entries with this tag; no lock is held for more than 64
    /// removals.
    pub fn invalidate_tag(&self, tag: impl AsRef<str>) -> u64 {
        self.core.invalidate_tag(tag.as_ref())
    }

    /// How many tags all entries carry together, for tests of leaks.
    #[doc(hidden)]
    #[must_use]
    pub fn tag_links(&self) -> usize {
        self.core.tag_links()
    }
}

impl<K, V, S> Cache<K, V, S>
where
    K: Hash + Eq,
    V: Clone,
    S: BuildHasher,
{
    /// As [`get_or_insert_with`](Self::get_or_insert_with); what is loaded will carry `tags`. If one of them is invalidated
    /// while `init` runs, all who wait get the loaded value, and it is not stored.
    ///
    /// Of several callers who wait for one load, the tags of the one whose `init` runs count.
    ///
    /// ```
    /// let cache = millpond_cache::Cache::new(100);
    /// assert_eq!(cache.get_or_insert_with_tags(7, &["users"], || "Ada"), "Ada");
    /// assert_eq!(cache.invalidate_tag("users"), 1);
    /// let read = cache.get_or_insert_with_tags(7, &["users"], || {
    ///     // The value was read, and then somebody changed it.
    ///     cache.invalidate_tag("users");
    ///     "Ada"
    /// });
    /// assert_eq!((read, cache.get(&7)), ("Ada", None));
    /// ```
    ///
    /// # Panics
    /// If `init` asks this cache for the same key again.
    pub fn get_or_insert_with_tags(&self, key: K, tags: &[impl AsRef<str>], init: impl FnOnce() -> V) -> V {
        match self.try_get_or_insert_with_tags(key, tags, || Ok::<V, Infallible>(init())) {
            Ok(value) => value,
            Err(never) => match *never {},
        }
    }

    /// As [`get_or_insert_with_tags`](Self::get_or_insert_with_tags), for a loader that can fail. Errors are not cached.
    ///
    /// # Errors
    /// The loader's error, shared by all who waited for this load.
    ///
    /// # Panics
    /// If `init` asks this cache for the same key again.
    pub fn try_get_or_insert_with_tags<E>(
        &self,
        key: K,
        tags: &[impl AsRef<str>],
        init: impl FnOnce() -> Result<V, E>,
    ) -> Result<V, Arc<E>>
    where
        E: Send + Sync + 'static,
    {
        self.drive_blocking(key, &names(tags), || Ok((init()?, Life::Configured)))
    }

    /// As [`get_or_insert_with_tags`](Self::get_or_insert_with_tags), with a future.
    ///
    /// # Panics
    /// As for [`get_or_insert_with_async`](Self::get_or_insert_with_async).
    ///
    /// # Cancellation
    /// As for [`get_or_insert_with_async`](Self::get_or_insert_with_async).
    pub async fn get_or_insert_with_tags_async(
        &self,
        key: K,
        tags: &[impl AsRef<str>],
        init: impl Future<Output = V>,
    ) -> V {
        let init = async { Ok::<V, Infallible>(init.await) };
        match self.try_get_or_insert_with_tags_async(key, tags, init).await {
            Ok(value) => value,
            Err(never) => match *never {},
        }
    }

    /// As [`try_get_or_insert_with_tags`](Self::try_get_or_insert_with_tags), with a future.
    ///
    /// # Errors
    /// The loader's error, shared by all who waited for this load.
    ///
    /// # Panics
    /// As for [`get_or_insert_with_async`](Self::get_or_insert_with_async).
    ///
    /// # Cancellation
    /// As for [`get_or_insert_with_async`](Self::get_or_insert_with_async).
    pub async fn try_get_or_insert_with_tags_async<E>(
        &self,
        key: K,
        tags: &[impl AsRef<str>],
        init: impl Future<Output = Result<V, E>>,
    ) -> Result<V, Arc<E>>
    where
        E: Send + Sync + 'static,
    {
        let names = names(tags);
        self.drive_async(key, &names, async { Ok((init.await?, Life::Configured)) }).await
    }
}

fn names(tags: &[impl AsRef<str>]) -> Vec<Arc<str>> {
    let mut names: Vec<Arc<str>> = tags.iter().map(|tag| Arc::from(tag.as_ref())).collect();
    names.sort_unstable();
    names.dedup();
    names
}
