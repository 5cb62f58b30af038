//! What a process keeps on its own disk, in one folder: the journal, the name of the instance, dead letters.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::Serialize;

/// The folder.
#[derive(Clone, Debug)]
pub struct Data {
    folder: PathBuf,
}

impl Data {
    /// Makes the folder if it is missing.
    ///
    /// # Errors
    /// If it can't be made.
    pub fn open(folder: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        Ok(Self { folder: folder.to_owned() })
    }

    /// Where the journal of orders is.
    #[must_use]
    pub fn journal(&self) -> PathBuf {
        self.folder.join("journal")
    }

    /// The name of the instance: a random one, kept from the first start on. Call it while the journal is open, which locks out others.
    ///
    /// Reservations carry it, so that a start gives back only those whose orders can't be in somebody else's journal.
    ///
    /// # Errors
    /// If it can neither be read nor written.
    pub fn instance(&self) -> anyhow::Result<String> {
        let path = self.folder.join("instance");
        let reading = || format!("reading {}", path.display());
        match fs::read_to_string(&path) {
            Ok(name) if !name.trim().is_empty() => Ok(name.trim().to_owned()),
            Ok(_) => anyhow::bail!("{} is empty", path.display()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let name = uuid::Uuid::new_v4().to_string();
                // Whole or not at all, and on the disk before the first reservation is.
                let fresh = self.folder.join("instance.new");
                let mut file = OpenOptions::new().create(true).write(true).truncate(true).open(&fresh)?;
                file.write_all(name.as_bytes())?;
                file.sync_all()?;
                fs::rename(&fresh, &path).with_context(reading)?;
                #[cfg(unix)]
                fs::File::open(&self.folder)?.sync_all()?;
                Ok(name)
            }
            Err(error) => Err(error).with_context(reading),
        }
    }

    /// Keeps an order that the database refused for good, as a line of JSON, for a person.
    ///
    /// # Errors
    /// If the line can't be written.
    pub fn keep_letter(&self, id: &str, order: Option<&impl Serialize>, cause: &str) -> io::Result<()> {
        #[derive(Serialize)]
        struct Letter<'l, O> {
            order_id: &'l str,
            order: Option<&'l O>,
            cause: &'l str,
        }
        let mut line = serde_json::to_vec(&Letter { order_id: id, order, cause })?;
        line.push(b'\n');
        let path = self.folder.join("dead-letters.jsonl");
        let mut file = OpenOptions::new().create(true).append(true).open(path)?;
        file.write_all(&line)?;
        file.sync_all()
    }
}
