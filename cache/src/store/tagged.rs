//! A shard under its lock: its entries' tags.

use std::collections::HashSet;
use std::sync::Arc;

use super::locked::Locked;
use super::shard::Detour;
use super::tags::Tags;

impl<K, V> Locked<'_, K, V> {
    /// Gives a linked entry tags.
    pub(crate) fn attach_tags(&mut self, id: u32, names: &[Arc<str>]) {
        let era = self.shard.clears();
        self.shard.set(Detour::Tags, true);
        let tags = self.state.tags.get_or_insert_with(|| Box::new(Tags::new()));
        names.iter().for_each(|name| tags.attach(id, name, era));
    }

    /// How many entries carry a tag.
    pub(crate) fn tagged(&self, name: &str) -> usize {
        self.state.tags.as_ref().map_or(0, |tags| tags.entries(name))
    }

    /// The entry that has carried a tag for longest; loses all its tags. `Some(None)` if it is one that was cleared and waits.
    pub(crate) fn take_tagged(&mut self, name: &str) -> Option<Option<u32>> {
        let now = self.shard.clears();
        let tags = self.state.tags.as_mut()?;
        let (cell, era) = tags.oldest(name)?;
        tags.detach(cell);
        Some((era == now).then_some(cell))
    }

    /// The tags of an entry.
    pub(crate) fn tags_of(&self, id: u32) -> Vec<Arc<str>> {
        self.state.tags.as_ref().map_or_else(Vec::new, |tags| tags.of(id))
    }

    /// Joins of entries and tags.
    pub(crate) fn tag_links(&self) -> usize {
        self.state.tags.as_ref().map_or(0, |tags| tags.links())
    }

    /// Panics unless only entries that are there have tags.
    pub(super) fn check_tags(&self) {
        let Some(tags) = &self.state.tags else { return };
        let linked: HashSet<u32> = self.ids().into_iter().collect();
        let view = self.view();
        let cleared: HashSet<u32> = self.state.policy.each_cleared(&view).collect();
        let now = self.shard.clears();
        tags.check(|cell, era| if era == now { &linked } else { &cleared }.contains(&cell));
    }
}
