//! Requests per second and their latencies on a real PostgreSQL: clients that each borrow a connection, look up one row by
//! its key, and give the connection back. Pools take turns round by round.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use hdrhistogram::Histogram;
use indicatif::ProgressBar;
use servers::Postgres;
use tokio::runtime::Runtime;

use crate::databases::{Database, Kind, Settings};
use crate::lanes::{Lane, Lanes};
use crate::stats::Spread;
use crate::table::{Section, duration, number};
use crate::target::Bound::{AtLeast, AtMost};
use crate::target::Check;
use crate::throughput::at_least_one;
use crate::{page, progress, rounds, target};

/// Rows of the table.
const ROWS: usize = 10_000;

/// Options of `pool-db`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// Clients at a time
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 128], value_parser = at_least_one)]
    clients: Vec<usize>,
    /// Connections of each pool
    #[arg(long, default_value_t = 10, value_parser = at_least_one)]
    connections: usize,
    /// Rounds after the first, which warms up
    #[arg(long, default_value_t = 7, value_parser = at_least_one)]
    rounds: usize,
    /// Milliseconds of a round
    #[arg(long, default_value_t = 1000, value_parser = at_least_one)]
    millis: usize,
    /// Pools
    #[arg(long, value_delimiter = ',', default_values_t = POOLS, value_enum)]
    pools: Vec<Kind>,
    /// Also writes the tables to this page, in place of those of an earlier run
    #[arg(long)]
    page: Option<PathBuf>,
}

const POOLS: [Kind; 5] = [Kind::Millpond, Kind::MillpondSqlx, Kind::Deadpool, Kind::Bb8, Kind::Sqlx];

/// So many clients.
struct Block {
    clients: usize,
    /// Requests per second.
    rates: Lanes,
    /// p99 of each round, in ns.
    p99: Lanes,
    /// All rounds together, in ns, and requests that failed.
    latencies: Vec<(Kind, Histogram<u64>, usize)>,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let server = start().context("pool-db needs a PostgreSQL server")?;
    let mut sections = Vec::new();
    let mut blocks = Vec::new();
    let bar = progress::bar((args.clients.len() * args.pools.len() * (args.rounds + 1)) as u64);
    for &clients in &args.clients {
        let block = measure(args, &server, clients, &bar)?;
        let section = block.section(args);
        bar.suspend(|| section.print());
        sections.push(section);
        blocks.push(block);
    }
    bar.finish_and_clear();
    let checks = checks(&blocks);
    let section = target::section("Ratios of medians, of rounds in which the pools took turns.", &checks);
    section.print();
    sections.push(section);
    page::write(args.page.as_deref(), "pool-db", "Requests to PostgreSQL", &sections)
}

fn start() -> anyhow::Result<Postgres> {
    let server = Postgres::builder().max_connections(200).start()?;
    server.psql(&format!(
        "create table account (id int primary key, n bigint not null);
         insert into account select i, i from generate_series(1, {ROWS}) i;
         analyze account"
    ))?;
    Ok(server)
}

/// A pool with a runtime of its own.
struct Lively {
    kind: Kind,
    database: Option<Arc<dyn Database>>,
    runtime: Runtime,
}

impl Drop for Lively {
    fn drop(&mut self) {
        // Some pools need their runtime to end.
        let _guard = self.runtime.enter();
        self.database = None;
    }
}

/// What a round found.
#[derive(Default)]
struct Round {
    rate: f64,
    latencies: Vec<u64>,
    failed: usize,
}

fn open(args: &Args, server: &Postgres, kind: Kind) -> anyhow::Result<Lively> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(rounds::cores()).enable_all().build()?;
    let settings = Settings {
        url: server.url(),
        size: args.connections,
        acquire_timeout: Duration::from_secs(30),
        check: false,
    };
    let guard = runtime.enter();
    let database = Arc::from(kind.open(&settings)?);
    drop(guard);
    Ok(Lively { kind, database: Some(database), runtime })
}

fn measure(args: &Args, server: &Postgres, clients: usize, bar: &ProgressBar) -> anyhow::Result<Block> {
    let mut lanes = Vec::new();
    for &kind in &args.pools {
        let histogram = Histogram::new_with_max(60_000_000_000, 3)?;
        lanes.push((open(args, server, kind)?, Vec::new(), Vec::new(), histogram, 0));
    }
    for round in 0..=args.rounds {
        for (pool, rates, p99, histogram, failed) in &mut lanes {
            bar.set_message(format!("{}, clients: {clients}", pool.kind));
            let found = pool.round(clients, Duration::from_millis(args.millis as u64));
            bar.inc(1);
            if round == 0 {
                continue;
            }
            let mut own = Histogram::<u64>::new_with_max(60_000_000_000, 3)?;
            found.latencies.iter().for_each(|&latency| own.saturating_record(latency));
            rates.push(found.rate);
            p99.push(own.value_at_quantile(0.99) as f64);
            histogram.add(own)?;
            *failed += found.failed;
        }
    }
    let mut block = Block { clients, rates: Lanes::default(), p99: Lanes::default(), latencies: Vec::new() };
    for (pool, rates, p99, histogram, failed) in lanes {
        block.rates.0.push(Lane { name: pool.kind.to_string(), rounds: Ok(rates) });
        block.p99.0.push(Lane { name: pool.kind.to_string(), rounds: Ok(p99) });
        block.latencies.push((pool.kind, histogram, failed));
    }
    Ok(block)
}

impl Lively {
    fn round(&self, clients: usize, time: Duration) -> Round {
        let Some(database) = &self.database else { return Round::default() };
        self.runtime.block_on(async {
            let over = Arc::new(AtomicBool::new(false));
            let began = Instant::now();
            let tasks: Vec<_> = (0..clients)
                .map(|client| tokio::spawn(ask(Arc::clone(database), client, Arc::clone(&over))))
                .collect();
            tokio::time::sleep(time).await;
            over.store(true, Ordering::Relaxed);
            let mut round = Round::default();
            for task in tasks {
                let (latencies, failed) =
                    task.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
                round.latencies.extend(latencies);
                round.failed += failed;
            }
            round.rate = round.latencies.len() as f64 / began.elapsed().as_secs_f64();
            round
        })
    }
}

/// One client: the latencies of its requests, and how many failed.
async fn ask(database: Arc<dyn Database>, client: usize, over: Arc<AtomicBool>) -> (Vec<u64>, usize) {
    let (mut latencies, mut failed, mut row) = (Vec::new(), 0, client);
    while !over.load(Ordering::Relaxed) {
        // A prime: all rows in turn, in no order that a page has.
        row = (row + 7_919) % ROWS;
        let id = row as i32 + 1;
        let began = Instant::now();
        let answer = match database.get().await {
            Ok(mut session) => session.look_up(id).await,
            Err(error) => Err(error),
        };
        if answer == Ok(i64::from(id)) {
            latencies.push(began.elapsed().as_nanos() as u64);
        } else {
            failed += 1;
            tokio::task::yield_now().await;
        }
    }
    (latencies, failed)
}

impl Block {
    /// The pool of others with the best median, the highest or the lowest.
    fn best_peer(lanes: &Lanes, highest: bool) -> Option<String> {
        let peers = lanes.medians().into_iter().filter(|(name, _)| !name.starts_with("millpond"));
        let order = |one: &(String, f64), other: &(String, f64)| one.1.total_cmp(&other.1);
        if highest { peers.max_by(order) } else { peers.min_by(order) }.map(|(name, _)| name)
    }

    fn section(&self, args: &Args) -> Section {
        let reference = Self::best_peer(&self.rates, true);
        let by = reference.as_ref().map_or_else(String::new, |name| format!("× {name}"));
        let header =
            ["pool", "requests/s (median)", &by, "least", "greatest", "p50", "p99", "p99.9", "max", "failed"];
        let title = format!("PostgreSQL, {} clients over {} connections", self.clients, args.connections);
        let mut section = Section::new(title, &header).with_note(
            "A request is a borrow, a row by its key, and the return. Statements stay prepared where there is a cache of \
             them (Millpond, deadpool, sqlx); bb8 takes one round trip without. No checks before borrows; sqlx pings on \
             each return.",
        );
        for (kind, histogram, failed) in &self.latencies {
            let name = kind.to_string();
            let mut row = vec![name.clone(), self.rates.median(&name).map_or_else(String::new, number)];
            let ratio = reference.as_ref().and_then(|reference| self.rates.ratio(&name, reference));
            match ratio {
                Some(ratio) => row
                    .extend([ratio.median, ratio.least, ratio.greatest].map(|figure| format!("{figure:.2}"))),
                None => row.extend(["-", "-", "-"].map(str::to_owned)),
            }
            let at = |quantile| duration(histogram.value_at_quantile(quantile) as f64);
            row.extend([at(0.5), at(0.99), at(0.999), at(1.0), failed.to_string()]);
            section.push(row);
        }
        section
    }
}

/// Against the best of all peers; and with sqlx against its own pool.
fn checks(blocks: &[Block]) -> Vec<Check> {
    let mut checks = Vec::new();
    for block in blocks {
        for own in [Kind::Millpond, Kind::MillpondSqlx] {
            let own_name = own.to_string();
            if block.rates.rounds(&own_name).is_none() {
                continue;
            }
            for (what, lanes, highest) in [("requests/s", &block.rates, true), ("p99", &block.p99, false)] {
                let peer = match own {
                    Kind::MillpondSqlx => Some(Kind::Sqlx.to_string()),
                    _ => Block::best_peer(lanes, highest),
                };
                let ratio = peer.as_ref().and_then(|peer| lanes.ratio(&own_name, peer));
                let peer = peer.unwrap_or_default();
                let what = format!("{own}, {} clients: {what}, × {peer}", block.clients);
                let bound = if highest { AtLeast(1.0) } else { AtMost(1.0) };
                let remark = ratio.map_or_else(String::new, |Spread { least, greatest, .. }| {
                    format!("{least:.2} … {greatest:.2}")
                });
                checks.push(Check::new(what, ratio.map(|ratio| ratio.median), bound).with_remark(remark));
            }
        }
    }
    checks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_pools_answer() {
        let Some(server) = servers::require(Postgres::start()) else { return };
        drop(server);
        let server = start().unwrap();
        let pools = clap::ValueEnum::value_variants().to_vec();
        let args = Args { clients: vec![4], connections: 2, rounds: 1, millis: 60, pools, page: None };
        let block = measure(&args, &server, 4, &ProgressBar::hidden()).unwrap();
        for (kind, histogram, failed) in &block.latencies {
            assert!(!histogram.is_empty() && *failed == 0, "{kind}: {failed} failed");
        }
        assert!(block.section(&args).markdown().contains("millpond"));
        assert_eq!(checks(&[block]).iter().filter(|check| check.measured.is_some()).count(), 4);
    }

    #[test]
    fn the_best_peer_is_none_of_our_own() {
        let lane = |name: &str, rate| Lane { name: name.to_owned(), rounds: Ok(vec![rate]) };
        let rates = Lanes(vec![lane("millpond", 9.0), lane("bb8", 5.0), lane("sqlx", 3.0)]);
        assert_eq!(Block::best_peer(&rates, true).as_deref(), Some("bb8"));
        assert_eq!(Block::best_peer(&rates, false).as_deref(), Some("sqlx"));
    }
}
