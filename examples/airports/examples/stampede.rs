//! Many clients on one key: cold, and past the time at which it is loaded again. Counts the queries that they cost PostgreSQL.
//!
//! ```sh
//! cargo run --release -p airports --example stampede
//! ```

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use hdrhistogram::Histogram;
use reqwest::Client;
use servers::Postgres;
use tokio::sync::Barrier;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use support::{Serving, judge, serve_if_asked};

/// Many clients on one key: cold, and past the time at which it is loaded again.
#[derive(Debug, Parser)]
struct Options {
    /// Clients that ask for a cold key at once.
    #[arg(long, default_value_t = 200)]
    clients: usize,
    /// How long the popular key is asked for, without and with refreshes.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Seconds after which the popular key is loaded again.
    #[arg(long, default_value_t = 1)]
    period: u64,
    /// Requests for it in a second.
    #[arg(long, default_value_t = 1_000)]
    rate: u32,
}

const COLD: &str = "/airports/KJFK";
const POPULAR: &str = "/airports/LFPG/nearest?n=10";
/// What a search begins with; one for the popular key is one statement.
const SEARCH: &str = "SELECT near.* FROM airports";
/// The pool's counter of connections lent: one for each statement.
const LENT: &str = "/pool/acquired";
/// Connections that ask for the popular key.
const CONNECTIONS: u32 = 8;

#[tokio::main]
#[expect(clippy::print_stdout, reason = "the figures are what this program is for")]
async fn main() -> anyhow::Result<()> {
    if serve_if_asked().await? {
        return Ok(());
    }
    let options = Options::parse();
    let queries = Queries::start()?;
    let database = format!("--database={}", queries.server.url());

    let service = Serving::start(std::slice::from_ref(&database)).await?;
    for path in [COLD, POPULAR] {
        queries.reset(&service).await?;
        let took = all_at_once(&service, path, options.clients).await?;
        let count = queries.count(&service, "").await?;
        println!(
            "{} clients on cold {path}: {count} queries ({}), {took:.0?}",
            options.clients,
            queries.source()
        );
        judge("1 for one load", count == 1);
    }
    service.kill().await?;

    println!(
        "\n{POPULAR}, {} requests/s for {} s on {CONNECTIONS} connections:",
        options.rate, options.seconds
    );
    let arguments = |refresh_after: String| {
        [database.clone(), "--ttl=2h".into(), format!("--refresh-after={refresh_after}")]
    };
    let without = Serving::start(&arguments("1h".to_owned())).await?;
    let service = Serving::start(&arguments(format!("{}s", options.period))).await?;
    for service in [&without, &service] {
        // So that the one cold load is not among what is measured.
        ask(&Client::new(), &format!("{}{POPULAR}", service.url)).await?;
    }
    let duration = Duration::from_secs(options.seconds);
    // Half of the hits alone before and half after, both services there all the time: what else the machine does, and how it
    // changes meanwhile, is in both measurements.
    let mut hits = under_load(&without, &options, duration / 2).await?;
    queries.reset(&service).await?;
    let began = Instant::now();
    let refreshed = under_load(&service, &options, duration).await?;
    let periods = began.elapsed().as_secs_f64() / options.period as f64;
    let searches = queries.count(&service, SEARCH).await?;
    let refreshes: u64 = service.statistic("/cache/nearest/refreshes").await?;

    hits.add(under_load(&without, &options, duration / 2).await?)?;
    print("hits alone", &hits);
    print("with refreshes", &refreshed);

    let limit = 2 * hits.value_at_quantile(0.999);
    println!("  twice the p99.9 of hits alone: {:.2} ms", limit as f64 / 1e3);
    let slower = |of: &Histogram<u64>| of.len() - of.count_between(0, limit);
    println!(
        "  slower: {} of {} hits alone, {} of {} with refreshes",
        slower(&hits),
        hits.len(),
        slower(&refreshed),
        refreshed.len()
    );
    judge("no request with refreshes is slower", slower(&refreshed) == 0);
    println!("  {searches} searches ({}), {refreshes} refreshes, {periods:.1} periods", queries.source());
    judge("1 search each period", searches as f64 <= periods + 1.0 && searches as f64 >= 0.8 * periods - 1.0);
    Ok(())
}

/// Where queries are counted.
struct Queries {
    server: Postgres,
    /// Whether the server counts; if not, the pool's counter has to do.
    by_server: bool,
    /// The pool's counter at the last reset.
    base: std::cell::Cell<u64>,
}

impl Queries {
    fn start() -> anyhow::Result<Self> {
        let counting = Postgres::builder().config("shared_preload_libraries", "pg_stat_statements").start();
        // It is in a package of its own on some systems.
        let counting =
            counting.ok().filter(|server| server.psql("CREATE EXTENSION pg_stat_statements").is_ok());
        let by_server = counting.is_some();
        let server = counting.map_or_else(Postgres::start, Ok)?;
        Ok(Self { server, by_server, base: 0.into() })
    }

    fn source(&self) -> &'static str {
        if self.by_server { "pg_stat_statements" } else { "connections lent by the pool" }
    }

    async fn reset(&self, service: &Serving) -> anyhow::Result<()> {
        if self.by_server {
            self.server.psql("SELECT pg_stat_statements_reset()")?;
        }
        self.base.set(service.statistic(LENT).await?);
        Ok(())
    }

    /// Queries for airports since the last reset that begin like this.
    async fn count(&self, service: &Serving, beginning: &str) -> anyhow::Result<u64> {
        if !self.by_server {
            return Ok(service.statistic::<u64>(LENT).await? - self.base.get());
        }
        let sql = format!(
            "SELECT COALESCE(SUM(calls), 0) FROM pg_stat_statements WHERE query LIKE '%FROM airports%' AND query LIKE '{beginning}%'"
        );
        Ok(self.server.psql(&sql)?.parse()?)
    }
}

async fn ask(client: &Client, url: &str) -> anyhow::Result<()> {
    client.get(url).send().await?.error_for_status()?.bytes().await?;
    Ok(())
}

/// Each client on a connection of its own, which is there before they begin.
async fn all_at_once(service: &Serving, path: &str, clients: usize) -> anyhow::Result<Duration> {
    let ready = Arc::new(Barrier::new(clients + 1));
    let mut asking = JoinSet::new();
    for _ in 0..clients {
        let (ready, base, url) = (Arc::clone(&ready), service.url.clone(), format!("{}{path}", service.url));
        asking.spawn(async move {
            let client = Client::new();
            let connected = ask(&client, &format!("{base}/stats")).await;
            ready.wait().await;
            connected?;
            ask(&client, &url).await
        });
    }
    ready.wait().await;
    let began = Instant::now();
    while let Some(asked) = asking.join_next().await {
        asked??;
    }
    Ok(began.elapsed())
}

/// Asks for the popular key at a steady rate; how long the answers took, in microseconds.
async fn under_load(
    service: &Serving,
    options: &Options,
    duration: Duration,
) -> anyhow::Result<Histogram<u64>> {
    let mut asking = JoinSet::new();
    let end = Instant::now() + duration;
    for connection in 0..CONNECTIONS {
        let url = format!("{}{POPULAR}", service.url);
        let pause = Duration::from_secs(1) * CONNECTIONS / options.rate.max(1);
        asking.spawn(async move {
            let client = Client::new();
            let mut took = Histogram::<u64>::new(3)?;
            // The first one connects, and loads what is cold.
            ask(&client, &url).await?;
            let begin = tokio::time::Instant::now() + pause * connection / CONNECTIONS;
            let mut ticks = tokio::time::interval_at(begin, pause);
            // Each connection keeps its own time: after delays they would all ask at once, the more so the longer it goes on.
            ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
            while Instant::now() < end {
                ticks.tick().await;
                let began = Instant::now();
                ask(&client, &url).await?;
                took.record(u64::try_from(began.elapsed().as_micros())?)?;
            }
            Ok::<_, anyhow::Error>(took)
        });
    }
    let mut all = Histogram::new(3)?;
    while let Some(took) = asking.join_next().await {
        all.add(took??)?;
    }
    Ok(all)
}

#[expect(clippy::print_stdout, reason = "the figures are what this program is for")]
fn print(what: &str, took: &Histogram<u64>) {
    let at = |quantile| took.value_at_quantile(quantile) as f64 / 1e3;
    println!(
        "  {what:<15} p50 {:.2} ms, p99 {:.2} ms, p99.9 {:.2} ms, slowest {:.2} ms",
        at(0.5),
        at(0.99),
        at(0.999),
        took.max() as f64 / 1e3
    );
}
