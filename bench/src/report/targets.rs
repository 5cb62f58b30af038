//! What Millpond is to reach. Only data: `figure.rs` finds the figures.

use super::figure::Figure;
use crate::adapters::Kind;
use crate::target::Bound;
use crate::throughput::Workload;

/// One line of the table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target {
    pub(super) what: &'static str,
    pub(super) figure: Figure,
    pub(super) bound: Bound,
    /// Wished for: the next step, not a promise.
    pub(super) stretch: bool,
}

const QUICK_CACHE: &str = "quick_cache";
const MOKA: &str = "moka";
const DASHMAP: &str = "dashmap";
const HASHMAP: &str = "hashmap";

const fn target(what: &'static str, figure: Figure, bound: Bound) -> Target {
    Target { what, figure, bound, stretch: false }
}

const fn stretch(what: &'static str, figure: Figure, bound: Bound) -> Target {
    Target { what, figure, bound, stretch: true }
}

const fn time(workload: Workload, threads: usize, over: &'static str) -> Figure {
    Figure::Time { workload, threads, over }
}

use Bound::{Above, AtLeast, AtMost};
use Workload::{Churn, HotReads, Mixed, OneKey, Overwrite, Pin, Unique};

/// All of them.
pub(super) const TARGETS: &[Target] = &[
    target("hot reads, 1 thread", time(HotReads, 1, QUICK_CACHE), AtMost(0.90)),
    stretch("hot reads, 1 thread", time(HotReads, 1, DASHMAP), AtMost(1.10)),
    target("hot reads, 2 threads", time(HotReads, 2, QUICK_CACHE), AtMost(0.65)),
    target("one hot key, 2 threads", time(OneKey, 2, QUICK_CACHE), AtMost(0.65)),
    target("hot reads, 64 under one pin, 1 thread", time(Pin, 1, HASHMAP), AtMost(1.30)),
    target("75/25, 1 thread", time(Mixed, 1, QUICK_CACHE), AtMost(1.0)),
    target("75/25, 2 threads", time(Mixed, 2, QUICK_CACHE), AtMost(1.0)),
    target("overwrite, 1 thread", time(Overwrite, 1, QUICK_CACHE), AtMost(1.0)),
    target("overwrite, 2 threads", time(Overwrite, 2, QUICK_CACHE), AtMost(1.0)),
    target("churn with eviction, 1 thread", time(Churn, 1, QUICK_CACHE), AtMost(0.80)),
    target("churn with eviction, 2 threads", time(Churn, 2, QUICK_CACHE), AtMost(0.80)),
    target("unique inserts, each evicting, 1 thread", time(Unique, 1, QUICK_CACHE), AtMost(0.70)),
    target("unique inserts, each evicting, 2 threads", time(Unique, 2, QUICK_CACHE), AtMost(0.70)),
    target("every workload, times faster, at least", Figure::LeastSpeedup { over: MOKA }, AtLeast(10.0)),
    target("p99.9 of churn, 2 threads", Figure::P999 { threads: 2, over: Kind::QuickCache }, AtMost(1.0)),
    target("p99.9 of churn, 8 threads", Figure::P999 { threads: 8, over: Kind::QuickCache }, AtMost(1.0)),
    target("bytes per entry, filled", Figure::BytesPerEntry { churned: false }, AtMost(64.0)),
    target("bytes per entry, after churn", Figure::BytesPerEntry { churned: true }, AtMost(64.0)),
    target(
        "instructions per hit",
        Figure::Instructions { workload: HotReads, over: QUICK_CACHE },
        AtMost(1.0),
    ),
    target(
        "hit ratio, one shard: cells below the expected by more than 0.5 points",
        Figure::CellsShort,
        AtMost(0.0),
    ),
    target("hit ratio, one shard: mean over the expected, points", Figure::MeanOverExpected, AtLeast(-0.2)),
    stretch("hit ratio, one shard: mean over the expected, points", Figure::MeanOverExpected, AtLeast(0.3)),
    target(
        "hit ratio, default shards: mean over one shard's, points",
        Figure::DefaultOverOneShard,
        AtLeast(-0.2),
    ),
    target("hit ratio: mean over the best peer's, points", Figure::MeanOverBestPeer, Above(0.0)),
    target("longest insert while growing, ms", Figure::LongestPause, AtMost(2.0)),
    target("entries over capacity during churn", Figure::OverCapacity, AtMost(0.0)),
];
