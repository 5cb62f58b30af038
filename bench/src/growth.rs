//! The longest pause of one insert while a cache grows from nothing. Each subject grows in a process of its own, so that
//! none profits from memory that another has already touched.
//!
//! Every insert is timed. The wall clock also counts time in which the system let others run; the thread's CPU clock does
//! not, but is read only every 64 inserts and after a pause, so its figure is an upper bound.

use std::time::Instant;

use hdrhistogram::Histogram;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use crate::adapters::{Kind, Subject, Visit};
use crate::stats::Spread;
use crate::table::{Section, duration};
use crate::throughput::at_least_one;
use crate::{child, keys, progress};

/// Inserts between two looks at the CPU clock.
const CPU_EVERY: u64 = 64;
/// A pause, in ns, after which the CPU clock is read.
const PAUSE: u64 = 50_000;

/// Options of `growth`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// Entries to grow to, which is the capacity too
    #[arg(long, default_value_t = 10_000_000, value_parser = at_least_one)]
    pub(crate) entries: usize,
    /// Rounds: each grows each subject once
    #[arg(long, default_value_t = 5, value_parser = at_least_one)]
    pub(crate) rounds: usize,
    /// Only these subjects [default: all]
    #[arg(long, value_delimiter = ',', value_enum)]
    pub(crate) subjects: Vec<Kind>,
}

/// Options of the hidden subcommand.
#[derive(Debug, clap::Args)]
pub(crate) struct ChildArgs {
    subject: Kind,
    entries: usize,
}

/// One growth, in ns.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct Growth {
    pub(crate) longest: u64,
    pub(crate) longest_cpu: u64,
    pub(crate) p9999: u64,
    pub(crate) mean: f64,
}

/// Measures all subjects in turn.
pub(crate) fn measure(args: &Args) -> anyhow::Result<Vec<(Kind, Vec<Growth>)>> {
    let mut results: Vec<(Kind, Vec<Growth>)> =
        Kind::or_all(&args.subjects).into_iter().map(|kind| (kind, Vec::new())).collect();
    let bar = progress::bar((results.len() * args.rounds) as u64);
    for _ in 0..args.rounds {
        for (kind, rounds) in &mut results {
            bar.set_message(format!("growth: {kind}"));
            let arguments = ["child-growth", &kind.to_string(), &args.entries.to_string()];
            rounds.push(child::run(&arguments.map(str::to_owned))?);
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    Ok(results)
}

/// Median over the rounds of one of the figures.
pub(crate) fn over(rounds: &[Growth], figure: impl Fn(&Growth) -> u64) -> Option<Spread> {
    Spread::of(&rounds.iter().map(|round| figure(round) as f64).collect::<Vec<_>>())
}

/// The table.
pub(crate) fn section(args: &Args, results: &[(Kind, Vec<Growth>)]) -> Section {
    let title = format!("Longest pause of one insert while growing from nothing to {} entries", args.entries);
    let header =
        ["subject", "longest (median)", "least", "greatest", "of that CPU, at most", "p99.99", "mean insert"];
    let mut section = Section::new(title, &header).with_note(format!(
        "{} rounds, each in a fresh process; wall time of single inserts, one thread. Where others got the processor, the \
         wall time is longer than the CPU time.",
        args.rounds
    ));
    for (kind, rounds) in results {
        let longest = over(rounds, |round| round.longest);
        let cpu = over(rounds, |round| round.longest_cpu);
        let p9999 = over(rounds, |round| round.p9999);
        let mean = Spread::of(&rounds.iter().map(|round| round.mean).collect::<Vec<_>>());
        let (Some(longest), Some(cpu), Some(p9999), Some(mean)) = (longest, cpu, p9999, mean) else {
            continue;
        };
        let figures =
            [longest.median, longest.least, longest.greatest, cpu.median, p9999.median, mean.median];
        section.push([kind.to_string()].into_iter().chain(figures.map(duration)));
    }
    section
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    section(args, &measure(args)?).print();
    Ok(())
}

/// The part in a process of its own.
pub(crate) fn child(args: &ChildArgs) -> anyhow::Result<()> {
    child::answer(&args.subject.accept(Grow { entries: args.entries })?)
}

struct Grow {
    entries: usize,
}

impl Visit for Grow {
    type Output = anyhow::Result<Growth>;

    fn visit<S: Subject>(self) -> Self::Output {
        let subject = S::growing(self.entries);
        let mut histogram = Histogram::<u64>::new_with_max(60_000_000_000, 3)?;
        let (mut longest, mut longest_cpu) = (0, 0);
        let began = Instant::now();
        let (mut last, mut cpu) = (began, cpu_nanos());
        for key in 0..self.entries as u64 {
            subject.insert(keys::spread(key), key);
            let now = Instant::now();
            let took = (now - last).as_nanos() as u64;
            last = now;
            histogram.saturating_record(took);
            longest = longest.max(took);
            if took > PAUSE || key % CPU_EVERY == 0 {
                let cpu_now = cpu_nanos();
                if took > PAUSE {
                    longest_cpu = longest_cpu.max((cpu_now - cpu).min(took));
                }
                cpu = cpu_now;
                // The look itself is no insert.
                last = Instant::now();
            }
        }
        let mean = began.elapsed().as_nanos() as f64 / self.entries as f64;
        Ok(Growth { longest, longest_cpu, p9999: histogram.value_at_quantile(0.9999), mean })
    }
}

/// CPU time of this thread.
fn cpu_nanos() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_is_no_shorter_than_the_percentile() {
        let growth = Kind::Millpond.accept(Grow { entries: 20_000 }).unwrap();
        // The histogram keeps three digits.
        assert!(growth.longest as f64 * 1.001 + 1.0 >= growth.p9999 as f64, "{growth:?}");
        assert!(
            growth.longest > 0 && growth.longest_cpu <= growth.longest && growth.mean > 0.0,
            "{growth:?}"
        );
    }
}
