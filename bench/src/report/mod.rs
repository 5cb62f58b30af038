//! All commands one after the other, on one page, and their figures beside the targets.
//!
//! - [`plan`]: which command lines. [`results`]: runs them. [`exhibit`], [`chart`]: tables and what is drawn of them.
//! - [`targets`]: what is to be reached. [`figure`]: what was. [`verdict`]: both side by side.
//! - [`page`], [`markdown`]: what is written.

mod chart;
mod exhibit;
mod figure;
mod markdown;
mod page;
mod plan;
mod results;
mod targets;
mod verdict;

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use self::plan::Plan;
use crate::machine;

/// Where traces lie if nothing else is said.
const TRACES: &str = "../shared/traces";

/// Options of `report`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// Fewer subjects and rounds: what the targets need, in minutes
    #[arg(long)]
    pub(crate) quick: bool,
    /// Folder of request traces for the hit ratios; with an expected.csv in it they are compared [default:
    /// ../shared/traces where it is, else generated traces]
    #[arg(long, value_name = "DIR")]
    pub(crate) traces: Option<PathBuf>,
    /// The page, one self-contained HTML file
    #[arg(long, value_name = "FILE", default_value = "target/report/benchmarks.html")]
    pub(crate) out: PathBuf,
    /// The same tables in Markdown
    #[arg(long, value_name = "FILE", default_value = "docs/benchmarks.md")]
    pub(crate) markdown: PathBuf,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let traces = traces(args)?;
    // Before the minutes that it takes, not after them.
    for file in [&args.out, &args.markdown] {
        prepare(file)?;
    }
    let plan = if args.quick { Plan::quick(traces.as_deref()) } else { Plan::full(traces.as_deref()) };
    produce(&plan, args)
}

/// Measures and writes.
fn produce(plan: &Plan, args: &Args) -> anyhow::Result<()> {
    let (results, chapters) = results::measure(plan, |exhibit| exhibit.section.print());
    let targets = verdict::against_targets(&results);
    targets.print();
    let machine = machine::describe(&command(args));
    write(&args.out, &page::page(&machine, &targets, &chapters))?;
    write(&args.markdown, &markdown::page(&machine, &targets, &chapters))
}

/// The folder of traces, if there is one.
fn traces(args: &Args) -> anyhow::Result<Option<PathBuf>> {
    match &args.traces {
        Some(folder) => {
            anyhow::ensure!(folder.is_dir(), "no folder of traces: {}", folder.display());
            Ok(Some(folder.clone()))
        }
        None => Ok(Some(PathBuf::from(TRACES)).filter(|folder| folder.is_dir())),
    }
}

/// The command as it would be typed again.
fn command(args: &Args) -> String {
    let mut command = "cargo run --release -p millpond-bench -- report".to_owned();
    if args.quick {
        command.push_str(" --quick");
    }
    if let Some(folder) = &args.traces {
        command.push_str(&format!(" --traces {}", folder.display()));
    }
    command
}

/// Makes the folder, and sees that the file can be written without changing what is there.
fn prepare(file: &Path) -> anyhow::Result<()> {
    let folder = file.parent().filter(|folder| *folder != Path::new(""));
    if let Some(folder) = folder {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let existed = file.exists();
    let opened = std::fs::OpenOptions::new().append(true).create(true).open(file);
    opened.with_context(|| format!("cannot write {}", file.display()))?;
    if !existed {
        std::fs::remove_file(file)?;
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the result of a command")]
fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
    println!("written: {}", file.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(folder: &Path) -> Args {
        Args {
            quick: true,
            traces: None,
            out: folder.join("a/b/page.html"),
            markdown: folder.join("page.md"),
        }
    }

    #[test]
    fn what_cannot_be_written_is_told_before_anything_runs() {
        let folder = tempfile::tempdir().unwrap();
        let args = args(folder.path());
        prepare(&args.out).unwrap();
        assert!(folder.path().join("a/b").is_dir() && !args.out.exists());
        std::fs::write(&args.markdown, "kept").unwrap();
        prepare(&args.markdown).unwrap();
        assert_eq!(std::fs::read_to_string(&args.markdown).unwrap(), "kept");
        let error = prepare(&args.markdown.join("below-a-file")).unwrap_err();
        assert!(format!("{error:#}").contains("page.md"), "{error:#}");
        assert!(prepare(folder.path()).is_err(), "a folder is no file");
    }

    #[test]
    fn both_files_are_written() {
        let folder = tempfile::tempdir().unwrap();
        let args = args(folder.path());
        prepare(&args.out).unwrap();
        let line = |text: &str| vec![text.to_owned()];
        let plan = Plan {
            throughput: line(
                "--workloads hot-reads,pin --threads 1,2,3 --rounds 1 --operations 1000 --subjects millpond,papaya",
            ),
            latency: line(
                "--threads 2 --rounds 1 --operations 2000 --capacity 1024 --subjects millpond,quick_cache",
            ),
            hit_ratio: line("--synthetic zipf:1000:5000 --policies millpond1,millpond,lru"),
            ..Plan::default()
        };
        produce(&plan, &args).unwrap();
        let page = std::fs::read_to_string(&args.out).unwrap();
        let text = std::fs::read_to_string(&args.markdown).unwrap();
        for part in [
            "hot-reads, threads: 2",
            "hot-reads: millions of operations",
            "Latency of churn",
            "Figures against targets",
        ] {
            assert!(page.contains(part) && text.contains(part), "{part}");
        }
        // Six times, two by threads, a latency, and the hit ratios.
        assert_eq!(page.matches("<svg").count(), 10, "{text}");
        assert!(text.contains("- commit: ") && text.contains("report --quick"), "{text}");
    }

    #[test]
    fn a_folder_that_is_not_there_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let missing = Args { traces: Some(folder.path().join("none")), ..args(folder.path()) };
        assert!(run(&missing).unwrap_err().to_string().contains("none"));
    }
}
