//! The figures that targets are about, found among the results.

use super::results::Results;
use crate::adapters::Kind;
use crate::stats::Spread;
use crate::throughput::Workload;
use crate::{growth, hit_ratio};

/// What is measured. Ratios are of medians, over the rounds that alternated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Figure {
    /// Time of a workload over another subject's.
    Time { workload: Workload, threads: usize, over: &'static str },
    /// Another subject's time over ours, where it is least: over all workloads and threads.
    LeastSpeedup { over: &'static str },
    /// p99.9 of churn over another subject's.
    P999 { threads: usize, over: Kind },
    /// Bytes per entry.
    BytesPerEntry { churned: bool },
    /// Instructions over another subject's.
    Instructions { workload: Workload, over: &'static str },
    /// Cells of the hit-ratio table that fall short of what is expected.
    CellsShort,
    /// Mean hit ratio minus that expected.
    MeanOverExpected,
    /// Mean hit ratio with default shards minus that with one.
    DefaultOverOneShard,
    /// Mean hit ratio with default shards minus that of the best peer.
    MeanOverBestPeer,
    /// The longest insert while growing, median of the rounds, in ms.
    LongestPause,
    /// Entries over the capacity, at most.
    OverCapacity,
}

/// A figure, and what a reader should know of it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Found {
    pub(super) value: f64,
    pub(super) remark: String,
}

const OWN: &str = "millpond";

fn ratio(spread: Spread, over: &str) -> Found {
    let Spread { median, least, greatest } = spread;
    Found { value: median, remark: format!("× {over}; single rounds {least:.2} to {greatest:.2}") }
}

fn plain(value: f64, remark: impl Into<String>) -> Found {
    Found { value, remark: remark.into() }
}

impl Figure {
    /// `None` if it was not measured.
    pub(super) fn of(self, results: &Results) -> Option<Found> {
        match self {
            Self::Time { workload, threads, over } => {
                let block = results
                    .throughput
                    .iter()
                    .find(|block| block.workload == workload && block.threads == threads)?;
                Some(ratio(block.lanes.ratio(OWN, over)?, over))
            }
            Self::LeastSpeedup { over } => {
                let speedups = results.throughput.iter().filter_map(|block| {
                    let own_share = block.lanes.ratio(over, OWN)?.median;
                    Some((
                        own_share,
                        format!("as {over}; least in {}, threads: {}", block.workload, block.threads),
                    ))
                });
                let (value, remark) = speedups.min_by(|a, b| a.0.total_cmp(&b.0))?;
                Some(plain(value, remark))
            }
            Self::P999 { threads, over } => {
                let block = results.latency.iter().find(|block| block.threads == threads)?;
                let quantile =
                    |kind| Some(block.lane(kind)?.all.as_ref().ok()?.value_at_quantile(0.999) as f64);
                let (own, other) = (quantile(Kind::Millpond)?, quantile(over)?);
                Some(plain(own / other, format!("× {over}: {own:.0} ns and {other:.0} ns")))
            }
            Self::BytesPerEntry { churned } => {
                let (_, memory) = results.memory.iter().find(|(kind, _)| *kind == Kind::Millpond)?;
                let footprint = if churned { memory.churned? } else { memory.filled };
                Some(plain(footprint.per_entry(), format!("{} entries", footprint.held)))
            }
            Self::Instructions { workload, over } => {
                let block = results.instructions.iter().find(|block| block.workload == workload)?;
                let value = block.lanes.ratio(OWN, over)?.median;
                let (own, other) = (block.lanes.median(OWN)?, block.lanes.median(over)?);
                Some(plain(value, format!("× {over}: {own:.1} and {other:.1}")))
            }
            Self::CellsShort => {
                let compared = one_shard(results)?;
                let remark = format!(
                    "of {}; the lowest {:+.2}; seed noise allowed for",
                    compared.cells, compared.least
                );
                Some(plain(compared.short as f64, remark))
            }
            Self::MeanOverExpected => Some(plain(one_shard(results)?.mean, "")),
            Self::DefaultOverOneShard => {
                let report = results.hit_ratio.first()?;
                let one = report.mean_of(hit_ratio::Subject::Millpond1)?;
                let own = report.mean_of(hit_ratio::Subject::Millpond)?;
                Some(plain(own - one, format!("{own:.2} and {one:.2}")))
            }
            Self::MeanOverBestPeer => {
                let report = results.hit_ratio.first()?;
                let own = report.mean_of(hit_ratio::Subject::Millpond)?;
                let peers = report.subjects().iter().filter(|subject| subject.is_peer());
                let means = peers.filter_map(|&peer| Some((report.mean_of(peer)?, peer)));
                let (best, peer) = means.max_by(|a, b| a.0.total_cmp(&b.0))?;
                Some(plain(own - best, format!("{own:.2}, and {peer} {best:.2}")))
            }
            Self::LongestPause => {
                let (_, rounds) = results.growth.iter().find(|(kind, _)| *kind == Kind::Millpond)?;
                let wall = growth::over(rounds, |round| round.longest)?;
                let cpu = growth::over(rounds, |round| round.longest_cpu)?;
                let remark = format!(
                    "wall time, median of {} rounds; {:.2} to {:.2}; CPU time at most {:.2}",
                    rounds.len(),
                    wall.least / 1e6,
                    wall.greatest / 1e6,
                    cpu.median / 1e6
                );
                Some(plain(wall.median / 1e6, remark))
            }
            Self::OverCapacity => {
                let (_, seen) = results.bound.iter().find(|(kind, _)| *kind == Kind::Millpond)?;
                let seen = seen.ok()?;
                Some(plain(seen.over as f64, format!("{} looks", seen.samples)))
            }
        }
    }
}

/// What was expected of one shard, and only of that.
fn one_shard(results: &Results) -> Option<hit_ratio::Comparison> {
    let report = results.hit_ratio.first()?;
    let first = report.subjects().first()?;
    (*first == hit_ratio::Subject::Millpond1).then(|| report.comparison())?
}
