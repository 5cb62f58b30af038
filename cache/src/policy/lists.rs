//! The queues: intrusive lists of slots, with their sizes and weights.
//!
//! Links are pairs of `u32` beside the entries, not in them: a queue move touches 8 bytes, eight to a cache line, and no
//! entry. Taking the head, the common case, does not write to the new head: the `prev` of a head means nothing.

use super::chunked::Chunked;
use super::region::Region;
use crate::prefetch::prefetch;

/// No slot.
pub(super) const NONE: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct Link {
    prev: u32,
    next: u32,
}

impl Default for Link {
    fn default() -> Self {
        Self { prev: NONE, next: NONE }
    }
}

/// One queue. The head is the oldest.
#[derive(Clone, Copy, Debug)]
pub(super) struct List {
    head: u32,
    tail: u32,
    len: usize,
    weight: u64,
}

impl List {
    const EMPTY: Self = Self { head: NONE, tail: NONE, len: 0, weight: 0 };

    #[inline]
    pub(super) fn head(&self) -> Option<u32> {
        (self.head != NONE).then_some(self.head)
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(super) fn weight(&self) -> u64 {
        self.weight
    }
}

/// All queues of a shard.
#[derive(Debug)]
pub(super) struct Lists {
    links: Chunked<Link>,
    /// Only for weighted caches; elsewhere every entry weighs 1.
    weights: Option<Chunked<u32>>,
    lists: [List; Region::COUNT],
}

impl Lists {
    pub(super) fn new(weighted: bool) -> Self {
        Self {
            links: Chunked::new(),
            weights: weighted.then(Chunked::new),
            lists: [List::EMPTY; Region::COUNT],
        }
    }

    #[inline]
    pub(super) fn list(&self, region: Region) -> &List {
        &self.lists[region as usize]
    }

    #[inline]
    pub(super) fn is_weighted(&self) -> bool {
        self.weights.is_some()
    }

    /// The slot behind one that is in a list.
    #[inline]
    pub(super) fn next(&self, slot: u32) -> Option<u32> {
        Some(self.links.get(slot).next).filter(|&next| next != NONE)
    }

    /// Says that a slot's links will be used soon.
    #[inline]
    pub(super) fn prefetch(&self, slot: u32) {
        prefetch(self.links.get(slot));
    }

    /// The weight last set for a slot; stays readable after the entry was unlinked, until the slot is used again.
    #[inline]
    pub(super) fn weight_of(&self, slot: u32) -> u32 {
        self.weights.as_ref().map_or(1, |weights| weights.try_get(slot).unwrap_or(0))
    }

    /// Makes a slot known and sets its weight. It must be in no list.
    #[inline]
    pub(super) fn prepare(&mut self, slot: u32, weight: u32) {
        self.links.reserve(slot);
        match &mut self.weights {
            Some(weights) => {
                weights.reserve(slot);
                *weights.get_mut(slot) = weight;
            }
            None => debug_assert_eq!(weight, 1, "without a weigher every entry weighs 1"),
        }
    }

    #[inline]
    pub(super) fn push_tail(&mut self, region: Region, slot: u32) {
        let weight = self.weight_of(slot);
        let list = &mut self.lists[region as usize];
        *self.links.get_mut(slot) = Link { prev: list.tail, next: NONE };
        if list.tail == NONE {
            list.head = slot;
        } else {
            self.links.get_mut(list.tail).next = slot;
        }
        list.tail = slot;
        list.len += 1;
        list.weight += u64::from(weight);
    }

    pub(super) fn push_head(&mut self, region: Region, slot: u32) {
        let weight = self.weight_of(slot);
        let list = &mut self.lists[region as usize];
        *self.links.get_mut(slot) = Link { prev: NONE, next: list.head };
        if list.head == NONE {
            list.tail = slot;
        } else {
            self.links.get_mut(list.head).prev = slot;
        }
        list.head = slot;
        list.len += 1;
        list.weight += u64::from(weight);
    }

    /// Takes the head off a list that has one.
    #[inline]
    pub(super) fn pop_head(&mut self, region: Region) -> u32 {
        let list = &mut self.lists[region as usize];
        let slot = list.head;
        list.head = self.links.get(slot).next;
        if list.head == NONE {
            list.tail = NONE;
        }
        list.len -= 1;
        let weight = self.weight_of(slot);
        self.lists[region as usize].weight -= u64::from(weight);
        slot
    }

    pub(super) fn remove(&mut self, region: Region, slot: u32) {
        let list = &mut self.lists[region as usize];
        if list.head == slot {
            self.pop_head(region);
            return;
        }
        let Link { prev, next } = *self.links.get(slot);
        self.links.get_mut(prev).next = next;
        if next == NONE {
            list.tail = prev;
        } else {
            self.links.get_mut(next).prev = prev;
        }
        list.len -= 1;
        let weight = self.weight_of(slot);
        self.lists[region as usize].weight -= u64::from(weight);
    }

    /// Moves the head of a list that has one to its tail.
    #[inline]
    pub(super) fn rotate(&mut self, region: Region) {
        let list = &mut self.lists[region as usize];
        if list.head == list.tail {
            return;
        }
        let slot = list.head;
        list.head = self.links.get(slot).next;
        self.links.get_mut(list.tail).next = slot;
        *self.links.get_mut(slot) = Link { prev: list.tail, next: NONE };
        list.tail = slot;
    }

    /// Puts `new`, which may be `old`, in `old`'s place with a weight of its own.
    pub(super) fn replace(&mut self, region: Region, old: u32, new: u32, weight: u32) {
        let before = self.weight_of(old);
        self.prepare(new, weight);
        let list = &mut self.lists[region as usize];
        list.weight = list.weight - u64::from(before) + u64::from(weight);
        if old == new {
            return;
        }
        let link = *self.links.get(old);
        *self.links.get_mut(new) = link;
        if list.head == old {
            list.head = new;
        } else {
            self.links.get_mut(link.prev).next = new;
        }
        if list.tail == old {
            list.tail = new;
        } else {
            self.links.get_mut(link.next).prev = new;
        }
    }

    /// Forgets all entries.
    pub(super) fn clear(&mut self) {
        *self = Self::new(self.is_weighted());
    }

    /// From the oldest to the youngest.
    pub(super) fn oldest_first(&self, region: Region) -> impl Iterator<Item = u32> + '_ {
        let mut next = self.list(region).head;
        std::iter::from_fn(move || {
            let slot = next;
            if slot == NONE {
                return None;
            }
            next = self.links.get(slot).next;
            Some(slot)
        })
    }

    /// From the youngest to the oldest.
    pub(super) fn youngest_first(&self, region: Region) -> impl Iterator<Item = u32> + '_ {
        let list = self.list(region);
        let mut next = list.tail;
        std::iter::from_fn(move || {
            let slot = next;
            if slot == NONE {
                return None;
            }
            next = if slot == list.head { NONE } else { self.links.get(slot).prev };
            Some(slot)
        })
    }

    /// Panics unless links, lengths and weights of a list agree. O(n).
    pub(super) fn check(&self, region: Region) {
        let list = self.list(region);
        let (mut len, mut weight, mut last) = (0usize, 0u64, NONE);
        for slot in self.oldest_first(region) {
            assert!(
                len < list.len,
                "{region:?}: more entries linked than counted ({}), or a cycle",
                list.len
            );
            if last != NONE {
                assert_eq!(self.links.get(slot).prev, last, "{region:?}: backward link of slot {slot}");
            }
            len += 1;
            weight += u64::from(self.weight_of(slot));
            last = slot;
        }
        assert_eq!(len, list.len, "{region:?}: entries linked and counted");
        assert_eq!(last, list.tail, "{region:?}: tail");
        assert_eq!(weight, list.weight, "{region:?}: weight linked and counted");
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Op {
        Tail(u32),
        Head(u32),
        Pop,
        Remove(prop::sample::Index),
        Rotate,
        Replace(prop::sample::Index, u32),
    }

    fn ops() -> impl Strategy<Value = Vec<Op>> {
        let op = prop_oneof![
            3 => (0..600u32).prop_map(Op::Tail),
            1 => (0..600u32).prop_map(Op::Head),
            1 => Just(Op::Pop),
            1 => any::<prop::sample::Index>().prop_map(Op::Remove),
            1 => Just(Op::Rotate),
            1 => (any::<prop::sample::Index>(), 0..600u32).prop_map(|(i, s)| Op::Replace(i, s)),
        ];
        prop::collection::vec(op, 0..200)
    }

    proptest! {
        #[test]
        fn behaves_like_a_deque(ops in ops()) {
            let region = Region::Window;
            let mut lists = Lists::new(true);
            let mut model = VecDeque::new();
            for op in ops {
                match op {
                    Op::Tail(slot) | Op::Head(slot) if model.contains(&slot) => {}
                    Op::Tail(slot) => {
                        lists.prepare(slot, slot % 7);
                        lists.push_tail(region, slot);
                        model.push_back(slot);
                    }
                    Op::Head(slot) => {
                        lists.prepare(slot, slot % 7);
                        lists.push_head(region, slot);
                        model.push_front(slot);
                    }
                    Op::Pop => {
                        if let Some(slot) = model.pop_front() {
                            prop_assert_eq!(lists.pop_head(region), slot);
                        }
                    }
                    Op::Remove(index) if !model.is_empty() => {
                        let slot = model.remove(index.index(model.len())).expect("in range");
                        lists.remove(region, slot);
                    }
                    Op::Rotate if !model.is_empty() => {
                        model.rotate_left(1);
                        lists.rotate(region);
                    }
                    Op::Replace(index, new) if !model.is_empty() && !model.contains(&new) => {
                        let place = index.index(model.len());
                        lists.replace(region, model[place], new, 9);
                        model[place] = new;
                    }
                    _ => {}
                }
                lists.check(region);
                prop_assert!(lists.oldest_first(region).eq(model.iter().copied()));
                prop_assert!(lists.youngest_first(region).eq(model.iter().rev().copied()));
            }
        }
    }
}
