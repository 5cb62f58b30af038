//! Write-through: the store first, and the cache never against it.
//!
//! A write of a key takes three steps, as a task of its own, so that a caller who leaves changes nothing:
//!
//! 1. **Invalidate**, and lead the flight of the key. From here on the cache holds no value for it. Whoever misses waits for
//!    the flight, so nobody reads the store while it changes, and no load can bring back what was there before.
//! 2. **Write.** Writers of one key take turns, so that the store's order is the cache's order.
//! 3. **Publish** the value if the store has confirmed it. After an error or a panic, where nobody knows what it has, nothing
//!    is published: the flight is given up, and one of those who wait loads what is there.
//!
//! If the cache is invalidated from outside between 1 and 3, the flight is lost and a load may have begun that reads the old
//! value. Then step 3 invalidates once more and publishes nothing.

use std::future::poll_fn;
use std::hash::Hash;
use std::panic::resume_unwind;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::error::StoreCacheError;
use super::inner::{Inner, Mode, Through};
use super::store::{Store, StoreError, Write};
use super::turns::{Turn, Turns};
use crate::core::load::{Boarding, Leader};
use crate::core::write::Life;

/// The right to load a key, for the time of a write.
type Flying<K, V> = Leader<'static, K, Option<V>, ahash::RandomState>;

type Answer<R, E> = Result<R, StoreCacheError<E>>;

impl<K: Eq> Through<K> {
    pub(crate) fn new() -> Self {
        Self {
            hasher: ahash::RandomState::new(),
            turns: Arc::new(Turns::new()),
            writing: Mutex::new(0),
            is_closed: AtomicBool::new(false),
            idle: Notify::new(),
        }
    }

    /// Takes no writes any more, and waits for those that there are.
    pub(crate) async fn close(&self) {
        {
            // Under the lock, so that each write is either counted or refused.
            let _writing = self.writing.lock();
            self.is_closed.store(true, Ordering::Release);
        }
        loop {
            let idle = self.idle.notified();
            if *self.writing.lock() == 0 {
                return;
            }
            idle.await;
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Acquire)
    }
}

impl<K, V, St> Inner<K, V, St>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    St: Store<K, V>,
{
    pub(crate) async fn write_through(
        self: &Arc<Self>,
        through: &Through<K>,
        key: K,
        value: Option<V>,
    ) -> Answer<(), St::Error> {
        let key = Arc::new(key);
        let write = Write::new(Arc::clone(&key), value.map(Arc::new));
        let inner = Arc::clone(self);
        let change = async move {
            let written = inner.store.write(std::slice::from_ref(&write)).await?;
            match written.into_failures().into_iter().find(|&(index, _)| index == 0) {
                Some((_, error)) => Err(error),
                None => Ok((write.value().cloned(), ())),
            }
        };
        self.change_through(through, key, change).await
    }

    /// Runs a change of a key in the store, which says what the store has after it.
    pub(crate) async fn change_through<R: Send + 'static>(
        self: &Arc<Self>,
        through: &Through<K>,
        key: Arc<K>,
        change: impl Future<Output = Result<(Option<V>, R), StoreError<St::Error>>> + Send + 'static,
    ) -> Answer<R, St::Error> {
        let writing = Writing::begin(self, through, 1).ok_or(StoreCacheError::Closed)?;
        let hash = through.hasher.hash_one(&*key);
        let turn = through.turns.take(hash, Arc::clone(&key)).await;
        // Nothing has happened so far. From here on it happens to the end, whoever leaves.
        match tokio::spawn(writing.run(turn, key, change)).await {
            Ok(answer) => answer,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => resume_unwind(panic),
                Err(_) => Err(StoreCacheError::Interrupted),
            },
        }
    }

    /// Empties the cache of a key, and leads its flight.
    pub(crate) fn lead_alone(&self, key: &K) -> Flying<K, V> {
        loop {
            // Also detaches a load that is under way: what it reads may be older than what is written now.
            self.cache.invalidate(key);
            if let Boarding::Lead(leader) = self.cache.core.board(key.clone()) {
                return leader.uncounted().detach(Arc::clone(&self.cache.core));
            }
        }
    }

    /// Ends the flight of a write: with what the store has confirmed, or, without, with nothing.
    pub(crate) fn conclude_through(&self, leader: Flying<K, V>, key: &K, confirmed: Option<Option<V>>) {
        match confirmed {
            Some(value) if leader.stands() => {
                leader.loaded(value, Life::Configured);
            }
            _ => {
                let was_lost = !leader.stands();
                drop(leader);
                if was_lost {
                    self.cache.invalidate(key);
                }
            }
        }
    }
}

/// Writes that were begun, counted for `close`.
pub(crate) struct Writing<K, V, St>
where
    K: Sync,
    V: Send,
    St: Store<K, V>,
{
    pub(crate) inner: Arc<Inner<K, V, St>>,
    count: usize,
}

impl<K, V, St> Writing<K, V, St>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    St: Store<K, V>,
{
    pub(crate) fn begin(inner: &Arc<Inner<K, V, St>>, through: &Through<K>, count: usize) -> Option<Self> {
        let mut writing = through.writing.lock();
        if through.is_closed() {
            return None;
        }
        *writing += count;
        Some(Self { inner: Arc::clone(inner), count })
    }

    async fn run<R>(
        self,
        turn: Turn<K>,
        key: Arc<K>,
        change: impl Future<Output = Result<(Option<V>, R), StoreError<St::Error>>>,
    ) -> Answer<R, St::Error> {
        let inner = &*self.inner;
        // An open breaker leaves the cached value alone: nothing was sent.
        let permit = inner.breaker.permit(inner.now()).ok_or(StoreCacheError::Unavailable)?;
        let leader = inner.lead_alone(&key);
        let mut change = pin!(change);
        let changed = poll_fn(|context| {
            // A store that asks the cache for this very key would wait for itself: it panics instead.
            let _inside = leader.flight().enter();
            change.as_mut().poll(context)
        });
        let answer = changed.await;
        match &answer {
            Err(error) if error.is_transient() => permit.failed(inner.now()),
            _ => permit.answered(),
        }
        let answer = match answer {
            Ok((value, answer)) => {
                inner.conclude_through(leader, &key, Some(value));
                Ok(answer)
            }
            Err(error) => {
                inner.conclude_through(leader, &key, None);
                Err(error.into())
            }
        };
        drop(turn);
        answer
    }
}

impl<K, V, St> Drop for Writing<K, V, St>
where
    K: Sync,
    V: Send,
    St: Store<K, V>,
{
    fn drop(&mut self) {
        if let Mode::Through(through) = &self.inner.mode {
            let mut writing = through.writing.lock();
            *writing -= self.count;
            if *writing == 0 {
                drop(writing);
                through.idle.notify_waiters();
            }
        }
    }
}
