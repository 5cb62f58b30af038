//! Time per operation: subjects take turns round by round in one process, so that what the machine does besides meets all.

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};

use clap::ValueEnum;
use comfy_table::Table;
use indicatif::ProgressBar;

use crate::adapters::{
    DashMap, LruMutex, MapLock, Millpond, MiniMoka, Moka, Papaya, QuickCache, Scc, Subject, TinyUfo,
};
use crate::{keys, rounds};

/// Options of `throughput`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What is done
    #[arg(long, value_delimiter = ',', default_values_t = Workload::value_variants().to_vec(), value_enum)]
    workloads: Vec<Workload>,
    /// Threads
    #[arg(long, value_delimiter = ',', default_values_t = [1, 2])]
    threads: Vec<usize>,
    /// Rounds after the first, which warms up
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Entries each cache holds
    #[arg(long, default_value_t = 65_536)]
    capacity: usize,
    /// Operations of each thread in a round
    #[arg(long, default_value_t = 1_000_000)]
    operations: usize,
    /// Subject that ratios refer to
    #[arg(long, default_value = "quick_cache")]
    reference: String,
    /// Only these subjects, and the reference
    #[arg(long, value_delimiter = ',')]
    subjects: Vec<String>,
}

/// What is done.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Workload {
    /// Reads of 16,384 keys, all present
    HotReads,
    /// Reads of one key
    OneKey,
    /// Three reads, one overwrite
    Mixed,
    /// Overwrites of keys that are present
    Overwrite,
    /// Read, and insert on a miss: Zipf 0.9 over 16 times the capacity
    Churn,
    /// Inserts of new keys, each evicting
    Unique,
    /// Uniform reads of twice a million keys, all present: more than the last cache level holds
    Large,
}

impl std::fmt::Display for Workload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.to_possible_value().map_or("", |value| value.get_name().to_owned().leak()))
    }
}

/// A subject, made and filled, ready for rounds.
trait Runner {
    fn name(&self) -> &'static str;
    fn round(&self, setting: &Setting<'_>) -> f64;
}

struct Setting<'s> {
    workload: Workload,
    threads: usize,
    operations: usize,
    keys: &'s [u64],
}

/// Makes and fills a subject, unless it can't do what the workload asks.
type Maker = fn(usize, &[u64], bool) -> Option<Box<dyn Runner>>;

struct Filled<S>(S);

impl<S: Subject> Runner for Filled<S> {
    fn name(&self) -> &'static str {
        S::NAME
    }

    fn round(&self, setting: &Setting<'_>) -> f64 {
        let Setting { workload, threads, operations, keys } = *setting;
        let subject = &self.0;
        rounds::time(threads, threads * operations, |thread| {
            // Each thread begins at another place.
            let begin = thread * keys.len() / threads;
            let sequence = keys[begin..].iter().chain(keys).copied().cycle().take(operations);
            match workload {
                Workload::HotReads | Workload::OneKey | Workload::Large => read(subject, sequence),
                Workload::Mixed => mix(subject, sequence),
                Workload::Overwrite => sequence.for_each(|key| subject.insert(key, key)),
                Workload::Churn => churn(subject, sequence),
                Workload::Unique => unique(subject, operations),
            }
        })
    }
}

fn read<S: Subject>(subject: &S, sequence: impl Iterator<Item = u64>) {
    let sum = sequence.fold(0u64, |sum, key| sum.wrapping_add(subject.get(key).unwrap_or(0)));
    black_box(sum);
}

fn mix<S: Subject>(subject: &S, sequence: impl Iterator<Item = u64>) {
    for (n, key) in sequence.enumerate() {
        if n % 4 == 3 {
            subject.insert(key, n as u64);
        } else {
            black_box(subject.get(key));
        }
    }
}

fn churn<S: Subject>(subject: &S, sequence: impl Iterator<Item = u64>) {
    for key in sequence {
        if black_box(subject.get(key)).is_none() {
            subject.insert(key, key);
        }
    }
}

fn unique<S: Subject>(subject: &S, operations: usize) {
    static NEXT: AtomicU64 = AtomicU64::new(1 << 40);
    let first = NEXT.fetch_add(operations as u64, Ordering::Relaxed);
    for key in first..first + operations as u64 {
        subject.insert(key.wrapping_mul(0x9e37_79b9_7f4a_7c15), key);
    }
}

fn fill<S: Subject + 'static>(capacity: usize, keys: &[u64], evicts: bool) -> Option<Box<dyn Runner>> {
    if evicts && !S::BOUNDED {
        return None;
    }
    let subject = S::new(capacity);
    for &key in keys {
        subject.insert(key, key);
    }
    Some(Box::new(Filled(subject)))
}

/// Runs the command.
#[expect(clippy::print_stdout, reason = "the result of the command")]
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    anyhow::ensure!(
        args.rounds > 0 && args.operations > 0 && args.capacity > 0,
        "rounds, operations and capacity: at least 1"
    );
    anyhow::ensure!(!args.threads.contains(&0), "threads: at least 1");
    for &workload in &args.workloads {
        let evicts = matches!(workload, Workload::Churn | Workload::Unique);
        let present = match workload {
            Workload::OneKey => keys::shuffled(1),
            Workload::Large => keys::shuffled(2_000_000),
            Workload::Churn | Workload::Unique => Vec::new(),
            _ => keys::shuffled(16_384),
        };
        let sequence = match workload {
            Workload::Churn => keys::zipf(16 * args.capacity as u64, 0.9, 2_000_000)?,
            Workload::Large => keys::uniform(2_000_000, 2_000_000),
            Workload::Unique => vec![0],
            _ => present.clone(),
        };
        let capacity = args.capacity.max(2 * present.len());
        for &threads in &args.threads {
            let makers: [Maker; 10] = [
                fill::<Millpond>,
                fill::<QuickCache>,
                fill::<Moka>,
                fill::<MiniMoka>,
                fill::<TinyUfo>,
                fill::<Scc>,
                fill::<LruMutex>,
                fill::<MapLock>,
                fill::<DashMap>,
                fill::<Papaya>,
            ];
            let mut subjects: Vec<_> =
                makers.into_iter().filter_map(|make| make(capacity, &present, evicts)).collect();
            if !args.subjects.is_empty() {
                let wanted = |name: &str| {
                    name == args.reference || args.subjects.iter().any(|subject| subject == name)
                };
                subjects.retain(|subject| wanted(subject.name()));
            }
            let setting = Setting { workload, threads, operations: args.operations, keys: &sequence };
            let bar = ProgressBar::new((subjects.len() * (args.rounds + 1)) as u64);
            bar.set_message(workload.to_string());
            let mut times = vec![Vec::new(); subjects.len()];
            for round in 0..=args.rounds {
                for (subject, times) in subjects.iter().zip(&mut times) {
                    let time = subject.round(&setting);
                    if round > 0 {
                        times.push(time);
                    }
                    bar.inc(1);
                }
            }
            bar.finish_and_clear();
            println!(
                "\n{workload}, {threads} threads, wall ns over all operations\n{}",
                table(&subjects, &times, &args.reference)?
            );
        }
    }
    Ok(())
}

fn table(subjects: &[Box<dyn Runner>], times: &[Vec<f64>], reference: &str) -> anyhow::Result<Table> {
    let index = subjects.iter().position(|subject| subject.name() == reference);
    let index = index.ok_or_else(|| anyhow::anyhow!("reference: {reference:?} is not among the subjects"))?;
    let mut table = Table::new();
    table.load_preset(comfy_table::presets::ASCII_MARKDOWN);
    table.set_header(["subject", "ns (median)", &format!("ratio to {reference}"), "least", "greatest"]);
    for (subject, own) in subjects.iter().zip(times) {
        let (median, ..) = rounds::spread(own.clone());
        let ratios = own.iter().zip(&times[index]).map(|(own, other)| own / other).collect();
        let (ratio, least, greatest) = rounds::spread(ratios);
        let figures =
            [format!("{median:.1}"), format!("{ratio:.2}"), format!("{least:.2}"), format!("{greatest:.2}")];
        table.add_row([subject.name().to_owned()].into_iter().chain(figures));
    }
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn behaves<S: Subject>() {
        let subject = S::new(1024);
        assert_eq!(subject.get(1), None, "{}", S::NAME);
        subject.insert(1, 10);
        assert_eq!(subject.get(1), Some(10), "{}", S::NAME);
        subject.insert(1, 11);
        assert_eq!(subject.get(1), Some(11), "{}: an insert replaces", S::NAME);
        for key in 0..100_000 {
            subject.insert(key, key);
        }
        let held = (0..100_000).filter(|&key| subject.get(key).is_some()).count();
        if S::BOUNDED {
            assert!((300..4096).contains(&held), "{} holds {held} of 1024", S::NAME);
        } else {
            assert_eq!(held, 100_000, "{}", S::NAME);
        }
    }

    #[test]
    fn every_subject_is_a_map() {
        behaves::<Millpond>();
        behaves::<QuickCache>();
        behaves::<Moka>();
        behaves::<MiniMoka>();
        behaves::<TinyUfo>();
        behaves::<Scc>();
        behaves::<LruMutex>();
        behaves::<MapLock>();
        behaves::<DashMap>();
        behaves::<Papaya>();
    }
}
