//! Bytes for each entry: what a cache asked the allocator for and has not given back, over the entries it holds. Key and
//! value (u64 both) are part of it. Each subject is measured in a process of its own.

use serde::{Deserialize, Serialize};

use crate::adapters::{Kind, Subject, Visit};
use crate::table::{Section, number};
use crate::throughput::at_least_one;
use crate::{allocator, child, keys, progress};

/// Options of `memory`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// Entries each cache is made for
    #[arg(long, default_value_t = 1_000_000, value_parser = at_least_one)]
    pub(crate) entries: usize,
    /// New keys inserted after it is full, as a multiple of the entries
    #[arg(long, default_value_t = 5)]
    pub(crate) churn: u64,
    /// Only these subjects [default: all]
    #[arg(long, value_delimiter = ',', value_enum)]
    pub(crate) subjects: Vec<Kind>,
}

/// Options of the hidden subcommand.
#[derive(Debug, clap::Args)]
pub(crate) struct ChildArgs {
    subject: Kind,
    entries: usize,
    churn: u64,
}

/// What a cache takes.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct Footprint {
    pub(crate) bytes: i64,
    pub(crate) held: usize,
}

impl Footprint {
    pub(crate) fn per_entry(self) -> f64 {
        self.bytes as f64 / self.held.max(1) as f64
    }
}

/// Before and after new keys pushed out the old ones; not after where nothing is pushed out.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct Memory {
    pub(crate) filled: Footprint,
    pub(crate) churned: Option<Footprint>,
}

/// Measures all subjects.
pub(crate) fn measure(args: &Args) -> anyhow::Result<Vec<(Kind, Memory)>> {
    let subjects = Kind::or_all(&args.subjects);
    let bar = progress::bar(subjects.len() as u64);
    let mut results = Vec::new();
    for kind in subjects {
        bar.set_message(format!("memory: {kind}"));
        let arguments =
            ["child-memory", &kind.to_string(), &args.entries.to_string(), &args.churn.to_string()];
        results.push((kind, child::run(&arguments.map(str::to_owned))?));
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(results)
}

/// The table.
pub(crate) fn section(args: &Args, results: &[(Kind, Memory)]) -> Section {
    let title = format!("Bytes per entry, u64 to u64, {} entries", args.entries);
    let header = ["subject", "filled", "entries held", "after churn", "entries held then"];
    let mut section = Section::new(title, &header).with_note(format!(
        "Bytes asked of the allocator and not given back, over the entries held, key and value included. After churn: {} \
         times as many new keys later, with pending tasks run.",
        args.churn
    ));
    for (kind, memory) in results {
        let pair = |footprint: Footprint| [number(footprint.per_entry()), footprint.held.to_string()];
        let churned = memory.churned.map_or(["-".to_owned(), "holds all".to_owned()], pair);
        section.push([kind.to_string()].into_iter().chain(pair(memory.filled)).chain(churned));
    }
    section
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    section(args, &measure(args)?).print();
    Ok(())
}

/// The part in a process of its own.
pub(crate) fn child(args: &ChildArgs) -> anyhow::Result<()> {
    child::answer(&args.subject.accept(Weigh { entries: args.entries, churn: args.churn }))
}

struct Weigh {
    entries: usize,
    churn: u64,
}

impl Visit for Weigh {
    type Output = Memory;

    fn visit<S: Subject>(self) -> Memory {
        let entries = self.entries as u64;
        allocator::count();
        let before = allocator::live();
        let subject = S::new(self.entries);
        let insert = |keys: std::ops::Range<u64>| {
            for key in keys {
                subject.insert(keys::spread(key), key);
                // Those with threads of their own would drop what comes too fast.
                if S::EVENTUAL && key % 1024 == 0 {
                    subject.settle();
                }
            }
            // Twice: what the first frees may wait for the second's epoch.
            subject.settle();
            subject.settle();
        };
        let weigh = |upper: u64| {
            let bytes = allocator::live() - before;
            let count = || (0..upper).filter(|&key| subject.get(keys::spread(key)).is_some()).count();
            Footprint { bytes, held: subject.held().unwrap_or_else(count) }
        };
        insert(0..entries);
        let filled = weigh(entries);
        let churned = S::BOUNDED.then(|| {
            let upper = entries * (1 + self.churn);
            insert(entries..upper);
            weigh(upper)
        });
        Memory { filled, churned }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_takes_at_least_its_keys_and_values() {
        let memory = Kind::QuickCache.accept(Weigh { entries: 10_000, churn: 2 });
        let churned = memory.churned.expect("it evicts");
        assert!(memory.filled.per_entry() >= 16.0 && churned.per_entry() >= 16.0, "{memory:?}");
        assert!(churned.held <= 10_000, "{memory:?}");
    }
}
