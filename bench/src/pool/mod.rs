//! What a borrow and its return cost, and who gets how much: pools of connections that are numbers in memory, in interleaved
//! rounds.
//!
//! - [`load`]: who borrows. [`adapters`]: from what. [`runner`]: the loops. [`measure`]: rounds and their tables.
//! - [`counted`]: instructions, by callgrind. [`targets`]: what is to be reached.

mod adapters;
mod args;
mod counted;
mod load;
mod measure;
mod runner;
mod targets;

pub(crate) use self::args::Args;
pub(crate) use self::counted::{ChildArgs, child};
use crate::table::Section;
use crate::{page, target};

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
