//! Doubly linked lists over slots: indices in place of pointers, so a stale link is a failed check.

use super::chunked::Chunked;

/// No slot: slots begin at 1.
pub(super) const NONE: u32 = 0;

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Link {
    pub(super) prev: u32,
    pub(super) next: u32,
}

pub(super) type Links = Chunked<Link>;

/// One list: leaves at the head, joins at the tail.
#[derive(Debug, Default)]
pub(super) struct List {
    pub(super) head: u32,
    pub(super) tail: u32,
    pub(super) len: usize,
    pub(super) weight: u64,
}

impl List {
    pub(super) fn push_tail(&mut self, links: &mut Links, slot: u32, weight: u32) {
        *links.get_mut(slot) = Link { prev: self.tail, next: NONE };
        if self.tail == NONE {
            self.head = slot;
        } else {
            links.get_mut(self.tail).next = slot;
        }
        self.tail = slot;
        self.len += 1;
        self.weight += u64::from(weight);
    }

    pub(super) fn push_head(&mut self, links: &mut Links, slot: u32, weight: u32) {
        *links.get_mut(slot) = Link { prev: NONE, next: self.head };
        if self.head == NONE {
            self.tail = slot;
        } else {
            links.get_mut(self.head).prev = slot;
        }
        self.head = slot;
        self.len += 1;
        self.weight += u64::from(weight);
    }

    pub(super) fn unlink(&mut self, links: &mut Links, slot: u32, weight: u32) {
        let Link { prev, next } = links.get(slot);
        if prev == NONE {
            debug_assert_eq!(self.head, slot);
            self.head = next;
        } else {
            links.get_mut(prev).next = next;
        }
        if next == NONE {
            debug_assert_eq!(self.tail, slot);
            self.tail = prev;
        } else {
            links.get_mut(next).prev = prev;
        }
        self.len -= 1;
        self.weight -= u64::from(weight);
    }

    /// Moves the head to the tail.
    pub(super) fn rotate(&mut self, links: &mut Links) {
        let head = self.head;
        if head == self.tail {
            return;
        }
        let second = links.get(head).next;
        self.head = second;
        links.get_mut(second).prev = NONE;
        *links.get_mut(head) = Link { prev: self.tail, next: NONE };
        links.get_mut(self.tail).next = head;
        self.tail = head;
    }

    /// Puts `new` where `old` stands.
    pub(super) fn substitute(&mut self, links: &mut Links, old: u32, new: u32) {
        let link = links.get(old);
        *links.get_mut(new) = link;
        if link.prev == NONE {
            self.head = new;
        } else {
            links.get_mut(link.prev).next = new;
        }
        if link.next == NONE {
            self.tail = new;
        } else {
            links.get_mut(link.next).prev = new;
        }
    }

    /// From head to tail.
    pub(super) fn iter<'l>(&self, links: &'l Links) -> impl Iterator<Item = u32> + use<'l> {
        let mut next = self.head;
        std::iter::from_fn(move || {
            (next != NONE).then(|| {
                let slot = next;
                next = links.get(slot).next;
                slot
            })
        })
    }
}
