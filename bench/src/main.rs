//! Millpond beside its peers. `millpond-bench --help` lists the commands.
//!
//! - [`adapters`]: the caches, one file each. [`keys`], [`rounds`], [`stats`], [`lanes`], [`table`]: what the commands share.
//! - [`throughput`], [`latency`], [`instructions`], [`growth`], [`bound`], [`memory`], [`hit_ratio`],
//!   [`features`]: one command each.
//! - [`pool`], [`pool_db`], [`pool_faults`]: one command each, of pools. [`databases`]: pools of PostgreSQL. [`target`], [`page`]: their figures beside what is to be reached, and on a page.
//! - [`write_behind`]: counters on SQLite behind a cache.
//! - [`report`]: all of them on one page, and beside the targets.
//! - [`child`], [`callgrind`], [`allocator`]: measurements in a process of their own. [`machine`]: where.

mod adapters;
mod allocator;
mod bound;
mod callgrind;
mod child;
mod databases;
mod features;
mod growth;
mod hit_ratio;
mod instructions;
mod keys;
mod lanes;
mod latency;
mod machine;
mod memory;
mod page;
mod pool;
mod pool_db;
mod pool_faults;
mod progress;
mod report;
mod rounds;
mod stats;
mod table;
mod target;
mod throughput;
mod trace;
mod write_behind;

use std::process::ExitCode;

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
    /// Instructions for one operation, counted by valgrind
    Instructions(instructions::Args),
    /// What the cache's features cost on a hit, one load for many callers, inserts while entries expire
    Features(features::Args),
    /// Time and instructions of a borrow and its return, and fairness, beside other pools
    Pool(pool::Args),
    /// Requests per second and latencies of pools of PostgreSQL connections. Needs PostgreSQL
    PoolDb(pool_db::Args),
    /// What callers of pools see of faults: errors, stalls, recovery, dials, slots lost. Needs PostgreSQL
    PoolFaults(pool_faults::Args),
    /// Puts and statements per second of counters behind a cache, beside plain SQL; what a journal costs
    WriteBehind(write_behind::Args),
    /// Runs all of the cache's and writes one page with charts, a Markdown table, and the figures beside the targets
    Report(report::Args),
    #[command(hide = true)]
    ChildMemory(memory::ChildArgs),
    #[command(hide = true)]
    ChildGrowth(growth::ChildArgs),
    #[command(hide = true)]
    ChildInstructions(instructions::ChildArgs),
    #[command(hide = true)]
    ChildPool(pool::ChildArgs),
}

/// Prints an error as one line with its causes: who mistyped a file's name has no use for a backtrace.
fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::HitRatio(args) => hit_ratio::run(&args),
        Command::Throughput(args) => throughput::run(&args),
        Command::Latency(args) => latency::run(&args),
        Command::Memory(args) => memory::run(&args),
        Command::Growth(args) => growth::run(&args),
        Command::Bound(args) => bound::run(&args),
        Command::Instructions(args) => instructions::run(&args),
        Command::Features(args) => features::run(&args),
        Command::Pool(args) => pool::run(&args),
        Command::PoolDb(args) => pool_db::run(&args),
        Command::PoolFaults(args) => pool_faults::run(&args),
        Command::WriteBehind(args) => write_behind::run(&args),
        Command::Report(args) => report::run(&args),
        Command::ChildMemory(args) => memory::child(&args),
        Command::ChildGrowth(args) => growth::child(&args),
        Command::ChildInstructions(args) => instructions::child(&args),
        Command::ChildPool(args) => pool::child(&args),
    }
}
