//! What can go wrong, and where.

use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use crate::stats::Status;

/// The step that took too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// All connections were in use.
    Queue,
    /// There was room for a connection, and none could be opened in time.
    Connect,
    /// A connection was there and did not answer its check in time.
    Validate,
    /// The pool was [suspended](crate::Pool::suspend).
    Suspended,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Queue => "waiting for a connection to be returned",
            Self::Connect => "waiting for a connection to be opened",
            Self::Validate => "checking a connection",
            Self::Suspended => "the pool is suspended",
        })
    }
}

/// Why a connection could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError<E> {
    /// The manager's error.
    #[error(transparent)]
    Manager(E),
    /// It took longer than `connect_timeout`.
    #[error("no connection within {0:?}")]
    TimedOut(Duration),
    /// The manager panicked.
    #[error("the manager panicked")]
    Panicked,
}

/// An attempt to open a connection that failed.
#[derive(Debug)]
pub struct ConnectFailure<E> {
    /// Why.
    pub error: Arc<ConnectError<E>>,
    /// How long ago.
    pub age: Duration,
    /// Attempts that failed since the last that succeeded.
    pub failures: u32,
}

impl<E> Clone for ConnectFailure<E> {
    fn clone(&self) -> Self {
        Self { error: Arc::clone(&self.error), age: self.age, failures: self.failures }
    }
}

impl<E: fmt::Display> fmt::Display for ConnectFailure<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({:?} ago, {} in a row)", self.error, self.age, self.failures)
    }
}

/// Why there is no connection. Small, so that what [`get`](crate::Pool::get) returns is: the larger parts are boxed.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error<E> {
    /// The timeout passed.
    Timeout {
        /// What took so long.
        step: Step,
        /// How long the caller waited.
        waited: Duration,
        /// What the pool looked like at the end.
        status: Box<Status>,
        /// The last attempt to open a connection, if it failed.
        last_connect_error: Option<Box<ConnectFailure<E>>>,
        /// Where the very task or thread that waited had borrowed a connection that it held all the while; looked for only
        /// if [`warn_nested`](crate::PoolBuilder::warn_nested) is on.
        holds: Option<&'static Location<'static>>,
    },
    /// Connections can't be opened: the manager calls the error permanent, or several attempts in a row have failed. Told
    /// at once, without waiting for the timeout.
    Connect {
        /// The last attempt.
        failure: Box<ConnectFailure<E>>,
        /// What the pool looked like.
        status: Box<Status>,
    },
    /// As many callers wait as [`max_waiters`](crate::PoolBuilder::max_waiters) allows.
    QueueFull {
        /// What the pool looked like.
        status: Box<Status>,
    },
    /// Turned away after a wait: the queue stands, and others are served before they are too late. See
    /// [`shed`](crate::PoolBuilder::shed).
    Shed {
        /// How long the caller waited.
        waited: Duration,
        /// What the pool looked like.
        status: Box<Status>,
    },
    /// The pool was closed.
    Closed,
}

impl<E> Error<E> {
    /// Whether the timeout passed.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Timeout { .. })
    }

    /// Whether the pool was closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(self, Self::Closed)
    }

    /// The last attempt to open a connection, if it failed.
    #[must_use]
    pub fn connect_failure(&self) -> Option<&ConnectFailure<E>> {
        match self {
            Self::Timeout { last_connect_error, .. } => last_connect_error.as_deref(),
            Self::Connect { failure, .. } => Some(failure),
            Self::QueueFull { .. } | Self::Shed { .. } | Self::Closed => None,
        }
    }
}

impl<E: fmt::Display> fmt::Display for Error<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout { step, waited, status, last_connect_error, holds } => {
                write!(f, "no connection after {waited:?}, {step} ({status})")?;
                if let Some(failure) = last_connect_error {
                    write!(f, "; last connect error: {failure}")?;
                }
                if let Some(holds) = holds {
                    write!(f, "; the same task holds a connection borrowed at {holds}")?;
                }
                Ok(())
            }
            Self::Connect { failure, status } => write!(f, "can't connect: {failure} ({status})"),
            Self::QueueFull { status } => write!(f, "too many wait for a connection ({status})"),
            Self::Shed { waited, status } => write!(f, "overloaded: turned away after {waited:?} ({status})"),
            Self::Closed => f.write_str("the pool is closed"),
        }
    }
}

impl<E: std::error::Error + 'static> std::error::Error for Error<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.connect_failure().map(|failure| &*failure.error as &(dyn std::error::Error + 'static))
    }
}

/// A setting that a pool can't be built with. Names the field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A pool needs at least one connection.
    #[error("max_size: must be at least 1")]
    MaxSize,
    /// More idle connections are wanted than there may be.
    #[error("min_idle: {min_idle} is more than max_size, {max_size}")]
    MinIdle {
        /// The setting.
        min_idle: usize,
        /// Its limit.
        max_size: usize,
    },
    /// A duration of zero would never let the step end well.
    #[error("{0}: must be longer than zero")]
    Zero(&'static str),
    /// At least one connection must be allowed to be opened at a time.
    #[error("max_opening: must be at least 1")]
    MaxOpening,
    /// What is wrong with the list of targets.
    #[error("targets: {0}")]
    Targets(&'static str),
    /// One in no borrows can't be picked.
    #[error("leak_backtraces: must be at least 1")]
    LeakBacktraces,
    /// A connection that is yet to be opened is waited for, so somebody must be allowed to wait.
    #[error("max_waiters: must be at least 1")]
    MaxWaiters,
    /// The backoff would shrink.
    #[error("backoff_most: {most:?} is less than backoff_first, {first:?}")]
    Backoff {
        /// The first delay.
        first: Duration,
        /// The longest.
        most: Duration,
    },
}

/// Variables that a [`Config`](crate::Config) can't be read from. Names the variable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// There is no such setting, or its value can't be read.
    #[error("{name}: {reason}")]
    Value {
        /// The variable.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The settings do not go together.
    #[error("{prefix}*: {error}")]
    Build {
        /// The variables' prefix.
        prefix: String,
        /// Names the field.
        error: BuildError,
    },
}

/// Why a pool did not [`start`](crate::PoolBuilder::start).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError<E: std::error::Error + 'static> {
    /// A setting can't be honoured.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// No connection could be opened.
    #[error(transparent)]
    Connect(Error<E>),
}
