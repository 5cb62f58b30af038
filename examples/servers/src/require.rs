//! Skipped or failed: what a test does where a server is not installed.

use std::env;
use std::io::{self, Write};

use crate::Error;

/// The environment variable that turns a skip into a failure. Continuous integration sets it to 1.
const REQUIRE: &str = "MILLPOND_REQUIRE_SERVERS";

/// The server, or `None` with a loud `skipped: postgres not found` where it is not installed.
///
/// The line goes to the real standard error, so it is seen although test runners swallow what passing tests print.
///
/// ```
/// let Some(redis) = servers::require(servers::Redis::start()) else { return };
/// assert!(redis.url().starts_with("redis://"));
/// ```
///
/// # Panics
/// When the server is installed but does not start; and when it is not installed and `MILLPOND_REQUIRE_SERVERS`
/// is set to anything but `0` or nothing.
#[track_caller]
pub fn require<T>(started: Result<T, Error>) -> Option<T> {
    let required = env::var_os(REQUIRE).is_some_and(|value| !value.is_empty() && value != "0");
    // `eprintln!` would be captured with the test's output.
    decide(started, required, &mut io::stderr())
}

#[track_caller]
fn decide<T>(started: Result<T, Error>, required: bool, told: &mut impl Write) -> Option<T> {
    match started {
        Ok(server) => Some(server),
        Err(error @ Error::NotFound { .. }) if required => panic!("{error} ({REQUIRE} is set)"),
        Err(Error::NotFound { binary, .. }) => {
            let _ = writeln!(told, "skipped: {binary} not found");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missing() -> Result<(), Error> {
        Err(Error::NotFound { binary: "postgres", looked_in: Vec::new() })
    }

    #[test]
    fn a_missing_server_is_skipped() {
        let mut told = Vec::new();
        assert!(decide(missing(), false, &mut told).is_none());
        assert_eq!(told, b"skipped: postgres not found\n");
    }

    #[test]
    #[should_panic(expected = "postgres not found")]
    fn a_missing_server_fails_where_servers_are_required() {
        decide(missing(), true, &mut Vec::new());
    }

    #[test]
    #[should_panic(expected = "is not running")]
    fn a_broken_server_always_fails() {
        decide::<()>(Err(Error::NotRunning { server: "redis" }), false, &mut Vec::new());
    }
}
