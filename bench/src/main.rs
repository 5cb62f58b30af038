//! Millpond beside its peers. `millpond-bench --help` lists the commands.
//!
//! - [`adapters`]: the caches, one file each. [`keys`], [`rounds`], [`stats`], [`table`]: what the commands share.
//! - [`throughput`], [`latency`], [`growth`], [`bound`], [`memory`], [`hit_ratio`]: one command each.
//! - [`child`], [`allocator`]: measurements in a process of their own.

mod adapters;
mod allocator;
mod bound;
mod child;
mod growth;
mod hit_ratio;
mod keys;
mod latency;
mod memory;
mod progress;
mod rounds;
mod stats;
mod table;
mod throughput;
mod trace;

use clap::{Parser, Subcommand};

#[global_allocator]
static ALLOCATOR: allocator::Counting = allocator::Counting;

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
    /// Percentiles of single operations during churn
    Latency(latency::Args),
    /// Bytes per entry, filled and after churn
    Memory(memory::Args),
    /// The longest pause of one insert while a cache grows
    Growth(growth::Args),
    /// Entries over capacity, seen while others write
    Bound(bound::Args),
    #[command(hide = true)]
    ChildMemory(memory::ChildArgs),
    #[command(hide = true)]
    ChildGrowth(growth::ChildArgs),
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::HitRatio(args) => hit_ratio::run(args),
        Command::Throughput(args) => throughput::run(&args),
        Command::Latency(args) => latency::run(&args),
        Command::Memory(args) => memory::run(&args),
        Command::Growth(args) => growth::run(&args),
        Command::Bound(args) => bound::run(&args),
        Command::ChildMemory(args) => memory::child(&args),
        Command::ChildGrowth(args) => growth::child(&args),
    }
}
