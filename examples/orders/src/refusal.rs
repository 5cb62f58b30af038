//! Errors, and the gRPC statuses that they become.

use std::sync::Arc;

use millpond_cache::backing::{JournalError, StoreCacheError, StoreError};
use tonic::{Code, Status};

use crate::database;

/// Why a request was not done, for the client.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Refusal {
    /// The request is wrong, whatever there is.
    #[error("{0}")]
    Invalid(String),
    /// It names something that does not exist.
    #[error("there is no {what} {id}")]
    NotFound {
        /// What kind of thing.
        what: &'static str,
        /// Its id.
        id: String,
    },
    /// The id is that of something else.
    #[error("{what} {id} exists and is another")]
    Exists {
        /// What kind of thing.
        what: &'static str,
        /// Its id.
        id: String,
    },
    /// Not enough units are left.
    #[error("{sku}: {left} left, {wanted} wanted")]
    SoldOut {
        /// The article.
        sku: String,
        /// Units that were left.
        left: i64,
        /// Units that were asked for.
        wanted: i64,
    },
    /// The same call is being served, or an earlier one came to no end.
    #[error("order {0} is in progress; ask again")]
    InProgress(String),
    /// It took too long. It may be done or not.
    #[error("it took too long")]
    TooLong,
    /// The service takes no more for now.
    #[error("too many orders wait to be written")]
    Busy,
    /// Something that is needed is not there for now. It may be done or not.
    #[error("{0}")]
    Unavailable(&'static str),
    /// Our own mistake, which was logged.
    #[error("the service made a mistake; it was logged")]
    Internal,
}

impl Refusal {
    /// The request is wrong.
    pub fn invalid(detail: impl Into<String>) -> Self {
        Self::Invalid(detail.into())
    }

    /// There is no such thing.
    pub fn not_found(what: &'static str, id: impl Into<String>) -> Self {
        Self::NotFound { what, id: id.into() }
    }

    /// Logged in full, told in brief.
    pub fn internal(error: &dyn std::fmt::Display) -> Self {
        tracing::error!(%error, "internal error");
        Self::Internal
    }

    /// The status of gRPC.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Invalid(_) => Code::InvalidArgument,
            Self::NotFound { .. } => Code::NotFound,
            Self::Exists { .. } => Code::AlreadyExists,
            Self::SoldOut { .. } => Code::FailedPrecondition,
            Self::InProgress(_) => Code::Aborted,
            Self::TooLong => Code::DeadlineExceeded,
            Self::Busy => Code::ResourceExhausted,
            Self::Unavailable(_) => Code::Unavailable,
            Self::Internal => Code::Internal,
        }
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal.code(), refusal.to_string())
    }
}

impl From<database::Error> for Refusal {
    fn from(error: database::Error) -> Self {
        Self::from(&error)
    }
}

impl From<&database::Error> for Refusal {
    fn from(error: &database::Error) -> Self {
        if error.is_outage() {
            tracing::warn!(%error, "the database is not available");
            // The cause stays in the log: it may name hosts and users.
            return Self::Unavailable("the database is not available");
        }
        Self::internal(error)
    }
}

impl From<StoreCacheError<database::Error>> for Refusal {
    fn from(error: StoreCacheError<database::Error>) -> Self {
        match &error {
            StoreCacheError::Store(error) => Self::from(StoreError::get_ref(error)),
            StoreCacheError::Unavailable | StoreCacheError::TimedOut => {
                Self::Unavailable("the database is not available")
            }
            StoreCacheError::Closed | StoreCacheError::Interrupted => {
                Self::Unavailable("the service is stopping")
            }
            StoreCacheError::QueueFull => Self::Busy,
            StoreCacheError::Journal(error) => Self::from(error),
            _ => Self::internal(&error),
        }
    }
}

impl From<&Arc<JournalError>> for Refusal {
    fn from(error: &Arc<JournalError>) -> Self {
        tracing::error!(%error, "the journal did not take an order");
        match **error {
            JournalError::Full(_) => Self::Busy,
            _ => Self::Unavailable("the journal is not available"),
        }
    }
}
