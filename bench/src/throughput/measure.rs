//! Rounds in turn, and their results as a table.

use indicatif::ProgressBar;

use super::runner::{self, Made, Round};
use super::workload::{self, Workload};
use crate::adapters::{Kind, PlainMap};
use crate::lanes::{Lane, Lanes};
use crate::stats::Spread;
use crate::table::{Section, number};

/// How much is measured.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) threads: Vec<usize>,
    /// Besides one that warms up.
    pub(crate) rounds: usize,
    pub(crate) capacity: usize,
    /// Of each thread in a round.
    pub(crate) operations: usize,
    /// Keys of the workload `large`.
    pub(crate) large: usize,
    pub(crate) subjects: Vec<Kind>,
    /// What ratios refer to.
    pub(crate) reference: Kind,
}

impl Plan {
    /// Steps of the progress bar for one workload, about.
    pub(crate) fn steps(&self) -> u64 {
        (self.subjects.len() * (1 + self.threads.len() * (self.rounds + 1))) as u64
    }
}

/// One workload on so many threads.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    pub(crate) workload: Workload,
    pub(crate) threads: usize,
    /// Wall ns for one operation.
    pub(crate) lanes: Lanes,
    /// What ratios refer to.
    pub(crate) reference: String,
}

/// Measures one workload on each number of threads.
pub(crate) fn measure(plan: &Plan, workload: Workload, bar: &ProgressBar) -> anyhow::Result<Vec<Block>> {
    bar.set_message(workload.to_string());
    let keys = workload.keys(plan.capacity, plan.large, workload::DRAWS)?;
    let mut subjects: Vec<(String, Made)> = Vec::new();
    for &kind in &plan.subjects {
        subjects.push((kind.to_string(), runner::make(kind, workload, &keys)));
        bar.inc(1);
    }
    if workload == Workload::Pin {
        subjects.push((PlainMap::NAME.to_owned(), Ok(runner::plain_map(&keys))));
    }
    let mut blocks = Vec::new();
    for &threads in &plan.threads {
        bar.set_message(format!("{workload}, threads: {threads}"));
        let mut times = vec![Vec::new(); subjects.len()];
        for round in 0..=plan.rounds {
            for ((_, subject), times) in subjects.iter().zip(&mut times) {
                let Ok(subject) = subject else { continue };
                let setting = Round {
                    workload,
                    threads,
                    operations: plan.operations,
                    keys: &keys.sequence,
                    begin: round * plan.operations,
                };
                let time = subject.round(setting);
                if round > 0 {
                    times.push(time);
                }
                bar.inc(1);
            }
        }
        let lanes = subjects.iter().zip(times).map(|((name, subject), times)| {
            let rounds = subject.as_ref().map(|_| times).map_err(Clone::clone);
            Lane { name: name.clone(), rounds }
        });
        let lanes = Lanes(lanes.collect());
        // Only a map without a lock is a yardstick for many reads under one guard.
        let pins = workload == Workload::Pin;
        let reference = if pins { PlainMap::NAME.to_owned() } else { plan.reference.to_string() };
        blocks.push(Block { workload, threads, lanes, reference });
    }
    Ok(blocks)
}

impl Block {
    /// The table. Subjects that can't do the workload say why.
    pub(crate) fn section(&self) -> Section {
        let reference = &self.reference;
        let title = format!("{}, threads: {}", self.workload, self.threads);
        let by = format!("× {reference}");
        let header = ["subject", "ns (median)", &by, "least", "greatest", ""];
        let mut section = Section::new(title, &header).with_note(
            "Wall time over all operations of all threads; ratio of medians, and of single rounds.",
        );
        for lane in &self.lanes.0 {
            let mut row = vec![lane.name.clone()];
            match &lane.rounds {
                Err(reason) => row.extend(["-", "-", "-", "-", reason].map(str::to_owned)),
                Ok(times) => {
                    row.push(Spread::of(times).map_or_else(String::new, |spread| number(spread.median)));
                    if let Some(ratio) = self.lanes.ratio(&lane.name, reference) {
                        let figures = [ratio.median, ratio.least, ratio.greatest];
                        row.extend(figures.map(|figure| format!("{figure:.2}")));
                    }
                }
            }
            section.push(row);
        }
        section
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;

    #[test]
    fn every_workload_runs_and_says_who_sat_out() {
        let subjects = vec![Kind::Millpond, Kind::QuickCache, Kind::DashMap];
        let reference = Kind::QuickCache;
        let plan = Plan {
            threads: vec![1, 2],
            rounds: 1,
            capacity: 2048,
            operations: 500,
            large: 3000,
            subjects,
            reference,
        };
        for &workload in Workload::value_variants() {
            let blocks = measure(&plan, workload, &ProgressBar::hidden()).unwrap();
            assert_eq!(blocks.iter().map(|block| block.threads).collect::<Vec<_>>(), [1, 2]);
            for block in blocks {
                let own = block.lanes.rounds("millpond").expect("Millpond does all workloads");
                assert!(own.len() == 1 && own[0] > 0.0, "{own:?}");
                assert_eq!(
                    block.lanes.rounds("dashmap").is_none(),
                    workload.evicts() || workload == Workload::Pin
                );
                let text = block.section().markdown();
                assert_eq!(text.contains("no eviction"), workload.evicts(), "{text}");
                assert_eq!(text.contains("× hashmap"), workload == Workload::Pin, "{text}");
            }
        }
    }
}
