//! Table: what stays is always found, what is found is always published.

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

use super::model;
use crate::store::table::{FULL, Table};

/// Hashes of one home bucket in any small table; the tag is the low byte.
const SAME: u32 = 0x10;

/// Cells 1 and 2, filled just before they are published.
struct Cells([UnsafeCell<()>; 3]);

impl Cells {
    fn new() -> Self {
        Self(std::array::from_fn(|_| UnsafeCell::new(())))
    }

    fn fill(&self, id: u32) {
        self.0[id as usize].with_mut(|_| ());
    }

    fn look(&self, id: u32) -> u32 {
        self.0[id as usize].with(|_| ());
        id
    }
}

#[test]
fn models_table_publishes_filled_cells() {
    model(3, || {
        let shared = Arc::new((Table::for_entries(1), Cells::new()));
        let other = Arc::clone(&shared);
        let reader = thread::spawn(move || {
            let (table, cells) = &*other;
            let found = table.find(SAME, |id| Some(cells.look(id)));
            assert!(found.is_none_or(|id| id == 1));
        });
        let (table, cells) = &*shared;
        cells.fill(1);
        table.insert(SAME, 1);
        reader.join().unwrap();
    });
}

#[test]
fn models_table_update_is_never_a_miss() {
    model(3, || {
        let shared = Arc::new((Table::for_entries(1), Cells::new()));
        shared.1.fill(1);
        shared.0.insert(SAME, 1);
        let other = Arc::clone(&shared);
        let reader = thread::spawn(move || {
            let (table, cells) = &*other;
            let first = table.find(SAME, |id| Some(cells.look(id))).expect("always there");
            let second = table.find(SAME, |id| Some(cells.look(id))).expect("always there");
            assert!(first <= second, "never back to an older value");
        });
        let (table, cells) = &*shared;
        cells.fill(2);
        let (place, ()) = table.locate(SAME, |id| (id == 1).then_some(())).expect("there");
        table.replace(place, 2);
        reader.join().unwrap();
    });
}

#[test]
fn models_table_slot_that_is_used_again() {
    model(3, || {
        let shared = Arc::new((Table::for_entries(1), Cells::new()));
        shared.1.fill(1);
        shared.0.insert(SAME, 1);
        let other = Arc::clone(&shared);
        let reader = thread::spawn(move || {
            let (table, cells) = &*other;
            // May have seen the tag of the first and find the id of the second.
            table.find(SAME, |id| Some(cells.look(id)));
        });
        let (table, cells) = &*shared;
        assert!(table.remove(SAME, 1));
        cells.fill(2);
        table.insert(SAME, 2);
        reader.join().unwrap();
    });
}

#[test]
fn models_table_neighbours_come_and_go() {
    model(3, || {
        // Two buckets; the home bucket is full and cell 13 has overflowed into the next.
        let table = Arc::new(Table::for_entries(2 * FULL));
        for id in 1..=13 {
            table.insert(SAME, id);
        }
        let other = Arc::clone(&table);
        let reader = thread::spawn(move || {
            let found = other.find(SAME, |id| (id == 13).then_some(id));
            assert_eq!(found, Some(13), "a neighbour's removal hides nothing");
        });
        assert!(table.remove(SAME, 3));
        table.insert(SAME, 14);
        assert!(table.remove(SAME, 5));
        reader.join().unwrap();
    });
}
