//! Settings of a shared tier.

use std::time::Duration;

use redis::Client;

use super::coherence::LONGEST;

/// Configures a [`RedisTier`](super::RedisTier). Opens nothing. A hundred years are as long as any time gets.
///
/// ```
/// use millpond_cache::nodes::Tier;
/// use std::time::Duration;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let tier = Tier::new(redis::Client::open("redis://127.0.0.1/")?, "airports")
///     .time_to_live(Duration::from_secs(600))
///     .jitter(0.1)
///     .version(2);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "settings do nothing by themselves"]
pub struct Tier {
    pub(super) client: Client,
    pub(super) prefix: String,
    pub(super) time_to_live: Duration,
    pub(super) negative_time_to_live: Duration,
    pub(super) jitter: f64,
    pub(super) version: u8,
    pub(super) lease: Duration,
    pub(super) wait: Duration,
    pub(super) write_lease: Duration,
    pub(super) timeout: Duration,
    pub(super) cool_down: Duration,
}

impl Tier {
    /// A tier in this Redis or Valkey; one server, or the primary of some, no Redis Cluster. Names begin with `prefix`, which all
    /// nodes share, and no other cache.
    ///
    /// The account needs `EVALSHA`, `SCRIPT LOAD`, `INFO`, `GET`, `SET`, `DEL`, `PTTL`, `TIME`, `SCAN` and `UNLINK`.
    pub fn new(client: Client, prefix: impl Into<String>) -> Self {
        Self {
            client,
            prefix: prefix.into(),
            time_to_live: Duration::from_secs(300),
            negative_time_to_live: Duration::from_secs(10),
            jitter: 0.0,
            version: 0,
            lease: Duration::from_secs(3),
            wait: Duration::from_secs(1),
            write_lease: Duration::from_secs(10),
            timeout: Duration::from_millis(250),
            cool_down: Duration::from_millis(500),
        }
    }

    /// How long a value stays in Redis. A near cache keeps what `get` has loaded no longer than
    /// what is left of that. Default: 5 minutes.
    pub fn time_to_live(mut self, duration: Duration) -> Self {
        self.time_to_live = duration.min(LONGEST);
        self
    }

    /// How long "the store has none" stays in Redis; zero: not at all. Default: 10 seconds.
    pub fn negative_time_to_live(mut self, duration: Duration) -> Self {
        self.negative_time_to_live = duration.min(LONGEST);
        self
    }

    /// By which part of itself each life in Redis is shortened at random, at most, so that what came together does not end
    /// together. From 0 to 1; default: 0.
    pub fn jitter(mut self, fraction: f64) -> Self {
        self.jitter = if fraction.is_finite() { fraction.clamp(0.0, 1.0) } else { 0.0 };
        self
    }

    /// The version of the values' shape. Values of another version are as good as missing, and are replaced. Default: 0.
    ///
    /// While nodes of two versions run, they replace each other's values: give them different prefixes if that lasts.
    pub fn version(mut self, version: u8) -> Self {
        self.version = version;
        self
    }

    /// How long one node may take to load a missing value while others wait for it; longer than most loads take. If the node
    /// dies, another one loads after this time. Default: 3 seconds.
    pub fn lease(mut self, duration: Duration) -> Self {
        self.lease = duration.min(LONGEST);
        self
    }

    /// How long a load waits for another node that loads the same key; then it asks the store itself. Default: 1 second.
    pub fn wait(mut self, duration: Duration) -> Self {
        self.wait = duration.min(LONGEST);
        self
    }

    /// How long a write may take: longer than the store's own limit (`statement_timeout`). If a node dies while it writes, the key
    /// is not kept in Redis for this time. Default: 10 seconds.
    pub fn write_lease(mut self, duration: Duration) -> Self {
        self.write_lease = duration.min(LONGEST);
        self
    }

    /// How long Redis may take for an answer, connecting included; then the store is asked. Default: 250 ms.
    pub fn timeout(mut self, duration: Duration) -> Self {
        self.timeout = duration.min(LONGEST);
        self
    }

    /// After three failures in a row Redis is left alone for this time, then one call tries it. Default: 500 ms.
    pub fn cool_down(mut self, duration: Duration) -> Self {
        self.cool_down = duration.min(LONGEST);
        self
    }
}
