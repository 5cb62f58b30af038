//! Managers written for r2d2, whose methods block.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use r2d2::ManageConnection;
use tokio::task::{JoinError, spawn_blocking};

use crate::manager::{Manager, Verdict};

/// Takes any [`ManageConnection`] of r2d2 as it is.
///
/// Its methods block, so they run on tokio's threads for blocking work; one that hangs occupies such a thread until it ends,
/// and nobody waits for it beyond the pool's timeouts. r2d2 checks a connection on each borrow; here that is done when it was
/// not used for [`validation_bypass`](crate::PoolBuilder::validation_bypass), or after one of its like was found dead.
/// Callers that block use [`Pool::get_blocking`](crate::Pool::get_blocking).
#[derive(Clone, Debug)]
pub struct R2d2<M> {
    manager: Arc<M>,
}

impl<M: ManageConnection> R2d2<M> {
    /// Wraps a manager.
    #[must_use]
    pub fn new(manager: M) -> Self {
        Self { manager: Arc::new(manager) }
    }

    /// The manager.
    #[must_use]
    pub fn manager(&self) -> &M {
        &self.manager
    }
}

impl<M: ManageConnection> Manager for R2d2<M>
where
    M::Error: Send + Sync,
{
    type Connection = R2d2Connection<M::Connection>;
    type Error = R2d2Error<M::Error>;

    async fn connect(&self) -> Result<Self::Connection, Self::Error> {
        let manager = Arc::clone(&self.manager);
        let connection = spawn_blocking(move || manager.connect())
            .await
            .map_err(R2d2Error::Thread)?
            .map_err(R2d2Error::Manager)?;
        Ok(R2d2Connection(Some(connection)))
    }

    async fn validate(&self, connection: &mut Self::Connection) -> Result<(), Self::Error> {
        let manager = Arc::clone(&self.manager);
        // Gone with the thread if nobody waits for the answer: the pool discards what is left here.
        let mut inner = connection.0.take().ok_or(R2d2Error::Lost)?;
        let checking = spawn_blocking(move || {
            let valid = manager.is_valid(&mut inner);
            (inner, valid)
        });
        let (inner, valid) = checking.await.map_err(R2d2Error::Thread)?;
        connection.0 = Some(inner);
        valid.map_err(R2d2Error::Manager)
    }

    fn on_return(&self, connection: &mut Self::Connection) -> Verdict {
        match connection.0.as_mut().map(|inner| self.manager.has_broken(inner)) {
            Some(false) => Verdict::Keep,
            Some(true) | None => Verdict::Broken,
        }
    }

    async fn close(&self, connection: Self::Connection) {
        // Saying goodbye may block too.
        let _closed = spawn_blocking(move || drop(connection)).await;
    }
}

/// A connection of a manager of r2d2's.
#[derive(Debug)]
pub struct R2d2Connection<C>(Option<C>);

impl<C> R2d2Connection<C> {
    /// The connection alone.
    ///
    /// # Panics
    /// Never while it is borrowed: it is away only during a check.
    #[must_use]
    pub fn into_inner(self) -> C {
        self.0.expect("away only during a check")
    }
}

impl<C> Deref for R2d2Connection<C> {
    type Target = C;

    fn deref(&self) -> &C {
        self.0.as_ref().expect("away only during a check")
    }
}

impl<C> DerefMut for R2d2Connection<C> {
    fn deref_mut(&mut self) -> &mut C {
        self.0.as_mut().expect("away only during a check")
    }
}

/// What a manager of r2d2's says, or how its thread ended.
#[derive(Debug)]
#[non_exhaustive]
pub enum R2d2Error<E> {
    /// The manager's error.
    Manager(E),
    /// The manager panicked, or the runtime ended.
    Thread(JoinError),
    /// The connection was lost in a check that nobody waited for.
    Lost,
}

impl<E: fmt::Display> fmt::Display for R2d2Error<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Manager(error) => error.fmt(f),
            Self::Thread(error) => error.fmt(f),
            Self::Lost => f.write_str("the connection was lost in a check"),
        }
    }
}

impl<E: std::error::Error + 'static> std::error::Error for R2d2Error<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Manager(error) => Some(error),
            Self::Thread(error) => Some(error),
            Self::Lost => None,
        }
    }
}
