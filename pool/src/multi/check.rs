//! The watch over targets: health, roles and the resolver, in a task that holds the group weakly and ends with it.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Shared;
use super::target::{Member, Role};
use crate::contain;
use crate::guard::Guard;
use crate::manager::Manager;
use crate::rt::{sleep, timeout};

/// Marks the group as not watched when the task ends, so that the next caller starts another.
struct Shift<M: Manager>(Weak<Shared<M>>);

impl<M: Manager> Drop for Shift<M> {
    fn drop(&mut self) {
        if let Some(shared) = self.0.upgrade() {
            shared.watched.store(false, Ordering::Release);
        }
    }
}

/// Starts the watch if there is none.
pub(super) fn watch<M: Manager>(shared: &Arc<Shared<M>>) {
    if shared.watched.load(Ordering::Relaxed) || shared.watched.swap(true, Ordering::AcqRel) {
        return;
    }
    let shift = Shift(Arc::downgrade(shared));
    shared.rt.spawn(async move {
        let mut resolved = Instant::now();
        // Roles as configured are a guess: ask at once.
        loop {
            let Some(shared) = shift.0.upgrade() else { return };
            check_all(&shared, false).await;
            if shared.resolver.is_some() && resolved.elapsed() >= shared.resolve_every {
                resolved = Instant::now();
                let _as_before = timeout(shared.config.connect_timeout, resolve(&shared)).await;
            }
            let period = shared.check_every;
            drop(shared);
            sleep(period).await;
        }
    });
}

/// Asks the resolver, and takes over its list.
pub(super) async fn resolve<M: Manager>(shared: &Arc<Shared<M>>) -> Result<(), M::Error> {
    let Some(resolver) = &shared.resolver else { return Ok(()) };
    if let Ok(targets) = contain::future(resolver).await {
        // A list that is no list changes nothing.
        let _as_before = shared.replace(targets?);
    }
    Ok(())
}

/// Looks at those that need it, side by side; with `force` at all.
pub(super) async fn check_all<M: Manager>(shared: &Arc<Shared<M>>, force: bool) {
    let mut answers = Vec::new();
    for member in shared.members().iter() {
        let needed = force || member.is_ejected() || shared.role_of.is_some();
        if !needed || member.checking.swap(true, Ordering::AcqRel) {
            continue;
        }
        let (done, answer) = oneshot::channel::<()>();
        answers.push(answer);
        let (shared_again, member) = (Arc::clone(shared), Arc::clone(member));
        shared.rt.spawn(async move {
            check(&shared_again, &member).await;
            member.checking.store(false, Ordering::Release);
            drop(done);
        });
    }
    for answer in answers {
        let _done = answer.await;
    }
}

/// One target: does it give a connection, does that answer, and what is its role?
async fn check<M: Manager>(shared: &Shared<M>, member: &Member<M>) {
    let limit = shared.config.validation_timeout;
    let mut guard = match member.pool.get_timeout(limit).await {
        Ok(guard) => guard,
        Err(error) => {
            // Busy is not dead.
            if super::is_targets_fault(&error) {
                member.eject();
            }
            return;
        }
    };
    if let Some(role_of) = &shared.role_of {
        let asked = timeout(limit, contain::future(|| role_of(&mut guard))).await;
        if let Ok(Ok(Ok(role))) = asked {
            if member.set_role(role) && role == Role::Replica {
                // What was opened to a primary must not come back as one.
                member.pool.reset();
            }
        } else {
            // Interrupted, or broken.
            Guard::discard(guard);
            member.eject();
            return;
        }
    }
    drop(guard);
    member.readmit();
}
