//! What a node says on the bus.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
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
    /// What may have a shared cache behind it.
    asked: Mutex<Vec<Asked>>,
    /// Somebody waits until they are settled.
    waits: AtomicBool,
}

/// Between two looks whether a shared cache has been told, at most.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// A target or a store, which may end, and how it is asked whether a shared cache behind it knows of all writes.
#[derive(Clone)]
struct Asked {
    is_settled: Arc<dyn Fn() -> bool + Send + Sync>,
    is_gone: Arc<dyn Fn() -> bool + Send + Sync>,
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
            asked: Mutex::default(),
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

    /// From now on this is asked, too, until it ends.
    pub(crate) fn ask<T: Send + Sync + 'static>(
        &self,
        target: Weak<T>,
        is_settled: impl Fn(&T) -> bool + Send + Sync + 'static,
    ) {
        let same = target.clone();
        let asked = Asked {
            is_settled: Arc::new(move || same.upgrade().is_none_or(|target| is_settled(&target))),
            is_gone: Arc::new(move || target.strong_count() == 0),
        };
        let mut all = self.asked.lock();
        all.retain(|asked| !(asked.is_gone)());
        all.push(asked);
    }

    /// Whether shared caches have been told of all that this node wrote. One that panics when it is asked does not know.
    pub(crate) fn is_settled(&self) -> bool {
        let all = self.asked.lock().clone();
        all.iter().all(|asked| catch_unwind(AssertUnwindSafe(|| (asked.is_settled)())).unwrap_or(false))
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
        let mut waits = Waits { speaker: Arc::downgrade(self), is_over: false };
        let pause = (self.settings.max_staleness / 10).min(LONGEST_PAUSE);
        let waiting = async move {
            loop {
                sleep(pause).await;
                let Some(speaker) = waits.speaker.upgrade() else { return };
                if !speaker.is_settled() {
                    continue;
                }
                // Who loses something from here on waits for himself. No mere store: the look below must see what those owe who
                // found somebody waiting.
                speaker.waits.swap(false, Ordering::AcqRel);
                speaker.losses.fetch_add(1, Ordering::AcqRel);
                // Who did before, and after the look, does not.
                if speaker.is_settled() || speaker.waits.swap(true, Ordering::AcqRel) {
                    waits.leave();
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

/// Who waits until all is settled. Dropped before its time, because its runtime ends, it leaves that to the next loss.
struct Waits<B> {
    speaker: Weak<Speaker<B>>,
    /// Somebody else may wait already.
    is_over: bool,
}

impl<B> Waits<B> {
    fn leave(&mut self) {
        self.is_over = true;
    }
}

impl<B> Drop for Waits<B> {
    fn drop(&mut self) {
        if let (Some(speaker), false) = (self.speaker.upgrade(), self.is_over) {
            speaker.waits.store(false, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;
    use crate::nodes::bus::Subscription;
    use crate::nodes::{CutOff, Invalidations};

    /// Takes nothing.
    struct Mute;

    struct Silent;

    impl Bus for Mute {
        type Subscription = Silent;

        async fn subscribe(&self) -> Result<Silent, BusError> {
            Err(BusError::new("mute"))
        }

        async fn publish(&self, _: String) -> Result<(), BusError> {
            Err(BusError::new("mute"))
        }
    }

    impl Subscription for Silent {
        async fn next(&mut self) -> Result<String, BusError> {
            std::future::pending().await
        }
    }

    fn speaker() -> Arc<Speaker<Mute>> {
        Arc::new(Speaker::new(Mute, Coherence::new().max_staleness(Duration::from_millis(10))))
    }

    async fn poll_until(so: impl Fn() -> bool) {
        let began = std::time::Instant::now();
        while !so() {
            assert!(began.elapsed() < Duration::from_secs(20));
            sleep(Duration::from_millis(1)).await;
        }
    }

    #[test]
    fn who_waits_is_followed_by_another_when_the_runtime_ends() {
        let speaker = speaker();
        let settled = Arc::new(AtomicBool::new(false));
        speaker.ask(Arc::downgrade(&settled), |settled| settled.load(Ordering::SeqCst));
        let runtime = || tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        // Nobody to wait; then one that ends with its runtime.
        speaker.lose();
        runtime().block_on(async { speaker.lose() });
        runtime().block_on(async {
            speaker.lose();
            settled.store(true, Ordering::SeqCst);
            poll_until(|| speaker.losses.load(Ordering::SeqCst) == 4).await;
        });
    }

    /// Settled when it is looked at first, and no more right afterwards.
    #[tokio::test]
    async fn what_is_lost_while_one_is_told_is_told_too() {
        let speaker = speaker();
        let looks = Arc::new(AtomicUsize::new(0));
        let weak = Arc::downgrade(&speaker);
        // The second look is that of who waits: meanwhile something else is lost.
        speaker.ask(Arc::downgrade(&looks), move |looks| match looks.fetch_add(1, Ordering::SeqCst) {
            0 => false,
            1 => {
                weak.upgrade().unwrap().lose();
                true
            }
            2..20 => false,
            _ => true,
        });
        speaker.lose();
        // Two losses, and each once more.
        poll_until(|| speaker.losses.load(Ordering::SeqCst) == 4).await;
        assert!(looks.load(Ordering::SeqCst) >= 20, "not before it is settled");
    }

    /// A panic while another one is under way would end the process.
    #[tokio::test]
    async fn one_that_panics_when_it_is_asked_does_no_harm() {
        let changes = Invalidations::new(Mute, Coherence::new());
        let target = Arc::new(());
        changes.ask(Arc::downgrade(&target), |()| panic!("asked"));
        let told: Result<u32, CutOff> = changes.writing(&[1], async { 7 }).await;
        assert_eq!(told, Ok(7));
    }
}
