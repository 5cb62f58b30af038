//! Checks and cleans connections in the background: one task for each that is counted as checking.
//!
//! A borrower never waits for a check alone: it stands in the queue, and the check, a return or a new connection serves it,
//! whichever is first. So a caller that leaves interrupts no check, and a black hole costs it no more than [`PATIENCE`].

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::contain;
use crate::event::Event;
use crate::inner::{FAREWELL, Held, Inner, Job};
use crate::manager::Manager;
use crate::rt::timeout;

/// A check that takes longer than this is not counted on: those who wait get other chances beside it.
const PATIENCE: Duration = Duration::from_millis(50);

/// A connection that is counted as checking. Dropped before it passes, it is closed.
struct Checking<M: Manager> {
    inner: Arc<Inner<M>>,
    held: Option<Held<M>>,
    overdue: bool,
}

impl<M: Manager> Checking<M> {
    fn pass(mut self, job: Job, took: Duration) {
        let held = self.held.take().expect("present until it passes");
        let proof = job == Job::Validate;
        let after = self.inner.core.check_passed(held, self.overdue, proof, took, self.inner.now());
        self.inner.run(after);
    }
}

impl<M: Manager> Drop for Checking<M> {
    fn drop(&mut self) {
        if let Some(held) = self.held.take() {
            let inner = &self.inner;
            inner.events.tell(&Event::CheckFailed);
            inner.run(inner.core.check_failed(self.overdue, inner.now()));
            inner.close(held, FAREWELL);
        }
    }
}

/// Starts a check; the core has counted it.
pub(crate) fn start<M: Manager>(inner: &Arc<Inner<M>>, held: Held<M>, job: Job) {
    let checking = Checking { inner: Arc::clone(inner), held: Some(held), overdue: false };
    inner.rt.spawn(check(checking, job));
}

async fn check<M: Manager>(mut checking: Checking<M>, job: Job) {
    let began = Instant::now();
    let passed = {
        let Checking { inner, held, overdue } = &mut checking;
        let (manager, hooks) = (&inner.manager, &inner.hooks);
        let connection = &mut held.as_mut().expect("present until it passes").item.connection;
        let mut work = pin!(contain::future(async || match job {
            Job::Validate => manager.validate(connection).await,
            Job::Reset | Job::Release => {
                if job == Job::Reset {
                    manager.reset(connection).await?;
                }
                match &hooks.after_release {
                    Some(hook) => hook(connection).await,
                    None => Ok(()),
                }
            }
        }));
        let limit = inner.config.validation_timeout;
        let mut answer = timeout(limit.min(PATIENCE), work.as_mut()).await;
        if answer.is_err() && limit > PATIENCE {
            *overdue = true;
            inner.run(inner.core.check_overdue(inner.now()));
            answer = timeout(limit - PATIENCE, work.as_mut()).await;
        }
        matches!(answer, Ok(Ok(Ok(()))))
    };
    let took = began.elapsed();
    checking.inner.timings.validate(took);
    if passed {
        checking.pass(job, took);
    }
}
