//! A new value for a key that the shard holds, the short way.

use super::locked::Locked;
use super::node::Node;
use super::table::{Link, Missed};
use crate::policy::{Entries, Header};

/// What [`Locked::peek`] found.
#[derive(Debug)]
pub(crate) enum Peek<'s> {
    /// The key's cell, and where it is linked.
    Held(Link<'s>, u32),
    /// The shard does not hold the key.
    Absent,
    /// The short way does not go there.
    Unsure,
}

#[expect(unsafe_code, reason = "docs/unsafe.md: shard")]
impl<'s, K: Eq, V> Locked<'s, K, V> {
    /// Looks for a key that has a short way to a new value: there is no [`Detour`](super::shard::Detour), and the key is in its home
    /// bucket.
    ///
    /// Apart from [`Locked::swap`], so that a comparison that panics finds key and value with a caller who unlocks first.
    #[inline]
    pub(crate) fn peek(&self, hash: u32, key: &K) -> Peek<'s> {
        if self.shard.has_detours() {
            return Peek::Unsure;
        }
        match self.table().peek(hash, |id| (self.node(id).key == *key).then_some(id)) {
            Ok((link, old)) => Peek::Held(link, old),
            Err(Missed::Last) => Peek::Absent,
            Err(Missed::Overflowed) => self.look_further(hash, key),
        }
    }

    #[cold]
    fn look_further(&self, hash: u32, key: &K) -> Peek<'s> {
        match self.find(hash, |candidate| candidate == key) {
            Some(_) => Peek::Unsure,
            None => Peek::Absent,
        }
    }

    /// Puts a new value in the place of what [`Locked::peek`] just found, if a cell is at hand; else hands key and value back, and
    /// nothing has changed. All entries weigh the same. Counts as a hit.
    #[inline]
    pub(crate) fn swap(&mut self, link: Link<'s>, old: u32, key: K, value: V) -> Result<(), (K, V)> {
        // SAFETY: we hold the lock, and no cell is added below; the cells hold nodes, which begin with a header.
        let cells = unsafe { self.shard.cells.typed::<Node<K, V>>() };
        let state = &mut *self.state;
        // The write that fills a batch looks after limbo, too.
        if state.limbo.unsealed() + 1 >= state.tend_at {
            return Err((key, value));
        }
        let id = if Node::<K, V>::NEEDS_DROP { state.allocator.reuse() } else { state.limbo.pop_ready() };
        let Some(id) = id else { return Err((key, value)) };
        let place = cells.header(old).place();
        let node = Node { header: Header::successor(place), key, value };
        // SAFETY: the cell was just taken, under the lock; it is empty.
        unsafe { cells.address(id).write(node) };
        state.policy.succeed(&cells, &self.shard.activity, (old, place), id);
        link.replace(id);
        state.limbo.push(old);
        Ok(())
    }
}
