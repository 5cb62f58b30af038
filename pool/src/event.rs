//! What happens in a pool, for whoever listens: a function of the user's, and `tracing` where that feature is on.

use std::backtrace::Backtrace;
use std::error::Error;
use std::panic::Location;
use std::time::Duration;

use crate::contain;
use crate::stats::Status;

/// Something that happened. Told outside of all locks; a listener's panic is contained.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Event<'e> {
    /// A connection was opened.
    Opened {
        /// How long that took.
        took: Duration,
    },
    /// An attempt to open one failed.
    OpenFailed {
        /// Why.
        error: &'e (dyn Error + 'static),
        /// Whether the manager calls it permanent.
        permanent: bool,
    },
    /// The pool ended a connection because of age, idleness, a lower limit, a reset or its own end.
    Retired,
    /// A connection did not pass its check or reset, and was ended.
    CheckFailed,
    /// A connection was found dead, or was discarded by its borrower, its `on_return` or a panic.
    Discarded,
    /// A caller's timeout passed.
    TimedOut {
        /// What the pool looked like.
        status: Status,
    },
    /// A connection is lent for longer than [`leak_threshold`](crate::PoolBuilder::leak_threshold). Told once a borrow.
    Leak {
        /// Where it was borrowed.
        borrowed: &'static Location<'static>,
        /// For how long, so far.
        held: Duration,
        /// The whole way to that call, if it was one of the [sample](crate::PoolBuilder::leak_backtraces).
        backtrace: Option<&'e Backtrace>,
    },
    /// A caller has to wait while its own task or thread holds a connection: with enough of its like all wait for each
    /// other. Told once for each pair of places; see [`warn_nested`](crate::PoolBuilder::warn_nested).
    Nested {
        /// Where it borrowed what it holds.
        holds: &'static Location<'static>,
        /// Where it asks for another.
        asks: &'static Location<'static>,
    },
    /// A waiter was turned away by [`shed`](crate::PoolBuilder::shed).
    Shed {
        /// How long it waited.
        waited: Duration,
    },
}

/// Whom events are told.
pub(crate) type Listener = Box<dyn Fn(&Event<'_>) + Send + Sync>;

pub(crate) struct Events {
    pub(crate) listener: Option<Listener>,
    #[cfg(feature = "tracing")]
    pub(crate) pool: Option<String>,
}

impl Events {
    pub(crate) fn new(listener: Option<Listener>, pool: Option<&str>) -> Self {
        #[cfg(not(feature = "tracing"))]
        let _ = pool;
        Self {
            listener,
            #[cfg(feature = "tracing")]
            pool: pool.map(Into::into),
        }
    }

    pub(crate) fn tell(&self, event: &Event<'_>) {
        #[cfg(feature = "tracing")]
        self.trace(event);
        if let Some(listener) = &self.listener {
            // A listener that panics has told us all it will.
            let _contained = contain::call(|| listener(event));
        }
    }

    #[cfg(feature = "tracing")]
    fn trace(&self, event: &Event<'_>) {
        let pool = self.pool.as_deref().unwrap_or("");
        match event {
            Event::Opened { took } => tracing::debug!(pool, ?took, "connection opened"),
            Event::OpenFailed { error, permanent } => {
                tracing::warn!(pool, error, permanent, "can't open a connection");
            }
            Event::Retired => tracing::debug!(pool, "connection retired"),
            Event::CheckFailed => tracing::info!(pool, "connection failed its check"),
            Event::Discarded => tracing::debug!(pool, "connection discarded"),
            Event::TimedOut { status } => tracing::warn!(pool, %status, "no connection in time"),
            Event::Leak { borrowed, held, backtrace } => match backtrace {
                Some(backtrace) => {
                    tracing::warn!(pool, %borrowed, ?held, %backtrace, "connection not returned");
                }
                None => tracing::warn!(pool, %borrowed, ?held, "connection not returned"),
            },
            Event::Nested { holds, asks } => {
                tracing::warn!(pool, %holds, %asks, "a task waits for a connection while it holds one");
            }
            Event::Shed { waited } => tracing::warn!(pool, ?waited, "overloaded: a caller was turned away"),
        }
    }
}
