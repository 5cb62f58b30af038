//! Housekeeping in the background: retires what is old or idle for too long, checks what has been idle for a while, keeps
//! the minimum ready, and reports leaks. Holds the pool weakly and ends with it.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::config::Config;
use crate::event::Event;
use crate::inner::Inner;
use crate::manager::Manager;
use crate::rt::sleep;
use crate::watch::{Borrow, Watch};

/// Marks the pool as not maintained when the task ends, so that the next caller starts another.
struct Shift<M: Manager>(Weak<Inner<M>>);

impl<M: Manager> Drop for Shift<M> {
    fn drop(&mut self) {
        if let Some(inner) = self.0.upgrade() {
            inner.ways.stop();
        }
    }
}

pub(crate) fn start<M: Manager>(inner: &Arc<Inner<M>>) {
    let shift = Shift(Arc::downgrade(inner));
    inner.rt.spawn(maintain(shift));
}

/// Often enough for the shortest of the limits, seldom enough to cost nothing.
fn period(config: &Config) -> Duration {
    let limits = [config.idle_timeout, config.max_lifetime, config.keepalive, config.leak_threshold];
    let shortest = limits.into_iter().flatten().min().unwrap_or(Duration::from_secs(1));
    (shortest / 4).clamp(Duration::from_millis(5), Duration::from_secs(1))
}

async fn maintain<M: Manager>(shift: Shift<M>) {
    loop {
        let Some(inner) = shift.0.upgrade() else { return };
        if inner.core.is_closed() {
            inner.timings.meters.publish(&inner.stats());
            return;
        }
        inner.time.come_round();
        inner.run(inner.core.sweep(inner.now()));
        for borrow in inner.watch.as_ref().map(Watch::overdue).unwrap_or_default() {
            inner.leaks_found.fetch_add(1, Ordering::Relaxed);
            let Borrow { location, held, backtrace } = &borrow;
            inner.events.tell(&Event::Leak {
                borrowed: location,
                held: *held,
                backtrace: backtrace.as_deref(),
            });
        }
        inner.timings.meters.publish(&inner.stats());
        let period = period(&inner.config);
        drop(inner);
        sleep(period).await;
    }
}
