//! A table with its chart, and what belongs together.

use super::chart::{self, Bar, Line};
use crate::adapters::Kind;
use crate::growth::{self, Growth};
use crate::memory::{self, Memory};
use crate::stats::Spread;
use crate::table::Section;
use crate::{hit_ratio, instructions, latency, throughput};

/// A table, with a chart where one helps.
#[derive(Clone, Debug, Default)]
pub(super) struct Exhibit {
    pub(super) section: Section,
    /// SVG.
    pub(super) charts: Vec<String>,
}

/// The exhibits of one command, and its command lines.
#[derive(Clone, Debug, Default)]
pub(super) struct Chapter {
    pub(super) title: String,
    pub(super) commands: Vec<String>,
    pub(super) exhibits: Vec<Exhibit>,
}

impl Exhibit {
    pub(super) fn table(section: Section) -> Self {
        Self { section, charts: Vec::new() }
    }

    fn bars(section: Section, caption: &str, bars: &[Bar]) -> Self {
        Self { section, charts: chart::bars(caption, bars).into_iter().collect() }
    }

    pub(super) fn throughput(block: &throughput::Block) -> Self {
        let bars: Vec<Bar> = block.lanes.medians().into_iter().map(Bar::from).collect();
        let section = block.section();
        let caption = format!("{}: ns for one operation", section.title);
        Self::bars(section, &caption, &bars)
    }

    /// Operations by threads, where there are three numbers of threads or more.
    pub(super) fn scaling(blocks: &[throughput::Block]) -> Option<Self> {
        if blocks.len() < 3 {
            return None;
        }
        let workload = blocks.first()?.workload;
        let title = format!("{workload}: millions of operations a second, by threads");
        let mut header = vec!["subject".to_owned()];
        header.extend(blocks.iter().map(|block| block.threads.to_string()));
        let mut section = Section { title, header, ..Section::default() };
        let mut lines = Vec::new();
        for lane in &blocks.first()?.lanes.0 {
            let point = |block: &throughput::Block| {
                Some((block.threads as i32, 1e3 / block.lanes.median(&lane.name)?))
            };
            let points: Vec<(i32, f64)> = blocks.iter().filter_map(point).collect();
            if points.len() == blocks.len() {
                section.push(
                    [lane.name.clone()]
                        .into_iter()
                        .chain(points.iter().map(|(_, rate)| format!("{rate:.1}"))),
                );
                lines.push(Line { name: lane.name.clone(), points });
            }
        }
        let charts = chart::lines(&section.title, "threads", &lines).into_iter().collect();
        Some(Self { section, charts })
    }

    pub(super) fn latency(block: &latency::Block) -> Self {
        let bar = |lane: &latency::Lane| {
            let all = lane.all.as_ref().ok()?;
            Some(Bar::new(lane.kind.to_string(), all.value_at_quantile(0.999) as f64))
        };
        let bars: Vec<Bar> = block.lanes.iter().filter_map(bar).collect();
        let caption = format!("Churn, threads: {}: p99.9 in ns", block.threads);
        Self::bars(latency::section(block), &caption, &bars)
    }

    pub(super) fn instructions(args: &instructions::Args, blocks: &[instructions::Block]) -> Self {
        let draw = |block: &instructions::Block| {
            let bars: Vec<Bar> = block.lanes.medians().into_iter().map(Bar::from).collect();
            chart::bars(&format!("{}: instructions for one operation", block.workload), &bars)
        };
        Self {
            section: instructions::section(args, blocks),
            charts: blocks.iter().filter_map(draw).collect(),
        }
    }

    pub(super) fn memory(args: &memory::Args, measured: &[(Kind, Memory)]) -> Self {
        let bar = |(kind, memory): &(Kind, Memory)| Bar::new(kind.to_string(), memory.filled.per_entry());
        let churned =
            |(kind, memory): &(Kind, Memory)| Some(Bar::new(kind.to_string(), memory.churned?.per_entry()));
        let filled = chart::bars("Bytes per entry, filled", &measured.iter().map(bar).collect::<Vec<_>>());
        let churned = chart::bars(
            "Bytes per entry, after churn",
            &measured.iter().filter_map(churned).collect::<Vec<_>>(),
        );
        Self { section: memory::section(args, measured), charts: filled.into_iter().chain(churned).collect() }
    }

    pub(super) fn growth(args: &growth::Args, measured: &[(Kind, Vec<Growth>)]) -> Self {
        let bar = |(kind, rounds): &(Kind, Vec<Growth>)| {
            let Spread { median, .. } = growth::over(rounds, |round| round.longest)?;
            Some(Bar::new(kind.to_string(), median / 1e6))
        };
        let bars: Vec<Bar> = measured.iter().filter_map(bar).collect();
        Self::bars(growth::section(args, measured), "Longest insert while growing, in ms", &bars)
    }

    pub(super) fn hit_ratio(report: &hit_ratio::Report) -> Self {
        let bar =
            |&subject: &hit_ratio::Subject| Some(Bar::new(subject.to_string(), report.mean_of(subject)?));
        let bars: Vec<Bar> = report.subjects().iter().filter_map(bar).collect();
        Self::bars(report.section(), "Mean hit ratio in percent", &bars)
    }
}
