//! From what the user typed to a stream of requests.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::columns::Columns;
use super::synthetic::Synthetic;
use super::{Requests, access_log, arc, cache2k, compression, corda, csv, lirs, oracle, stress, text};

/// How a file is to be read.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub enum Format {
    /// One key a line
    Text,
    /// LIRS: one block number a line
    Lirs,
    /// ARC: `start length …` a line, each block is a request
    Arc,
    /// cache2k: big-endian 32-bit keys
    Cache2k,
    /// Corda: big-endian 64-bit keys
    Corda,
    /// libCacheSim oracleGeneral: 24-byte records, with sizes
    Oracle,
    /// CSV, with the key in `--key-column`
    Csv,
    /// Access log or other text in columns
    Log,
}

impl Format {
    /// Guesses from a file's name: its extensions (but for those of compression), or the word it begins with.
    fn of(path: &Path) -> Self {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
        let has = |word: &str| name.split(['.', '-', '_']).any(|part| part == word);
        match () {
            () if has("oracle") || has("oraclegeneral") => Self::Oracle,
            () if has("csv") => Self::Csv,
            () if has("log") => Self::Log,
            () if has("lirs") || has("trc") => Self::Lirs,
            () if has("arc") || has("lis") => Self::Arc,
            () if has("cache2k") => Self::Cache2k,
            () if has("corda") => Self::Corda,
            () => Self::Text,
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = clap::ValueEnum::to_possible_value(self).expect("no value is skipped");
        f.write_str(value.get_name())
    }
}

/// A trace that can be read, again and again.
#[derive(Clone, Debug)]
pub struct Source {
    name: String,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    File { path: PathBuf, format: Format, columns: Columns },
    Stress { vault: PathBuf, cycle: PathBuf },
    Synthetic(Synthetic),
}

impl Source {
    /// A generator.
    #[must_use]
    pub fn synthetic(generator: Synthetic) -> Self {
        Self { name: generator.to_string(), kind: Kind::Synthetic(generator) }
    }

    /// The traces that a path means: the file; all of a folder, with the stress composition if its parts are there; or,
    /// by the name it would have, the composition alone.
    ///
    /// # Errors
    /// If there is no such thing.
    pub fn find(path: &Path, format: Option<Format>, columns: &Columns) -> anyhow::Result<Vec<Self>> {
        let file = |path: &Path| Self {
            name: name_of(path),
            kind: Kind::File {
                path: path.to_owned(),
                format: format.unwrap_or_else(|| Format::of(path)),
                columns: columns.clone(),
            },
        };
        if path.is_dir() {
            let mut files: Vec<PathBuf> = std::fs::read_dir(path)
                .with_context(|| format!("cannot list {}", path.display()))?
                .map(|entry| Ok(entry?.path()))
                .collect::<std::io::Result<_>>()?;
            files.retain(|file| is_trace(file));
            files.sort();
            let mut sources: Vec<Self> = files.iter().map(|path| file(path)).collect();
            sources.extend(Self::stress(path)?);
            anyhow::ensure!(!sources.is_empty(), "no traces in {}", path.display());
            return Ok(sources);
        }
        if path.exists() {
            return Ok(vec![file(path)]);
        }
        if name_of(path) == stress::NAME {
            let folder = path.parent().filter(|folder| folder != &Path::new("")).unwrap_or(Path::new("."));
            let found = Self::stress(folder)?;
            let source = found.with_context(|| {
                format!(
                    "{} is made of {}, which are not in {}",
                    stress::NAME,
                    stress::PARTS.join(" and "),
                    folder.display()
                )
            })?;
            return Ok(vec![source]);
        }
        anyhow::bail!("no such trace: {}", path.display());
    }

    fn stress(folder: &Path) -> anyhow::Result<Option<Self>> {
        let mut parts = Vec::new();
        for part in stress::PARTS {
            let listed =
                std::fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
            let mut paths = listed.filter_map(|entry| Some(entry.ok()?.path()));
            let Some(path) = paths.find(|path| name_of(path) == part) else { return Ok(None) };
            parts.push(path);
        }
        let [vault, cycle] = &parts[..] else { return Ok(None) };
        let kind = Kind::Stress { vault: vault.clone(), cycle: cycle.clone() };
        Ok(Some(Self { name: stress::NAME.to_owned(), kind }))
    }

    /// The name, as in tables: that of the file up to its first dot.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How a file is read, for messages; nothing for what is made up.
    #[must_use]
    pub fn read_as(&self) -> Option<Format> {
        match self.kind {
            Kind::File { format, .. } => Some(format),
            Kind::Stress { .. } | Kind::Synthetic(_) => None,
        }
    }

    /// Begins to read.
    ///
    /// # Errors
    /// If the file can't be opened. What is wrong inside it, the stream tells.
    pub fn requests(&self) -> anyhow::Result<Requests> {
        let (path, format, columns) = match &self.kind {
            Kind::File { path, format, columns } => (path, format, columns),
            Kind::Stress { vault, cycle } => return stress::read(vault, cycle),
            Kind::Synthetic(generator) => return Ok(generator.requests()),
        };
        let input = compression::open(path)?;
        Ok(match format {
            Format::Text => text::read(input),
            Format::Lirs => lirs::read(input),
            Format::Arc => arc::read(input),
            Format::Cache2k => cache2k::read(input),
            Format::Corda => corda::read(input),
            Format::Oracle => oracle::read(input),
            Format::Csv => csv::read(input, columns)?,
            Format::Log => access_log::read(input, columns)?,
        })
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

fn name_of(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.split('.').next().unwrap_or_default().to_owned()
}

/// Not everything in a folder of traces is one.
fn is_trace(path: &Path) -> bool {
    const OTHERS: [&str; 6] = ["md", "csv", "txt", "json", "toml", "sh"];
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    path.is_file() && !OTHERS.contains(&extension.as_str()) && !name_of(path).is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_guessed_from_names() {
        let cases = [
            ("lirs-loop.gz", Format::Lirs),
            ("arc-P3.zst", Format::Arc),
            ("corda-vault.gz", Format::Corda),
            ("cache2k-web07.xz", Format::Cache2k),
            ("cloudphysics-io.oracle.xz", Format::Oracle),
            ("w106.oracleGeneral.zst", Format::Oracle),
            ("x.csv.gz", Format::Csv),
            ("nginx/access.log", Format::Log),
            ("keys", Format::Text),
            ("archive.txt", Format::Text),
        ];
        for (name, format) in cases {
            assert_eq!(Format::of(Path::new(name)), format, "{name}");
        }
    }

    #[test]
    fn names_end_at_the_first_dot() {
        assert_eq!(name_of(Path::new("a/cloudphysics-io.oracle.xz")), "cloudphysics-io");
    }

    #[test]
    fn a_folder_gives_its_traces_and_the_composition() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["corda-vault", "lirs-loop.gz", "README.md", "expected.csv"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let names = |path: &Path| -> Vec<String> {
            let found = Source::find(path, None, &Columns::default()).unwrap();
            found.iter().map(ToString::to_string).collect()
        };
        assert_eq!(names(folder.path()), ["corda-vault", "lirs-loop", "stress-corda-loop"]);
        assert_eq!(names(&folder.path().join("stress-corda-loop")), ["stress-corda-loop"]);
        assert!(Source::find(&folder.path().join("other"), None, &Columns::default()).is_err());
    }
}
