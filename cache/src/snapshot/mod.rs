//! Entries to a file and back, so that a process that starts again starts warm.
//!
//! - `format`: blocks with checksums; what a file looks like.
//! - `error`: what can be wrong with one.
//! - this file: the surface. What is collected and put back is in `core::snapshot`.

mod error;
mod format;

use std::any::type_name;
use std::fs::File;
use std::hash::{BuildHasher, Hash};
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub use self::error::SnapshotError;
use self::format::{Kind, Reader, Writer};
use crate::cache::Cache;
use crate::core::snapshot::{PLACES, Restored};

/// Entries are written in blocks of about so many bytes.
const BLOCK: usize = 64 * 1024;

/// What a snapshot came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SnapshotReport {
    /// Entries written, or put into the cache.
    pub entries: u64,
    /// Entries of the file that were not put into the cache: it was full, their life was over, or their key was there.
    pub skipped: u64,
}

/// The first block: what holds for all entries.
#[derive(Serialize, Deserialize)]
struct Meta {
    /// Nanoseconds since 1970.
    saved_at: u64,
    /// The part of the capacity that was the admission window.
    window: f64,
    key: String,
    value: String,
}

#[derive(Serialize)]
struct Written<'e, K, V> {
    life: Option<u64>,
    idle: Option<u64>,
    place: u8,
    frequency: u8,
    tags: Vec<&'e str>,
    key: &'e K,
    value: &'e V,
}

#[derive(Deserialize)]
struct Read1<K, V> {
    life: Option<u64>,
    idle: Option<u64>,
    place: u8,
    frequency: u8,
    tags: Vec<String>,
    key: K,
    value: V,
}

/// Snapshots. With the feature `snapshot`.
impl<K, V, S> Cache<K, V, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    /// Writes the live entries, the hottest first, with what is left of their lives, their tags, their place in the policy and how
    /// often they were used.
    ///
    /// Weakly consistent, as [`iter`](Self::iter) is: entries that are written, or change their place, meanwhile may be missing. No lock is held while
    /// keys and values are serialized or written; removed values of every cache wait while those of a shard are serialized.
    /// Memory: the serialized entries of one shard. Pass a buffered or fast writer; see [`save_snapshot_to`](Self::save_snapshot_to) for files.
    ///
    /// The counts of keys that are not in the cache are not saved: they belong to hashes whose secrets end with the process.
    ///
    /// ```
    /// use millpond_cache::Cache;
    /// let cache: Cache<String, u32> = Cache::new(100);
    /// cache.insert(String::from("one"), 1);
    /// let mut bytes = Vec::new();
    /// assert_eq!(cache.save_snapshot(&mut bytes)?.entries, 1);
    ///
    /// let warm: Cache<String, u32> = Cache::new(100);
    /// warm.load_snapshot(&bytes[..])?;
    /// assert_eq!(warm.get("one"), Some(1));
    /// # Ok::<(), millpond_cache::SnapshotError>(())
    /// ```
    ///
    /// # Errors
    /// The writer's, and what `Serialize` says. The output is then no snapshot.
    pub fn save_snapshot(&self, writer: impl Write) -> Result<SnapshotReport, SnapshotError>
    where
        K: Serialize,
        V: Serialize,
    {
        let mut writer = Writer::begin(writer)?;
        let meta = Meta {
            saved_at: since_1970(),
            window: self.core.window_share(),
            key: type_name::<K>().into(),
            value: type_name::<V>().into(),
        };
        writer.block(Kind::Meta, &encode(&meta, Vec::new())?)?;
        let mut report = SnapshotReport::default();
        for place in PLACES {
            for shard in 0..self.core.shards.len() {
                let mut blocks = Vec::new();
                let mut block = Vec::new();
                self.core.saved(shard, place, |saved| {
                    let entry = Written {
                        life: saved.life,
                        idle: saved.idle,
                        place,
                        frequency: saved.frequency,
                        tags: saved.tags.iter().map(|tag| &**tag).collect(),
                        key: saved.key,
                        value: saved.value,
                    };
                    block = encode(&entry, std::mem::take(&mut block))?;
                    if block.len() >= BLOCK {
                        blocks.push(std::mem::take(&mut block));
                    }
                    report.entries += 1;
                    Ok::<(), SnapshotError>(())
                })?;
                blocks.push(block);
                for block in blocks.iter().filter(|block| !block.is_empty()) {
                    writer.block(Kind::Entries, block)?;
                }
            }
        }
        writer.end(report.entries)?;
        Ok(report)
    }

    /// Puts the entries of a snapshot into the cache. They keep what is left of their lives, less the time since the snapshot was
    /// saved by the system's clock; their place in the policy and their use count as before. An entry that is there already stays.
    /// Listeners are told of nothing.
    ///
    /// A file that is damaged, cut off or foreign changes nothing: all of it is read and checked before the first entry goes
    /// in. Memory: at most what the cache can hold; of a snapshot that is larger, the hottest entries are taken. A length in the file is
    /// never believed before so many bytes have come.
    ///
    /// See [`save_snapshot`](Self::save_snapshot) for an example.
    ///
    /// # Errors
    /// [`SnapshotError`] says what is wrong. Snapshots of other key or value types are refused by the types' names; a type that has changed
    /// under its name is noticed only if its bytes can't be read as the new one.
    pub fn load_snapshot(&self, reader: impl Read) -> Result<SnapshotReport, SnapshotError>
    where
        K: DeserializeOwned,
        V: DeserializeOwned,
    {
        let mut reader = Reader::begin(reader)?;
        let meta: Meta = match reader.block()? {
            (Kind::Meta, block) => decode(&block)?.0,
            _ => {
                return Err(SnapshotError::Decode(String::from(
                    "the first block does not describe the others",
                )));
            }
        };
        for (found, expected) in [(meta.key, type_name::<K>()), (meta.value, type_name::<V>())] {
            if found != expected {
                return Err(SnapshotError::OtherTypes { found, expected });
            }
        }
        let elapsed = since_1970().saturating_sub(meta.saved_at);
        let mut room = self.core.budget.max();
        let (mut kept, mut seen) = (Vec::new(), 0u64);
        loop {
            let (kind, block) = reader.block()?;
            let mut rest = &block[..];
            match kind {
                Kind::Entries => {
                    while !rest.is_empty() {
                        let (entry, left) = decode::<Read1<K, V>>(rest)?;
                        rest = left;
                        seen += 1;
                        let over = |life: Option<u64>| life.is_some_and(|life| life <= elapsed);
                        if over(entry.life) || over(entry.idle) {
                            continue;
                        }
                        let left = |life: Option<u64>| life.map(|life| life - elapsed);
                        let weight = self.core.weigh(&entry.key, &entry.value);
                        let Some(less) = room.checked_sub(u64::from(weight)) else { continue };
                        room = less;
                        kept.push(Restored {
                            life: left(entry.life),
                            idle: left(entry.idle),
                            place: entry.place,
                            frequency: entry.frequency,
                            tags: entry.tags.into_iter().map(Into::into).collect(),
                            key: entry.key,
                            value: entry.value,
                            weight,
                        });
                    }
                }
                Kind::End => {
                    if decode::<u64>(rest)?.0 != seen {
                        return Err(SnapshotError::Decode(String::from("the number of entries is another")));
                    }
                    break;
                }
                Kind::Meta => return Err(SnapshotError::Decode(String::from("a second description"))),
            }
        }
        let entries = self.core.restore(kept, meta.window);
        Ok(SnapshotReport { entries, skipped: seen - entries })
    }

    /// Saves to a file, which is the old one or the new one at any time and whatever happens: written beside it, flushed to the disk, and
    /// renamed.
    ///
    /// # Errors
    /// As for [`save_snapshot`](Self::save_snapshot); a file that was there is then as before.
    pub fn save_snapshot_to(&self, path: impl AsRef<Path>) -> Result<SnapshotReport, SnapshotError>
    where
        K: Serialize,
        V: Serialize,
    {
        let path = path.as_ref();
        let folder = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        let mut writer = BufWriter::new(&mut file);
        let report = self.save_snapshot(&mut writer)?;
        writer.flush()?;
        drop(writer);
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)?;
        // The rename is on the disk when the folder is.
        #[cfg(unix)]
        File::open(folder)?.sync_all()?;
        Ok(report)
    }

    /// Loads from a file; see [`load_snapshot`](Self::load_snapshot).
    ///
    /// # Errors
    /// As for [`load_snapshot`](Self::load_snapshot); [`SnapshotError::Io`] with
    /// [`NotFound`](std::io::ErrorKind::NotFound) if there is no file.
    pub fn load_snapshot_from(&self, path: impl AsRef<Path>) -> Result<SnapshotReport, SnapshotError>
    where
        K: DeserializeOwned,
        V: DeserializeOwned,
    {
        self.load_snapshot(BufReader::new(File::open(path)?))
    }
}

fn encode<T: Serialize>(value: &T, into: Vec<u8>) -> Result<Vec<u8>, SnapshotError> {
    postcard::to_extend(value, into).map_err(|error| SnapshotError::Encode(error.to_string()))
}

fn decode<'b, T: Deserialize<'b>>(bytes: &'b [u8]) -> Result<(T, &'b [u8]), SnapshotError> {
    postcard::take_from_bytes(bytes).map_err(|error| SnapshotError::Decode(error.to_string()))
}

#[expect(
    clippy::disallowed_methods,
    reason = "the only clock that two processes share; one that jumps ends lives early or late"
)]
fn since_1970() -> u64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX)
}
