//! What the cache's features cost, each beside the same work without it, and against a target.
//!
//! - [`hits`]: the hit path with each feature on. [`flight`]: one load for many callers. [`expiry`]: inserts while very many
//!   entries expire at once.

mod expiry;
mod flight;
mod hits;

use crate::table::Section;
use crate::throughput::at_least_one;

/// Options of `features`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// Threads
    #[arg(long, value_delimiter = ',', default_values_t = [1, 2], value_parser = at_least_one)]
    pub(crate) threads: Vec<usize>,
    /// Caches of each kind, one after the other
    #[arg(long, default_value_t = 8, value_parser = at_least_one)]
    pub(crate) builds: usize,
    /// Short rounds of hits on each of them
    #[arg(long, default_value_t = 25, value_parser = at_least_one)]
    pub(crate) rounds: usize,
    /// Hits of each thread in a round
    #[arg(long, default_value_t = 50_000, value_parser = at_least_one)]
    pub(crate) operations: usize,
    /// Keys that are asked for, all present
    #[arg(long, default_value_t = 16_384, value_parser = at_least_one)]
    pub(crate) keys: usize,
    /// Callers that want one value at a time
    #[arg(long, default_value_t = 64, value_parser = at_least_one)]
    pub(crate) callers: usize,
    /// Entries that expire at once
    #[arg(long, default_value_t = 1_000_000, value_parser = at_least_one)]
    pub(crate) expiring: usize,
    /// Rounds of the inserts while they expire
    #[arg(long, default_value_t = 3, value_parser = at_least_one)]
    pub(crate) expiring_rounds: usize,
}

/// Measures all and makes a table of each part, handing each on as soon as it is there.
pub(crate) fn measure(args: &Args, mut show: impl FnMut(Section)) -> anyhow::Result<()> {
    for &threads in &args.threads {
        show(hits::section(args, threads)?);
    }
    show(flight::section(args));
    show(expiry::section(args)?);
    Ok(())
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    measure(args, |section| section.print())
}

/// A figure beside its target, in a table.
fn judged(value: f64, target: Option<f64>) -> [String; 2] {
    match target {
        None => [String::new(), String::new()],
        Some(target) => [format!("≤ {target}"), if value <= target { "met" } else { "missed" }.to_owned()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_parts_are_measured() {
        let args = Args {
            threads: vec![1, 2],
            builds: 2,
            rounds: 2,
            operations: 500,
            keys: 128,
            callers: 8,
            expiring: 2_000,
            expiring_rounds: 1,
        };
        let mut sections = Vec::new();
        measure(&args, |section| sections.push(section)).unwrap();
        assert_eq!(sections.len(), 4);
        let rows = &sections[0].rows;
        let ratio = |row: &Vec<String>| row[2].parse::<f64>().is_ok_and(|ratio| ratio > 0.0);
        assert!(rows.iter().any(|row| row[0] == "time_to_live") && rows.iter().all(ratio), "{rows:?}");
        assert_eq!(sections[2].rows[0][2], "1", "one load for each value: {:?}", sections[2].rows);
        assert_eq!(sections[3].rows.len(), 2, "beside moka");
    }
}
