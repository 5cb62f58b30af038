//! All that was measured, as the commands' own functions return it.

use super::exhibit::{Chapter, Exhibit};
use super::plan::{Plan, parse};
use crate::adapters::Kind;
use crate::table::Section;
use crate::{bound, features, growth, hit_ratio, instructions, latency, memory, throughput};

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

/// Runs all of the plan and tells each table as soon as it is there. One part that fails says so in its place and stops
/// no other: each takes minutes.
pub(super) fn measure(plan: &Plan, mut tell: impl FnMut(&Exhibit)) -> (Results, Vec<Chapter>) {
    let mut results = Results::default();
    let mut chapters = Vec::new();
    let parts: [(&str, &str, &[String], Part); 8] = [
        ("Throughput", "throughput", &plan.throughput, throughput),
        ("Latency", "latency", &plan.latency, latency),
        ("Instructions", "instructions", &plan.instructions, instructions),
        ("Memory", "memory", &plan.memory, memory),
        ("Growth", "growth", &plan.growth, growth),
        ("The bound", "bound", &plan.bound, bound),
        ("Features", "features", &plan.features, features),
        ("Hit ratio", "hit-ratio", &plan.hit_ratio, hit_ratio),
    ];
    for (title, command, lines, part) in parts {
        let mut chapter = Chapter { title: title.to_owned(), ..Chapter::default() };
        for line in lines {
            chapter.commands.push(format!("millpond-bench {command} {line}").trim_end().to_owned());
            let mut show = |exhibit: Exhibit| {
                tell(&exhibit);
                chapter.exhibits.push(exhibit);
            };
            if let Err(error) = part(line, &mut results, &mut show) {
                show(not_measured(&error.context(format!("{command} {line}"))));
            }
        }
        chapters.push(chapter);
    }
    (results, chapters)
}

/// Measures what a command line says, keeps the figures, and shows them as tables and charts.
type Part = fn(&str, &mut Results, Show<'_>) -> anyhow::Result<()>;
type Show<'s> = &'s mut dyn FnMut(Exhibit);

fn not_measured(error: &anyhow::Error) -> Exhibit {
    Exhibit::table(Section::new("Not measured", &["reason"]).with_row([format!("{error:#}")]))
}

fn throughput(line: &str, results: &mut Results, show: Show<'_>) -> anyhow::Result<()> {
    let args: throughput::Args = parse(line)?;
    for &workload in &args.workloads {
        let blocks = throughput::measure(&args, workload)?;
        blocks.iter().map(Exhibit::throughput).chain(Exhibit::scaling(&blocks)).for_each(&mut *show);
        results.throughput.extend(blocks);
    }
    Ok(())
}

fn latency(line: &str, results: &mut Results, show: Show<'_>) -> anyhow::Result<()> {
    let args: latency::Args = parse(line)?;
    for &threads in &args.threads {
        let block = latency::measure(&args, threads)?;
        show(Exhibit::latency(&block));
        results.latency.push(block);
    }
    Ok(())
}

fn instructions(line: &str, results: &mut Results, show: Show<'_>) -> anyhow::Result<()> {
    let args: instructions::Args = parse(line)?;
    let blocks = instructions::measure(&args)?;
    show(Exhibit::instructions(&args, &blocks));
    results.instructions.extend(blocks);
    Ok(())
}

fn memory(line: &str, results: &mut Results, show: Show<'_>) -> anyhow::Result<()> {
    let args: memory::Args = parse(line)?;
    let measured = memory::measure(&args)?;
    show(Exhibit::memory(&args, &measured));
    results.memory.extend(measured);
    Ok(())
}

fn growth(line: &str, results: &mut Results, show: Show<'_>) -> anyhow::Result<()> {
    let args: growth::Args = parse(line)?;
    let measured = growth::measure(&args)?;
    show(Exhibit::growth(&args, &measured));
    results.growth.extend(measured);
    Ok(())
}

fn bound(line: &str, results: &mut Results, show: Show<'_>) -> anyhow::Result<()> {
    let args: bound::Args = parse(line)?;
    let measured = bound::measure(&args)?;
    show(Exhibit::table(bound::section(&args, &measured)));
    results.bound.extend(measured);
    Ok(())
}

/// Its tables carry their targets themselves.
fn features(line: &str, _: &mut Results, show: Show<'_>) -> anyhow::Result<()> {
    features::measure(&parse(line)?, |section| show(Exhibit::table(section)))
}

fn hit_ratio(line: &str, results: &mut Results, show: Show<'_>) -> anyhow::Result<()> {
    let args: hit_ratio::Args = parse(line)?;
    let report = hit_ratio::measure(&args)?;
    show(Exhibit::hit_ratio(&report));
    results.hit_ratio.push(report);
    Ok(())
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
        let (results, chapters) = measure(&plan, |exhibit| told.push(exhibit.section.title.clone()));
        assert_eq!((told.len(), chapters.len()), (3, 8), "{told:?}");
        assert!(results.throughput.is_empty());
        assert_eq!(chapters[0].exhibits[0].section.title, "Not measured");
        assert!(chapters[0].exhibits[0].section.rows[0][0].contains("unheard-of"), "{chapters:?}");
        assert_eq!(chapters[0].commands, ["millpond-bench throughput --workloads unheard-of"]);
        assert_eq!(results.bound.len(), 1);
        assert!(results.hit_ratio[0].mean_of(hit_ratio::Subject::Lru).is_some());
    }
}
