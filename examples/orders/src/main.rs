//! The order service. `orders --help` lists the options.

use std::io::{self, Write as _};

use clap::Parser;
use orders::config::Config;
use orders::serve;
use tracing_subscriber::EnvFilter;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let config = Config::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).init();
    // Before anybody can know that it runs: who stops it then gets a clean end too.
    let mut stop = Box::pin(serve::interrupted()?);
    let service = tokio::select! {
        started = serve::start(&config) => started?,
        () = &mut stop => return Ok(()),
    };
    if let Err(error) = banner(&service.url()) {
        // Nobody reads it; that is no reason not to serve.
        tracing::debug!(%error, "the banner could not be printed");
    }
    service.run_until(stop).await
}

/// For a person at a terminal.
fn banner(url: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "Serving {url}\n")?;
    writeln!(out, "  cargo run --release -p orders --example client -- --url {url}\n")?;
    out.flush()
}
