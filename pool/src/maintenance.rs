//! Housekeeping in the background: retires what is old or idle for too long, checks what has been idle for a while, keeps
//! the minimum ready. Holds the pool weakly and ends with it.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use crate::config::Config;
use crate::contain;
use crate::core::Live;
use crate::inner::{Checking, Inner};
use crate::manager::Manager;

/// Marks the pool as not maintained when the task ends, so that the next caller starts another.
struct Shift<M: Manager>(Weak<Inner<M>>);

impl<M: Manager> Drop for Shift<M> {
    fn drop(&mut self) {
        if let Some(inner) = self.0.upgrade() {
            inner.maintained.store(false, Ordering::Release);
        }
    }
}

pub(crate) fn start<M: Manager>(inner: &Arc<Inner<M>>) {
    let shift = Shift(Arc::downgrade(inner));
    inner.rt.spawn(maintain(shift));
}

/// Often enough for the shortest of the limits, seldom enough to cost nothing.
fn period(config: &Config) -> Duration {
    let limits = [config.idle_timeout, config.max_lifetime, config.keepalive];
    let shortest = limits.into_iter().flatten().min().unwrap_or(Duration::from_secs(1));
    (shortest / 4).clamp(Duration::from_millis(5), Duration::from_secs(1))
}

async fn maintain<M: Manager>(shift: Shift<M>) {
    loop {
        let Some(inner) = shift.0.upgrade() else { return };
        if inner.core.is_closed() {
            return;
        }
        let config = Arc::clone(&inner.config);
        let after = inner.core.retire(Instant::now());
        inner.run(after);
        if let Some(keepalive) = config.keepalive {
            check_idle(&inner, keepalive.mul_f64(1.0 - 0.2 * fastrand::f64()));
        }
        drop(inner);
        sleep(period(&config)).await;
    }
}

/// Checks all that were not used for `since`, each in a task of its own.
pub(crate) fn check_idle<M: Manager>(inner: &Arc<Inner<M>>, since: Duration) {
    let (lives, after) = inner.core.take_for_check(since, Instant::now());
    inner.run(after);
    for live in lives {
        check_in_background(inner, live);
    }
}

/// Checks a connection that is counted as checking, and offers it to whoever is first.
pub(crate) fn check_in_background<M: Manager>(inner: &Arc<Inner<M>>, live: Live<M::Connection>) {
    let mut checking = Checking::new(inner, live);
    let limit = inner.config.validation_timeout;
    let manager = Arc::clone(&inner.manager);
    inner.rt.spawn(async move {
        let check = contain::future(|| manager.validate(checking.connection()));
        if matches!(timeout(limit, check).await, Ok(Ok(Ok(())))) {
            checking.offer();
        }
    });
}

/// Cleans a connection that is counted as checking, and offers it to whoever is first.
pub(crate) fn reset_in_background<M: Manager>(inner: &Arc<Inner<M>>, live: Live<M::Connection>) {
    let mut checking = Checking::new(inner, live);
    let limit = inner.config.validation_timeout;
    let manager = Arc::clone(&inner.manager);
    inner.rt.spawn(async move {
        let reset = contain::future(|| manager.reset(checking.connection()));
        if matches!(timeout(limit, reset).await, Ok(Ok(Ok(())))) {
            checking.offer();
        }
    });
}
