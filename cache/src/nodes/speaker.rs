//! What a node says on the bus.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::time::{sleep, timeout};

use super::bus::{Bus, BusError};
use super::coherence::{Coherence, Counts, count};
use super::message::{Message, What};

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
    /// For each that is attached: whether the shared cache behind it knows of all writes.
    pub(crate) settled: Mutex<Vec<Settled>>,
    /// Somebody waits until they are settled.
    waits: AtomicBool,
}

/// Between two looks whether a shared cache has been told, at most.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// `None`: it has ended.
pub(crate) type Settled = Arc<dyn Fn() -> Option<bool> + Send + Sync>;

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
            settled: Mutex::default(),
            waits: AtomicBool::new(false),
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

    /// Whether shared caches have been told of all that this node wrote.
    pub(crate) fn is_settled(&self) -> bool {
        let asked = self.settled.lock().clone();
        asked.iter().all(|settled| settled().unwrap_or(true))
    }

    /// An end of a write that the others may not hear: they forget everything. If they would then read something older from a shared
    /// cache, once more when that is over.
    pub(crate) fn lose(self: &Arc<Self>)
    where
        B: 'static,
    {
        self.losses.fetch_add(1, Ordering::AcqRel);
        if self.is_settled() || self.waits.swap(true, Ordering::AcqRel) {
            return;
        }
        let (weak, pause) = (Arc::downgrade(self), (self.settings.max_staleness / 10).min(LONGEST_PAUSE));
        let waiting = async move {
            loop {
                sleep(pause).await;
                let Some(speaker) = weak.upgrade() else { return };
                if speaker.is_settled() {
                    speaker.waits.store(false, Ordering::Release);
                    speaker.losses.fetch_add(1, Ordering::AcqRel);
                    return;
                }
            }
        };
        // Without a runtime there is nobody who hears either.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(waiting);
        }
    }

    /// Keeps what the bus failed with; nothing: that it took longer than that.
    pub(crate) fn failed(&self, error: Option<&BusError>, limit: Duration) {
        let text = error.map_or_else(|| format!("no answer within {limit:?}"), ToString::to_string);
        *self.failure.lock() = Some(text.into());
    }
}
