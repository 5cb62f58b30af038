//! Three instances of the service on one PostgreSQL and one Redis, under load, while instances and Redis are killed and the
//! connection of one instance to Redis is cut. Counts the reads that were behind for longer than docs/guides/several-nodes.md
//! promises, and tells how long each recovery took.
//!
//! ```sh
//! cargo run --release -p airports --example cluster
//! ```

mod cable;
mod history;
#[path = "../support/mod.rs"]
mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Parser;
use parking_lot::RwLock;
use rand::Rng as _;
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use servers::{Postgres, Redis};
use tokio::sync::Mutex;
use tokio::time::sleep;

use crate::cable::Cable;
use crate::history::History;
use crate::support::{Serving, judge};

const INSTANCES: usize = 3;
const KEYS: usize = 20;
const TOKEN: &str = "just cluster";
const MAX_STALENESS: Duration = Duration::from_secs(2);
const WRITE_LIMIT: Duration = Duration::from_secs(3);
/// The longest that is promised: `write_lease`, which is the limit of a write and a second.
const PROMISED: Duration = Duration::from_secs(4);
/// What a machine that runs all of this may take on top.
const GRACE: Duration = Duration::from_millis(500);

/// Kills and cuts three instances under load, and counts stale reads.
#[derive(Debug, Parser)]
struct Options {
    /// How long the load lasts.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Readers, each on all instances in turn.
    #[arg(long, default_value_t = 6)]
    readers: usize,
    /// Writers, each at any instance.
    #[arg(long, default_value_t = 3)]
    writers: usize,
    /// What a write does on an instance that can't tell the others: `refuse` or `write`.
    #[arg(long, default_value = "refuse")]
    when_cut: String,
}

struct Cluster {
    postgres: Postgres,
    redis: Redis,
    cables: Vec<Cable>,
    when_cut: String,
    instances: Vec<Mutex<Option<Serving>>>,
    /// Where they are, while they are.
    urls: RwLock<Vec<Option<String>>>,
    client: Client,
}

fn code(key: usize) -> String {
    format!("XA{key:02}")
}

fn strip(elevation: u64) -> Value {
    json!({ "name": "Strip", "country": "XA", "lat": 0.0, "lon": 0.0, "elevation": elevation })
}

impl Cluster {
    async fn start(when_cut: String) -> anyhow::Result<Arc<Self>> {
        let (postgres, redis) = (Postgres::start()?, Redis::start()?);
        let mut cables = Vec::new();
        for _ in 0..INSTANCES {
            cables.push(Cable::to(redis.port()).await?);
        }
        let cluster = Arc::new(Self {
            postgres,
            redis,
            cables,
            when_cut,
            instances: (0..INSTANCES).map(|_| Mutex::new(None)).collect(),
            urls: RwLock::new(vec![None; INSTANCES]),
            client: Client::builder().timeout(Duration::from_secs(10)).build()?,
        });
        for n in 0..INSTANCES {
            cluster.begin(n).await?;
        }
        for n in 0..INSTANCES {
            cluster.writes(n).await?;
        }
        Ok(cluster)
    }

    /// Starts an instance.
    async fn begin(&self, n: usize) -> anyhow::Result<()> {
        let redis = format!("redis://:{}@127.0.0.1:{}/0", self.redis.password(), self.cables[n].port);
        let serving = Serving::start(&[
            format!("--database={}", self.postgres.url()),
            format!("--cluster={redis}"),
            format!("--admin-token={TOKEN}"),
            format!("--max-staleness={}s", MAX_STALENESS.as_secs()),
            format!("--write-limit={}s", WRITE_LIMIT.as_secs()),
            format!("--when-cut={}", self.when_cut),
        ])
        .await?;
        self.urls.write()[n] = Some(serving.url.clone());
        *self.instances[n].lock().await = Some(serving);
        Ok(())
    }

    /// `kill -9`.
    async fn kill(&self, n: usize) -> anyhow::Result<()> {
        self.urls.write()[n] = None;
        match self.instances[n].lock().await.take() {
            Some(serving) => serving.kill().await,
            None => Ok(()),
        }
    }

    /// One that is there.
    fn any(&self) -> Option<String> {
        let urls = self.urls.read();
        let there: Vec<&String> = urls.iter().flatten().collect();
        let n = if there.is_empty() { return None } else { rand::rng().random_range(0..there.len()) };
        Some(there[n].clone())
    }

    async fn put(&self, url: &str, code: &str, elevation: u64) -> reqwest::Result<StatusCode> {
        let request = self.client.put(format!("{url}/airports/{code}")).bearer_auth(TOKEN);
        Ok(request.json(&strip(elevation)).send().await?.status())
    }

    async fn get(&self, url: &str, code: &str) -> anyhow::Result<u64> {
        let response = self.client.get(format!("{url}/airports/{code}")).send().await?.error_for_status()?;
        let airport: Value = response.json().await?;
        Ok(airport["elevation"].as_f64().context("an airport without its elevation")? as u64)
    }

    /// Until an instance takes writes.
    async fn writes(&self, n: usize) -> anyhow::Result<()> {
        let began = Instant::now();
        loop {
            let url = self.urls.read()[n].clone().unwrap_or_default();
            let written = self.put(&url, &format!("XB{n:02}"), 0).await;
            if written.is_ok_and(|status| status.is_success()) {
                return Ok(());
            }
            anyhow::ensure!(began.elapsed() < Duration::from_secs(60), "instance {n} does not recover");
            sleep(Duration::from_millis(10)).await;
        }
    }
}

async fn write(cluster: Arc<Cluster>, turns: Arc<Vec<Mutex<u64>>>, history: Arc<History>) {
    while !history.is_over() {
        let key = rand::rng().random_range(0..KEYS);
        // One writer of an airport at a time, so that its values grow in the database; at any instance.
        let mut next = turns[key].lock().await;
        let Some(url) = cluster.any() else { continue };
        *next += 1;
        let counter = match cluster.put(&url, &code(key), *next).await {
            Ok(status) if status.is_success() => {
                history.is_known(key, *next);
                &history.written
            }
            Ok(StatusCode::SERVICE_UNAVAILABLE) => &history.refused,
            _ => &history.unknown,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        drop(next);
        sleep(Duration::from_millis(5)).await;
    }
}

#[expect(clippy::print_stdout, reason = "the figures are what this program is for")]
async fn read(cluster: Arc<Cluster>, history: Arc<History>) {
    while !history.is_over() {
        let key = rand::rng().random_range(0..KEYS);
        let Some(url) = cluster.any() else { continue };
        let began = Instant::now();
        match cluster.get(&url, &code(key)).await {
            Ok(value) => {
                if let Some(behind) = history.saw(key, began, value, PROMISED + GRACE) {
                    println!("  STALE: {url} showed {value} of {}, {behind:.1?} behind", code(key));
                }
            }
            Err(_) => {
                history.failed_reads.fetch_add(1, Ordering::Relaxed);
            }
        }
        sleep(Duration::from_millis(1)).await;
    }
}

/// What happens to the cluster, in this order and again.
#[derive(Clone, Copy)]
enum Fault {
    Killed,
    WithoutRedis,
    CutOff,
}

impl Fault {
    const ALL: [Self; 3] = [Self::Killed, Self::WithoutRedis, Self::CutOff];

    fn name(self) -> &'static str {
        match self {
            Self::Killed => "an instance is killed and started again",
            Self::WithoutRedis => "Redis is killed and started again",
            Self::CutOff => "an instance is cut off from the bus",
        }
    }

    /// Until it is over and the recovery begins. A cut is longer than anything that is promised.
    fn lasts(self) -> Duration {
        Duration::from_secs(match self {
            Self::Killed => 2,
            Self::WithoutRedis => 3,
            Self::CutOff => 10,
        })
    }

    async fn begin(self, cluster: &Cluster, n: usize) -> anyhow::Result<()> {
        match self {
            Self::Killed => cluster.kill(n).await?,
            Self::WithoutRedis => tokio::task::block_in_place(|| cluster.redis.kill())?,
            Self::CutOff => cluster.cables[n].cut(),
        }
        Ok(())
    }

    async fn end(self, cluster: &Cluster, n: usize) -> anyhow::Result<()> {
        match self {
            Self::Killed => cluster.begin(n).await?,
            Self::WithoutRedis => tokio::task::block_in_place(|| cluster.redis.restart())?,
            Self::CutOff => cluster.cables[n].mend(),
        }
        Ok(())
    }
}

/// One that is over.
struct Past {
    fault: Fault,
    lasted: Duration,
    /// From its end until all instances took writes.
    recovery: Duration,
}

/// One fault after the other until the time is over.
#[expect(clippy::print_stdout, reason = "the figures are what this program is for")]
async fn faults(cluster: &Cluster, until: Instant) -> anyhow::Result<Vec<Past>> {
    let mut past = Vec::new();
    for fault in Fault::ALL.into_iter().cycle() {
        sleep(Duration::from_secs(2)).await;
        // The recovery belongs to the run.
        if Instant::now() + fault.lasts() + Duration::from_secs(2) > until && !past.is_empty() {
            break;
        }
        let n = rand::rng().random_range(0..INSTANCES);
        let began = Instant::now();
        fault.begin(cluster, n).await?;
        sleep(fault.lasts()).await;
        let lasted = began.elapsed();
        let ends = Instant::now();
        fault.end(cluster, n).await?;
        for n in 0..INSTANCES {
            cluster.writes(n).await?;
        }
        let recovery = ends.elapsed();
        println!("  {}, for {lasted:.1?}; {recovery:.0?} later all take writes", fault.name());
        past.push(Past { fault, lasted, recovery });
    }
    sleep(until.saturating_duration_since(Instant::now())).await;
    Ok(past)
}

/// For each kind of fault how often there was one, how long the longest lasted, and the slowest recovery.
#[expect(clippy::print_stdout, reason = "the figures are what this program is for")]
fn summary(past: &[Past]) {
    for fault in Fault::ALL {
        let those = || past.iter().filter(|one| one.fault.name() == fault.name());
        let (lasted, recovery) = (those().map(|one| one.lasted).max(), those().map(|one| one.recovery).max());
        if let (Some(lasted), Some(recovery)) = (lasted, recovery) {
            println!(
                "{}: {} times, for up to {lasted:.1?}; slowest recovery {recovery:.0?}",
                fault.name(),
                those().count()
            );
        }
    }
}

/// In the end all instances show the same.
async fn agree(cluster: &Cluster) -> anyhow::Result<()> {
    let began = Instant::now();
    let urls: Vec<String> = cluster.urls.read().iter().flatten().cloned().collect();
    for key in 0..KEYS {
        loop {
            let mut seen = Vec::new();
            for url in &urls {
                seen.push(cluster.get(url, &code(key)).await?);
            }
            if seen.iter().all(|value| *value == seen[0]) {
                break;
            }
            anyhow::ensure!(began.elapsed() < PROMISED * 2, "{} is {seen:?} in the end", code(key));
            sleep(Duration::from_millis(20)).await;
        }
    }
    Ok(())
}

#[tokio::main]
#[expect(clippy::print_stdout, reason = "the figures are what this program is for")]
async fn main() -> anyhow::Result<()> {
    if support::serve_if_asked().await? {
        return Ok(());
    }
    let options = Options::parse();
    let cluster = Cluster::start(options.when_cut.clone()).await?;
    let history = Arc::new(History::default());
    let first = cluster.any().unwrap_or_default();
    for key in 0..KEYS {
        anyhow::ensure!(cluster.put(&first, &code(key), 0).await?.is_success(), "the first writes fail");
    }
    println!("{INSTANCES} instances, {} s of load", options.seconds);
    let until = Instant::now() + Duration::from_secs(options.seconds);
    let turns: Arc<Vec<_>> = Arc::new((0..KEYS).map(|_| Mutex::new(0)).collect());
    let mut load = Vec::new();
    for _ in 0..options.writers {
        load.push(tokio::spawn(write(Arc::clone(&cluster), Arc::clone(&turns), Arc::clone(&history))));
    }
    for _ in 0..options.readers {
        load.push(tokio::spawn(read(Arc::clone(&cluster), Arc::clone(&history))));
    }
    let past = faults(&cluster, until).await?;
    history.is_over.store(true, Ordering::Relaxed);
    for task in load {
        task.await?;
    }
    agree(&cluster).await?;

    let sum = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    let behind = history.behind();
    println!("\nreads {}, failed {}", sum(&history.reads), sum(&history.failed_reads));
    println!(
        "writes {}, refused {}, without an answer {}",
        sum(&history.written),
        sum(&history.refused),
        sum(&history.unknown)
    );
    println!(
        "reads behind {}, the longest {:.0?}; {} beyond the bound",
        behind.reads, behind.longest, behind.beyond
    );
    let slowest = past.iter().map(|one| one.recovery).max().unwrap_or_default();
    for serving in &cluster.instances {
        if let Some(serving) = &*serving.lock().await {
            let tier: Value = serving.statistic("/cluster/tier").await?;
            println!("an instance since its last start: of the shared tier {}", tier);
        }
    }
    summary(&past);
    println!("faults {}, the slowest recovery {slowest:.1?}\n", past.len());
    judge(
        &format!("no read is behind for longer than {PROMISED:?} (and {GRACE:?} of grace)"),
        behind.beyond == 0,
    );
    judge("all take writes within 5 s after each fault", slowest < Duration::from_secs(5));
    judge("in the end all instances show the same", true);
    anyhow::ensure!(behind.beyond == 0, "{} reads were behind for longer than promised", behind.beyond);
    Ok(())
}
