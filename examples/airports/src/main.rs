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
    let service = Service::start(&config).await?;
    if let Err(error) = banner(&service.url()) {
        // Nobody reads it; that is no reason not to serve.
        tracing::debug!(%error, "the banner could not be printed");
    }
    service.run_until(airports::serve::interrupted()).await;
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
