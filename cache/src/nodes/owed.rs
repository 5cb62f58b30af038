//! Names of which Redis has not been told that they were written. A bounded list: beyond it, everything is owed.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

/// Names that are remembered one by one.
const MOST: usize = 10_000;

#[derive(Debug, Default)]
pub(crate) struct Owed {
    list: Mutex<List>,
    /// Whether there is anything. Changes under the lock.
    any: AtomicBool,
}

#[derive(Debug, Default)]
struct List {
    /// With the number of the write that was the last to owe it.
    names: HashMap<Vec<u8>, u64>,
    /// Everything, since that number.
    all: Option<u64>,
    number: u64,
    /// Whether somebody is at it.
    is_attended: bool,
}

/// What was owed at one time.
#[derive(Debug)]
pub(crate) struct Debt {
    pub(crate) names: Vec<Vec<u8>>,
    pub(crate) all: bool,
    number: u64,
}

impl Owed {
    pub(crate) fn any(&self) -> bool {
        self.any.load(Ordering::Acquire)
    }

    pub(crate) fn length(&self) -> usize {
        let list = self.list.lock();
        if list.all.is_some() { usize::MAX } else { list.names.len() }
    }

    /// True if nobody attends to it so far: the caller has to.
    pub(crate) fn add(&self, names: impl IntoIterator<Item = Vec<u8>>) -> bool {
        let mut list = self.list.lock();
        list.number += 1;
        let number = list.number;
        for name in names {
            if list.all.is_some() || list.names.len() >= MOST {
                list.all = Some(number);
                list.names.clear();
                break;
            }
            list.names.insert(name, number);
        }
        self.any.store(true, Ordering::Release);
        !std::mem::replace(&mut list.is_attended, true)
    }

    /// The same for everything.
    pub(crate) fn add_all(&self) -> bool {
        let mut list = self.list.lock();
        list.number += 1;
        list.all = Some(list.number);
        list.names.clear();
        self.any.store(true, Ordering::Release);
        !std::mem::replace(&mut list.is_attended, true)
    }

    pub(crate) fn debt(&self) -> Debt {
        let list = self.list.lock();
        Debt { names: list.names.keys().cloned().collect(), all: list.all.is_some(), number: list.number }
    }

    /// Redis has been told. What came up since is still owed.
    pub(crate) fn paid(&self, debt: &Debt) {
        let mut list = self.list.lock();
        list.names.retain(|_, number| *number > debt.number);
        if debt.all {
            list.all = list.all.filter(|&number| number > debt.number);
        }
        self.any.store(!list.names.is_empty() || list.all.is_some(), Ordering::Release);
    }

    /// Who attends ends before its time: the next who adds has to.
    pub(crate) fn leave(&self) {
        self.list.lock().is_attended = false;
    }

    /// True if there is nothing left; then nobody attends any more.
    pub(crate) fn is_settled(&self) -> bool {
        let mut list = self.list.lock();
        let settled = list.names.is_empty() && list.all.is_none();
        if settled {
            list.is_attended = false;
        }
        settled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_up_meanwhile_stays_owed() {
        let owed = Owed::default();
        assert!(owed.add([b"a".to_vec(), b"b".to_vec()]));
        let debt = owed.debt();
        assert!(!owed.add([b"b".to_vec()]), "somebody is at it");
        owed.paid(&debt);
        assert_eq!((owed.length(), owed.any(), owed.is_settled()), (1, true, false));
        let debt = owed.debt();
        assert_eq!(debt.names, [b"b".to_vec()]);
        owed.paid(&debt);
        assert!(!owed.any() && owed.is_settled() && owed.add([b"c".to_vec()]));
    }

    #[test]
    fn too_much_is_everything() {
        let owed = Owed::default();
        owed.add((0..=MOST).map(|n| n.to_be_bytes().to_vec()));
        let debt = owed.debt();
        assert!(debt.all && debt.names.is_empty());
        owed.add([b"late".to_vec()]);
        owed.paid(&debt);
        assert!(owed.any() && owed.debt().all, "a later write fell under it");
        owed.paid(&owed.debt());
        assert!(!owed.any());
    }
}
