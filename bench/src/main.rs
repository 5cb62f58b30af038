//! Millpond beside its peers. `millpond-bench --help` lists the commands.

mod adapters;
mod hit_ratio;
mod keys;
mod rounds;
mod throughput;
mod trace;

use clap::{Parser, Subcommand};

/// Millpond beside its peers.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Hit ratios over request traces, generated ones, or your own access log
    HitRatio(hit_ratio::Args),
    /// Time per operation, in interleaved rounds, as ratios to a reference
    Throughput(throughput::Args),
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::HitRatio(args) => hit_ratio::run(args),
        Command::Throughput(args) => throughput::run(&args),
    }
}
