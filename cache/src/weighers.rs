//! Weighers for common types, for [`CacheBuilder::weigher`](crate::CacheBuilder::weigher).
//!
//! They estimate: what the allocator rounds up to, and what the cache itself needs for an entry, is not counted.
//!
//! ```
//! use millpond_cache::{Cache, weighers};
//! let cache: Cache<u64, String> =
//!     Cache::builder().max_weight(64 << 20).weigher(weighers::bytes).build()?;
//! cache.insert(1, String::with_capacity(100));
//! assert_eq!(cache.weighted_size(), (8 + size_of::<String>() + 100) as u64);
//! # Ok::<(), millpond_cache::BuildError>(())
//! ```

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// Key and value in bytes, with the memory that they own. At least 1; at most `u32::MAX`, which stands for all above.
///
/// Cost: that of [`HeapSize::heap_size`] of both.
#[must_use]
pub fn bytes<K: HeapSize, V: HeapSize>(key: &K, value: &V) -> u32 {
    to_weight(key.byte_size().saturating_add(value.byte_size()))
}

/// The value alone in bytes, with the memory that it owns. At least 1; at most `u32::MAX`.
///
/// ```
/// use millpond_cache::weighers;
/// assert_eq!(weighers::value_bytes(&"any key", &[0u16; 5]), 10);
/// ```
#[must_use]
pub fn value_bytes<K: ?Sized, V: HeapSize>(_key: &K, value: &V) -> u32 {
    to_weight(value.byte_size())
}

/// The length of a value that is text or bytes (`String`, `Vec<u8>`, `bytes::Bytes` and the like), without what is
/// reserved. 0 bytes weigh 1, for an entry of weight 0 would never be evicted. At most `u32::MAX`.
///
/// ```
/// use millpond_cache::weighers;
/// assert_eq!(weighers::value_len(&1, &"five!"), 5);
/// assert_eq!(weighers::value_len(&1, &Vec::<u8>::with_capacity(100)), 1);
/// ```
#[must_use]
pub fn value_len<K: ?Sized, V: AsRef<[u8]> + ?Sized>(_key: &K, value: &V) -> u32 {
    to_weight(value.as_ref().len())
}

/// A size as a weight: 0 becomes 1, which is evicted as 0 is not; what is above `u32::MAX` becomes `u32::MAX`.
///
/// ```
/// use millpond_cache::weighers::to_weight;
/// assert_eq!((to_weight(0), to_weight(7)), (1, 7));
/// ```
#[must_use]
pub fn to_weight(size: usize) -> u32 {
    u32::try_from(size).unwrap_or(u32::MAX).max(1)
}

/// Memory that a value owns besides its own bytes.
///
/// ```
/// use millpond_cache::weighers::HeapSize;
/// struct Page {
///     title: String,
///     hits: u64,
/// }
/// impl HeapSize for Page {
///     fn heap_size(&self) -> usize {
///         self.title.heap_size()
///     }
/// }
/// let page = Page { title: "home".into(), hits: 0 };
/// assert_eq!(page.byte_size(), size_of::<Page>() + 4);
/// # let _ = page.hits;
/// ```
pub trait HeapSize {
    /// Whether a value can own memory at all. Where it is false, collections need not ask each element.
    const OWNS_MEMORY: bool = true;

    /// Bytes that the value owns on the heap. Cost for collections of owning elements: proportional to their length.
    ///
    /// What an `Arc` points to is counted in full for each handle.
    fn heap_size(&self) -> usize;

    /// The value's own bytes, and those that it owns.
    fn byte_size(&self) -> usize {
        size_of_val(self).saturating_add(self.heap_size())
    }
}

macro_rules! owns_nothing {
    ($($type:ty),*) => {$(
        impl HeapSize for $type {
            const OWNS_MEMORY: bool = false;

            #[inline]
            fn heap_size(&self) -> usize {
                0
            }
        }
    )*};
}

owns_nothing!(
    u8,
    u16,
    u32,
    u64,
    u128,
    usize,
    i8,
    i16,
    i32,
    i64,
    i128,
    isize,
    f32,
    f64,
    bool,
    char,
    (),
    str,
    Duration
);

impl<T: ?Sized> HeapSize for &T {
    const OWNS_MEMORY: bool = false;

    fn heap_size(&self) -> usize {
        0
    }
}

fn sum<'a, T: HeapSize + 'a>(items: impl IntoIterator<Item = &'a T>) -> usize {
    if T::OWNS_MEMORY {
        items.into_iter().fold(0, |sum, item| sum.saturating_add(item.heap_size()))
    } else {
        0
    }
}

fn slots<T>(count: usize) -> usize {
    count.saturating_mul(size_of::<T>())
}

impl HeapSize for String {
    fn heap_size(&self) -> usize {
        self.capacity()
    }
}

impl<T: HeapSize> HeapSize for [T] {
    const OWNS_MEMORY: bool = T::OWNS_MEMORY;

    fn heap_size(&self) -> usize {
        sum(self)
    }
}

impl<T: HeapSize, const N: usize> HeapSize for [T; N] {
    const OWNS_MEMORY: bool = T::OWNS_MEMORY;

    fn heap_size(&self) -> usize {
        sum(self)
    }
}

impl<T: HeapSize> HeapSize for Vec<T> {
    fn heap_size(&self) -> usize {
        slots::<T>(self.capacity()).saturating_add(sum(self))
    }
}

impl<T: HeapSize> HeapSize for VecDeque<T> {
    fn heap_size(&self) -> usize {
        slots::<T>(self.capacity()).saturating_add(sum(self))
    }
}

impl<T: HeapSize + ?Sized> HeapSize for Box<T> {
    fn heap_size(&self) -> usize {
        (**self).byte_size()
    }
}

impl<T: HeapSize + ?Sized> HeapSize for Arc<T> {
    fn heap_size(&self) -> usize {
        // Its two counters, too.
        (**self).byte_size().saturating_add(2 * size_of::<usize>())
    }
}

impl<T: HeapSize> HeapSize for Option<T> {
    const OWNS_MEMORY: bool = T::OWNS_MEMORY;

    fn heap_size(&self) -> usize {
        self.as_ref().map_or(0, T::heap_size)
    }
}

impl<T: HeapSize, E: HeapSize> HeapSize for Result<T, E> {
    const OWNS_MEMORY: bool = T::OWNS_MEMORY || E::OWNS_MEMORY;

    fn heap_size(&self) -> usize {
        match self {
            Ok(value) => value.heap_size(),
            Err(error) => error.heap_size(),
        }
    }
}

impl<T: ToOwned<Owned: HeapSize> + ?Sized> HeapSize for Cow<'_, T> {
    fn heap_size(&self) -> usize {
        match self {
            Cow::Borrowed(_) => 0,
            Cow::Owned(owned) => owned.heap_size(),
        }
    }
}

impl<K: HeapSize, V: HeapSize, S> HeapSize for HashMap<K, V, S> {
    fn heap_size(&self) -> usize {
        // A byte of control for each slot.
        slots::<(K, V)>(self.capacity())
            .saturating_add(self.capacity())
            .saturating_add(sum(self.keys()))
            .saturating_add(sum(self.values()))
    }
}

impl<T: HeapSize, S> HeapSize for HashSet<T, S> {
    fn heap_size(&self) -> usize {
        slots::<T>(self.capacity()).saturating_add(self.capacity()).saturating_add(sum(self))
    }
}

impl<K: HeapSize, V: HeapSize> HeapSize for BTreeMap<K, V> {
    fn heap_size(&self) -> usize {
        slots::<(K, V)>(self.len()).saturating_add(sum(self.keys())).saturating_add(sum(self.values()))
    }
}

impl<T: HeapSize> HeapSize for BTreeSet<T> {
    fn heap_size(&self) -> usize {
        slots::<T>(self.len()).saturating_add(sum(self))
    }
}

macro_rules! tuples {
    ($(($($name:ident $index:tt),+)),+) => {$(
        impl<$($name: HeapSize),+> HeapSize for ($($name,)+) {
            const OWNS_MEMORY: bool = $($name::OWNS_MEMORY)||+;

            fn heap_size(&self) -> usize {
                0usize$(.saturating_add(self.$index.heap_size()))+
            }
        }
    )+};
}

tuples!((A 0), (A 0, B 1), (A 0, B 1, C 2), (A 0, B 1, C 2, D 3));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_nested_values() {
        assert_eq!(7u64.byte_size(), 8);
        assert_eq!("abc".heap_size(), 0);
        assert_eq!((&"abc").byte_size(), size_of::<&str>());
        assert_eq!(Box::<str>::from("abc").byte_size(), size_of::<Box<str>>() + 3);
        assert_eq!(Arc::<str>::from("abc").heap_size(), 3 + 2 * size_of::<usize>());
        let strings = vec![String::from("ab"), String::from("cde")];
        assert_eq!(strings.heap_size(), 2 * size_of::<String>() + 5);
        assert_eq!(Vec::<u8>::with_capacity(10).heap_size(), 10);
        assert_eq!(Some(String::from("ab")).heap_size(), 2);
        assert_eq!(None::<String>.heap_size(), 0);
        assert_eq!((String::from("ab"), 1u8, String::from("c")).heap_size(), 3);
        assert_eq!(Cow::from("borrowed").heap_size(), 0);
        assert_eq!(Cow::<str>::from(String::from("own")).heap_size(), 3);
        assert_eq!([String::from("a"), String::from("b")].heap_size(), 2);
        assert_eq!(Err::<u8, _>(String::from("no")).heap_size(), 2);
        let map: BTreeMap<u32, String> = [(1, "ab".into())].into();
        assert_eq!(map.heap_size(), size_of::<(u32, String)>() + 2);
        let map: HashMap<u32, u32> = (0..3).map(|n| (n, n)).collect();
        assert_eq!(map.heap_size(), 9 * map.capacity());
        assert!(HashSet::from([1u8]).heap_size() >= 2 && BTreeSet::from([1u8]).heap_size() == 1);
        assert_eq!(VecDeque::from(vec![1u16]).heap_size(), 2);
    }

    #[test]
    fn weights_saturate_and_are_never_zero() {
        assert_eq!(bytes(&(), &()), 1);
        assert_eq!(value_len("k", ""), 1);
        assert_eq!(to_weight(usize::MAX), u32::MAX);
        assert_eq!(to_weight(u32::MAX as usize), u32::MAX);
    }
}
