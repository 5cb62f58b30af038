//! The airports service. `airports --help` lists the options.

use airports::config::Config;
use airports::serve::Service;
use clap::Parser;
use tracing_subscriber::EnvFilter;

#[tokio::main]
#[expect(clippy::print_stdout, reason = "the banner is for a person at a terminal")]
async fn main() -> anyhow::Result<()> {
    let config = Config::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let service = Service::start(&config).await?;
    let url = service.url();
    println!("Serving {url}\n");
    println!("  curl -s {url}/airports/KJFK");
    println!("  curl -s '{url}/airports?country=IS&limit=5'");
    println!("  curl -s '{url}/airports/LFPG/nearest?n=3'\n");
    service.run_until(airports::serve::interrupted()).await
}
