//! A handle to the core: borrowed from a cache, or its own, for work that outlives the call that began it.

use std::ops::Deref;
use std::sync::Arc;

use super::Core;

pub(crate) enum Held<'c, K, V, S> {
    Borrowed(&'c Core<K, V, S>),
    Owned(Arc<Core<K, V, S>>),
}

impl<K, V, S> Deref for Held<'_, K, V, S> {
    type Target = Core<K, V, S>;

    #[inline]
    fn deref(&self) -> &Core<K, V, S> {
        match self {
            Self::Borrowed(core) => core,
            Self::Owned(core) => core,
        }
    }
}

impl<K, V, S> Clone for Held<'_, K, V, S> {
    fn clone(&self) -> Self {
        match self {
            Self::Borrowed(core) => Self::Borrowed(core),
            Self::Owned(core) => Self::Owned(Arc::clone(core)),
        }
    }
}
