//! Time per operation: subjects take turns round by round in one process (A B A B), so that what the machine does besides
//! meets all of them alike.
//!
//! - [`workload`]: what is done, on which keys. [`runner`]: the loops. [`measure`]: rounds and results.

mod measure;
mod runner;
mod workload;

use clap::ValueEnum;

pub(crate) use self::measure::{Plan, measure};
pub(crate) use self::runner::churn;
pub(crate) use self::workload::Workload;
use crate::adapters::Kind;
use crate::progress;
use crate::rounds::default_threads;

/// Options of `throughput`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What is done
    #[arg(long, value_delimiter = ',', default_values_t = Workload::value_variants().to_vec(), value_enum)]
    workloads: Vec<Workload>,
    /// Threads
    #[arg(long, value_delimiter = ',', default_values_t = default_threads(), value_parser = at_least_one)]
    threads: Vec<usize>,
    /// Rounds after the first, which warms up
    #[arg(long, default_value_t = 7, value_parser = at_least_one)]
    rounds: usize,
    /// Entries each cache holds
    #[arg(long, default_value_t = 65_536, value_parser = at_least_one)]
    capacity: usize,
    /// Operations of each thread in a round
    #[arg(long, default_value_t = 1_000_000, value_parser = at_least_one)]
    operations: usize,
    /// Keys of the workload `large` [default: as many as fill the last cache level with keys and values alone, at least
    /// two million]
    #[arg(long, value_parser = at_least_one)]
    large: Option<usize>,
    /// Subject that ratios refer to; in `pin` it is a HashMap without a lock
    #[arg(long, default_value = "quick_cache", value_enum)]
    reference: Kind,
    /// Only these subjects, and the reference [default: all]
    #[arg(long, value_delimiter = ',', value_enum)]
    subjects: Vec<Kind>,
}

/// A count for an option.
pub(crate) fn at_least_one(text: &str) -> Result<usize, String> {
    match text.replace('_', "").parse() {
        Ok(0) => Err("at least 1".to_owned()),
        Ok(number) => Ok(number),
        Err(error) => Err(format!("{error}")),
    }
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let mut subjects = Kind::or_all(&args.subjects);
    if !subjects.contains(&args.reference) {
        subjects.insert(0, args.reference);
    }
    let plan = Plan {
        threads: args.threads.clone(),
        rounds: args.rounds,
        capacity: args.capacity,
        operations: args.operations,
        large: args.large.unwrap_or_else(workload::beyond_the_caches),
        subjects,
    };
    for &workload in &args.workloads {
        let bar = progress::bar(plan.steps());
        for block in measure(&plan, workload, &bar)? {
            block.section(&args.reference.to_string()).print();
        }
        bar.finish_and_clear();
    }
    Ok(())
}
