//! The queues: intrusive lists of slots, with their sizes and weights.
//!
//! The links are in the entries' headers: whoever moves an entry has looked at its header just before, so a queue move
//! costs no further cache line but the tail's. Taking the head does not write to the new head: the `prev` of a head means
//! nothing.

use super::chunked::Chunked;
use super::entries::Entries;
use super::header::Place;
use super::region::Region;

/// No slot.
const NONE: u32 = u32::MAX;

/// One queue. The head is the oldest.
#[derive(Clone, Copy, Debug)]
pub(super) struct List {
    head: u32,
    tail: u32,
    len: u32,
    weight: u64,
}

impl List {
    const EMPTY: Self = Self { head: NONE, tail: NONE, len: 0, weight: 0 };

    #[inline]
    pub(super) fn head(&self) -> Option<u32> {
        (self.head != NONE).then_some(self.head)
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.head == NONE
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len as usize
    }

    #[inline]
    pub(super) fn weight(&self) -> u64 {
        self.weight
    }
}

/// All queues of a shard.
#[derive(Debug)]
pub(super) struct Lists {
    lists: [List; Region::COUNT],
    /// Entries that were cleared and not taken out yet. In none of the sums; linked forwards only.
    cleared: List,
    /// Entries in all queues, and their weight.
    len: usize,
    weight: u64,
    /// Only for weighted caches; elsewhere every entry weighs 1.
    weights: Option<Chunked<u32>>,
}

impl Lists {
    pub(super) fn new(weighted: bool) -> Self {
        Self {
            lists: [List::EMPTY; Region::COUNT],
            cleared: List::EMPTY,
            len: 0,
            weight: 0,
            weights: weighted.then(Chunked::new),
        }
    }

    #[inline]
    pub(super) fn list(&self, region: Region) -> &List {
        &self.lists[region as usize]
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(super) fn weight(&self) -> u64 {
        self.weight
    }

    #[inline]
    pub(super) fn is_weighted(&self) -> bool {
        self.weights.is_some()
    }

    /// The slot behind the head of a list that has one.
    #[inline]
    pub(super) fn second<E: Entries + ?Sized>(&self, entries: &E, region: Region) -> Option<u32> {
        let list = self.list(region);
        (list.head != list.tail).then(|| entries.header(list.head).next())
    }

    /// The slot behind another of a list.
    #[inline]
    pub(super) fn younger<E: Entries + ?Sized>(&self, entries: &E, region: Region, slot: u32) -> Option<u32> {
        (slot != self.list(region).tail).then(|| entries.header(slot).next())
    }

    /// The weight last set for a slot; stays readable after the entry was unlinked, until the slot is used again.
    #[inline]
    pub(super) fn weight_of(&self, slot: u32) -> u32 {
        self.weights.as_ref().map_or(1, |weights| weights.try_get(slot).unwrap_or(0))
    }

    /// Makes a slot known and sets its weight. It must be in no list.
    #[inline]
    pub(super) fn prepare(&mut self, slot: u32, weight: u32) {
        match &mut self.weights {
            Some(weights) => {
                weights.reserve(slot);
                *weights.get_mut(slot) = weight;
            }
            None => debug_assert_eq!(weight, 1, "without a weigher every entry weighs 1"),
        }
    }

    #[inline]
    pub(super) fn push_tail<E: Entries + ?Sized>(&mut self, entries: &E, region: Region, slot: u32) {
        self.count_in(region, slot);
        self.append(entries, region, slot);
    }

    #[inline]
    fn append<E: Entries + ?Sized>(&mut self, entries: &E, region: Region, slot: u32) {
        let list = &mut self.lists[region as usize];
        let header = entries.header(slot);
        header.set_prev(list.tail);
        header.set_next(NONE);
        if list.tail == NONE {
            list.head = slot;
        } else {
            entries.header(list.tail).set_next(slot);
        }
        list.tail = slot;
    }

    pub(super) fn push_head<E: Entries + ?Sized>(&mut self, entries: &E, region: Region, slot: u32) {
        self.count_in(region, slot);
        let list = &mut self.lists[region as usize];
        entries.header(slot).set_next(list.head);
        if list.head == NONE {
            list.tail = slot;
        } else {
            entries.header(list.head).set_prev(slot);
        }
        list.head = slot;
    }

    /// Takes the head off a list that has one.
    #[inline]
    pub(super) fn pop_head<E: Entries + ?Sized>(&mut self, entries: &E, region: Region) -> u32 {
        let slot = self.cut_head(entries, region);
        self.count_out(region, slot);
        slot
    }

    #[inline]
    fn cut_head<E: Entries + ?Sized>(&mut self, entries: &E, region: Region) -> u32 {
        let list = &mut self.lists[region as usize];
        let slot = list.head;
        if slot == list.tail {
            list.head = NONE;
            list.tail = NONE;
        } else {
            list.head = entries.header(slot).next();
        }
        slot
    }

    pub(super) fn remove<E: Entries + ?Sized>(&mut self, entries: &E, region: Region, slot: u32) {
        let list = &mut self.lists[region as usize];
        if list.head == slot {
            self.pop_head(entries, region);
            return;
        }
        let header = entries.header(slot);
        let (prev, next) = (header.prev(), header.next());
        entries.header(prev).set_next(next);
        if list.tail == slot {
            list.tail = prev;
        } else {
            entries.header(next).set_prev(prev);
        }
        self.count_out(region, slot);
    }

    /// Moves the head of a list that has one to its tail.
    #[inline]
    pub(super) fn rotate<E: Entries + ?Sized>(&mut self, entries: &E, region: Region) {
        let slot = self.cut_head(entries, region);
        self.append(entries, region, slot);
    }

    /// Moves the head of a list that has one to the tail of another.
    #[inline]
    pub(super) fn shift<E: Entries + ?Sized>(&mut self, entries: &E, from: Region, to: Region) -> u32 {
        let slot = self.cut_head(entries, from);
        let weight = u64::from(self.weight_of(slot));
        let list = &mut self.lists[from as usize];
        list.len -= 1;
        list.weight -= weight;
        let list = &mut self.lists[to as usize];
        list.len += 1;
        list.weight += weight;
        self.append(entries, to, slot);
        slot
    }

    /// Puts `new`, which has the links of `old`, in its place; not yet its weight.
    #[inline]
    pub(super) fn relink<E: Entries + ?Sized>(&mut self, entries: &E, place: Place, old: u32, new: u32) {
        let (region, (prev, next)) = (place.region(), place.neighbours());
        let list = &mut self.lists[region as usize];
        if list.head == old {
            list.head = new;
        } else {
            entries.header(prev).set_next(new);
        }
        if list.tail == old {
            list.tail = new;
        } else {
            entries.header(next).set_prev(new);
        }
    }

    /// Gives an entry that took the place of one of weight `before` a weight of its own.
    pub(super) fn reweigh(&mut self, region: Region, slot: u32, before: u32, weight: u32) {
        self.prepare(slot, weight);
        let (before, weight) = (u64::from(before), u64::from(weight));
        let list = &mut self.lists[region as usize];
        list.weight = list.weight - before + weight;
        self.weight = self.weight - before + weight;
    }

    #[inline]
    fn count_in(&mut self, region: Region, slot: u32) {
        let weight = u64::from(self.weight_of(slot));
        let list = &mut self.lists[region as usize];
        list.len += 1;
        list.weight += weight;
        self.len += 1;
        self.weight += weight;
    }

    #[inline]
    fn count_out(&mut self, region: Region, slot: u32) {
        let weight = u64::from(self.weight_of(slot));
        let list = &mut self.lists[region as usize];
        list.len -= 1;
        list.weight -= weight;
        self.len -= 1;
        self.weight -= weight;
    }

    /// Joins all queues, one behind the other, to the one of those that wait for [`pop_cleared`](Self::pop_cleared).
    pub(super) fn clear<E: Entries + ?Sized>(&mut self, entries: &E) {
        for region in Region::ALL {
            let list = std::mem::replace(&mut self.lists[region as usize], List::EMPTY);
            if list.is_empty() {
                continue;
            }
            if self.cleared.is_empty() {
                self.cleared.head = list.head;
            } else {
                entries.header(self.cleared.tail).set_next(list.head);
            }
            self.cleared.tail = list.tail;
            self.cleared.len += list.len;
            self.cleared.weight += list.weight;
        }
        self.len = 0;
        self.weight = 0;
    }

    #[inline]
    pub(super) fn cleared(&self) -> &List {
        &self.cleared
    }

    pub(super) fn each_cleared<E: Entries + ?Sized>(&self, entries: &E) -> impl Iterator<Item = u32> {
        forwards(entries, self.cleared)
    }

    /// Takes one of the entries that were cleared.
    pub(super) fn pop_cleared<E: Entries + ?Sized>(&mut self, entries: &E) -> Option<u32> {
        let slot = self.cleared.head()?;
        if slot == self.cleared.tail {
            self.cleared.head = NONE;
            self.cleared.tail = NONE;
        } else {
            self.cleared.head = entries.header(slot).next();
        }
        self.cleared.len -= 1;
        self.cleared.weight -= u64::from(self.weight_of(slot));
        Some(slot)
    }

    /// From the oldest to the youngest.
    pub(super) fn oldest_first<'a, E: Entries + ?Sized>(
        &'a self,
        entries: &'a E,
        region: Region,
    ) -> impl Iterator<Item = u32> + 'a {
        forwards(entries, *self.list(region))
    }

    /// From the youngest to the oldest.
    pub(super) fn youngest_first<'a, E: Entries + ?Sized>(
        &'a self,
        entries: &'a E,
        region: Region,
    ) -> impl Iterator<Item = u32> + 'a {
        let list = self.list(region);
        let mut next = list.tail;
        std::iter::from_fn(move || {
            let slot = next;
            if slot == NONE {
                return None;
            }
            next = if slot == list.head { NONE } else { entries.header(slot).prev() };
            Some(slot)
        })
    }

    /// Panics unless links, lengths and weights agree. O(n).
    pub(super) fn check<E: Entries + ?Sized>(&self, entries: &E) {
        let (mut all, mut all_weight) = (0, 0);
        for region in Region::ALL {
            let list = self.list(region);
            let (mut len, mut weight, mut last) = (0u32, 0u64, NONE);
            for slot in self.oldest_first(entries, region) {
                assert!(
                    len < list.len,
                    "{region:?}: more entries linked than counted ({}), or a cycle",
                    list.len
                );
                if last != NONE {
                    assert_eq!(entries.header(slot).prev(), last, "{region:?}: backward link of slot {slot}");
                }
                len += 1;
                weight += u64::from(self.weight_of(slot));
                last = slot;
            }
            assert_eq!(len, list.len, "{region:?}: entries linked and counted");
            assert_eq!(last, list.tail, "{region:?}: tail");
            assert_eq!(weight, list.weight, "{region:?}: weight linked and counted");
            all += list.len();
            all_weight += list.weight;
        }
        assert_eq!((all, all_weight), (self.len, self.weight), "the sums over all queues");
        let waiting = forwards(entries, self.cleared).take(self.cleared.len() + 1);
        let (len, weight) =
            waiting.fold((0, 0), |(len, weight), slot| (len + 1, weight + u64::from(self.weight_of(slot))));
        assert_eq!((len, weight), (self.cleared.len(), self.cleared.weight), "what was cleared and waits");
    }
}

/// From the oldest to the youngest.
fn forwards<E: Entries + ?Sized>(entries: &E, list: List) -> impl Iterator<Item = u32> {
    let mut next = list.head;
    std::iter::from_fn(move || {
        let slot = next;
        if slot == NONE {
            return None;
        }
        next = if slot == list.tail { NONE } else { entries.header(slot).next() };
        Some(slot)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;
    use crate::policy::Header;

    struct Headers(Vec<Header>);

    impl Entries for Headers {
        fn header(&self, slot: u32) -> &Header {
            &self.0[slot as usize]
        }
    }

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
            let headers = Headers((0..600).map(Header::new).collect());
            let mut lists = Lists::new(true);
            let mut model = VecDeque::new();
            for op in ops {
                match op {
                    Op::Tail(slot) | Op::Head(slot) if model.contains(&slot) => {}
                    Op::Tail(slot) => {
                        lists.prepare(slot, slot % 7);
                        lists.push_tail(&headers, region, slot);
                        model.push_back(slot);
                    }
                    Op::Head(slot) => {
                        lists.prepare(slot, slot % 7);
                        lists.push_head(&headers, region, slot);
                        model.push_front(slot);
                    }
                    Op::Pop => {
                        if let Some(slot) = model.pop_front() {
                            prop_assert_eq!(lists.pop_head(&headers, region), slot);
                        }
                    }
                    Op::Remove(index) if !model.is_empty() => {
                        let slot = model.remove(index.index(model.len())).expect("in range");
                        lists.remove(&headers, region, slot);
                    }
                    Op::Rotate if !model.is_empty() => {
                        model.rotate_left(1);
                        lists.rotate(&headers, region);
                    }
                    Op::Replace(index, new) if !model.is_empty() && !model.contains(&new) => {
                        let place = index.index(model.len());
                        let (old, before) = (model[place], lists.weight_of(model[place]));
                        let header = |slot| headers.header(slot);
                        // The policy notes it when it links an entry.
                        header(old).set_region(region);
                        let links = header(old).place();
                        header(new).take_place(links);
                        lists.relink(&headers, links, old, new);
                        lists.reweigh(region, new, before, 9);
                        model[place] = new;
                    }
                    _ => {}
                }
                lists.check(&headers);
                prop_assert!(lists.oldest_first(&headers, region).eq(model.iter().copied()));
                prop_assert!(lists.youngest_first(&headers, region).eq(model.iter().rev().copied()));
            }
        }
    }
}
