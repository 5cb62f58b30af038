//! What callers see of faults: pools with a real PostgreSQL behind a proxy that counts, delays, swallows and ends.
//!
//! - [`fault`]: what happens. [`trial`]: one fault with one pool. [`caller`]: who suffers. [`proxy`]: the network.
//! - [`outcome`]: what came of it. [`targets`]: what is to be reached.

mod caller;
mod fault;
mod outcome;
mod proxy;
mod targets;
mod trial;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use clap::ValueEnum as _;
use servers::Postgres;

use self::fault::Fault;
use self::outcome::{Cell, Outcome};
use crate::databases::Kind;
use crate::table::{Section, duration};
use crate::{page, progress, target};

/// Options of `pool-faults`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// What happens
    #[arg(long, value_delimiter = ',', default_values_t = Fault::value_variants().to_vec(), value_enum)]
    faults: Vec<Fault>,
    /// To which pools
    #[arg(long, value_delimiter = ',', default_values_t = Kind::value_variants().to_vec(), value_enum)]
    pools: Vec<Kind>,
    /// Also writes the tables to this page, in place of those of an earlier run
    #[arg(long)]
    page: Option<PathBuf>,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let server = Arc::new(start().context("the faults need a PostgreSQL server")?);
    let bar = progress::bar((args.faults.len() * args.pools.len()) as u64);
    let (mut cells, mut sections) = (Vec::new(), Vec::new());
    for &fault in &args.faults {
        let begin = cells.len();
        for &kind in &args.pools {
            bar.set_message(format!("{fault}, {kind}"));
            let outcome = trial::play(&server, kind, fault).map_err(|error| format!("{error:#}"));
            cells.push(Cell { kind, fault, outcome });
            bar.inc(1);
        }
        let section = section(fault, &cells[begin..]);
        bar.suspend(|| section.print());
        sections.push(section);
    }
    bar.finish_and_clear();
    let note = "One run of each fault. A query that failed counts as lent dead if it began after all backends were gone.";
    let checks = target::section(note, &targets::checks(&cells));
    checks.print();
    sections.push(checks);
    page::write(args.page.as_deref(), "pool-faults", "Faults", &sections)
}

fn start() -> anyhow::Result<Postgres> {
    let server = Postgres::builder().max_connections(200).database(trial::IDLE).start()?;
    let (database, limit) = (trial::IDLE, trial::IDLE_TIMEOUT);
    server.psql(&format!("alter database {database} set idle_session_timeout = '{limit}'"))?;
    Ok(server)
}

/// All pools with one fault.
fn section(fault: Fault, cells: &[Cell]) -> Section {
    let header = [
        "pool",
        "refused",
        "cut",
        "lent dead",
        "longest get",
        "clean after",
        "dials/s",
        "most",
        "lost",
        "remark",
    ];
    let title = format!("Fault: {}", fault.title());
    let mut section = Section::new(title, &header).with_note(format!(
        "Refused: borrows that ended in an error. Cut: queries on their way when it happened. Most: connections that the \
         server had at a time, of at most {}. Lost: of {} slots. A borrow may take {:?}.",
        fault.size(),
        trial::SLOTS,
        trial::ACQUIRE
    ));
    for cell in cells {
        let name = cell.kind.to_string();
        match &cell.outcome {
            Err(error) => section.push(
                std::iter::once(name).chain(std::iter::repeat_n("-".to_owned(), 8)).chain([brief(error)]),
            ),
            Ok(outcome) => section.push([
                name,
                outcome.refused.to_string(),
                outcome.in_flight.to_string(),
                outcome.dead.to_string(),
                duration(outcome.stall.as_nanos() as f64),
                recovery(outcome),
                if outcome.dials_per_second > 0.0 {
                    format!("{:.1}", outcome.dials_per_second)
                } else {
                    "-".to_owned()
                },
                outcome.most.to_string(),
                (trial::SLOTS - outcome.usable).to_string(),
                brief(&outcome.remark),
            ]),
        }
    }
    section
}

fn recovery(outcome: &Outcome) -> String {
    match outcome.recovery {
        Some(time) => duration(time.as_nanos() as f64),
        None if outcome.seen == 0 => "-".to_owned(),
        None => "never".to_owned(),
    }
}

/// The beginning of a text.
fn brief(text: &str) -> String {
    const MOST: usize = 80;
    if text.chars().count() <= MOST {
        return text.to_owned();
    }
    text.chars().take(MOST).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panics_lose_no_slot() {
        let server = match start() {
            Ok(server) => Arc::new(server),
            Err(error) => match error.downcast::<servers::Error>() {
                Ok(error) => {
                    assert!(servers::require::<Postgres>(Err(error)).is_none());
                    return;
                }
                Err(error) => panic!("{error:#}"),
            },
        };
        for &kind in Kind::value_variants() {
            let outcome = trial::play(&server, kind, Fault::Panic).unwrap();
            assert_eq!(outcome.usable, trial::SLOTS, "{kind}");
            if matches!(kind, Kind::Millpond | Kind::MillpondSqlx) {
                assert_eq!(outcome.inside, 0, "{kind}");
            }
            let cell = Cell { kind, fault: Fault::Panic, outcome: Ok(outcome) };
            assert!(section(Fault::Panic, &[cell]).markdown().contains("of 10"));
        }
    }
}
