//! What a report runs: command lines of the other commands, so that each table can be made again by the one above it.

use std::path::Path;

use anyhow::Context as _;
use clap::{Args, Command};

/// The command lines, by command. Where there are several, each measures a part.
#[derive(Clone, Debug, Default)]
pub(super) struct Plan {
    pub(super) throughput: Vec<String>,
    pub(super) latency: Vec<String>,
    pub(super) instructions: Vec<String>,
    pub(super) memory: Vec<String>,
    pub(super) growth: Vec<String>,
    pub(super) bound: Vec<String>,
    pub(super) features: Vec<String>,
    pub(super) hit_ratio: Vec<String>,
}

/// For a folder without traces: a mixture that no policy finds easy, and one that all do.
const GENERATED: &str = "--synthetic mixture:20000:2000000 zipf:100000:2000000:0.9 scan-bursts:20000:2000000 \
    drift:20000:2000000 phases:10000:1000000";

impl Plan {
    /// All subjects, as the commands come.
    pub(super) fn full(traces: Option<&Path>) -> Self {
        let line = |text: &str| vec![text.to_owned()];
        Self {
            throughput: line(""),
            latency: line(""),
            instructions: line(""),
            memory: line(""),
            growth: line(""),
            bound: line(""),
            features: line(""),
            hit_ratio: line(&hit_ratio(
                traces,
                "millpond1,millpond,policy,moka,mini-moka,quick-cache,foyer,tinyufo,lru",
            )),
        }
    }

    /// What the targets need, in minutes.
    pub(super) fn quick(traces: Option<&Path>) -> Self {
        let line = |text: &str| vec![text.to_owned()];
        Self {
            throughput: [
                "--workloads hot-reads,pin,one-key --threads 1,2 --rounds 9 --operations 500000 \
                 --subjects millpond,quick_cache,moka,dashmap",
                "--workloads miss,mixed,overwrite,churn,unique --threads 1,2 --rounds 7 --operations 300000 \
                 --subjects millpond,quick_cache,moka",
                "--workloads large --threads 1,2 --rounds 5 --operations 500000 --subjects millpond,quick_cache,moka",
            ]
            .map(str::to_owned)
            .to_vec(),
            latency: line("--threads 2,8 --rounds 5 --operations 300000 --subjects millpond,quick_cache"),
            instructions: line("--few 20000 --many 100000 --subjects millpond,quick_cache,moka"),
            memory: line("--subjects millpond,quick_cache,moka"),
            growth: line("--rounds 5 --subjects millpond,quick_cache"),
            bound: line("--subjects millpond,quick_cache,moka"),
            features: line(""),
            hit_ratio: line(&hit_ratio(traces, "millpond1,millpond,moka,quick-cache,foyer,tinyufo")),
        }
    }
}

/// Millpond with one shard comes first: it is what is held against the figures that are expected.
fn hit_ratio(traces: Option<&Path>, policies: &str) -> String {
    let Some(folder) = traces else { return format!("{GENERATED} --policies {policies}") };
    let expected = folder.join("expected.csv");
    let expected =
        if expected.is_file() { format!(" --expected {}", expected.display()) } else { String::new() };
    format!("--trace {}{expected} --policies {policies}", folder.display())
}

/// The options that a command line means.
pub(super) fn parse<A: Args>(line: &str) -> anyhow::Result<A> {
    let command = A::augment_args(Command::new("millpond-bench").no_binary_name(true));
    let matches = command.try_get_matches_from(line.split_whitespace())?;
    A::from_arg_matches(&matches).with_context(|| line.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{bound, features, growth, hit_ratio, instructions, latency, memory, throughput};

    fn all_parse<A: Args>(lines: &[String]) -> Vec<A> {
        assert!(!lines.is_empty());
        lines.iter().map(|line| parse(line).unwrap_or_else(|error| panic!("{line}: {error}"))).collect()
    }

    #[test]
    fn every_line_is_a_command_line() {
        let folder = tempfile::tempdir().unwrap();
        for plan in [
            Plan::full(None),
            Plan::quick(None),
            Plan::full(Some(folder.path())),
            Plan::quick(Some(folder.path())),
        ] {
            all_parse::<latency::Args>(&plan.latency);
            all_parse::<instructions::Args>(&plan.instructions);
            all_parse::<memory::Args>(&plan.memory);
            all_parse::<growth::Args>(&plan.growth);
            all_parse::<bound::Args>(&plan.bound);
            all_parse::<features::Args>(&plan.features);
            all_parse::<hit_ratio::Args>(&plan.hit_ratio);
            let throughput = all_parse::<throughput::Args>(&plan.throughput);
            assert!(throughput.iter().all(|args| args.rounds >= 5), "fewer rounds say nothing");
        }
        assert!(parse::<memory::Args>("--entries 0").is_err());
    }

    #[test]
    fn expected_figures_are_used_where_they_are() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!Plan::quick(Some(folder.path())).hit_ratio[0].contains("--expected"));
        std::fs::write(folder.path().join("expected.csv"), "trace,capacity,policy.md\n").unwrap();
        assert!(Plan::quick(Some(folder.path())).hit_ratio[0].contains("--expected"));
    }
}
