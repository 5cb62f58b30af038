//! What a compute ([`Cache::entry`](crate::Cache::entry)) may do to an entry, and what came of it.
//!
//! Names and meaning are moka's, but for the key: see [`Entry`].

/// What a closure of [`and_compute_with`](crate::EntrySelector::and_compute_with) wants done to the entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op<V> {
    /// Nothing.
    Nop,
    /// Insert the value, or put it in the place of the old one.
    Put(V),
    /// Remove the entry, if there is one.
    Remove,
}

/// What a compute did.
///
/// ```
/// use millpond_cache::compute::{CompResult, Op};
/// let cache = millpond_cache::Cache::new(100);
/// let result = cache.entry("a").and_compute_with(|_| Op::Put(1));
/// assert!(matches!(&result, CompResult::Inserted(entry) if *entry.value() == 1));
/// assert_eq!(result.into_entry().map(|entry| entry.into_value()), Some(1));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CompResult<V> {
    /// There was no entry, and there is none now.
    StillNone,
    /// There was an entry, and it was left alone. Holds its value.
    Unchanged(Entry<V>),
    /// There was no entry; holds the value that was inserted.
    Inserted(Entry<V>),
    /// There was an entry; holds the value that replaced the old one.
    ReplacedWith(Entry<V>),
    /// There was an entry and it was removed; holds its value.
    Removed(Entry<V>),
}

impl<V> CompResult<V> {
    /// The entry that the result speaks of; `None` for [`StillNone`](Self::StillNone).
    #[must_use]
    pub fn into_entry(self) -> Option<Entry<V>> {
        match self {
            Self::StillNone => None,
            Self::Unchanged(entry)
            | Self::Inserted(entry)
            | Self::ReplacedWith(entry)
            | Self::Removed(entry) => Some(entry),
        }
    }

    /// The entry that the result speaks of.
    ///
    /// # Panics
    /// For [`StillNone`](Self::StillNone).
    #[must_use]
    #[track_caller]
    pub fn unwrap(self) -> Entry<V> {
        self.into_entry().expect("called `CompResult::unwrap` on `StillNone`")
    }
}

/// A clone of a value, and where it came from.
///
/// Unlike moka's it does not hold the key, which the caller knows: keys need not be `Clone`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<V> {
    value: V,
    is_fresh: bool,
    is_old_value_replaced: bool,
}

impl<V> Entry<V> {
    pub(crate) fn found(value: V) -> Self {
        Self { value, is_fresh: false, is_old_value_replaced: false }
    }

    pub(crate) fn made(value: V, is_old_value_replaced: bool) -> Self {
        Self { value, is_fresh: true, is_old_value_replaced }
    }

    /// The value.
    #[must_use]
    pub fn value(&self) -> &V {
        &self.value
    }

    /// The value, owned.
    #[must_use]
    pub fn into_value(self) -> V {
        self.value
    }

    /// Whether this call made the value, rather than found it or waited for the load of another.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        self.is_fresh
    }

    /// Whether the value took the place of an older one.
    #[must_use]
    pub fn is_old_value_replaced(&self) -> bool {
        self.is_old_value_replaced
    }
}
