//! What can go wrong, and at which step.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

/// Why a server could not be started or steered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The server is not installed, or not where this crate looks.
    #[error("{binary} not found; looked in {}", folders(.looked_in))]
    NotFound {
        /// The program that was looked for.
        binary: &'static str,
        /// The folders it was looked for in, in order.
        looked_in: Vec<PathBuf>,
    },
    /// The caller is root and there is no other user to run the server as.
    #[error("{server} does not run as root, and none of the users {tried:?} exists")]
    NoAccount {
        /// The server.
        server: &'static str,
        /// The users that were tried.
        tried: &'static [&'static str],
    },
    /// A setting given to the builder cannot be used.
    #[error("bad setting `{name}`: {why}")]
    BadSetting {
        /// The setting as it was given.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A helper program such as `initdb` or `psql` failed.
    #[error("{program} failed ({status}): {output}")]
    Program {
        /// The program.
        program: &'static str,
        /// How it ended.
        status: ExitStatus,
        /// What it wrote to standard output and error.
        output: String,
    },
    /// The server ended while it was starting.
    #[error("{server} ended while starting ({status}); the end of its log:\n{log}")]
    Exited {
        /// The server.
        server: &'static str,
        /// How it ended.
        status: ExitStatus,
        /// The last lines of its log.
        log: String,
    },
    /// The server did not answer in time. It was killed.
    #[error("{server} did not answer within {waited:?}; the end of its log:\n{log}")]
    NotReady {
        /// The server.
        server: &'static str,
        /// How long it was waited for.
        waited: Duration,
        /// The last lines of its log.
        log: String,
    },
    /// The call needs a running server and this one is down.
    #[error("{server} is not running")]
    NotRunning {
        /// The server.
        server: &'static str,
    },
    /// The operating system refused something.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done.
        doing: String,
        /// What the system said.
        source: io::Error,
    },
}

impl Error {
    /// Makes an I/O error that says what was being done: `.map_err(Error::io("read the log"))`.
    pub(crate) fn io<E: Into<io::Error>>(doing: impl Into<String>) -> impl FnOnce(E) -> Error {
        move |source| Error::Io { doing: doing.into(), source: source.into() }
    }
}

fn folders(looked_in: &[PathBuf]) -> String {
    let names: Vec<_> = looked_in.iter().map(|folder| folder.display().to_string()).collect();
    if names.is_empty() { "no folder at all".to_owned() } else { names.join(", ") }
}
