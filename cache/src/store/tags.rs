//! Which entries of a shard carry which tag, and which tags an entry carries.
//!
//! A link joins one entry with one tag. It stands in two lists: that of the tag, in the order in which entries were tagged, and
//! that of the entry. All of it is guarded by the shard's lock; a shard without tags has none of it. An entry's links go when
//! its cell goes to limbo, whatever the reason, so the index holds no more than the entries do.

use std::collections::HashMap;
use std::sync::Arc;

/// No link.
const NONE: u32 = u32::MAX;

#[derive(Debug)]
struct Link {
    cell: u32,
    tag: u32,
    older: u32,
    younger: u32,
    /// The entry's next link; of a free link, the next free one.
    next: u32,
    /// How often the shard had been emptied when the entry was tagged: one of an older era is hidden.
    era: u32,
}

#[derive(Debug)]
struct Tag {
    name: Arc<str>,
    oldest: u32,
    youngest: u32,
    entries: usize,
}

/// The index of one shard.
#[derive(Debug)]
pub(crate) struct Tags {
    names: HashMap<Arc<str>, u32, ahash::RandomState>,
    tags: Vec<Tag>,
    /// Places in `tags` that are free.
    idle: Vec<u32>,
    links: Vec<Link>,
    free: u32,
    /// Links in use.
    used: usize,
    /// The first link of each entry that has any.
    entries: HashMap<u32, u32, ahash::RandomState>,
}

impl Tags {
    pub(super) fn new() -> Self {
        Self {
            names: HashMap::default(),
            tags: Vec::new(),
            idle: Vec::new(),
            links: Vec::new(),
            free: NONE,
            used: 0,
            entries: HashMap::default(),
        }
    }

    fn carries(&self, cell: u32, tag: u32) -> bool {
        let mut at = self.entries.get(&cell).copied().unwrap_or(NONE);
        while at != NONE {
            let link = &self.links[at as usize];
            if link.tag == tag {
                return true;
            }
            at = link.next;
        }
        false
    }

    fn tag(&mut self, name: &Arc<str>) -> u32 {
        if let Some(&tag) = self.names.get(name) {
            return tag;
        }
        let fresh = Tag { name: Arc::clone(name), oldest: NONE, youngest: NONE, entries: 0 };
        let tag = match self.idle.pop() {
            Some(tag) => {
                self.tags[tag as usize] = fresh;
                tag
            }
            None => {
                self.tags.push(fresh);
                u32::try_from(self.tags.len() - 1).expect("fewer tags than 2^32")
            }
        };
        self.names.insert(Arc::clone(name), tag);
        tag
    }

    pub(super) fn attach(&mut self, cell: u32, name: &Arc<str>, era: u32) {
        let tag = self.tag(name);
        if self.carries(cell, tag) {
            return;
        }
        let head = &mut self.tags[tag as usize];
        let next = self.entries.get(&cell).copied().unwrap_or(NONE);
        let link = Link { cell, tag, older: head.youngest, younger: NONE, next, era };
        let at = if self.free == NONE {
            self.links.push(link);
            u32::try_from(self.links.len() - 1).expect("fewer links than 2^32")
        } else {
            let at = self.free;
            self.free = self.links[at as usize].next;
            self.links[at as usize] = link;
            at
        };
        if head.youngest == NONE {
            head.oldest = at;
        } else {
            self.links[head.youngest as usize].younger = at;
        }
        head.youngest = at;
        head.entries += 1;
        self.used += 1;
        self.entries.insert(cell, at);
    }

    /// Forgets an entry.
    pub(super) fn detach(&mut self, cell: u32) {
        let Some(mut at) = self.entries.remove(&cell) else { return };
        while at != NONE {
            let Link { tag, older, younger, next, .. } = self.links[at as usize];
            let head = &mut self.tags[tag as usize];
            if older == NONE {
                head.oldest = younger;
            } else {
                self.links[older as usize].younger = younger;
            }
            if younger == NONE {
                head.youngest = older;
            } else {
                self.links[younger as usize].older = older;
            }
            head.entries -= 1;
            if head.entries == 0 {
                self.names.remove(&head.name);
                head.name = Arc::default();
                self.idle.push(tag);
            }
            self.links[at as usize].next = self.free;
            self.free = at;
            self.used -= 1;
            at = next;
        }
    }

    pub(super) fn check(&self, is_there: impl Fn(u32, u32) -> bool) {
        let mut counted = 0;
        for (name, &tag) in &self.names {
            let tag = &self.tags[tag as usize];
            assert_eq!(name, &tag.name, "a name leads to its tag");
            let (mut at, mut older, mut entries) = (tag.oldest, NONE, 0);
            while at != NONE {
                let link = &self.links[at as usize];
                assert_eq!(link.older, older, "links point both ways");
                assert!(is_there(link.cell, link.era), "an entry that left has no tag");
                (older, at) = (at, link.younger);
                entries += 1;
            }
            assert_eq!((older, entries), (tag.youngest, tag.entries), "the list of a tag");
            counted += entries;
        }
        assert_eq!(counted, self.used, "every link is one of a tag");
        assert!(self.tags.len() - self.idle.len() == self.names.len(), "tags without entries are forgotten");
    }

    /// How many entries carry a tag.
    pub(super) fn entries(&self, name: &str) -> usize {
        self.names.get(name).map_or(0, |&tag| self.tags[tag as usize].entries)
    }

    /// The entry that has carried a tag for longest, and its era.
    pub(super) fn oldest(&self, name: &str) -> Option<(u32, u32)> {
        let &tag = self.names.get(name)?;
        let link = &self.links[self.tags[tag as usize].oldest as usize];
        Some((link.cell, link.era))
    }

    /// Links in use.
    pub(super) fn links(&self) -> usize {
        self.used
    }

    /// The tags of an entry.
    pub(super) fn of(&self, cell: u32) -> Vec<Arc<str>> {
        let mut at = self.entries.get(&cell).copied().unwrap_or(NONE);
        let mut names = Vec::new();
        while at != NONE {
            let link = &self.links[at as usize];
            names.push(Arc::clone(&self.tags[link.tag as usize].name));
            at = link.next;
        }
        names
    }
}
