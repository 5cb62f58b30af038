//! What a node says on the bus.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::timeout;

use super::bus::{Bus, BusError};
use super::coherence::{Coherence, Counts, count};
use super::message::{Message, What};

#[derive(Debug)]
pub(crate) struct Speaker<B> {
    pub(crate) bus: B,
    /// Who we are; another after each start.
    pub(crate) node: u64,
    pub(crate) settings: Coherence,
    pub(crate) counts: Counts,
    /// Ends of writes that the bus may not have taken. Those who hear that it has grown forget everything.
    pub(crate) losses: AtomicU64,
    /// Of writes and pings.
    pub(crate) numbers: AtomicU64,
    /// What the bus failed with last.
    pub(crate) failure: Mutex<Option<Arc<str>>>,
}

impl<B: Bus> Speaker<B> {
    pub(crate) fn new(bus: B, settings: Coherence) -> Self {
        Self {
            bus,
            node: fastrand::u64(..),
            settings,
            counts: Counts::default(),
            losses: AtomicU64::new(0),
            numbers: AtomicU64::new(0),
            failure: Mutex::default(),
        }
    }

    /// True if the bus has it.
    pub(crate) async fn say(&self, what: What) -> bool {
        let message = Message { node: self.node, losses: self.losses.load(Ordering::Acquire), what };
        let text = message.text(self.bus.longest());
        let limit = self.settings.timeout;
        let failure = match timeout(limit, self.bus.publish(text)).await {
            Ok(Ok(())) => {
                count(&self.counts.sent);
                return true;
            }
            Ok(Err(error)) => Some(error),
            Err(_) => None,
        };
        count(&self.counts.send_failures);
        self.failed(failure.as_ref(), limit);
        false
    }

    /// Keeps what the bus failed with; nothing: that it took longer than that.
    pub(crate) fn failed(&self, error: Option<&BusError>, limit: Duration) {
        let text = error.map_or_else(|| format!("no answer within {limit:?}"), ToString::to_string);
        *self.failure.lock() = Some(text.into());
    }
}
