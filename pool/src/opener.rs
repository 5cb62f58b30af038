//! Opens connections in the background: one task for each that is counted as opening.
//!
//! Callers never dial. A task tries until it has a connection or nobody wants one; all tasks share one breaker, and in an
//! outage there is one of them. Tasks hold the pool weakly while they wait: it may end under them.

use std::pin::pin;
use std::sync::{Arc, Weak};

use tokio::time::Instant;

use crate::contain;
use crate::core::{Attempt, Next};
use crate::error::ConnectError;
use crate::event::Event;
use crate::inner::Inner;
use crate::manager::Manager;
use crate::rt::{sleep_until, timeout};
use crate::shelf::Slot;

/// The right to one of the pool's openings; given back on drop.
struct Opening<M: Manager> {
    inner: Weak<Inner<M>>,
    slot: Option<Slot>,
}

impl<M: Manager> Drop for Opening<M> {
    fn drop(&mut self) {
        if let (Some(slot), Some(inner)) = (self.slot.take(), self.inner.upgrade()) {
            inner.run(inner.core.opener_lost(slot, inner.now()));
        }
    }
}

/// Starts an opener; the core has counted it.
pub(crate) fn start<M: Manager>(inner: &Arc<Inner<M>>, slot: Slot) {
    let opening = Opening { inner: Arc::downgrade(inner), slot: Some(slot) };
    inner.rt.spawn(open(opening));
}

/// Waits for the moment of the next attempt. False if the opener is to end.
async fn turn<M: Manager>(opening: &mut Opening<M>) -> bool {
    loop {
        let Some(inner) = opening.inner.upgrade() else { return false };
        let slot = opening.slot.take().expect("held until it is used");
        let (next, after) = inner.core.next_attempt(slot, inner.now(), Instant::now());
        inner.run(after);
        let Next::At(slot, at) = next else { return false };
        opening.slot = Some(slot);
        if at <= Instant::now() {
            return true;
        }
        let mut hurry = pin!(Notified::new(&inner));
        drop(inner);
        // A caller after a long silence does not wait for a pace that was meant for nobody.
        let mut alarm = pin!(sleep_until(at));
        std::future::poll_fn(|context| {
            if hurry.as_mut().poll(context).is_ready() {
                return std::task::Poll::Ready(());
            }
            alarm.as_mut().poll(context)
        })
        .await;
    }
}

/// The bell that hurries probers, rung or not, without keeping the pool alive.
struct Notified;

impl Notified {
    #[expect(clippy::new_ret_no_self, reason = "a future, named for what it waits for")]
    fn new<M: Manager>(inner: &Arc<Inner<M>>) -> impl Future<Output = ()> + Send + use<M> {
        let hurry = Arc::clone(&inner.hurry);
        async move { hurry.notified().await }
    }
}

async fn open<M: Manager>(mut opening: Opening<M>) {
    while turn(&mut opening).await {
        let Some(inner) = opening.inner.upgrade() else { return };
        let config = Arc::clone(&inner.config);
        let manager = Arc::clone(&inner.manager);
        let hooks = Arc::clone(&inner.hooks);
        let generation = inner.core.generation();
        // Only weakly from here on: a connect that hangs must not keep the pool.
        drop(inner);
        let began = Instant::now();
        let work = contain::future(async || {
            let mut connection = manager.connect().await?;
            if let Some(hook) = &hooks.after_connect {
                hook(&mut connection).await?;
            }
            Ok(connection)
        });
        let result = match timeout(config.connect_timeout, work).await {
            Ok(Ok(Ok(connection))) => Ok(connection),
            Ok(Ok(Err(error))) => Err(ConnectError::Manager(error)),
            Ok(Err(contain::Panicked)) => Err(ConnectError::Panicked),
            Err(_elapsed) => Err(ConnectError::TimedOut(config.connect_timeout)),
        };
        let Some(inner) = opening.inner.upgrade() else { return };
        let took = began.elapsed();
        match result {
            Ok(connection) => {
                let slot = opening.slot.take().expect("held until it is used");
                let attempt = Attempt { connection, generation, took };
                inner.timings.connect(took);
                inner.run(inner.core.opened(slot, attempt, inner.now()));
                inner.events.tell(&Event::Opened { took });
                return;
            }
            Err(error) => {
                let permanent = match &error {
                    ConnectError::Manager(error) => {
                        contain::call(|| manager.is_permanent(error)).unwrap_or(false)
                    }
                    ConnectError::TimedOut(_) | ConnectError::Panicked => false,
                };
                inner.events.tell(&Event::OpenFailed { error: &error, permanent });
                inner.run(inner.core.open_failed(error, permanent, inner.now(), Instant::now()));
            }
        }
    }
}
