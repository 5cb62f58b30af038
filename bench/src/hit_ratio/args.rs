//! The command line of `hit-ratio`.

use std::path::PathBuf;

use super::expected::Expected;
use super::subject::Subject;
use crate::trace::columns::Column;
use crate::trace::synthetic::Synthetic;
use crate::trace::{Columns, Format, Source};

/// Hit ratios of Millpond and its peers over request traces
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Files may be packed with gzip, xz or zstd. A folder means all traces in it; \
    FOLDER/stress-corda-loop is composed of corda-vault and lirs-loop in that folder.\n\n\
    Example: hit-ratio --expected traces/expected.csv\n         \
    hit-ratio --trace access.log --capacity 1000,10000\n         \
    hit-ratio --synthetic zipf:100000:1000000:0.9")]
pub struct Args {
    /// Trace files or folders [default: the folder of --expected]
    #[arg(long, short, num_args = 1.., value_name = "PATH")]
    pub trace: Vec<PathBuf>,
    /// Generated traces: name:keys:requests[:parameter][+sizes][@seed], with the names zipf, uniform, loop, scan,
    /// scan-bursts, echo, shift, drift, phases, mixture, and the sizes pareto, lognormal, two
    #[arg(long, num_args = 1.., value_name = "SPEC")]
    pub synthetic: Vec<Synthetic>,
    /// How the files are to be read [default: guessed from their names]
    #[arg(long, value_enum)]
    pub format: Option<Format>,
    /// Column of the key in csv and log, by number from 1 or by name [default: 1 in csv, 5 in log]
    #[arg(long, value_name = "COLUMN")]
    pub key_column: Option<Column>,
    /// Column of the size in bytes, in csv and log [default: sizes are 1]
    #[arg(long, value_name = "COLUMN")]
    pub size_column: Option<Column>,
    /// What separates columns in csv
    #[arg(long, default_value = ",", value_parser = one_byte)]
    pub delimiter: u8,
    /// Capacities, in entries or with --byte in bytes [default: those of --expected, or parts of the distinct keys]
    #[arg(long, short, value_delimiter = ',', value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub capacity: Vec<u64>,
    /// What to measure [default: all; with --expected only the policy]
    #[arg(long, short, value_delimiter = ',', value_enum)]
    pub policies: Vec<Subject>,
    /// CSV of hit ratios to be met: trace, capacity, …, policy.md; fails if a cell falls short by more than 0.5 points and
    /// two standard deviations over the seeds, or the mean by more than 0.2
    #[arg(long, value_name = "FILE")]
    pub expected: Option<PathBuf>,
    /// Bounds caches by bytes and reports byte hit ratios too; for formats with sizes
    #[arg(long)]
    pub byte: bool,
    /// Prints a Markdown table
    #[arg(long)]
    pub markdown: bool,
    /// Seeds to take the mean over [default: 8 for traces of less than 200,000 requests, else 1]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub seeds: Option<u64>,
    /// The first seed
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Shards of `millpond`, a power of two [default: as it comes]
    #[arg(long, value_name = "N")]
    pub shards: Option<usize>,
    /// Reads no more than this many requests of each trace
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
}

fn one_byte(text: &str) -> Result<u8, String> {
    match text.as_bytes() {
        b"\\t" => Ok(b'\t'),
        [byte] => Ok(*byte),
        _ => Err("one character, or \\t".to_owned()),
    }
}

impl Args {
    pub(super) fn subjects(&self, expected: Option<&Expected>) -> Vec<Subject> {
        match (&self.policies[..], expected) {
            ([], Some(_)) => vec![Subject::Policy],
            ([], None) => Subject::all(self.byte),
            (given, _) => given.to_vec(),
        }
    }

    pub(super) fn sources(&self) -> anyhow::Result<Vec<Source>> {
        let columns = Columns {
            key: self.key_column.clone(),
            size: self.size_column.clone(),
            delimiter: Some(self.delimiter),
        };
        let mut paths = self.trace.clone();
        if paths.is_empty() && self.synthetic.is_empty() {
            let folder = self.expected.as_deref().and_then(|file| file.parent());
            paths.extend(
                folder.map(|folder| if folder.as_os_str().is_empty() { ".".into() } else { folder.into() }),
            );
        }
        let mut sources = Vec::new();
        for path in paths {
            sources.extend(Source::find(&path, self.format, &columns)?);
        }
        sources.extend(self.synthetic.iter().copied().map(Source::synthetic));
        anyhow::ensure!(!sources.is_empty(), "give --trace, --synthetic or --expected");
        Ok(sources)
    }
}
