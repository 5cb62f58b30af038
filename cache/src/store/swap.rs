//! A new value for a key that the shard holds, the short way.

use super::locked::Locked;
use super::node::Node;
use super::table::Missed;
use crate::policy::{Entries, Header};
use crate::reclaim;
use crate::sync::Ordering;

/// How [`Locked::swap`] ended.
#[derive(Debug)]
pub(crate) enum Swap<K, V> {
    /// The key has its new value.
    Done,
    /// The shard does not hold the key.
    Absent(K, V),
    /// The short way does not go there; nothing has changed.
    Unsure(K, V),
}

#[expect(unsafe_code, reason = "docs/unsafe.md: shard")]
impl<K: Eq, V> Locked<'_, K, V> {
    /// Puts a new value in the place of a key's old one, if nothing stands in the way: all weigh the same, none ends, the table is
    /// at rest, the key is in its home bucket, and a cell is at hand. Counts as a hit.
    #[inline]
    pub(crate) fn swap(&mut self, hash: u32, key: K, value: V) -> Swap<K, V> {
        if self.shard.timed() || !self.shard.next.load(Ordering::Relaxed).is_null() {
            return Swap::Unsure(key, value);
        }
        let table = self.table();
        // SAFETY: we hold the lock, and no cell is added below; the cells hold nodes, which begin with a header.
        let cells = unsafe { self.shard.cells.typed::<Node<K, V>>() };
        let (link, old) = match table.peek(hash, |id| (self.node(id).key == key).then_some(id)) {
            Ok(hit) => hit,
            Err(Missed::Last) => return Swap::Absent(key, value),
            Err(Missed::Overflowed) => return self.look_further(hash, key, value),
        };
        let state = &mut *self.state;
        // The write that fills a batch looks after limbo, too.
        if state.limbo.unsealed() + 1 >= state.tend_at {
            return Swap::Unsure(key, value);
        }
        let id = match state.allocator.reuse() {
            Some(id) => id,
            None if Node::<K, V>::NEEDS_DROP => return Swap::Unsure(key, value),
            None => match state.limbo.pop(&cells, reclaim::safe) {
                Some(id) => id,
                None => return Swap::Unsure(key, value),
            },
        };
        let node = Node { header: Header::successor(cells.header(old)), key, value };
        // SAFETY: the cell was just taken, under the lock; it is empty.
        unsafe { cells.address(id).write(node) };
        state.policy.succeed(&cells, &self.shard.activity, old, id);
        link.replace(id);
        state.limbo.push(&cells, old);
        Swap::Done
    }

    #[cold]
    fn look_further(&self, hash: u32, key: K, value: V) -> Swap<K, V> {
        match self.find(hash, |candidate| *candidate == key) {
            Some(_) => Swap::Unsure(key, value),
            None => Swap::Absent(key, value),
        }
    }
}
