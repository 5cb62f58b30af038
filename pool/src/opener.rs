//! Opens connections in the background: one task for each that is counted as opening.
//!
//! Callers never dial. A task tries until it has a connection or nobody wants one; all tasks share one backoff, and in an
//! outage there is one of them. Tasks hold the pool weakly: it may end under them.

use std::sync::{Arc, Weak};

use tokio::time::{Instant, sleep_until, timeout};

use crate::contain;
use crate::error::ConnectError;
use crate::inner::Inner;
use crate::manager::Manager;

/// The right to one of the pool's openings; given back on drop.
struct Opening<M: Manager> {
    inner: Weak<Inner<M>>,
    held: bool,
}

impl<M: Manager> Drop for Opening<M> {
    fn drop(&mut self) {
        if let Some(inner) = self.inner.upgrade().filter(|_| self.held) {
            inner.core.opener_lost();
        }
    }
}

/// Starts an opener; the core has counted it.
pub(crate) fn start<M: Manager>(inner: &Arc<Inner<M>>) {
    let opening = Opening { inner: Arc::downgrade(inner), held: true };
    inner.rt.spawn(open(opening));
}

async fn open<M: Manager>(mut opening: Opening<M>) {
    loop {
        let Some(inner) = opening.inner.upgrade() else { return };
        let Some(at) = inner.core.next_attempt(Instant::now()) else {
            opening.held = false;
            return;
        };
        let config = Arc::clone(&inner.config);
        let manager = Arc::clone(&inner.manager);
        drop(inner);
        if at > Instant::now() {
            sleep_until(at).await;
        }
        let Some(inner) = opening.inner.upgrade() else { return };
        let generation = inner.core.generation();
        // Only weakly from here on: a connect that hangs must not keep the pool.
        drop(inner);
        let began = Instant::now();
        let result = match timeout(config.connect_timeout, contain::future(|| manager.connect())).await {
            Ok(Ok(Ok(connection))) => Ok(connection),
            Ok(Ok(Err(error))) => Err(ConnectError::Manager(error)),
            Ok(Err(contain::Panicked)) => Err(ConnectError::Panicked),
            Err(_elapsed) => Err(ConnectError::TimedOut(config.connect_timeout)),
        };
        let Some(inner) = opening.inner.upgrade() else { return };
        let now = Instant::now();
        match result {
            Ok(connection) => {
                opening.held = false;
                let after = inner.core.opened(connection, generation, now - began, now);
                inner.run(after);
                return;
            }
            Err(error) => {
                let permanent = match &error {
                    ConnectError::Manager(error) => {
                        contain::call(|| manager.is_permanent(error)).unwrap_or(false)
                    }
                    ConnectError::TimedOut(_) | ConnectError::Panicked => false,
                };
                let after = inner.core.open_failed(error, permanent, now);
                inner.run(after);
            }
        }
    }
}
