//! Managers written for deadpool.

use std::borrow::Cow;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::time::Instant;

use deadpool::managed::{self, Metrics, RecycleError};

use crate::manager::{Manager, Verdict};

/// Takes any [`managed::Manager`] as it is.
///
/// deadpool recycles an object when it is borrowed; here that is done when it comes back, in the background, before anybody
/// else gets it, and again as the check of one that was idle for long. [`recycle_on_return(false)`](Self::recycle_on_return)
/// leaves out the first. deadpool's hooks are this pool's `after_connect`, `before_acquire` and `after_release`.
#[derive(Clone, Debug)]
pub struct Deadpool<M> {
    manager: M,
    on_return: bool,
}

impl<M: managed::Manager> Deadpool<M> {
    /// Wraps a manager.
    #[must_use]
    pub fn new(manager: M) -> Self {
        Self { manager, on_return: true }
    }

    /// Whether an object that comes back is recycled before anybody else gets it. Default: true, as managers may rely on it
    /// to clean sessions. For one that only looks whether the connection is alive, as deadpool-postgres does by default,
    /// `false` saves a task a borrow.
    #[must_use]
    pub fn recycle_on_return(mut self, on: bool) -> Self {
        self.on_return = on;
        self
    }

    /// The manager.
    #[must_use]
    pub fn manager(&self) -> &M {
        &self.manager
    }

    async fn recycle(&self, object: &mut DeadpoolObject<M::Type>) -> Result<(), DeadpoolError<M::Error>> {
        let DeadpoolObject { object, metrics } = object;
        let recycled = self.manager.recycle(object, metrics).await;
        metrics.recycle_count += 1;
        metrics.recycled = Some(Instant::now());
        recycled.map_err(|error| match error {
            RecycleError::Message(text) => DeadpoolError::Message(text),
            RecycleError::Backend(error) => DeadpoolError::Backend(error),
        })
    }
}

impl<M> Manager for Deadpool<M>
where
    M: managed::Manager + 'static,
    M::Type: 'static,
    M::Error: std::error::Error + Sync + 'static,
{
    type Connection = DeadpoolObject<M::Type>;
    type Error = DeadpoolError<M::Error>;

    async fn connect(&self) -> Result<Self::Connection, Self::Error> {
        let object = self.manager.create().await.map_err(DeadpoolError::Backend)?;
        Ok(DeadpoolObject { object, metrics: Metrics::default() })
    }

    async fn validate(&self, object: &mut Self::Connection) -> Result<(), Self::Error> {
        self.recycle(object).await
    }

    fn on_return(&self, _: &mut Self::Connection) -> Verdict {
        if self.on_return { Verdict::Reset } else { Verdict::Keep }
    }

    async fn reset(&self, object: &mut Self::Connection) -> Result<(), Self::Error> {
        self.recycle(object).await
    }

    async fn close(&self, mut object: Self::Connection) {
        self.manager.detach(&mut object.object);
    }
}

/// An object of a manager of deadpool's, with the metrics that its manager is shown.
#[derive(Debug)]
pub struct DeadpoolObject<T> {
    object: T,
    metrics: Metrics,
}

impl<T> DeadpoolObject<T> {
    /// When it was made and recycled.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The object alone.
    #[must_use]
    pub fn into_inner(self) -> T {
        self.object
    }
}

impl<T> Deref for DeadpoolObject<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.object
    }
}

impl<T> DerefMut for DeadpoolObject<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.object
    }
}

/// What a manager of deadpool's says.
#[derive(Debug)]
#[non_exhaustive]
pub enum DeadpoolError<E> {
    /// The backend's error.
    Backend(E),
    /// Why an object was not recycled.
    Message(Cow<'static, str>),
}

impl<E: fmt::Display> fmt::Display for DeadpoolError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Backend(error) => error.fmt(f),
            Self::Message(text) => f.write_str(text),
        }
    }
}

impl<E: std::error::Error + 'static> std::error::Error for DeadpoolError<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Backend(error) => Some(error),
            Self::Message(_) => None,
        }
    }
}
