//! Options; each has an environment twin.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};

/// What a write does on an instance that can't tell the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OnCut {
    /// It is refused.
    Refuse,
    /// It is done, and the others learn of it later.
    Write,
}

/// A REST service over 28,298 airports.
#[derive(Clone, Debug, Parser)]
#[command(version, about)]
pub struct Config {
    /// Where to listen.
    #[arg(long, env = "AIRPORTS_LISTEN", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// `sqlite:FILE`, made and filled if missing, or `postgres://…`.
    #[arg(long, env = "AIRPORTS_DATABASE", default_value = "sqlite:airports.sqlite", hide_env_values = true)]
    pub database: String,
    /// Most connections to the database.
    #[arg(long, env = "AIRPORTS_MAX_CONNECTIONS", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..))]
    pub max_connections: u16,
    /// Entries of each cache, of which a list takes one for each KiB; 0 turns caching off.
    #[arg(long, env = "AIRPORTS_CACHE_CAPACITY", default_value_t = 50_000)]
    pub cache_capacity: u64,
    /// How long an answer is cached, for example `10m`.
    #[arg(long, env = "AIRPORTS_TTL", default_value = "10m", value_parser = positive)]
    pub ttl: Duration,
    /// By how much each answer's `--ttl` is shortened at random, at most: what was cached together does not end together.
    #[arg(long, env = "AIRPORTS_TTL_JITTER", default_value_t = 0.1, value_parser = fraction)]
    pub ttl_jitter: f64,
    /// The age from which a search for the nearest is done again while the old answer is served; the default is half of `--ttl`, a day at most.
    #[arg(long, env = "AIRPORTS_REFRESH_AFTER", value_parser = positive)]
    pub refresh_after: Option<Duration>,
    /// How long "there is no such airport" is cached.
    #[arg(long, env = "AIRPORTS_NEGATIVE_TTL", default_value = "30s", value_parser = humantime::parse_duration)]
    pub negative_ttl: Duration,
    /// Where cached answers outlive the process: loaded at the start, saved at the end and now and then. One file for one database.
    #[arg(long, env = "AIRPORTS_SNAPSHOT")]
    pub snapshot: Option<PathBuf>,
    /// How often they are saved; a process that is killed loses what was cached since.
    #[arg(long, env = "AIRPORTS_SNAPSHOT_EVERY", default_value = "10s", value_parser = positive)]
    pub snapshot_every: Duration,
    /// `redis://…`: shared with other instances on the same database, which then tell each other what they write.
    #[arg(long, env = "AIRPORTS_CLUSTER", hide_env_values = true, conflicts_with = "snapshot")]
    pub cluster: Option<String>,
    /// What the instances have in common in Redis: one name for one database.
    #[arg(long, env = "AIRPORTS_CLUSTER_NAME", default_value = "airports")]
    pub cluster_name: String,
    /// How long an instance that can't hear the others may use what it has cached.
    #[arg(long, env = "AIRPORTS_MAX_STALENESS", default_value = "5s", value_parser = limit)]
    pub max_staleness: Duration,
    /// How long a write may take with `--cluster`: PostgreSQL's `statement_timeout`. If an instance dies while it writes, the others
    /// forget what it wrote a second after that.
    #[arg(long, env = "AIRPORTS_WRITE_LIMIT", default_value = "8s", value_parser = limit)]
    pub write_limit: Duration,
    /// What a write does on an instance that can't tell the others.
    #[arg(long, env = "AIRPORTS_WHEN_CUT", value_enum, default_value_t = OnCut::Refuse)]
    pub when_cut: OnCut,
    /// How long a caller may wait for a connection.
    #[arg(long, env = "AIRPORTS_ACQUIRE_TIMEOUT", default_value = "3s", value_parser = limit)]
    pub acquire_timeout: Duration,
    /// How long a request may take in all.
    #[arg(long, env = "AIRPORTS_REQUEST_TIMEOUT", default_value = "10s", value_parser = limit)]
    pub request_timeout: Duration,
    /// Requests served at once; more are answered 503.
    #[arg(long, env = "AIRPORTS_MAX_REQUESTS", default_value_t = 1024, value_parser = clap::value_parser!(u16).range(1..))]
    pub max_requests: u16,
    /// How long a client may take to send a head or a body, leave an answer untaken, and keep a connection without using it.
    #[arg(long, env = "AIRPORTS_SLOW_CLIENT", default_value = "10s", value_parser = positive)]
    pub slow_client: Duration,
    /// Bearer token for PUT and DELETE; without one they are off.
    #[arg(long, env = "AIRPORTS_ADMIN_TOKEN", hide_env_values = true)]
    pub admin_token: Option<String>,
}

fn fraction(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "must be a number".to_owned())?;
    if (0.0..=1.0).contains(&number) { Ok(number) } else { Err("must be from 0 to 1".to_owned()) }
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
