//! Objects that are no connections: buffers, parsers, compilers.

use std::convert::Infallible;
use std::fmt;

use crate::manager::{Manager, Verdict};

type Make<T> = Box<dyn Fn() -> T + Send + Sync>;
type Tidy<T> = Box<dyn Fn(&mut T) -> Verdict + Send + Sync>;

/// Makes objects by a function; nothing is checked and nothing can be dead.
///
/// A bound on how many are in use at a time, fair waiting and reuse: the pool as it is. Set
/// [`validation_bypass`](crate::PoolBuilder::validation_bypass) to `Duration::MAX` and
/// [`max_lifetime`](crate::PoolBuilder::max_lifetime) and [`keepalive`](crate::PoolBuilder::keepalive) to `None` to have none
/// of the upkeep of connections. An object is made in a background task; one that panics there is a connect error.
///
/// ```
/// use millpond_pool::managers::Objects;
/// use millpond_pool::{Pool, Verdict};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let buffers = Objects::new(|| Vec::<u8>::with_capacity(64 * 1024)).on_return(|buffer| {
///     buffer.clear();
///     // One that has grown for a giant is not kept.
///     if buffer.capacity() > 1 << 20 { Verdict::Discard } else { Verdict::Keep }
/// });
/// let pool = Pool::builder(buffers).max_size(8).build()?;
/// let mut buffer = pool.get().await?;
/// buffer.extend_from_slice(b"hello");
/// drop(buffer);
/// assert!(pool.get().await?.is_empty());
/// # Ok(()) }
/// ```
pub struct Objects<T> {
    make: Make<T>,
    tidy: Option<Tidy<T>>,
}

impl<T> Objects<T> {
    /// A manager whose objects are made by `make`.
    #[must_use]
    pub fn new(make: impl Fn() -> T + Send + Sync + 'static) -> Self {
        Self { make: Box::new(make), tidy: None }
    }

    /// Cleans each object that comes back, on the thread that returns it. Default: nothing, and
    /// [`Verdict::Keep`].
    #[must_use]
    pub fn on_return(mut self, tidy: impl Fn(&mut T) -> Verdict + Send + Sync + 'static) -> Self {
        self.tidy = Some(Box::new(tidy));
        self
    }
}

impl<T: Send + 'static> Manager for Objects<T> {
    type Connection = T;
    type Error = Infallible;

    async fn connect(&self) -> Result<T, Infallible> {
        Ok((self.make)())
    }

    fn on_return(&self, object: &mut T) -> Verdict {
        self.tidy.as_ref().map_or(Verdict::Keep, |tidy| tidy(object))
    }
}

impl<T> fmt::Debug for Objects<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Objects").field("on_return", &self.tidy.is_some()).finish_non_exhaustive()
    }
}
