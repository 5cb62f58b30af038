//! Tags of entries, under the shard's lock.

use std::collections::HashSet;
use std::sync::Arc;

use super::locked::Locked;
use super::tags::Tags;
use crate::sync::Ordering;

impl<K, V> Locked<'_, K, V> {
    /// Gives a linked entry tags.
    pub(crate) fn attach_tags(&mut self, id: u32, names: &[Arc<str>]) {
        let era = self.shard.clears();
        let tags = self.state.tags.get_or_insert_with(|| Box::new(Tags::new()));
        names.iter().for_each(|name| tags.attach(id, name, era));
    }

    /// How many entries carry a tag.
    pub(crate) fn tagged(&self, name: &str) -> usize {
        self.state.tags.as_ref().map_or(0, |tags| tags.tagged(name))
    }

    /// The entry that has carried a tag for longest. Loses all its tags; none if it is hidden.
    pub(crate) fn take_tagged(&mut self, name: &str) -> Option<Option<u32>> {
        let era = self.shard.clears();
        self.state.tags.as_mut()?.take_tagged(name, era)
    }

    /// Joins of entries and tags.
    pub(crate) fn tag_links(&self) -> usize {
        self.state.tags.as_ref().map_or(0, |tags| tags.links())
    }

    pub(super) fn check_tags(&self) {
        let Some(tags) = &self.state.tags else { return };
        let linked: HashSet<u32> = self.ids().into_iter().collect();
        let view = self.view();
        let cleared: HashSet<u32> = self.state.policy.each_cleared(&view).collect();
        let era = self.shard.load.clears.load(Ordering::Relaxed);
        tags.check(|cell, tagged| if tagged == era { &linked } else { &cleared }.contains(&cell));
    }
}
