//! Managers written for bb8.

use bb8::ManageConnection;

use crate::manager::{Manager, Verdict};

/// Takes any [`ManageConnection`] of bb8 as it is.
///
/// bb8 checks a connection on each borrow; here that is done when it was not used for
/// [`validation_bypass`](crate::PoolBuilder::validation_bypass), in the background, or after one of its like was found dead.
/// `has_broken` is asked on each borrow and each return; for a manager that always says false, such as the redis crate's, turn
/// on [`check_on_return`](Self::check_on_return), or connections that broke under a query are lent again. bb8's `CustomizeConnection` is this pool's `after_connect`.
#[derive(Clone, Debug)]
pub struct Bb8<M> {
    manager: M,
    check: bool,
}

impl<M: ManageConnection> Bb8<M> {
    /// Wraps a manager.
    #[must_use]
    pub fn new(manager: M) -> Self {
        Self { manager, check: false }
    }

    /// Whether each connection that comes back is checked in the background before anybody gets it: the round trip that bb8
    /// makes on each borrow. Default: off.
    #[must_use]
    pub fn check_on_return(mut self, on: bool) -> Self {
        self.check = on;
        self
    }

    /// The manager.
    #[must_use]
    pub fn manager(&self) -> &M {
        &self.manager
    }
}

impl<M: ManageConnection> Manager for Bb8<M>
where
    M::Error: std::error::Error + Sync,
{
    type Connection = M::Connection;
    type Error = M::Error;

    async fn connect(&self) -> Result<M::Connection, M::Error> {
        self.manager.connect().await
    }

    async fn validate(&self, connection: &mut M::Connection) -> Result<(), M::Error> {
        self.manager.is_valid(connection).await
    }

    fn probe(&self, connection: &mut M::Connection) -> bool {
        !self.manager.has_broken(connection)
    }

    fn on_return(&self, connection: &mut M::Connection) -> Verdict {
        if self.manager.has_broken(connection) {
            Verdict::Broken
        } else if self.check {
            Verdict::Reset
        } else {
            Verdict::Keep
        }
    }

    async fn reset(&self, connection: &mut M::Connection) -> Result<(), M::Error> {
        self.manager.is_valid(connection).await
    }
}
