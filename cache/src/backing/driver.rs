//! The task that moves the queue of write-behind. It lives while there is something to write, and keeps the cache alive so
//! long; whoever accepts a write, flushes or closes starts one if there is none.
//!
//! Each batch is a task of its own, so that a store that panics or hangs takes nothing else with it.

use std::collections::HashMap;
use std::future::poll_fn;
use std::hash::Hash;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::task::{Id, JoinError, JoinSet};

use super::behind::Behind;
use super::dead_letter::DeadCause;
use super::driven::Step;
use super::inner::{Inner, Mode};
use super::queue::{Batch, Landing, Verdict};
use super::store::{Store, StoreError, Write, Written};

/// The cache's clock may be coarse: a sleep that ends before it has moved is no busy loop.
const SHORTEST: Duration = Duration::from_millis(1);

/// What a batch came back with; `None`: it took too long.
type Answer<E> = Option<Result<Written<E>, StoreError<E>>>;
type Ended<E> = Result<(Id, Answer<E>), JoinError>;

struct Driver<K, V, St>
where
    K: Sync,
    V: Send,
    St: Store<K, V>,
{
    inner: Arc<Inner<K, V, St>>,
    /// Whether it has left the queue empty.
    is_done: bool,
}

impl<K, V, St> Inner<K, V, St>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    St: Store<K, V>,
{
    /// Sees to it that there is a driver if there is something to write.
    pub(crate) fn ensure_driven(self: &Arc<Self>, behind: &Behind<K, V, St::Error>) {
        behind.driven.ensure(|| self.start_driver());
    }

    /// The driver that [`Driven::ensure`](super::driven::Driven::ensure) asks for.
    pub(crate) fn start_driver(self: &Arc<Self>) {
        let driver = Driver { inner: Arc::clone(self), is_done: false };
        tokio::spawn(driver.run());
    }
}

enum Event<E> {
    Landed(Ended<E>),
    Look,
}

impl<K, V, St> Driver<K, V, St>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    St: Store<K, V>,
{
    async fn run(mut self) {
        let inner = Arc::clone(&self.inner);
        let Mode::Behind(behind) = &inner.mode else { return };
        let mut flights = JoinSet::new();
        let mut batches = HashMap::new();
        loop {
            let Some(Step { departing, wakes_in }) = behind.driven.step(inner.now()) else {
                self.is_done = true;
                return;
            };
            for batch in departing {
                let Batch { id, changes } = batch;
                let length = changes.len();
                let task = flights.spawn(write(Arc::clone(&inner), changes, behind.write_timeout()));
                batches.insert(task.id(), (id, length));
            }
            let wait = wakes_in.map(|ticks| Duration::from_nanos(ticks).max(SHORTEST));
            if let Event::Landed(ended) = next_event(behind, &mut flights, wait).await {
                let id = match &ended {
                    Ok((id, _)) => *id,
                    Err(error) => error.id(),
                };
                if let Some(batch) = batches.remove(&id) {
                    land(&inner, behind, batch, ended);
                }
            }
        }
    }
}

async fn next_event<K, V, E: 'static>(
    behind: &Behind<K, V, E>,
    flights: &mut JoinSet<Answer<E>>,
    wait: Option<Duration>,
) -> Event<E> {
    let mut bell = pin!(behind.driven.rung());
    let mut timer = pin!(async {
        match wait {
            Some(wait) => tokio::time::sleep(wait).await,
            None => std::future::pending().await,
        }
    });
    poll_fn(|context| {
        if let Poll::Ready(Some(ended)) = flights.poll_join_next_with_id(context) {
            return Poll::Ready(Event::Landed(ended));
        }
        if bell.as_mut().poll(context).is_ready() || timer.as_mut().poll(context).is_ready() {
            return Poll::Ready(Event::Look);
        }
        Poll::Pending
    })
    .await
}

async fn write<K, V, St>(
    inner: Arc<Inner<K, V, St>>,
    changes: Vec<super::queue::Departed<K, V>>,
    limit: Option<Duration>,
) -> Answer<St::Error>
where
    K: Sync + Send,
    V: Send + Sync,
    St: Store<K, V>,
{
    let batch: Vec<Write<K, V>> = changes.into_iter().map(|(key, value)| Write::new(key, value)).collect();
    if let Some(receipt) = inner.log().and_then(|log| log.barrier()) {
        // The store must not be ahead of the journal, or a replay would take it back. If the journal failed, its writers know.
        let _synced = receipt.wait().await;
    }
    let writing = inner.store.write(&batch);
    match limit {
        None => Some(writing.await),
        Some(limit) => tokio::time::timeout(limit, writing).await.ok(),
    }
}

/// Translates for the queue, and sees to what comes of it.
fn land<K, V, St>(
    inner: &Inner<K, V, St>,
    behind: &Behind<K, V, St::Error>,
    (batch, batch_length): (u64, usize),
    ended: Ended<St::Error>,
) where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    St: Store<K, V>,
{
    // By place in the batch; or one for all.
    let mut causes = HashMap::new();
    let mut for_all = DeadCause::Unfinished;
    let landing = match ended {
        Ok((_, Some(Ok(written)))) => {
            let failures = written.into_failures();
            let length = failures.iter().map(|&(place, _)| place.saturating_add(1)).max().unwrap_or(0);
            // Places beyond the batch say nothing, so they need no room.
            let mut verdicts = vec![Verdict::Written; length.min(batch_length)];
            for (place, error) in failures {
                let Some(verdict) = verdicts.get_mut(place) else { continue };
                causes.entry(place).or_insert_with(|| {
                    *verdict = if error.is_transient() { Verdict::Transient } else { Verdict::Permanent };
                    DeadCause::Store(Arc::new(error.into_inner()))
                });
            }
            Landing::Each(verdicts)
        }
        Ok((_, Some(Err(error)))) => {
            let verdict = if error.is_transient() { Verdict::Transient } else { Verdict::Permanent };
            for_all = DeadCause::Store(Arc::new(error.into_inner()));
            Landing::Whole(verdict)
        }
        Ok((_, None)) => {
            for_all = DeadCause::TimedOut;
            Landing::Whole(Verdict::Transient)
        }
        Err(error) if error.is_panic() => {
            for_all = DeadCause::Panicked;
            Landing::Whole(Verdict::Panicked)
        }
        Err(_) => Landing::Cancelled,
    };
    let landed = behind.driven.lock().land(batch, &landing, inner.now());
    let cause = |letter: &super::queue::Letter<K, V>| causes.get(&letter.place).unwrap_or(&for_all).clone();
    behind.conclude(landed, cause, |key| inner.cache.invalidate(key));
}

impl<K, V, St> Drop for Driver<K, V, St>
where
    K: Sync,
    V: Send,
    St: Store<K, V>,
{
    fn drop(&mut self) {
        if let (Mode::Behind(behind), false) = (&self.inner.mode, self.is_done) {
            // The runtime shuts down, and its tasks with it.
            behind.driven.desert();
        }
    }
}
