//! Rounds in turn, and their results as tables.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::adapters::Kind;
use super::args::Args;
use super::load::{Callers, Load};
use super::runner::{self, Length, SIZE};
use crate::lanes::{Lane, Lanes};
use crate::progress;
use crate::stats::Spread;
use crate::table::{Section, duration, number};

/// One load.
pub(super) struct Block {
    pub(super) load: Load,
    /// Wall ns for one borrow and return.
    pub(super) lanes: Lanes,
    /// Who got how much, of those that took part in a load with more callers than connections.
    pub(super) shares: Vec<Share>,
}

/// Who got how much.
pub(super) struct Share {
    pub(super) name: String,
    /// Jain's index of each round.
    pub(super) jain: Vec<f64>,
    /// The longest wait over the median, of each round.
    pub(super) longest: Vec<f64>,
    /// All rounds together, in ns.
    pub(super) waits: Histogram<u64>,
}

impl Block {
    pub(super) fn share(&self, kind: Kind) -> Option<&Share> {
        self.shares.iter().find(|share| share.name == kind.to_string())
    }
}

/// Measures one load.
pub(super) fn measure(args: &Args, load: Load) -> Block {
    let subjects = Kind::or_all(&args.subjects);
    let bar = progress::bar((subjects.len() * (args.rounds + 1)) as u64);
    bar.set_message(format!("pool: {load}"));
    let contended = load.is_contended(SIZE);
    let length = match load {
        Load::Alone | Load::Tasks2 => Length::Borrows(args.borrows),
        _ => Length::Time(Duration::from_millis(args.millis as u64)),
    };
    let mut lanes: Vec<_> = subjects
        .into_iter()
        .map(|kind| {
            let name = kind.to_string();
            let share =
                Share { name: name.clone(), jain: Vec::new(), longest: Vec::new(), waits: histogram() };
            (name, runner::make(kind, load), Vec::new(), share)
        })
        .collect();
    for round in 0..=args.rounds {
        for (_, subject, times, share) in &mut lanes {
            bar.inc(1);
            let Ok(subject) = subject else { continue };
            let found = subject.round(length);
            if round == 0 {
                continue;
            }
            times.push(found.nanos);
            if contended {
                share.add(&found);
            }
        }
    }
    bar.finish_and_clear();
    let mut block = Block { load, lanes: Lanes::default(), shares: Vec::new() };
    for (name, subject, times, share) in lanes {
        if contended && subject.is_ok() {
            block.shares.push(share);
        }
        block.lanes.0.push(Lane { name, rounds: subject.map(|_| times).map_err(str::to_owned) });
    }
    block
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_max(60_000_000_000, 3).expect("the bounds are valid")
}

impl Share {
    fn add(&mut self, round: &runner::Round) {
        self.jain.push(jain(&round.counts));
        let mut waits = histogram();
        for &wait in &round.waits {
            waits.saturating_record(wait);
        }
        self.longest.push(waits.max() as f64 / waits.value_at_quantile(0.5).max(1) as f64);
        self.waits.add(&waits).expect("both have the same bounds");
    }
}

/// How even shares are: 1 if all are the same, 1/n if one has all. Jain, Chiu and Hawe, DEC-TR-301, 1984.
fn jain(counts: &[usize]) -> f64 {
    let sum: f64 = counts.iter().map(|&count| count as f64).sum();
    let squares: f64 = counts.iter().map(|&count| (count as f64).powi(2)).sum();
    sum * sum / (counts.len() as f64 * squares)
}

/// What a load is called above its table.
fn title(load: Load) -> String {
    match load.callers() {
        Callers::Tasks { tasks: 1, .. } => "one task alone".to_owned(),
        Callers::Tasks { tasks: 2, .. } => "2 tasks on 2 workers".to_owned(),
        Callers::Tasks { tasks: 1000, .. } => format!("1000 tasks over {SIZE} connections, held for 50 µs"),
        Callers::Tasks { tasks, .. } => {
            format!("{tasks} tasks over {SIZE} connections, held for a turn of the scheduler")
        }
        Callers::Threads(threads) => format!("{threads} threads over {SIZE} connections"),
    }
}

impl Block {
    /// What ratios refer to.
    fn reference(&self, args: &Args) -> Kind {
        match self.load.callers() {
            Callers::Tasks { .. } => args.reference,
            Callers::Threads(_) => Kind::R2d2,
        }
    }

    /// The table of times, and that of shares if there is something to share.
    pub(super) fn times(&self, args: &Args) -> Vec<Section> {
        let reference = self.reference(args).to_string();
        let by = format!("× {reference}");
        let header = ["subject", "ns (median)", &by, "least", "greatest"];
        let mut section = Section::new(format!("Borrow and return: {}", title(self.load)), &header);
        let mut absent = Vec::new();
        for lane in &self.lanes.0 {
            let times = match &lane.rounds {
                Err(reason) => {
                    absent.push(format!("{} ({reason})", lane.name));
                    continue;
                }
                Ok(times) => times,
            };
            let mut row = vec![lane.name.clone()];
            row.push(Spread::of(times).map_or_else(String::new, |spread| number(spread.median)));
            if let Some(ratio) = self.lanes.ratio(&lane.name, &reference) {
                row.extend([ratio.median, ratio.least, ratio.greatest].map(|figure| format!("{figure:.2}")));
            }
            section.push(row);
        }
        section.note = format!(
            "Wall time over all borrows of all callers; ratio of medians, and of single rounds. Without: {}.",
            absent.join(", ")
        );
        let mut sections = vec![section];
        if !self.shares.is_empty() {
            sections.push(self.fairness());
        }
        sections
    }

    fn fairness(&self) -> Section {
        let header =
            ["subject", "Jain", "least", "p50", "p99", "p99.9", "max", "max / p50", "least", "greatest"];
        let mut section = Section::new(format!("Fairness and waits: {}", title(self.load)), &header);
        section.note = format!(
            "Jain's index of borrows by caller: 1 is even. One wait in {} was timed; longest over median by rounds.",
            self.load.timed_one_in()
        );
        for share in &self.shares {
            let (Some(jain), Some(longest)) = (Spread::of(&share.jain), Spread::of(&share.longest)) else {
                continue;
            };
            let at = |quantile| duration(share.waits.value_at_quantile(quantile) as f64);
            section.push([
                share.name.clone(),
                format!("{:.4}", jain.median),
                format!("{:.4}", jain.least),
                at(0.5),
                at(0.99),
                at(0.999),
                at(1.0),
                number(longest.median),
                number(longest.least),
                number(longest.greatest),
            ]);
        }
        section
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, FromArgMatches as _, Parser, ValueEnum as _};

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn args(line: &str) -> Args {
        let matches = Line::command().no_binary_name(true).get_matches_from(line.split_whitespace());
        Line::from_arg_matches(&matches).unwrap().args
    }

    #[test]
    fn jain_is_one_for_even_shares() {
        assert_eq!(jain(&[5, 5, 5]), 1.0);
        assert_eq!(jain(&[9, 0, 0]), 1.0 / 3.0);
    }

    #[test]
    fn every_subject_does_every_load_or_says_why_not() {
        let args = args("--rounds 1 --borrows 200 --millis 5");
        for &load in Load::value_variants() {
            let block = measure(&args, load);
            for lane in &block.lanes.0 {
                match &lane.rounds {
                    Ok(times) => assert!(times.len() == 1 && times[0] > 0.0, "{load}, {}", lane.name),
                    Err(reason) => assert!(!reason.is_empty()),
                }
            }
            assert!(block.lanes.rounds("millpond").is_some(), "{load}");
            assert_eq!(block.share(Kind::Millpond).is_some(), load.is_contended(SIZE), "{load}");
            for section in block.times(&args) {
                assert!(section.markdown().contains("millpond"));
            }
        }
    }
}
