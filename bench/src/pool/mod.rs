//! What a borrow and its return cost, and who gets how much: pools of connections that are numbers in memory, in interleaved
//! rounds.
//!
//! - [`load`]: who borrows. [`adapters`]: from what. [`runner`]: the loops. [`measure`]: rounds and their tables.
//! - [`counted`]: instructions, by callgrind. [`targets`]: what is to be reached.

mod adapters;
mod counted;
mod load;
mod measure;
mod runner;
mod targets;

use std::path::PathBuf;

use clap::ValueEnum as _;

use self::adapters::Kind;
pub(crate) use self::counted::{ChildArgs, child};
use self::load::Load;
use crate::table::Section;
use crate::throughput::at_least_one;
use crate::{page, target};

/// Options of `pool`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// Who borrows
    #[arg(long, value_delimiter = ',', default_values_t = Load::value_variants().to_vec(), value_enum)]
    loads: Vec<Load>,
    /// Rounds after the first, which warms up
    #[arg(long, default_value_t = 7, value_parser = at_least_one)]
    rounds: usize,
    /// Borrows of each caller in a round of `alone` and `tasks2`
    #[arg(long, default_value_t = 500_000, value_parser = at_least_one)]
    borrows: usize,
    /// Milliseconds of a round of the other loads
    #[arg(long, default_value_t = 300, value_parser = at_least_one)]
    millis: usize,
    /// Subject that ratios refer to; for threads it is r2d2
    #[arg(long, default_value = "deadpool", value_enum)]
    reference: Kind,
    /// Only these subjects [default: all]
    #[arg(long, value_delimiter = ',', value_enum)]
    subjects: Vec<Kind>,
    /// Times only: no instructions, for which valgrind is needed
    #[arg(long)]
    no_instructions: bool,
    /// Also writes the tables to this page, in place of those of an earlier run
    #[arg(long)]
    page: Option<PathBuf>,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let mut sections: Vec<Section> = Vec::new();
    let mut show = |section: Section| {
        section.print();
        sections.push(section);
    };
    let mut blocks = Vec::new();
    for &load in &args.loads {
        let block = measure::measure(args, load);
        block.times(args).into_iter().for_each(&mut show);
        blocks.push(block);
    }
    let mut counts = Vec::new();
    if !args.no_instructions {
        counts = counted::measure(args)?;
        show(counted::section(&counts));
    }
    show(target::section(
        "Ratios of medians, of rounds in which the subjects took turns.",
        &targets::checks(&blocks, &counts),
    ));
    page::write(args.page.as_deref(), "pool", "Borrow and return, without a database", &sections)
}
