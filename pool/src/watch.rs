//! Watches borrows: who holds a connection, since when, from where, and whether the same task asks for another. Costs a
//! short lock and a clock a borrow, so it is off in release builds unless something asks for it.

use std::backtrace::Backtrace;
use std::panic::Location;
use std::sync::Arc;
use std::thread::ThreadId;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::config::Config;

/// Where a call came from.
pub(crate) type Caller = &'static Location<'static>;

/// A connection that is lent; see [`Pool::borrows`](crate::Pool::borrows).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Borrow {
    /// Where it was borrowed: the call of `get` or one of its siblings.
    pub location: &'static Location<'static>,
    /// For how long, so far.
    pub held: Duration,
    /// The whole way to the call, for those that [`leak_backtraces`](crate::PoolBuilder::leak_backtraces) picks.
    pub backtrace: Option<Arc<Backtrace>>,
}

/// Who borrows: a tokio task, or else a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    Task(tokio::task::Id),
    Thread(ThreadId),
}

impl Owner {
    fn current() -> Self {
        tokio::task::try_id().map_or_else(|| Self::Thread(std::thread::current().id()), Self::Task)
    }
}

struct Lent {
    location: Caller,
    since: Instant,
    owner: Owner,
    backtrace: Option<Arc<Backtrace>>,
    reported: bool,
}

#[derive(Default)]
struct Register {
    lent: Vec<Option<Lent>>,
    free: Vec<usize>,
    /// Borrows so far, for the sample of backtraces.
    borrows: u64,
    /// Nested calls that were reported.
    nested: Vec<(Caller, Caller)>,
}

pub(crate) struct Watch {
    threshold: Option<Duration>,
    backtraces: Option<u64>,
    warn_nested: bool,
    register: Mutex<Register>,
}

impl Watch {
    /// None if nothing is to be watched.
    pub(crate) fn new(config: &Config) -> Option<Self> {
        let wanted = config.leak_threshold.is_some() || config.warn_nested || config.record_hold_times;
        wanted.then(|| Self {
            threshold: config.leak_threshold,
            backtraces: config.leak_backtraces.filter(|_| config.leak_threshold.is_some()).map(u64::from),
            warn_nested: config.warn_nested,
            register: Mutex::default(),
        })
    }

    pub(crate) fn lent(&self, location: Caller) -> usize {
        let owner = Owner::current();
        let mut register = self.register.lock();
        register.borrows += 1;
        let sampled = self.backtraces.is_some_and(|every| register.borrows % every == 0);
        let backtrace = if sampled {
            // Microseconds: not under the lock.
            drop(register);
            let backtrace = Arc::new(Backtrace::force_capture());
            register = self.register.lock();
            Some(backtrace)
        } else {
            None
        };
        let lent = Some(Lent { location, since: Instant::now(), owner, backtrace, reported: false });
        if let Some(number) = register.free.pop() {
            register.lent[number] = lent;
            number
        } else {
            register.lent.push(lent);
            register.lent.len() - 1
        }
    }

    /// Ends a borrow; says how long it was.
    pub(crate) fn returned(&self, number: usize) -> Duration {
        let mut register = self.register.lock();
        let lent = register.lent[number].take();
        register.free.push(number);
        drop(register);
        lent.map_or(Duration::ZERO, |lent| lent.since.elapsed())
    }

    pub(crate) fn borrows(&self) -> Vec<Borrow> {
        let now = Instant::now();
        let register = self.register.lock();
        register.lent.iter().flatten().map(|lent| lent.borrow(now)).collect()
    }

    /// Those that are lent for too long and were not reported yet.
    pub(crate) fn overdue(&self) -> Vec<Borrow> {
        let Some(threshold) = self.threshold else { return Vec::new() };
        let now = Instant::now();
        let mut found = Vec::new();
        for lent in self.register.lock().lent.iter_mut().flatten() {
            if now.saturating_duration_since(lent.since) >= threshold && !lent.reported {
                lent.reported = true;
                found.push(lent.borrow(now));
            }
        }
        found
    }

    /// Where this task or thread borrowed a connection that it still holds, and whether that pair of calls is news.
    pub(crate) fn nested(&self, asks: Caller) -> Option<(Caller, bool)> {
        if !self.warn_nested {
            return None;
        }
        let owner = Owner::current();
        let register = &mut *self.register.lock();
        let held = register.lent.iter().flatten().find(|lent| lent.owner == owner)?.location;
        let new = !register.nested.contains(&(held, asks));
        if new {
            register.nested.push((held, asks));
        }
        Some((held, new))
    }
}

impl Lent {
    fn borrow(&self, now: Instant) -> Borrow {
        Borrow {
            location: self.location,
            held: now.saturating_duration_since(self.since),
            backtrace: self.backtrace.clone(),
        }
    }
}
