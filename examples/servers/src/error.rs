//! What can go wrong, and how a test takes it.

use std::path::PathBuf;
use std::time::Duration;

/// Why a server is not there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The server's binary is not installed.
    #[error("{binary} not found; looked in {looked_in:?}")]
    NotFound {
        /// The program.
        binary: &'static str,
        /// The folders searched.
        looked_in: Vec<PathBuf>,
    },
    /// There is no unprivileged user to run PostgreSQL as.
    #[error("PostgreSQL refuses to run as root, and there is no user `postgres` or `nobody`")]
    NoUser,
    /// A step failed.
    #[error("{step}: {reason}")]
    Failed {
        /// What was tried.
        step: &'static str,
        /// What came of it.
        reason: String,
    },
    /// The server did not answer in time.
    #[error("{server} did not answer within {waited:?}; its log says:\n{log}")]
    NotReady {
        /// Which server.
        server: &'static str,
        /// How long it was given.
        waited: Duration,
        /// The end of its log.
        log: String,
    },
    /// The operating system refused.
    #[error("{step}: {source}")]
    Io {
        /// What was tried.
        step: &'static str,
        /// Its answer.
        source: std::io::Error,
    },
}

impl Error {
    pub(crate) fn io(step: &'static str) -> impl Fn(std::io::Error) -> Self {
        move |source| Self::Io { step, source }
    }
}

/// The server, or `None` with a loud word where its binary is missing.
///
/// # Panics
/// If the server is installed and can't be started, or if it is missing and `MILLPOND_REQUIRE_SERVERS=1`.
#[expect(clippy::print_stderr, reason = "a skipped test must be heard")]
pub fn require<S>(server: Result<S, Error>) -> Option<S> {
    match server {
        Ok(server) => Some(server),
        Err(Error::NotFound { binary, looked_in }) => {
            let required = std::env::var("MILLPOND_REQUIRE_SERVERS").is_ok_and(|value| value == "1");
            assert!(!required, "MILLPOND_REQUIRE_SERVERS=1, but {binary} is not in {looked_in:?}");
            eprintln!("skipped: {binary} not found");
            None
        }
        Err(error) => panic!("the server is installed and does not start: {error}"),
    }
}
