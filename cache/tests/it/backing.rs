//! A store that does as it is told, and the tests of caches before it.

mod behind;
mod ends;
mod many;
mod read;
mod storm;
mod through;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use millpond_cache::Clock;
use millpond_cache::backing::{Store, StoreError, Write, Written};
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::task::yield_now;
use tokio::time::Instant;

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// What the next call meets; without a plan it works.
#[derive(Clone, Debug)]
pub(crate) enum Plan {
    Works,
    /// Nothing is written.
    Down,
    /// It is written, and the answer is lost.
    AnswerLost,
    Refuses,
    /// Refuses these indices, for good or not; the rest is written.
    Partly(Vec<(usize, bool)>),
    Hangs,
    Panics,
    /// Waits until [`Fake::let_go`].
    Waits,
}

/// What a write of a batch was: key and value.
pub(crate) type Batch = Vec<(u64, Option<u64>)>;

#[derive(Default)]
pub(crate) struct Fake {
    pub(crate) map: Mutex<BTreeMap<u64, u64>>,
    plans: Mutex<VecDeque<Plan>>,
    /// For all calls that find no plan of their own.
    always: Mutex<Option<Plan>>,
    /// Batches as they came in.
    pub(crate) batches: Mutex<Vec<Batch>>,
    /// Single writes as they were done.
    pub(crate) done: Mutex<Batch>,
    pub(crate) loads: Mutex<Vec<Vec<u64>>>,
    gate: Gate,
    writing: AtomicUsize,
}

struct Gate(Semaphore);

impl Default for Gate {
    fn default() -> Self {
        Self(Semaphore::new(0))
    }
}

impl Fake {
    pub(crate) fn new(values: impl IntoIterator<Item = (u64, u64)>) -> Arc<Self> {
        Arc::new(Self { map: Mutex::new(values.into_iter().collect()), ..Self::default() })
    }

    pub(crate) fn plan(&self, plans: impl IntoIterator<Item = Plan>) {
        self.plans.lock().extend(plans);
    }

    pub(crate) fn always(&self, plan: Option<Plan>) {
        *self.always.lock() = plan;
    }

    pub(crate) fn let_go(&self) {
        self.gate.0.add_permits(1);
    }

    pub(crate) fn value(&self, key: u64) -> Option<u64> {
        self.map.lock().get(&key).copied()
    }

    pub(crate) fn loads(&self) -> usize {
        self.loads.lock().len()
    }

    pub(crate) fn is_writing(&self) -> bool {
        self.writing.load(Ordering::SeqCst) > 0
    }

    fn next_plan(&self) -> Plan {
        let own = self.plans.lock().pop_front();
        own.or_else(|| self.always.lock().clone()).unwrap_or(Plan::Works)
    }

    /// Up to the point at which a plan shows; an error if it is one for all.
    async fn meet(&self, plan: &Plan) -> Result<(), StoreError<&'static str>> {
        yield_now().await;
        match plan {
            Plan::Down => Err(StoreError::Transient("down")),
            Plan::Refuses => Err(StoreError::Permanent("refused")),
            Plan::Hangs => std::future::pending().await,
            Plan::Panics => panic!("the store panics, as it was told"),
            Plan::Waits => {
                self.gate.0.acquire().await.unwrap().forget();
                Ok(())
            }
            Plan::Works | Plan::AnswerLost | Plan::Partly(_) => Ok(()),
        }
    }

    fn write_one(&self, write: &Write<u64, u64>) {
        match write.value() {
            Some(&value) => self.map.lock().insert(*write.key(), value),
            None => self.map.lock().remove(write.key()),
        };
        self.done.lock().push((*write.key(), write.value().copied()));
    }
}

struct Counted<'c>(&'c AtomicUsize);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Store<u64, u64> for Fake {
    type Error = &'static str;

    async fn load(&self, key: &u64) -> Result<Option<u64>, StoreError<&'static str>> {
        self.loads.lock().push(vec![*key]);
        let plan = self.next_plan();
        // Read first, answer later: the worst that a store can do to a cache.
        let value = self.value(*key);
        self.meet(&plan).await?;
        yield_now().await;
        Ok(value)
    }

    async fn load_many(&self, keys: &[u64]) -> Result<Vec<(usize, u64)>, StoreError<&'static str>> {
        self.loads.lock().push(keys.to_vec());
        let plan = self.next_plan();
        let values = keys.iter().map(|&key| self.value(key)).enumerate();
        let values = values.filter_map(|(index, value)| Some((index, value?))).collect();
        self.meet(&plan).await?;
        Ok(values)
    }

    async fn write(
        &self,
        batch: &[Write<u64, u64>],
    ) -> Result<Written<&'static str>, StoreError<&'static str>> {
        self.writing.fetch_add(1, Ordering::SeqCst);
        let _writing = Counted(&self.writing);
        self.batches.lock().push(batch.iter().map(|write| (*write.key(), write.value().copied())).collect());
        let plan = self.next_plan();
        self.meet(&plan).await?;
        let failures = match &plan {
            Plan::Partly(failures) => failures.clone(),
            _ => Vec::new(),
        };
        for (index, write) in batch.iter().enumerate() {
            if !failures.iter().any(|&(failed, _)| failed == index) {
                self.write_one(write);
            }
            yield_now().await;
        }
        if matches!(plan, Plan::AnswerLost) {
            return Err(StoreError::Transient("answer lost"));
        }
        let error = |permanent| match permanent {
            true => StoreError::Permanent("refused"),
            false => StoreError::Transient("busy"),
        };
        Ok(Written::except(failures.into_iter().map(|(index, permanent)| (index, error(permanent)))))
    }
}

/// The runtime's time, which a test may pause.
pub(crate) struct RuntimeClock(Instant);

impl RuntimeClock {
    pub(crate) fn new() -> Self {
        Self(Instant::now())
    }
}

impl Clock for RuntimeClock {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}
