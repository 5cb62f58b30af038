//! Instructions for one operation, counted by valgrind's callgrind: unlike times they are nearly the same on a busy machine
//! and on a quiet one, and on another processor.
//!
//! The program runs itself under callgrind, on one thread, once with few operations and once with many. The difference of
//! the two counts over the difference in operations is one operation; start, filling and the first operations fall out.
//! Most subjects hash with random seeds, so what falls out is not quite the same in both: several runs show by how much.

use anyhow::Context as _;
use rayon::prelude::*;

use crate::adapters::{Kind, PlainMap};
use crate::lanes::{Lane, Lanes};
use crate::stats::Spread;
use crate::table::{Section, number};
use crate::throughput::{self, Workload, at_least_one};
use crate::{callgrind, progress};

/// What is counted.
const OPERATIONS: [Workload; 6] = [
    Workload::HotReads,
    Workload::Miss,
    Workload::Pin,
    Workload::Overwrite,
    Workload::Churn,
    Workload::Unique,
];

/// Options of `instructions`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// What is done
    #[arg(long, value_delimiter = ',', default_values_t = OPERATIONS, value_enum)]
    pub(crate) workloads: Vec<Workload>,
    /// Operations in the shorter run
    #[arg(long, default_value_t = 50_000, value_parser = at_least_one)]
    pub(crate) few: usize,
    /// Operations in the longer run
    #[arg(long, default_value_t = 250_000, value_parser = at_least_one)]
    pub(crate) many: usize,
    /// Pairs of runs, which differ in random seeds
    #[arg(long, default_value_t = 2, value_parser = at_least_one)]
    pub(crate) rounds: usize,
    /// Entries each cache holds
    #[arg(long, default_value_t = 16_384, value_parser = at_least_one)]
    pub(crate) capacity: usize,
    /// Subject that ratios refer to
    #[arg(long, default_value = "quick_cache", value_enum)]
    pub(crate) reference: Kind,
    /// Only these subjects, and the reference [default: all]
    #[arg(long, value_delimiter = ',', value_enum)]
    pub(crate) subjects: Vec<Kind>,
}

/// Options of the hidden subcommand.
#[derive(Debug, clap::Args)]
pub(crate) struct ChildArgs {
    workload: Workload,
    capacity: usize,
    operations: usize,
    /// The map without a lock if there is none.
    #[arg(long)]
    subject: Option<Kind>,
}

/// One operation, all subjects.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    pub(crate) workload: Workload,
    /// Instructions for one, by pairs of runs.
    pub(crate) lanes: Lanes,
}

/// Counts all.
///
/// # Errors
/// If there is no valgrind. What goes wrong with one subject is a matter of its lane.
pub(crate) fn measure(args: &Args) -> anyhow::Result<Vec<Block>> {
    callgrind::look_for()?;
    anyhow::ensure!(args.few < args.many, "--few must be less than --many");
    let mut subjects = Kind::or_all(&args.subjects);
    if !subjects.contains(&args.reference) {
        subjects.insert(0, args.reference);
    }
    let mut tasks: Vec<(Workload, Option<Kind>)> = Vec::new();
    for &workload in &args.workloads {
        tasks.extend(subjects.iter().map(|&kind| (workload, Some(kind))));
        if workload == Workload::Pin {
            tasks.push((workload, None));
        }
    }
    let bar = progress::bar(tasks.len() as u64);
    // Counts do not depend on what else runs, so all cores may count.
    let lanes: Vec<(Workload, Lane)> = tasks
        .par_iter()
        .map(|&(workload, subject)| {
            let name = subject.map_or_else(|| PlainMap::NAME.to_owned(), |kind| kind.to_string());
            bar.set_message(format!("instructions: {workload}, {name}"));
            let able = subject.map_or(Ok(()), |kind| throughput::able(kind, workload));
            let rounds = able.and_then(|()| {
                let pairs = (0..args.rounds).map(|_| pair(args, workload, subject));
                pairs.collect::<anyhow::Result<_>>().map_err(|error| format!("{error:#}"))
            });
            bar.inc(1);
            (workload, Lane { name, rounds })
        })
        .collect();
    bar.finish_and_clear();
    let block = |&workload: &Workload| {
        let own = lanes.iter().filter(|(of, _)| *of == workload).map(|(_, lane)| lane.clone());
        Block { workload, lanes: Lanes(own.collect()) }
    };
    Ok(args.workloads.iter().map(block).collect())
}

/// Instructions for one operation, by two runs.
fn pair(args: &Args, workload: Workload, subject: Option<Kind>) -> anyhow::Result<f64> {
    let count = |operations: usize| -> anyhow::Result<u64> {
        let mut arguments = [
            "child-instructions",
            &workload.to_string(),
            &args.capacity.to_string(),
            &operations.to_string(),
        ]
        .map(str::to_owned)
        .to_vec();
        arguments.extend(subject.map(|kind| format!("--subject={kind}")));
        callgrind::count(&arguments).with_context(|| arguments.join(" "))
    };
    let (few, many) = (count(args.few)?, count(args.many)?);
    Ok((many as f64 - few as f64) / (args.many - args.few) as f64)
}

/// What an operation is called in the table.
fn name(workload: Workload) -> &'static str {
    match workload {
        Workload::HotReads => "hit",
        Workload::Miss => "miss",
        Workload::Pin => "pinned hit",
        Workload::OneKey => "hit of one key",
        Workload::Mixed => "75/25",
        Workload::Overwrite => "overwrite",
        Workload::Churn => "churn",
        Workload::Unique => "unique insert",
        Workload::Large => "uniform hit",
    }
}

/// The table.
pub(crate) fn section(args: &Args, blocks: &[Block]) -> Section {
    let reference = args.reference.to_string();
    let header: Vec<&str> =
        std::iter::once("subject").chain(blocks.iter().map(|block| name(block.workload))).collect();
    let mut names: Vec<&str> = Vec::new();
    let mut reasons: Vec<String> = Vec::new();
    let mut widest: f64 = 0.0;
    for lane in blocks.iter().flat_map(|block| &block.lanes.0) {
        if !names.contains(&&*lane.name) {
            names.push(&lane.name);
        }
        match &lane.rounds {
            Err(reason) => {
                let reason = format!("{}: {reason}", lane.name);
                if !reasons.contains(&reason) {
                    reasons.push(reason);
                }
            }
            Ok(rounds) => {
                if let Some(spread) = Spread::of(rounds) {
                    widest = widest.max((spread.greatest - spread.least) / spread.median);
                }
            }
        }
    }
    let mut note = format!(
        "Counted by callgrind: ({} operations − {} operations) / {}; median of {} pairs of runs, which differ by {:.1} % at \
         most. After it, × {reference}.",
        args.many,
        args.few,
        args.many - args.few,
        args.rounds,
        100.0 * widest
    );
    if !reasons.is_empty() {
        note = format!("{note} Without a figure: {}.", reasons.join("; "));
    }
    let mut section = Section::new("Instructions for one operation", &header).with_note(note);
    for subject in names {
        let cell = |block: &Block| {
            let Some(median) = block.lanes.median(subject) else { return "-".to_owned() };
            let ratio = block.lanes.ratio(subject, &reference);
            ratio.map_or_else(|| number(median), |ratio| format!("{} ({:.2})", number(median), ratio.median))
        };
        section.push(std::iter::once(subject.to_owned()).chain(blocks.iter().map(cell)));
    }
    section
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    section(args, &measure(args)?).print();
    Ok(())
}

/// The part under valgrind.
pub(crate) fn child(args: &ChildArgs) -> anyhow::Result<()> {
    throughput::once(args.subject, args.workload, args.capacity, args.operations)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args() -> Args {
        Args {
            workloads: vec![Workload::HotReads, Workload::Unique],
            few: 100,
            many: 300,
            rounds: 1,
            capacity: 1024,
            reference: Kind::QuickCache,
            subjects: Vec::new(),
        }
    }

    #[test]
    fn the_table_has_ratios_and_reasons() {
        let lane = |name: &str, rounds: Result<Vec<f64>, String>| Lane { name: name.to_owned(), rounds };
        let hits =
            Lanes(vec![lane("millpond", Ok(vec![40.0, 42.0])), lane("quick_cache", Ok(vec![82.0, 82.0]))]);
        let inserts =
            Lanes(vec![lane("millpond", Err("broken".into())), lane("quick_cache", Ok(vec![500.0]))]);
        let blocks = [
            Block { workload: Workload::HotReads, lanes: hits },
            Block { workload: Workload::Unique, lanes: inserts },
        ];
        let section = section(&args(), &blocks);
        assert_eq!(section.rows[0], ["millpond", "41.0 (0.50)", "-"]);
        assert_eq!(section.rows[1], ["quick_cache", "82.0 (1.00)", "500 (1.00)"]);
        assert!(
            section.note.contains("millpond: broken") && section.note.contains("4.9 %"),
            "{}",
            section.note
        );
    }

    #[test]
    fn what_is_counted_runs() {
        for workload in OPERATIONS {
            let subject = Some(Kind::Millpond);
            child(&ChildArgs { workload, capacity: 512, operations: 1000, subject }).unwrap();
        }
        let plain = ChildArgs { workload: Workload::Pin, capacity: 512, operations: 1000, subject: None };
        child(&plain).unwrap();
        let unbounded = ChildArgs {
            workload: Workload::Churn,
            capacity: 512,
            operations: 1000,
            subject: Some(Kind::DashMap),
        };
        assert!(child(&unbounded).is_err());
    }
}
