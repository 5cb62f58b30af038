//! Hit ratios of Millpond and its peers over request traces.
//!
//! One thread, one request after the other: a key that is found is a hit, one that is not is inserted. Every subject sees
//! the same requests and may hold the same number of entries, or bytes. The figures are facts about policies, not
//! timings: they may be taken on a busy machine, and repeat but for random seeds.
//!
//! - [`args`]: the command line. [`run`]: what it does.
//! - [`access`]: what a cache must offer to be measured. [`subject`]: which there are.
//! - [`policy`]: Millpond's eviction policy alone, the yardstick for `--expected`. [`millpond`]: the real cache.
//! - [`peers`]: other people's caches. [`references`]: LRU, and Belady's optimum.
//! - [`expected`]: figures to be met. [`report`]: tables.
#![allow(unreachable_pub, reason = "`pub` marks what other folders may use, in a binary too")]

pub mod access;
pub mod args;
pub mod expected;
pub mod millpond;
pub mod peers;
pub mod policy;
pub mod references;
pub mod report;
pub mod subject;

use std::io::Write as _;
use std::time::Duration;

use anyhow::Context as _;
pub use args::Args;
use indicatif::{ProgressBar, ProgressStyle};
use rayon::prelude::*;

use self::access::Setup;
use self::expected::Expected;
use self::report::{Cell, Ratio};
pub use self::report::{Comparison, Report};
pub use self::subject::Subject;
use crate::trace::{Loaded, Source};

/// Below this many requests a cell depends on the seed by up to a point or two, so it is the mean over several.
const FEW_REQUESTS: usize = 200_000;
/// Seeds for such a trace, unless `--seeds` says otherwise.
const SEEDS_FOR_FEW: u64 = 8;
/// At so many times the distinct keys nothing is evicted, whatever the shards.
const SPACIOUS: u64 = 8;
/// Capacities, in parts of the distinct keys (or their bytes), where none are given.
const DEFAULT_CAPACITIES: [f64; 5] = [0.001, 0.01, 0.05, 0.1, 0.25];

/// Runs all subjects over all traces and prints the table.
///
/// # Errors
/// If a trace can't be read, the table can't be written, or figures given with `--expected` are not met.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let report = measure(args)?;
    let mut out = std::io::stdout().lock();
    report.write(&mut out, args.markdown)?;
    out.flush()?;
    report.verdict()
}

/// Runs all subjects over all traces.
///
/// # Errors
/// If a trace can't be read.
pub fn measure(args: &Args) -> anyhow::Result<Report> {
    let expected = args.expected.as_deref().map(Expected::read).transpose()?;
    let subjects = args.subjects(expected.as_ref());
    let progress = progress_bar();
    let mut report = Report::new(subjects.clone(), args.byte);
    for source in args.sources()? {
        let wanted = expected.as_ref().map(|expected| expected.capacities(source.name())).unwrap_or_default();
        if expected.is_some() && wanted.is_empty() && args.capacity.is_empty() {
            continue;
        }
        progress.set_message(format!("{source}: reading"));
        let trace = load(&source, args, &progress)?;
        let capacities = match (&args.capacity[..], &wanted[..]) {
            ([], []) => default_capacities(&trace, args.byte),
            ([], wanted) => wanted.to_vec(),
            (given, _) => given.to_vec(),
        };
        for capacity in capacities {
            let mut cell = Cell::new(source.name(), capacity, trace.len());
            progress.set_message(format!("{source} at {capacity}"));
            progress.reset();
            progress.set_length(
                subjects.iter().map(|subject| seeds(*subject, &trace, args)).sum::<u64>()
                    * trace.len() as u64,
            );
            // Ratios are no times: all cores may work.
            let ratios =
                subjects.par_iter().map(|&subject| ratio(subject, &trace, capacity, args, &progress));
            cell.ratios = ratios.collect::<anyhow::Result<_>>()?;
            cell.expected = expected.as_ref().and_then(|expected| expected.find(source.name(), capacity));
            report.add(cell);
        }
    }
    progress.finish_and_clear();
    anyhow::ensure!(!report.is_empty(), "nothing to measure: no trace fits the expected figures");
    Ok(report)
}

fn load(source: &Source, args: &Args, progress: &ProgressBar) -> anyhow::Result<Loaded> {
    let requests = source.requests()?;
    let loaded = Loaded::read(requests, args.limit.unwrap_or(usize::MAX), |read| {
        progress.set_message(format!("{source}: reading, {read} requests"));
        progress.tick();
    });
    let loaded = loaded.with_context(|| match source.read_as() {
        Some(format) => format!("in trace {source}, read as {format} (--format says how else)"),
        None => format!("in trace {source}"),
    })?;
    anyhow::ensure!(!loaded.is_empty(), "trace {source} is empty");
    anyhow::ensure!(!args.byte || !loaded.sizes.is_empty(), "trace {source} has no sizes: --byte needs them");
    Ok(loaded)
}

/// Seeds that a subject runs a trace with.
fn seeds(subject: Subject, trace: &Loaded, args: &Args) -> u64 {
    let few = if trace.len() < FEW_REQUESTS { SEEDS_FOR_FEW } else { 1 };
    if subject.is_random() { args.seeds.unwrap_or(few) } else { 1 }
}

/// Mean over the seeds; `None` where the subject can't play.
fn ratio(
    subject: Subject,
    trace: &Loaded,
    capacity: u64,
    args: &Args,
    progress: &ProgressBar,
) -> anyhow::Result<Option<Ratio>> {
    // More room is of no use to anybody, and some take it all at once.
    let ceiling = if args.byte { u64::MAX } else { SPACIOUS * trace.distinct() as u64 };
    let capacity = capacity.min(ceiling);
    let mut tallies = Vec::new();
    for seed in 0..seeds(subject, trace, args) {
        let setup = Setup {
            capacity,
            byte: args.byte,
            seed: args.seed + seed,
            shards: args.shards,
            distinct: trace.distinct(),
            mean_size: if args.byte { (footprint(trace) / trace.distinct() as u64).max(1) } else { 1 },
        };
        let tally = subject.run(trace, setup, &mut |requests| progress.inc(requests))?;
        let Some(tally) = tally else { return Ok(None) };
        tallies.push(tally);
    }
    Ok(Some(Ratio::of(&tallies)))
}

/// What all keys together take, each at its largest.
fn footprint(trace: &Loaded) -> u64 {
    let mut largest = vec![0; trace.distinct()];
    for (request, &id) in trace.ids.iter().enumerate() {
        largest[id as usize] = trace.size(request).max(largest[id as usize]);
    }
    largest.iter().copied().map(u64::from).sum()
}

fn default_capacities(trace: &Loaded, byte: bool) -> Vec<u64> {
    let all = if byte { footprint(trace) } else { trace.distinct() as u64 };
    let mut capacities: Vec<u64> =
        DEFAULT_CAPACITIES.iter().map(|part| ((all as f64 * part) as u64).max(10)).collect();
    capacities.dedup();
    capacities
}

fn progress_bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{elapsed_precise} {bar:30} {percent:>3} % {msg}");
    let bar = ProgressBar::new(0).with_style(style.expect("the template is well-formed"));
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
