//! What must be true between any two steps. For tests.

use std::collections::BTreeSet;

use super::state::Queue;

impl<K, V> Queue<K, V> {
    /// Panics unless all parts agree. For tests.
    pub(crate) fn check_invariants(&self) {
        let used: Vec<usize> = (0..self.slots.len()).filter(|&id| self.slots[id].is_some()).collect();
        assert_eq!((used.len(), used.len() + self.free.len()), (self.index.len(), self.slots.len()));
        let (mut bytes, mut line_bytes, mut tried, mut numbers) = (0, 0, 0, BTreeSet::new());
        for &id in &used {
            let slot = self.slot(id);
            assert!(slot.flying.is_some() || slot.next.is_some(), "a slot has a change");
            assert!(slot.flying.is_none() || slot.rests_until.is_none(), "who flies does not rest");
            let in_flights = self.flights.iter().flat_map(|flight| &flight.slots).filter(|&&slot| slot == id);
            assert_eq!(in_flights.count(), usize::from(slot.flying.is_some()), "a key flies in one batch");
            for change in slot.flying.iter().chain(&slot.next) {
                bytes += change.bytes;
                assert!(numbers.insert(change.number), "numbers are unique");
                assert_eq!(self.unresolved.get(&change.number), Some(&change.since));
            }
            if let (Some(flying), Some(next)) = (&slot.flying, &slot.next) {
                assert!(flying.number < next.number);
            }
            if let Some(until) = slot.rests_until {
                assert!(self.resting.contains(&(until, id)));
            }
            if self.is_in_line(id) {
                let next = slot.next.as_ref().expect("in line");
                assert_eq!(self.line.get(&next.number), Some(&id));
                line_bytes += next.bytes;
                tried += usize::from(next.was_tried);
            }
        }
        assert_eq!(self.unresolved.len(), numbers.len() + self.letters, "each number stands for something");
        let in_line = used.iter().filter(|&&id| self.is_in_line(id)).count();
        let resting = used.iter().filter(|&&id| self.slot(id).rests_until.is_some()).count();
        assert_eq!((in_line, resting), (self.line.len(), self.resting.len()));
        assert_eq!((bytes, line_bytes, tried), (self.bytes, self.line_bytes, self.tried_in_line));
        assert!(self.flights.iter().all(|flight| !flight.slots.is_empty()));
        assert!(self.unresolved.len() <= self.limits.length.max(self.restored), "the bound holds");
        let counts = self.counts;
        let ended = counts.coalesced + counts.written + counts.dead;
        assert_eq!(counts.accepted, ended + numbers.len() as u64, "each write is somewhere");
    }
}
