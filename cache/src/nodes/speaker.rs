//! What a node says on the bus.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::timeout;

use super::bus::Bus;
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
        }
    }

    /// True if the bus has it.
    pub(crate) async fn say(&self, what: What) -> bool {
        let message = Message { node: self.node, losses: self.losses.load(Ordering::Acquire), what };
        let text = message.text(self.bus.longest());
        let is_said = matches!(timeout(self.settings.timeout, self.bus.publish(text)).await, Ok(Ok(())));
        count(if is_said { &self.counts.sent } else { &self.counts.send_failures });
        is_said
    }
}
