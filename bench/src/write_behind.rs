//! Counters behind a cache: puts and statements per second of plain SQL, write-through, and write-behind with and without a journal,
//! on SQLite in a temporary directory.
//!
//! Tasks add one to counters that a Zipf distribution picks, each to its own, so that no count depends on who was first. At the end
//! all is flushed, and the sum in the table is checked.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use hdrhistogram::Histogram;
use millpond_cache::Cache;
use millpond_cache::backing::{
    Journal, JournalSync, Store, StoreCache, StoreError, Write, WriteBehind, Written,
};
use rand::SeedableRng as _;
use rand::rngs::SmallRng;
use rand_distr::{Distribution as _, Zipf};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};

use crate::progress;
use crate::table::{Section, duration, number};
use crate::throughput::at_least_one;

/// Options of `write-behind`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// Counters of each task
    #[arg(long, default_value_t = 1_000, value_parser = at_least_one)]
    keys: usize,
    /// Tasks that put
    #[arg(long, default_value_t = 16, value_parser = at_least_one)]
    tasks: usize,
    /// Seconds for each way of writing
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Exponent of the Zipf distribution
    #[arg(long, default_value_t = 0.99)]
    exponent: f64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    Sql,
    Through,
    Behind(Option<JournalSync>),
}

const WAYS: [(&str, Way); 6] = [
    ("plain SQL", Way::Sql),
    ("write-through", Way::Through),
    ("write-behind", Way::Behind(None)),
    ("write-behind, journal, sync each", Way::Behind(Some(JournalSync::Each))),
    ("write-behind, journal, group commit", Way::Behind(Some(JournalSync::Group))),
    (
        "write-behind, journal, sync every 20 ms",
        Way::Behind(Some(JournalSync::Interval(Duration::from_millis(20)))),
    ),
];

/// The table `counters`, and how many statements it has seen.
struct Counters {
    pool: SqlitePool,
    statements: AtomicU64,
}

impl Counters {
    async fn open(directory: &std::path::Path) -> anyhow::Result<Self> {
        let options = SqliteConnectOptions::new()
            .filename(directory.join("counters.sqlite"))
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // Each commit is on the disk, as in a server.
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(Duration::from_secs(60));
        // SQLite has one writer at a time: more connections would only fight for its lock.
        let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await?;
        sqlx::query("CREATE TABLE counters (key INTEGER PRIMARY KEY, value INTEGER NOT NULL)")
            .execute(&pool)
            .await?;
        Ok(Self { pool, statements: AtomicU64::new(0) })
    }

    /// One statement for up to 100 upserts.
    async fn upsert(&self, rows: &[(i64, i64)]) -> Result<(), sqlx::Error> {
        let mut query = sqlx::QueryBuilder::new("INSERT INTO counters (key, value) ");
        query.push_values(rows, |mut row, (key, value)| {
            row.push_bind(key).push_bind(value);
        });
        query.push(" ON CONFLICT (key) DO UPDATE SET value = excluded.value");
        self.statements.fetch_add(1, Ordering::Relaxed);
        query.build().execute(&self.pool).await.map(|_| ())
    }

    async fn sum(&self) -> anyhow::Result<i64> {
        let sum: Option<i64> =
            sqlx::query_scalar("SELECT SUM(value) FROM counters").fetch_one(&self.pool).await?;
        Ok(sum.unwrap_or(0))
    }
}

impl Store<i64, i64> for Counters {
    type Error = sqlx::Error;

    async fn load(&self, key: &i64) -> Result<Option<i64>, StoreError<sqlx::Error>> {
        let query = sqlx::query_scalar("SELECT value FROM counters WHERE key = ?").bind(*key);
        Ok(query.fetch_optional(&self.pool).await?)
    }

    async fn write(
        &self,
        batch: &[Write<i64, i64>],
    ) -> Result<Written<sqlx::Error>, StoreError<sqlx::Error>> {
        let rows: Vec<(i64, i64)> =
            batch.iter().filter_map(|write| Some((*write.key(), *write.value()?))).collect();
        self.upsert(&rows).await?;
        Ok(Written::all())
    }
}

#[derive(Clone)]
enum Subject {
    Sql(Arc<Counters>),
    Cached(StoreCache<i64, i64, Arc<Counters>>),
}

impl Subject {
    async fn put(&self, key: i64, value: i64) -> anyhow::Result<()> {
        match self {
            Self::Sql(counters) => Ok(counters.upsert(&[(key, value)]).await?),
            Self::Cached(cache) => Ok(cache.put(key, value).await?),
        }
    }
}

struct Outcome {
    puts: u64,
    statements: u64,
    seconds: f64,
    latencies: Histogram<u64>,
    journal_syncs: u64,
}

async fn measure(args: &Args, way: Way) -> anyhow::Result<Outcome> {
    let directory = tempfile::tempdir()?;
    let counters = Arc::new(Counters::open(directory.path()).await?);
    let builder =
        || Cache::builder().max_capacity((args.keys * args.tasks) as u64).read_through(Arc::clone(&counters));
    let subject = match way {
        Way::Sql => Subject::Sql(Arc::clone(&counters)),
        Way::Through => Subject::Cached(builder().write_through().build()?),
        Way::Behind(sync) => {
            let mut settings = WriteBehind::new(|letter| eprintln!("lost: {letter:?}"));
            if let Some(sync) = sync {
                settings =
                    settings.journal(Journal::options(directory.path().join("journal")).sync(sync).open()?);
            }
            Subject::Cached(builder().write_behind(settings).build()?)
        }
    };
    let began = Instant::now();
    let ends = began + Duration::from_secs_f64(args.seconds);
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..args.tasks {
        tasks.spawn(puts(subject.clone(), args.clone(), task, ends));
    }
    let mut latencies = Histogram::<u64>::new_with_max(60_000_000_000, 3)?;
    let mut puts = 0;
    while let Some(ended) = tasks.join_next().await {
        let (own, count) = ended.context("a task panicked")??;
        latencies.add(own)?;
        puts += count;
    }
    let mut journal_syncs = 0;
    if let Subject::Cached(cache) = &subject {
        // The time for what is still in the queue counts.
        cache.flush().await;
        journal_syncs = cache.stats().journal_syncs();
    }
    let seconds = began.elapsed().as_secs_f64();
    if let Subject::Cached(cache) = &subject {
        cache.close(Duration::from_secs(60)).await?;
    }
    let sum = counters.sum().await?;
    ensure!(sum == i64::try_from(puts)?, "{puts} puts, and the counters say {sum}");
    let statements = counters.statements.load(Ordering::Relaxed);
    Ok(Outcome { puts, statements, seconds, latencies, journal_syncs })
}

async fn puts(
    subject: Subject,
    args: Args,
    task: usize,
    ends: Instant,
) -> anyhow::Result<(Histogram<u64>, u64)> {
    let zipf = Zipf::new(args.keys as f64, args.exponent)?;
    let mut random = SmallRng::seed_from_u64(task as u64);
    let mut counts = vec![0_i64; args.keys];
    let mut latencies = Histogram::<u64>::new_with_max(60_000_000_000, 3)?;
    let mut puts = 0;
    loop {
        let began = Instant::now();
        if began >= ends {
            return Ok((latencies, puts));
        }
        let index = zipf.sample(&mut random) as usize - 1;
        counts[index] += 1;
        subject.put((task * args.keys + index) as i64, counts[index]).await?;
        latencies.saturating_record(began.elapsed().as_nanos() as u64);
        puts += 1;
        if puts % 64 == 0 {
            // A put that never waits would keep the thread from the task that writes.
            tokio::task::yield_now().await;
        }
    }
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    ensure!(args.exponent >= 0.0, "the exponent must be 0 or more");
    ensure!(args.seconds > 0.0 && args.seconds < 3600.0, "between 0 and 3600 seconds");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let header = [
        "way",
        "puts/s",
        "statements/s",
        "puts per statement",
        "put p50",
        "p99",
        "p99.9",
        "puts per journal sync",
    ];
    let title = "Counters on SQLite: puts and statements";
    let mut section = Section::new(title, &header).with_note(format!(
        "{} tasks, each with {} counters, Zipf {}; {} s each, the final flush included. SQLite: WAL, a sync for each commit. Sums \
         checked.",
        args.tasks, args.keys, args.exponent, args.seconds
    ));
    let bar = progress::bar(WAYS.len() as u64);
    for (name, way) in WAYS {
        bar.set_message(name);
        let outcome = runtime.block_on(measure(args, way)).context(name)?;
        let Outcome { puts, statements, seconds, latencies, journal_syncs } = outcome;
        let at = |quantile| duration(latencies.value_at_quantile(quantile) as f64);
        let group = match journal_syncs {
            0 => String::from("–"),
            syncs => number(puts as f64 / syncs as f64),
        };
        section.push([
            name.to_owned(),
            number(puts as f64 / seconds),
            number(statements as f64 / seconds),
            number(puts as f64 / statements.max(1) as f64),
            at(0.5),
            at(0.99),
            at(0.999),
            group,
        ]);
        bar.inc(1);
    }
    bar.finish_and_clear();
    section.print();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn all_counts_arrive_and_few_statements_do_it() {
        let args = Args { keys: 10, tasks: 2, seconds: 0.2, exponent: 0.99 };
        for (name, way) in WAYS {
            let outcome = measure(&args, way).await.unwrap();
            assert!(outcome.puts > 0 && outcome.statements > 0, "{name}");
            if way == Way::Behind(None) {
                assert!(outcome.statements < outcome.puts / 10);
            }
        }
    }
}
