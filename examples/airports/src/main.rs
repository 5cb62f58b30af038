//! The airports service. `airports --help` lists the options.

use std::io::{self, Write as _};

use airports::config::Config;
use airports::serve::Service;
use clap::Parser;
use tracing_subscriber::EnvFilter;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let config = Config::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).init();
    // Before anybody can know that it runs: who stops it then gets a clean end too, also in the middle of the import.
    let mut stop = Box::pin(airports::serve::interrupted()?);
    let service = tokio::select! {
        started = Service::start(&config) => started?,
        () = &mut stop => return Ok(()),
    };
    if let Err(error) = banner(&service.url()) {
        // Nobody reads it; that is no reason not to serve.
        tracing::debug!(%error, "the banner could not be printed");
    }
    service.run_until(stop).await;
    Ok(())
}

/// For a person at a terminal.
fn banner(url: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "Serving {url}\n")?;
    writeln!(out, "  curl -s {url}/airports/KJFK")?;
    writeln!(out, "  curl -s '{url}/airports?country=IS&limit=5'")?;
    writeln!(out, "  curl -s '{url}/airports/LFPG/nearest?n=3'\n")?;
    out.flush()
}
