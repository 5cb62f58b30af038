//! All that was measured, as the commands' own functions return it.

use anyhow::Context as _;

use super::exhibit::{Chapter, Exhibit};
use super::plan::{Plan, parse};
use crate::adapters::Kind;
use crate::table::Section;
use crate::{bound, growth, hit_ratio, instructions, latency, memory, throughput};

/// Figures. What could not be measured is empty.
#[derive(Debug, Default)]
pub(super) struct Results {
    pub(super) throughput: Vec<throughput::Block>,
    pub(super) latency: Vec<latency::Block>,
    pub(super) instructions: Vec<instructions::Block>,
    pub(super) memory: Vec<(Kind, memory::Memory)>,
    pub(super) growth: Vec<(Kind, Vec<growth::Growth>)>,
    pub(super) bound: Vec<(Kind, Result<bound::Overshoot, &'static str>)>,
    pub(super) hit_ratio: Vec<hit_ratio::Report>,
}

/// Runs all of the plan. One part that fails says so in its place and stops no other: each takes minutes.
pub(super) fn measure(plan: &Plan, mut tell: impl FnMut(&Chapter)) -> (Results, Vec<Chapter>) {
    let mut results = Results::default();
    let mut chapters = Vec::new();
    let parts: [(&str, &str, &[String], Part); 7] = [
        ("Throughput", "throughput", &plan.throughput, throughput),
        ("Latency", "latency", &plan.latency, latency),
        ("Instructions", "instructions", &plan.instructions, instructions),
        ("Memory", "memory", &plan.memory, memory),
        ("Growth", "growth", &plan.growth, growth),
        ("The bound", "bound", &plan.bound, bound),
        ("Hit ratio", "hit-ratio", &plan.hit_ratio, hit_ratio),
    ];
    for (title, command, lines, part) in parts {
        let mut chapter = Chapter { title: title.to_owned(), ..Chapter::default() };
        for line in lines {
            chapter.commands.push(format!("millpond-bench {command} {line}").trim_end().to_owned());
            let exhibits = part(line, &mut results).with_context(|| format!("{command} {line}"));
            chapter.exhibits.extend(exhibits.unwrap_or_else(|error| vec![not_measured(&error)]));
        }
        tell(&chapter);
        chapters.push(chapter);
    }
    (results, chapters)
}

/// Measures what a command line says, keeps the figures, and returns them as tables and charts.
type Part = fn(&str, &mut Results) -> anyhow::Result<Vec<Exhibit>>;

fn not_measured(error: &anyhow::Error) -> Exhibit {
    Exhibit::table(Section::new("Not measured", &["reason"]).with_row([format!("{error:#}")]))
}

fn throughput(line: &str, results: &mut Results) -> anyhow::Result<Vec<Exhibit>> {
    let args: throughput::Args = parse(line)?;
    let mut exhibits = Vec::new();
    for &workload in &args.workloads {
        let blocks = throughput::measure(&args, workload)?;
        exhibits.extend(blocks.iter().map(Exhibit::throughput));
        exhibits.extend(Exhibit::scaling(&blocks));
        results.throughput.extend(blocks);
    }
    Ok(exhibits)
}

fn latency(line: &str, results: &mut Results) -> anyhow::Result<Vec<Exhibit>> {
    let args: latency::Args = parse(line)?;
    let mut exhibits = Vec::new();
    for &threads in &args.threads {
        let block = latency::measure(&args, threads)?;
        exhibits.push(Exhibit::latency(&block));
        results.latency.push(block);
    }
    Ok(exhibits)
}

fn instructions(line: &str, results: &mut Results) -> anyhow::Result<Vec<Exhibit>> {
    let args: instructions::Args = parse(line)?;
    let blocks = instructions::measure(&args)?;
    let exhibit = Exhibit::instructions(&args, &blocks);
    results.instructions.extend(blocks);
    Ok(vec![exhibit])
}

fn memory(line: &str, results: &mut Results) -> anyhow::Result<Vec<Exhibit>> {
    let args: memory::Args = parse(line)?;
    let measured = memory::measure(&args)?;
    let exhibit = Exhibit::memory(&args, &measured);
    results.memory.extend(measured);
    Ok(vec![exhibit])
}

fn growth(line: &str, results: &mut Results) -> anyhow::Result<Vec<Exhibit>> {
    let args: growth::Args = parse(line)?;
    let measured = growth::measure(&args)?;
    let exhibit = Exhibit::growth(&args, &measured);
    results.growth.extend(measured);
    Ok(vec![exhibit])
}

fn bound(line: &str, results: &mut Results) -> anyhow::Result<Vec<Exhibit>> {
    let args: bound::Args = parse(line)?;
    let measured = bound::measure(&args)?;
    let exhibit = Exhibit::table(bound::section(&args, &measured));
    results.bound.extend(measured);
    Ok(vec![exhibit])
}

fn hit_ratio(line: &str, results: &mut Results) -> anyhow::Result<Vec<Exhibit>> {
    let args: hit_ratio::Args = parse(line)?;
    let report = hit_ratio::measure(&args)?;
    let exhibit = Exhibit::hit_ratio(&report);
    results.hit_ratio.push(report);
    Ok(vec![exhibit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_part_that_fails_stops_no_other() {
        let line = |text: &str| vec![text.to_owned()];
        let plan = Plan {
            throughput: line("--workloads unheard-of"),
            bound: line("--threads 1 --capacity 1024 --operations 2000 --subjects millpond"),
            hit_ratio: line("--synthetic zipf:1000:5000 --policies lru,millpond1"),
            ..Plan::default()
        };
        let mut told = Vec::new();
        let (results, chapters) = measure(&plan, |chapter| told.push(chapter.title.clone()));
        assert_eq!((told.len(), chapters.len()), (7, 7));
        assert!(results.throughput.is_empty());
        assert_eq!(chapters[0].exhibits[0].section.title, "Not measured");
        assert!(chapters[0].exhibits[0].section.rows[0][0].contains("unheard-of"), "{chapters:?}");
        assert_eq!(chapters[0].commands, ["millpond-bench throughput --workloads unheard-of"]);
        assert_eq!(results.bound.len(), 1);
        assert!(results.hit_ratio[0].mean_of(hit_ratio::Subject::Lru).is_some());
    }
}
