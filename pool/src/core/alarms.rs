//! Which runtime wakes waiters whose time is up, and when it will next look.
//!
//! Nearly all who wait get something long before their timeouts, so a timer for each is work for nothing. There is one alarm
//! for each runtime that callers wait in, set to the first of their deadlines or earlier; it is moved only by a deadline that
//! is earlier still. When it rings it wakes all waiters whose time is up, whoever's they are.

use std::sync::Arc;

use tokio::runtime::Id;
use tokio::sync::Notify;
use tokio::time::Instant;

/// What a new waiter finds.
#[must_use = "the alarm counts as set: whoever does not see to it silences it for all"]
pub(crate) enum Cover {
    /// The alarm will ring in time.
    Enough,
    /// It is to be told to look again.
    Late(Arc<Notify>),
    /// There is none: it is to be started, with this bell.
    None(Arc<Notify>),
}

struct Alarm {
    runtime: Id,
    /// It looks no later than that.
    at: Instant,
    bell: Arc<Notify>,
}

#[derive(Default)]
pub(crate) struct Alarms(Vec<Alarm>);

impl Alarms {
    /// Sees to it that the runtime's alarm rings at the deadline.
    #[inline]
    pub(crate) fn cover(&mut self, runtime: Id, deadline: Instant) -> Cover {
        match self.0.iter_mut().find(|alarm| alarm.runtime == runtime) {
            Some(alarm) if alarm.at <= deadline => Cover::Enough,
            Some(alarm) => {
                alarm.at = deadline;
                Cover::Late(Arc::clone(&alarm.bell))
            }
            None => self.begin(runtime, deadline),
        }
    }

    #[cold]
    fn begin(&mut self, runtime: Id, at: Instant) -> Cover {
        let bell = Arc::new(Notify::new());
        self.0.push(Alarm { runtime, at, bell: Arc::clone(&bell) });
        Cover::None(bell)
    }

    /// When the alarm looks again; not at all, if nobody waits: then it ends.
    pub(crate) fn set(&mut self, runtime: Id, at: Option<Instant>) {
        match at {
            Some(at) => {
                if let Some(alarm) = self.0.iter_mut().find(|alarm| alarm.runtime == runtime) {
                    alarm.at = at;
                }
            }
            None => self.0.retain(|alarm| alarm.runtime != runtime),
        }
    }

    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// For the end of the pool: all who would wait are told, so the alarms end too.
    pub(crate) fn bells(&self) -> impl Iterator<Item = &Arc<Notify>> {
        self.0.iter().map(|alarm| &alarm.bell)
    }
}
