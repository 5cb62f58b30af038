//! Options; each has an environment twin.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

/// A gRPC service of users, stock and orders.
#[derive(Clone, Debug, Parser)]
#[command(version, about)]
pub struct Config {
    /// Where to listen.
    #[arg(long, env = "ORDERS_LISTEN", default_value = "127.0.0.1:50051")]
    pub listen: SocketAddr,
    /// `sqlite:FILE`, made if missing, or `postgres://…`.
    #[arg(long, env = "ORDERS_DATABASE", default_value = "sqlite:orders.sqlite", hide_env_values = true)]
    pub database: String,
    /// A folder for this process alone, on a local disk: the journal of orders, the name of the instance, letters that
    /// could not be delivered. It belongs to one database; do not delete it while orders wait in it.
    #[arg(long, env = "ORDERS_DATA", default_value = "orders.data")]
    pub data: PathBuf,
    /// Most connections to the database. SQLite gets one of them for writes.
    #[arg(long, env = "ORDERS_MAX_CONNECTIONS", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..))]
    pub max_connections: u16,
    /// Entries of each cache.
    #[arg(long, env = "ORDERS_CACHE_CAPACITY", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub cache_capacity: u64,
    /// How long a user is cached.
    #[arg(long, env = "ORDERS_USER_TTL", default_value = "10m", value_parser = positive)]
    pub user_ttl: Duration,
    /// How long a stock is cached: what another instance sells is seen after this time. Orders never rely on it.
    #[arg(long, env = "ORDERS_STOCK_TTL", default_value = "1s", value_parser = positive)]
    pub stock_ttl: Duration,
    /// How long "there is none" is cached.
    #[arg(long, env = "ORDERS_NEGATIVE_TTL", default_value = "1s", value_parser = positive)]
    pub negative_ttl: Duration,
    /// How long an order waits for others that are written in the same transaction.
    #[arg(long, env = "ORDERS_MAX_DELAY", default_value = "50ms", value_parser = humantime::parse_duration)]
    pub max_delay: Duration,
    /// The most orders that wait to be written; more wait for room.
    #[arg(long, env = "ORDERS_MAX_QUEUE", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_queue: u32,
    /// How long a caller may wait for a connection.
    #[arg(long, env = "ORDERS_ACQUIRE_TIMEOUT", default_value = "3s", value_parser = limit)]
    pub acquire_timeout: Duration,
    /// How long a request may take in all. A client may ask for less (`grpc-timeout`).
    #[arg(long, env = "ORDERS_REQUEST_TIMEOUT", default_value = "10s", value_parser = limit)]
    pub request_timeout: Duration,
    /// Requests of one connection served at once; more wait.
    #[arg(long, env = "ORDERS_MAX_REQUESTS", default_value_t = 256, value_parser = clap::value_parser!(u16).range(1..))]
    pub max_requests: u16,
    /// How long the end may take: requests in progress first, then the orders that wait to be written.
    #[arg(long, env = "ORDERS_STOP_WITHIN", default_value = "10s", value_parser = limit)]
    pub stop_within: Duration,
}

/// PostgreSQL takes no limit that is longer than 24 days.
fn limit(text: &str) -> Result<Duration, String> {
    let duration = positive(text)?;
    if duration <= Duration::from_secs(86_400) {
        Ok(duration)
    } else {
        Err("must be a day at most".to_owned())
    }
}

fn positive(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(Duration::ZERO) => Err("must be longer than nothing".to_owned()),
        Ok(duration) => Ok(duration),
        Err(error) => Err(error.to_string()),
    }
}
