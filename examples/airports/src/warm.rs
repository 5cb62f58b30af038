//! What is cached, in a file, so that a process that starts again starts warm.
//!
//! The file must not bring back what a write of this service has made wrong. So a write takes the file away before it goes to the
//! database, and one that is being saved meanwhile is thrown away; the next one is saved soon. All of a save but its last step, the
//! rename, goes on beside writes.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context;
use millpond_cache::{SnapshotError, SnapshotReport};
use parking_lot::Mutex;
use tempfile::NamedTempFile;

use crate::cached::{All, Caches};

/// The file, if there is to be one.
#[derive(Debug)]
pub struct Snapshot {
    path: Option<PathBuf>,
    /// How many writes there were; held while the file is put in place or taken away.
    writes: Mutex<Writes>,
    /// Held while a file is made: one at a time.
    saving: Mutex<()>,
}

#[derive(Debug, Default)]
struct Writes {
    begun: u64,
    /// Those that have gone to the database, and of which the caches have not heard.
    open: u64,
}

/// A write of this service, from before it goes to the database until the caches have heard of it.
#[derive(Debug)]
#[must_use = "it ends when this is dropped"]
pub struct Writing<'s>(&'s Snapshot);

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        self.0.writes.lock().open -= 1;
    }
}

impl Snapshot {
    /// The snapshot in this file, or none.
    #[must_use]
    pub fn new(path: Option<PathBuf>) -> Self {
        Self { path, writes: Mutex::default(), saving: Mutex::new(()) }
    }

    /// Fills empty caches from the file. One that can't be read is logged and otherwise left as it is: a cold start is no failure.
    pub fn load(&self, caches: &Caches) {
        let (Some(path), Some(all)) = (&self.path, &caches.all) else { return };
        match read(path, all) {
            Ok((entries, skipped)) => tracing::info!(entries, skipped, ?path, "the cache is warm"),
            Err(SnapshotError::Io(error)) if error.kind() == io::ErrorKind::NotFound => {
                tracing::info!(?path, "there is no snapshot yet");
            }
            Err(error) => {
                // One cache may have been read well, and the next one not; who knows what it says.
                caches.in_doubt();
                tracing::warn!(%error, ?path, "the snapshot is of no use, the cache is cold");
            }
        }
    }

    /// Saves what is cached. Blocks. Does nothing if a write came in between; true if there is a new file.
    ///
    /// # Errors
    /// If the file can't be written; the old one, if there is one, is as it was.
    pub fn save(&self, caches: &Caches) -> anyhow::Result<bool> {
        let (Some(path), Some(all)) = (&self.path, &caches.all) else { return Ok(false) };
        let _one_at_a_time = self.saving.lock();
        let before = {
            let writes = self.writes.lock();
            if writes.open > 0 {
                return Ok(false);
            }
            writes.begun
        };
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let mut file = NamedTempFile::new_in(folder.unwrap_or(Path::new(".")))
            .with_context(|| format!("a file beside {}", path.display()))?;
        let mut writer = BufWriter::new(&mut file);
        let reports = [
            all.airports.save_snapshot(&mut writer)?,
            all.lists.save_snapshot(&mut writer)?,
            all.nearest.save_snapshot(&mut writer)?,
        ];
        writer.flush()?;
        drop(writer);
        file.as_file().sync_all()?;
        let writes = self.writes.lock();
        if writes.begun != before {
            return Ok(false);
        }
        file.persist(path).with_context(|| format!("saving {}", path.display()))?;
        drop(writes);
        let (entries, _) = sum(&reports);
        tracing::debug!(entries, ?path, "the cache is saved");
        Ok(true)
    }

    /// To be called before a write goes to the database.
    pub fn writing(&self) -> Writing<'_> {
        let mut writes = self.writes.lock();
        writes.begun += 1;
        writes.open += 1;
        if let Some(path) = &self.path {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(%error, ?path, "a snapshot that is about to be wrong can't be removed");
                }
                _ => {}
            }
        }
        drop(writes);
        Writing(self)
    }
}

fn read(path: &Path, all: &All) -> Result<(u64, u64), SnapshotError> {
    let mut reader = BufReader::new(File::open(path)?);
    // One after the other in one file.
    let reports = [
        all.airports.load_snapshot(&mut reader)?,
        all.lists.load_snapshot(&mut reader)?,
        all.nearest.load_snapshot(&mut reader)?,
    ];
    Ok(sum(&reports))
}

/// Entries and those that were skipped.
fn sum(reports: &[SnapshotReport]) -> (u64, u64) {
    reports.iter().fold((0, 0), |sum, report| (sum.0 + report.entries, sum.1 + report.skipped))
}
