//! Time per operation: subjects take turns round by round in one process (A B A B), so that what the machine does besides
//! meets all of them alike.
//!
//! - [`workload`]: what is done, on which keys. [`runner`]: the loops. [`measure`]: rounds and results.

mod measure;
mod runner;
mod workload;

use clap::ValueEnum;

pub(crate) use self::measure::Block;
use self::measure::Plan;
use self::runner::Round;
pub(crate) use self::runner::churn;
pub(crate) use self::workload::Workload;
use crate::adapters::Kind;
use crate::progress;
use crate::rounds::default_threads;

/// Options of `throughput`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// What is done
    #[arg(long, value_delimiter = ',', default_values_t = Workload::value_variants().to_vec(), value_enum)]
    pub(crate) workloads: Vec<Workload>,
    /// Threads
    #[arg(long, value_delimiter = ',', default_values_t = default_threads(), value_parser = at_least_one)]
    pub(crate) threads: Vec<usize>,
    /// Rounds after the first, which warms up
    #[arg(long, default_value_t = 7, value_parser = at_least_one)]
    pub(crate) rounds: usize,
    /// Entries each cache holds
    #[arg(long, default_value_t = 65_536, value_parser = at_least_one)]
    pub(crate) capacity: usize,
    /// Operations of each thread in a round
    #[arg(long, default_value_t = 1_000_000, value_parser = at_least_one)]
    pub(crate) operations: usize,
    /// Keys of the workload `large` [default: as many as fill the last cache level with keys and values alone, at least
    /// two million]
    #[arg(long, value_parser = at_least_one)]
    pub(crate) large: Option<usize>,
    /// Subject that ratios refer to; in `pin` it is a HashMap without a lock
    #[arg(long, default_value = "quick_cache", value_enum)]
    pub(crate) reference: Kind,
    /// Only these subjects, and the reference [default: all]
    #[arg(long, value_delimiter = ',', value_enum)]
    pub(crate) subjects: Vec<Kind>,
}

/// A count for an option.
pub(crate) fn at_least_one(text: &str) -> Result<usize, String> {
    match text.replace('_', "").parse() {
        Ok(0) => Err("at least 1".to_owned()),
        Ok(number) => Ok(number),
        Err(error) => Err(format!("{error}")),
    }
}

/// Measures one workload on each number of threads.
pub(crate) fn measure(args: &Args, workload: Workload) -> anyhow::Result<Vec<Block>> {
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
        reference: args.reference,
    };
    let bar = progress::bar(plan.steps());
    let blocks = measure::measure(&plan, workload, &bar)?;
    bar.finish_and_clear();
    Ok(blocks)
}

/// Makes a subject, or the map without a lock, and does so many operations on one thread: what `instructions` counts.
/// What comes before the operations does not depend on their number.
pub(crate) fn once(
    subject: Option<Kind>,
    workload: Workload,
    capacity: usize,
    operations: usize,
) -> anyhow::Result<()> {
    let warm = workload::WARM * capacity;
    let keys = workload.keys(capacity, capacity, 4 * warm)?;
    let subject = match subject {
        Some(kind) => runner::make(kind, workload, &keys).map_err(anyhow::Error::msg)?,
        None => runner::plain_map(&keys),
    };
    let keys = &keys.sequence;
    subject.round(Round { workload, threads: 1, operations, keys, begin: warm });
    Ok(())
}

/// Whether a subject can do a workload; else why not.
pub(crate) fn able(kind: Kind, workload: Workload) -> Result<(), String> {
    runner::able(kind, workload)
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    for &workload in &args.workloads {
        for block in measure(args, workload)? {
            block.section().print();
        }
    }
    Ok(())
}
