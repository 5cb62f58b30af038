//! Servers that are not installed.

use servers::{Error, Postgres, Redis};

#[test]
fn a_missing_binary_is_told_with_the_folders_that_were_looked_in() {
    let empty = tempfile::tempdir().unwrap();
    let postgres = Postgres::builder().binaries_in(empty.path()).start().map(drop);
    let redis = Redis::builder().binaries_in(empty.path()).start().map(drop);
    for (outcome, name) in [(postgres, "postgres"), (redis, "redis-server")] {
        let error = outcome.unwrap_err();
        assert_eq!(error.to_string(), format!("{name} not found; looked in {}", empty.path().display()));
        let Error::NotFound { binary, looked_in } = error else { panic!("{error:?}") };
        assert_eq!(binary, name);
        assert_eq!(looked_in, [empty.path()]);
    }
}
