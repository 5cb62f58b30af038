//! Leak detection: who holds a connection, since when, and from where. Off by default, for it costs a lock per borrow.

use std::panic::Location;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Where a call came from.
pub(crate) type Caller = &'static Location<'static>;

/// A connection that is lent; see [`Pool::borrows`](crate::Pool::borrows).
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Borrow {
    /// Where it was borrowed: the call of `get` or one of its siblings.
    pub location: &'static Location<'static>,
    /// For how long, so far.
    pub held: Duration,
}

#[derive(Clone, Copy)]
struct Lent {
    location: &'static Location<'static>,
    since: Instant,
    reported: bool,
}

#[derive(Default)]
struct Register {
    lent: Vec<Option<Lent>>,
    free: Vec<usize>,
}

pub(crate) struct Leaks {
    pub(crate) threshold: Duration,
    register: Mutex<Register>,
}

impl Leaks {
    pub(crate) fn new(threshold: Duration) -> Self {
        Self { threshold, register: Mutex::default() }
    }

    pub(crate) fn lent(&self, location: Caller) -> usize {
        let lent = Some(Lent { location, since: Instant::now(), reported: false });
        let register = &mut *self.register.lock();
        if let Some(number) = register.free.pop() {
            register.lent[number] = lent;
            number
        } else {
            register.lent.push(lent);
            register.lent.len() - 1
        }
    }

    pub(crate) fn returned(&self, number: usize) {
        let register = &mut *self.register.lock();
        register.lent[number] = None;
        register.free.push(number);
    }

    pub(crate) fn borrows(&self) -> Vec<Borrow> {
        let now = Instant::now();
        let register = self.register.lock();
        let lent = register.lent.iter().flatten();
        lent.map(|lent| Borrow { location: lent.location, held: now.saturating_duration_since(lent.since) })
            .collect()
    }

    /// Those that are lent for too long and were not reported yet.
    pub(crate) fn overdue(&self) -> Vec<Borrow> {
        let now = Instant::now();
        let mut found = Vec::new();
        for lent in self.register.lock().lent.iter_mut().flatten() {
            let held = now.saturating_duration_since(lent.since);
            if held >= self.threshold && !lent.reported {
                lent.reported = true;
                found.push(Borrow { location: lent.location, held });
            }
        }
        found
    }
}
