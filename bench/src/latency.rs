//! How long single operations take, to the last percentile: cache-aside churn (Zipf 0.9 over 16 times the capacity), where
//! one operation in 64 is timed. An operation is a read and, on a miss, the insert. Subjects take turns round by round.

use std::time::Instant;

use hdrhistogram::Histogram;

use crate::adapters::{Kind, Subject, Visit};
use crate::stats::Spread;
use crate::table::{Section, duration};
use crate::throughput::{at_least_one, churn};
use crate::{keys, progress, rounds};

/// One operation in so many is timed.
const ONE_IN: usize = 64;
/// The figures, but for the greatest.
pub(crate) const QUANTILES: [(&str, f64); 5] =
    [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("p99.99", 0.9999)];

/// Options of `latency`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// Threads
    #[arg(long, value_delimiter = ',', default_values_t = [1, 2, 8], value_parser = at_least_one)]
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
    /// Only these subjects [default: all]
    #[arg(long, value_delimiter = ',', value_enum)]
    pub(crate) subjects: Vec<Kind>,
}

/// One number of threads.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) threads: usize,
    /// What timing nothing takes, in ns.
    pub(crate) timer: u64,
    pub(crate) lanes: Vec<Lane>,
}

/// One subject, in ns.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) kind: Kind,
    /// All rounds together; or why there are none.
    pub(crate) all: Result<Histogram<u64>, &'static str>,
    /// p99.9 of each round.
    pub(crate) p999: Vec<f64>,
}

impl Block {
    pub(crate) fn lane(&self, kind: Kind) -> Option<&Lane> {
        self.lanes.iter().find(|lane| lane.kind == kind && lane.all.is_ok())
    }
}

/// Measures one number of threads.
pub(crate) fn measure(args: &Args, threads: usize) -> anyhow::Result<Block> {
    let keys = keys::zipf(16 * args.capacity as u64, 0.9, 1 << 21)?;
    let warm = &keys[..keys.len().min(4 * args.capacity)];
    let subjects = Kind::or_all(&args.subjects);
    let bar = progress::bar((subjects.len() * (args.rounds + 2)) as u64);
    bar.set_message(format!("latency, threads: {threads}"));
    let mut timed = Vec::new();
    for kind in subjects {
        timed.push((kind, kind.accept(Make { capacity: args.capacity, warm }), Vec::new()));
        bar.inc(1);
    }
    for round in 0..=args.rounds {
        for (_, subject, histograms) in &mut timed {
            let Ok(subject) = subject else { continue };
            let parts = rounds::run(threads, |thread| {
                let begin = thread * keys.len() / threads + round * args.operations;
                subject.time(&keys, begin, args.operations)
            });
            let mut whole = empty();
            for part in parts {
                whole.add(part)?;
            }
            if round > 0 {
                histograms.push(whole);
            }
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    let mut lanes = Vec::new();
    for (kind, subject, histograms) in timed {
        let p999 = histograms.iter().map(|one| one.value_at_quantile(0.999) as f64).collect();
        let mut all = empty();
        for one in &histograms {
            all.add(one)?;
        }
        lanes.push(Lane { kind, all: subject.map(|_| all), p999 });
    }
    Ok(Block { threads, timer: timer(), lanes })
}

fn empty() -> Histogram<u64> {
    Histogram::new_with_max(60_000_000_000, 3).expect("the bounds are valid")
}

/// The median of timing nothing.
fn timer() -> u64 {
    let mut histogram = empty();
    for _ in 0..10_000 {
        let began = Instant::now();
        histogram.saturating_record(began.elapsed().as_nanos() as u64);
    }
    histogram.value_at_quantile(0.5)
}

trait Timed: Sync {
    fn time(&self, keys: &[u64], begin: usize, operations: usize) -> Histogram<u64>;
}

struct Make<'k> {
    capacity: usize,
    warm: &'k [u64],
}

impl Visit for Make<'_> {
    type Output = Result<Box<dyn Timed>, &'static str>;

    fn visit<S: Subject>(self) -> Self::Output {
        if !S::BOUNDED {
            return Err("holds all: no eviction");
        }
        let subject = S::new(self.capacity);
        churn(&subject, self.warm);
        Ok(Box::new(Warm(subject)))
    }
}

struct Warm<S>(S);

impl<S: Subject> Timed for Warm<S> {
    fn time(&self, keys: &[u64], begin: usize, operations: usize) -> Histogram<u64> {
        let mut histogram = empty();
        for piece in keys::pieces(keys, begin, operations) {
            for group in piece.chunks(ONE_IN) {
                let Some((last, others)) = group.split_last() else { continue };
                churn(&self.0, others);
                let began = Instant::now();
                churn(&self.0, std::slice::from_ref(last));
                histogram.saturating_record(began.elapsed().as_nanos() as u64);
            }
        }
        histogram
    }
}

/// The table.
pub(crate) fn section(block: &Block) -> Section {
    let title = format!("Latency of churn, threads: {}", block.threads);
    let mut header = vec!["subject"];
    header.extend(QUANTILES.map(|(name, _)| name));
    header.extend(["max", "p99.9 of rounds", ""]);
    let mut section = Section::new(title, &header).with_note(format!(
        "One operation in {ONE_IN} is timed; the timer alone takes {} of each figure. On more threads than cores the \
         upper percentiles are the scheduler's.",
        duration(block.timer as f64)
    ));
    for lane in &block.lanes {
        let mut row = vec![lane.kind.to_string()];
        match &lane.all {
            Err(reason) => {
                row.resize(header.len() - 1, "-".to_owned());
                row.push((*reason).to_owned());
            }
            Ok(all) => {
                let quantiles = QUANTILES.map(|(_, quantile)| all.value_at_quantile(quantile));
                row.extend(quantiles.into_iter().chain([all.max()]).map(|nanos| duration(nanos as f64)));
                let rounds = Spread::of(&lane.p999);
                row.push(rounds.map_or_else(String::new, |Spread { least, greatest, .. }| {
                    format!("{} … {}", duration(least), duration(greatest))
                }));
            }
        }
        section.push(row);
    }
    section
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    for &threads in &args.threads {
        section(&measure(args, threads)?).print();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_operation_in_64_is_counted() {
        let subjects = vec![Kind::Millpond, Kind::Papaya];
        let args = Args { threads: vec![2], rounds: 2, capacity: 1024, operations: 6400, subjects };
        let block = measure(&args, 2).unwrap();
        let lane = block.lane(Kind::Millpond).expect("it takes part");
        assert_eq!(lane.p999.len(), 2);
        assert_eq!(lane.all.as_ref().map(|all| all.len()), Ok(2 * 2 * 100));
        assert!(block.lane(Kind::Papaya).is_none(), "it evicts nothing");
        assert!(section(&block).markdown().contains("no eviction"));
    }
}
