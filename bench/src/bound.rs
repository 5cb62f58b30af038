//! Entries over capacity: one thread looks at the count as often as it can while others churn.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::adapters::{Kind, Subject, Visit};
use crate::table::Section;
use crate::throughput::{at_least_one, churn};
use crate::{keys, progress, rounds};

/// Options of `bound`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// Threads that churn, besides the one that looks
    #[arg(long, default_value_t = 8, value_parser = at_least_one)]
    pub(crate) threads: usize,
    /// Entries each cache may hold
    #[arg(long, default_value_t = 65_536, value_parser = at_least_one)]
    pub(crate) capacity: usize,
    /// Operations of each thread
    #[arg(long, default_value_t = 1_000_000, value_parser = at_least_one)]
    pub(crate) operations: usize,
    /// Only these subjects [default: all]
    #[arg(long, value_delimiter = ',', value_enum)]
    pub(crate) subjects: Vec<Kind>,
}

/// What was seen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Overshoot {
    /// Entries above the capacity, at most.
    pub(crate) over: usize,
    /// Looks.
    pub(crate) samples: u64,
}

/// Measures all subjects; says why where one can't be.
pub(crate) fn measure(args: &Args) -> anyhow::Result<Vec<(Kind, Result<Overshoot, &'static str>)>> {
    let subjects = Kind::or_all(&args.subjects);
    let keys = keys::zipf(16 * args.capacity as u64, 0.9, 1 << 20)?;
    let bar = progress::bar(subjects.len() as u64);
    let mut results = Vec::new();
    for kind in subjects {
        bar.set_message(format!("bound: {kind}"));
        results.push((kind, kind.accept(Watch { args, keys: &keys })));
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(results)
}

/// The table.
pub(crate) fn section(args: &Args, results: &[(Kind, Result<Overshoot, &'static str>)]) -> Section {
    let title =
        format!("Entries over a capacity of {} during churn, threads: {}", args.capacity, args.threads);
    let mut section = Section::new(title, &["subject", "over, at most", "looks", ""])
        .with_note("What each subject's own count says, as often as one more thread can ask for it.");
    for (kind, result) in results {
        match result {
            Ok(Overshoot { over, samples }) => {
                section.push([kind.to_string(), over.to_string(), samples.to_string()]);
            }
            Err(reason) => section.push([&kind.to_string(), "-", "-", reason].map(str::to_owned)),
        }
    }
    section
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    section(args, &measure(args)?).print();
    Ok(())
}

struct Watch<'a> {
    args: &'a Args,
    keys: &'a [u64],
}

impl Visit for Watch<'_> {
    type Output = Result<Overshoot, &'static str>;

    fn visit<S: Subject>(self) -> Self::Output {
        let Args { threads, capacity, operations, .. } = *self.args;
        if !S::BOUNDED {
            return Err("holds all");
        }
        let subject = S::new(capacity);
        if subject.held().is_none() {
            return Err("does not count its entries");
        }
        let working = AtomicUsize::new(threads);
        let seen = rounds::run(threads + 1, |thread| {
            let mut samples = 0;
            let mut most = 0;
            if thread < threads {
                let begin = thread * self.keys.len() / threads;
                keys::pieces(self.keys, begin, operations).for_each(|keys| churn(&subject, keys));
                working.fetch_sub(1, Ordering::Relaxed);
            } else {
                // At least one look, though it may come last.
                while samples == 0 || working.load(Ordering::Relaxed) > 0 {
                    most = most.max(subject.held().unwrap_or(0));
                    samples += 1;
                }
            }
            (most, samples)
        });
        let (most, samples) = seen[threads];
        Ok(Overshoot { over: most.saturating_sub(capacity), samples })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn millpond_keeps_to_its_bound_and_a_map_has_none() {
        let args = Args { threads: 2, capacity: 1000, operations: 5000, subjects: Vec::new() };
        let keys = keys::zipf(16_000, 0.9, 5000).unwrap();
        let watched = Kind::Millpond.accept(Watch { args: &args, keys: &keys }).unwrap();
        assert!(watched.over == 0 && watched.samples > 0, "{watched:?}");
        assert!(Kind::DashMap.accept(Watch { args: &args, keys: &keys }).is_err());
    }
}
