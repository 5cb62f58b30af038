//! Instructions for one borrow and its return, counted by callgrind: the same on a busy machine and on a quiet one. On one
//! worker, for with several the count would depend on who met whom.

use anyhow::Context as _;
use clap::ValueEnum;
use rayon::prelude::*;

use super::adapters::Kind;
use super::args::Args;
use super::load::Load;
use super::runner::{self, Length};
use crate::lanes::{Lane, Lanes};
use crate::table::{Section, number};
use crate::{callgrind, progress};

/// Borrows of all callers in the shorter and in the longer run.
const FEW: usize = 6_400;
const MANY: usize = 32_000;

/// What is counted.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Counted {
    /// One task alone
    Alone,
    /// 64 tasks on one worker: nearly all borrows wait
    Waiting,
    /// One thread alone
    Thread,
}

/// Options of the hidden subcommand.
#[derive(Debug, clap::Args)]
pub(crate) struct ChildArgs {
    counted: Counted,
    kind: Kind,
    borrows: usize,
}

/// Instructions of all subjects.
pub(super) struct Block {
    pub(super) counted: Counted,
    pub(super) lanes: Lanes,
}

impl Counted {
    fn load(self) -> Load {
        match self {
            Self::Alone => Load::Alone,
            Self::Waiting => Load::Tasks64,
            // Of two threads: the child runs one of them.
            Self::Thread => Load::Threads2,
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Alone => "one task alone",
            Self::Waiting => "64 tasks over 10, one worker",
            Self::Thread => "one thread alone",
        }
    }
}

/// Counts all.
///
/// # Errors
/// If there is no valgrind.
pub(super) fn measure(args: &Args) -> anyhow::Result<Vec<Block>> {
    callgrind::look_for()?;
    let subjects = Kind::or_all(&args.subjects);
    let tasks: Vec<(Counted, Kind)> = Counted::value_variants()
        .iter()
        .flat_map(|&counted| subjects.iter().map(move |&kind| (counted, kind)))
        .collect();
    let bar = progress::bar(tasks.len() as u64);
    // Counts do not depend on what else runs.
    let lanes: Vec<(Counted, Lane)> = tasks
        .par_iter()
        .map(|&(counted, kind)| {
            bar.set_message(format!("instructions: {kind}"));
            let rounds = one(counted, kind).map(|count| vec![count]).map_err(|error| format!("{error:#}"));
            bar.inc(1);
            (counted, Lane { name: kind.to_string(), rounds })
        })
        .collect();
    bar.finish_and_clear();
    let block = |&counted: &Counted| {
        let own = lanes.iter().filter(|(of, _)| *of == counted).map(|(_, lane)| lane.clone());
        Block { counted, lanes: Lanes(own.collect()) }
    };
    Ok(Counted::value_variants().iter().map(block).collect())
}

fn one(counted: Counted, kind: Kind) -> anyhow::Result<f64> {
    // Asked here, as it is told better than by a process that ended.
    runner::able(kind, counted.load()).map_err(anyhow::Error::msg)?;
    let name = counted.to_possible_value().expect("no value is skipped");
    let count = |borrows: usize| {
        let arguments = ["child-pool", name.get_name(), &kind.to_string(), &borrows.to_string()];
        callgrind::count(&arguments.map(str::to_owned)).with_context(|| arguments.join(" "))
    };
    let (few, many) = (count(FEW)?, count(MANY)?);
    Ok((many as f64 - few as f64) / (MANY - FEW) as f64)
}

/// The part under valgrind.
pub(crate) fn child(args: &ChildArgs) -> anyhow::Result<()> {
    let load = args.counted.load();
    let callers = if args.counted == Counted::Waiting { load.callers().count() } else { 1 };
    let subject = runner::make_small(args.kind, load, callers).map_err(anyhow::Error::msg)?;
    subject.round(Length::Borrows(args.borrows / callers));
    Ok(())
}

/// The table.
pub(super) fn section(blocks: &[Block]) -> Section {
    let header: Vec<&str> =
        std::iter::once("subject").chain(blocks.iter().map(|block| block.counted.title())).collect();
    let mut section = Section::new("Instructions for one borrow and return", &header).with_note(format!(
        "Counted by callgrind: ({MANY} borrows − {FEW} borrows) / {}. Those that sit one out are not for tasks, or not for \
         threads, or do not wait.",
        MANY - FEW
    ));
    for lane in blocks.first().map_or(&[][..], |block| &block.lanes.0) {
        let cell = |block: &Block| block.lanes.median(&lane.name).map_or_else(|| "-".to_owned(), number);
        section.push(std::iter::once(lane.name.clone()).chain(blocks.iter().map(cell)));
    }
    section
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_runs() {
        for &counted in Counted::value_variants() {
            child(&ChildArgs { counted, kind: Kind::Millpond, borrows: 640 }).unwrap();
        }
        assert!(one(Counted::Alone, Kind::R2d2).is_err(), "it has no tasks");
    }
}
