//! What the pool asks of a driver.

/// What becomes of a connection that comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// It is clean: the next borrower gets it as it is.
    Keep,
    /// It needs [`Manager::reset`] before anybody gets it.
    Reset,
    /// It must not be used again, for a reason of its own: an open transaction, a protocol error.
    Discard,
    /// It is dead, and its like may be: all that are idle are checked before anybody gets them.
    Broken,
}

/// How to open, check, clean and close the connections of one kind.
///
/// Every future is bounded in time by the pool, may be dropped at any `await`, and may panic: the pool loses nothing but
/// that connection. No method runs under a lock of the pool.
pub trait Manager: Send + Sync + 'static {
    /// What is pooled.
    type Connection: Send + 'static;
    /// Why it can't be opened or is not good any more.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Opens a connection. Runs in a task of its own, not in that of a borrower; bounded by
    /// [`connect_timeout`](crate::PoolBuilder::connect_timeout). Credentials that change are read here.
    fn connect(&self) -> impl Future<Output = Result<Self::Connection, Self::Error>> + Send;

    /// Checks that an idle connection still works, at best by a round trip. Runs in a background task, bounded by
    /// [`validation_timeout`](crate::PoolBuilder::validation_timeout); if it does not end in time, the connection is
    /// discarded. Default: it works.
    fn validate(
        &self,
        connection: &mut Self::Connection,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send {
        let _ = connection;
        async { Ok(()) }
    }

    /// Looks at a connection that is about to be lent, without waiting: false if it is known to be dead. Runs on each
    /// borrow; must take no more than a microsecond. Default: true.
    fn probe(&self, connection: &mut Self::Connection) -> bool {
        let _ = connection;
        true
    }

    /// Decides what becomes of a connection that comes back, without waiting. Default: [`Verdict::Keep`].
    ///
    /// Not asked while the borrower's thread is panicking: then the connection is discarded.
    fn on_return(&self, connection: &mut Self::Connection) -> Verdict {
        let _ = connection;
        Verdict::Keep
    }

    /// Cleans a connection for which [`on_return`](Self::on_return) asked it. Runs in a background task, bounded by
    /// [`validation_timeout`](crate::PoolBuilder::validation_timeout). Default: nothing to do.
    fn reset(
        &self,
        connection: &mut Self::Connection,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send {
        let _ = connection;
        async { Ok(()) }
    }

    /// Ends a connection in a friendly way, whatever the reason: old age, a failed check, a verdict, the pool's end. It may be
    /// dead, or in the middle of something. The first step is taken at once, the rest in a background task, bounded by
    /// [`validation_timeout`](crate::PoolBuilder::validation_timeout), and by 250 ms if the connection is dead or unclean;
    /// where there is no runtime the rest is left out. Until it has ended it counts against
    /// [`max_size`](crate::PoolBuilder::max_size). Default: drops it.
    fn close(&self, connection: Self::Connection) -> impl Future<Output = ()> + Send {
        async move { drop(connection) }
    }

    /// Whether trying again is useless: a wrong password, an unknown database. All who wait get the error at once.
    /// Default: false.
    fn is_permanent(&self, error: &Self::Error) -> bool {
        let _ = error;
        false
    }
}
