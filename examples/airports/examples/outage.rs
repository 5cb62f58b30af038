//! Kills PostgreSQL under `wrk`, brings it back, and tells how long the service took to recover without a restart.
//!
//! ```sh
//! cargo run --release -p airports --example outage
//! ```

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::{Duration, Instant};

use airports::config::Config;
use airports::serve::Service;
use anyhow::Context;
use clap::Parser;
use servers::Postgres;
use tokio::process::Command;
use tokio::sync::oneshot;

/// Kills PostgreSQL under load and tells how long the service takes to recover.
#[derive(Debug, Parser)]
struct Options {
    /// Seconds of load before the server is killed, while it is down, and after it is back.
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// Entries of each cache of the service; 0 turns caching off, so that every request needs the server.
    #[arg(long, default_value_t = 2_000)]
    cache_capacity: u64,
}

#[tokio::main]
#[expect(clippy::print_stdout, reason = "the figures are what this program is for")]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let phase = Duration::from_secs(options.seconds);
    let server = Postgres::start()?;
    let config = Config::parse_from([
        "airports",
        "--listen=127.0.0.1:0",
        &format!("--database={}", server.url()),
        &format!("--cache-capacity={}", options.cache_capacity),
        "--acquire-timeout=1s",
    ]);
    let service = Service::start(&config).await?;
    let url = service.url();
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(service.run_until(async {
        let _stopped = stopped.await;
    }));

    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/random.lua");
    let wrk = Command::new("wrk")
        .args(["-t1", "-c32", &format!("-d{}s", 3 * options.seconds + 1), "--latency", "-s", script, &url])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
        .stdout(Stdio::piped())
        .spawn()
        .context("starting wrk (apt-get install wrk)")?;

    tokio::time::sleep(phase).await;
    println!("PostgreSQL is killed; answers so far: {:?}", answers(&url).await?);
    server.kill()?;
    tokio::time::sleep(phase).await;
    println!("PostgreSQL starts again; answers so far: {:?}", answers(&url).await?);
    let began = Instant::now();
    server.restart()?;
    let back = Instant::now();
    while reqwest::get(format!("{url}/health")).await?.status() != 200 {
        anyhow::ensure!(back.elapsed() < Duration::from_secs(30), "no recovery within 30 s");
    }
    println!("PostgreSQL answers after {:.0?}; the service {:.0?} later", back - began, back.elapsed());
    let recovered = answers(&url).await?;
    let output = wrk.wait_with_output().await?;
    let end = answers(&url).await?;
    let failed = |answers: &BTreeMap<String, u64>| answers.get("503").copied().unwrap_or(0);
    println!("All answers: {end:?}; 503s after the recovery: {}", failed(&end) - failed(&recovered));
    println!("\n{}", String::from_utf8_lossy(&output.stdout));
    let _serving = stop.send(());
    serving.await?;
    anyhow::ensure!(
        end.keys().all(|status| status == "200" || status == "503"),
        "other answers than 200 and 503"
    );
    Ok(())
}

/// How often the service has given each status for an airport.
async fn answers(url: &str) -> anyhow::Result<BTreeMap<String, u64>> {
    let text = reqwest::get(format!("{url}/metrics")).await?.text().await?;
    let counts = text.lines().filter_map(|line| {
        let rest = line.strip_prefix("http_requests_total{route=\"/airports/{icao}\",status=\"")?;
        let (status, count) = rest.split_once("\"} ")?;
        Some((status.to_owned(), count.parse().ok()?))
    });
    Ok(counts.collect())
}
