//! Kills the service with `kill -9` and starts it again, with and without `--snapshot`: how many of the next requests are hits.
//!
//! ```sh
//! cargo run --release -p airports --example warm-restart
//! ```

mod support;

use std::sync::Arc;

use anyhow::Context;
use clap::Parser;
use futures::StreamExt as _;
use futures::TryStreamExt as _;
use futures::stream;
use rand::SeedableRng as _;
use rand::distr::Distribution as _;
use rand::distr::weighted::WeightedIndex;
use rand::rngs::StdRng;
use reqwest::Client;

use support::{Serving, judge, serve_if_asked};

/// Kills the service and starts it again: how many of the next requests are hits.
#[derive(Debug, Parser)]
struct Options {
    /// Requests before it is killed.
    #[arg(long, default_value_t = 40_000)]
    before: usize,
    /// Requests after it has started again, of which the hits are counted.
    #[arg(long, default_value_t = 10_000)]
    after: usize,
    /// Entries of each cache.
    #[arg(long, default_value_t = 5_000)]
    cache_capacity: u64,
    /// How often the cache is saved.
    #[arg(long, default_value = "1s")]
    snapshot_every: String,
    /// How uneven the requests are: the n-th of the airports is asked for as often as 1 / n to this power.
    #[arg(long, default_value_t = 0.9)]
    skew: f64,
}

/// Requests at once.
const AT_ONCE: usize = 16;

#[tokio::main]
#[expect(clippy::print_stdout, reason = "the figures are what this program is for")]
async fn main() -> anyhow::Result<()> {
    if serve_if_asked().await? {
        return Ok(());
    }
    let options = Options::parse();
    let folder = tempfile::tempdir()?;
    let in_folder = |name: &str| folder.path().join(name).display().to_string();
    let common = [
        format!("--database=sqlite:{}", in_folder("airports.sqlite")),
        format!("--cache-capacity={}", options.cache_capacity),
    ];
    let saving =
        [format!("--snapshot={}", in_folder("warm")), format!("--snapshot-every={}", options.snapshot_every)];
    let with_snapshot = [&common[..], &saving].concat();
    let codes: Arc<Vec<String>> =
        Arc::new(airports::import::airports()?.into_iter().map(|airport| airport.icao).collect());
    let popularity = WeightedIndex::new((1..=codes.len()).map(|rank| (rank as f64).powf(-options.skew)))?;
    let mut random = StdRng::seed_from_u64(1);
    let mut draw = |requests: usize| -> Vec<String> {
        (0..requests).map(|_| codes[popularity.sample(&mut random)].clone()).collect()
    };
    let (before, after) = (draw(options.before), draw(options.after));

    let service = Serving::start(&with_snapshot).await?;
    let (early, late) = before.split_at(before.len().saturating_sub(options.after));
    hit_ratio(&service, early).await?;
    let settled = hit_ratio(&service, late).await?;
    service.kill().await?;
    let size = std::fs::metadata(in_folder("warm")).context("the snapshot")?.len();
    println!("Killed with -9 after {} requests; the snapshot has {} KiB", options.before, size / 1024);

    let service = Serving::start(&with_snapshot).await?;
    let entries: u64 = service.statistic("/cache/airports/entries").await?;
    let warm = hit_ratio(&service, &after).await?;
    service.kill().await?;
    let service = Serving::start(&common).await?;
    let cold = hit_ratio(&service, &after).await?;
    service.kill().await?;

    println!(
        "Hit ratio of {} requests, {} airports of capacity {}:",
        options.after,
        codes.len(),
        options.cache_capacity
    );
    println!("  before the kill     {:5.1} %", 100.0 * settled);
    println!("  started warm        {:5.1} %   ({entries} entries)", 100.0 * warm);
    println!("  started cold        {:5.1} %", 100.0 * cold);
    judge(
        "the warm one loses at most 2 points, and the cold one more",
        warm >= settled - 0.02 && warm > cold,
    );
    Ok(())
}

/// The part of these requests that the cache answered.
async fn hit_ratio(service: &Serving, codes: &[String]) -> anyhow::Result<f64> {
    let hits = || service.statistic::<u64>("/cache/airports/hits");
    let client = Client::new();
    let before = hits().await?;
    let requests = stream::iter(codes).map(|code| {
        let request = client.get(format!("{}/airports/{code}", service.url));
        async move {
            request.send().await?.error_for_status()?.bytes().await?;
            Ok::<_, reqwest::Error>(())
        }
    });
    requests.buffer_unordered(AT_ONCE).try_collect::<()>().await?;
    Ok((hits().await? - before) as f64 / codes.len().max(1) as f64)
}
