//! Pools of connections to a real PostgreSQL, one file each, behind objects: what they add to a query is not measured here in
//! nanoseconds.

mod bb8;
mod client;
mod deadpool;
mod kind;
mod millpond;
mod millpond_sqlx;
mod mobc;
mod r2d2;
mod sqlx;

use std::time::Duration;

use futures::future::BoxFuture;

pub(crate) use kind::Kind;

/// What a pool is made with.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Of the server.
    pub(crate) url: String,
    /// The most connections.
    pub(crate) size: usize,
    /// How long a borrow may take.
    pub(crate) acquire_timeout: Duration,
    /// Whether pools that can check a connection by a round trip before each borrow do so.
    pub(crate) check: bool,
}

/// A pool.
pub(crate) trait Database: Send + Sync {
    /// Borrows a session; the error is told with its causes.
    fn get(&self) -> BoxFuture<'_, Result<Box<dyn Session>, String>>;

    /// Changes the most connections; false if it can't.
    fn resize(&self, size: usize) -> bool {
        let _ = size;
        false
    }
}

/// A borrowed connection; dropping it gives it back.
pub(crate) trait Session: Send {
    /// Runs statements without parameters; returns the first column of the first row, which must be text.
    fn run(&mut self, sql: &'static str) -> BoxFuture<'_, Result<Option<String>, String>>;

    /// The number of an account, by a prepared statement if there is a cache of them, else by one round trip.
    fn look_up(&mut self, id: i32) -> BoxFuture<'_, Result<i64, String>>;
}

/// What [`Session::look_up`] asks.
const LOOK_UP: &str = "select n from account where id = $1";

/// An error with its causes.
fn told(error: impl std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}
