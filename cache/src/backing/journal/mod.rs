//! A journal of accepted writes on the local disk, so that a crash loses none of write-behind.
//!
//! Each accepted write is a record in the newest of some segment files ([`format`]). One thread writes them ([`writer`]); a start
//! reads them ([`recover`]). A segment goes when all of its writes are in the store or reported, or when what is left of them was
//! written anew ([`compact`]).

mod compact;
mod format;
mod recover;
mod report;
#[cfg(test)]
mod tests;
mod writer;

use std::fmt;
use std::fs::{self, OpenOptions};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use fs4::fs_std::FileExt;
use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;

use self::recover::{recover, sync_directory};
pub use self::report::{JournalReport, JournalSync};
use self::writer::{Entry, Files, Shared, Writer};
use super::journal_error::JournalError;
use super::log::{Log, LogFigures, Opened, Receipt};
use super::queue::Departed;

/// How a journal is kept; from [`Journal::options`].
#[derive(Clone, Debug)]
#[must_use = "options do nothing before `open`"]
pub struct JournalOptions {
    directory: PathBuf,
    sync: JournalSync,
    segment_bytes: u64,
    max_bytes: u64,
    schema: u32,
    salvages: bool,
}

impl JournalOptions {
    /// When a write counts as accepted. Default: [`JournalSync::Group`].
    pub fn sync(mut self, sync: JournalSync) -> Self {
        self.sync = sync;
        self
    }

    /// The size at which a new file is begun, at least 4 KiB. Default: 16 MiB.
    pub fn segment_bytes(mut self, bytes: u64) -> Self {
        self.segment_bytes = bytes.max(4096);
        self
    }

    /// The size of all files together from which on writes fail with [`JournalError::Full`]. Default: 1 GiB.
    ///
    /// While the store takes nothing, or one key's write does not get there, it grows also by writes that take each other's place in
    /// the queue. So from four segments on, or half of this, it is written anew when it has doubled: then it holds what the queue holds,
    /// each key once. Meanwhile both are there, so it may be exceeded by that, and by what is under way.
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// A number for the types of keys and values. Default: 0. Change it when they change: an old journal is then refused, instead of
    /// read as something else.
    pub fn schema(mut self, schema: u32) -> Self {
        self.schema = schema;
        self
    }

    /// Leaves out what is damaged instead of refusing to open. Default: off.
    ///
    /// For a person who has read the error and copied the directory. A key whose newest write is in what was left out
    /// gets an older one. [`JournalReport`] says how much it was.
    pub fn salvage(mut self, salvages: bool) -> Self {
        self.salvages = salvages;
        self
    }

    /// Opens or creates the journal, reads what is in it, and starts its thread. Blocks.
    ///
    /// Reads all files, and keeps all writes that the store may lack in memory.
    ///
    /// # Errors
    /// [`JournalError`], with the file and, for damage, the byte. Nothing was changed then, except that a torn end
    /// may have been cut off.
    pub fn open<K, V>(self) -> Result<Journal<K, V>, JournalError>
    where
        K: Serialize + DeserializeOwned + Send + Sync + 'static,
        V: Serialize + DeserializeOwned + Send + Sync + 'static,
    {
        self.open_parts().map(|(journal, _)| journal)
    }

    fn open_parts<K, V>(self) -> Result<Parts<K, V>, JournalError>
    where
        K: Serialize + DeserializeOwned + Send + Sync + 'static,
        V: Serialize + DeserializeOwned + Send + Sync + 'static,
    {
        let directory = self.directory;
        fs::create_dir_all(&directory).map_err(JournalError::io(&directory))?;
        if let Some(parent) = directory.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            sync_directory(parent)?;
        }
        let lock_path = directory.join("lock");
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(&lock_path);
        let lock = lock.map_err(JournalError::io(&lock_path))?;
        if !FileExt::try_lock_exclusive(&lock).map_err(JournalError::io(&lock_path))? {
            return Err(JournalError::Locked { path: directory });
        }
        let recovered = recover::<K, V>(&directory, self.schema, self.salvages)?;
        let shared = Arc::new(Shared::default());
        shared.state.lock().resolved = recovered.resolved;
        let compact_from = self.segment_bytes.saturating_mul(4).min(self.max_bytes / 2);
        let mut writer = Writer {
            shared: Arc::clone(&shared),
            directory: directory.clone(),
            sync: self.sync,
            segment_bytes: self.segment_bytes,
            compact_from,
            schema: self.schema,
            sealed: recovered.sealed,
            next_id: recovered.next_id,
            previous_end: recovered.previous_end,
            resolved: recovered.resolved,
            files: Files::new(lock),
        };
        writer.begin()?;
        let thread = thread::Builder::new().name(String::from("journal")).spawn(move || writer.run());
        let thread = thread.map_err(JournalError::io(&directory))?;
        let handle = Arc::new(Handle {
            shared,
            base: recovered.last,
            restored: AtomicU64::new(0),
            max_bytes: self.max_bytes,
            compact_from,
            is_frozen: AtomicBool::new(true),
            thread: Mutex::new(Some(thread)),
            types: PhantomData,
        });
        let log: Arc<dyn Log<K, V>> = Arc::<Handle<K, V>>::clone(&handle);
        let opened = Opened { log, replay: recovered.replay };
        Ok((Journal { opened, report: recovered.report, directory }, handle))
    }
}

/// An open journal, for [`WriteBehind::journal`](super::WriteBehind::journal). Needs the feature `journal`.
///
/// A write is in it before [`put`](super::StoreCache::put) returns, so a process that is killed loses no write that it has
/// acknowledged: the next one that opens the journal writes them to the store, those of a key folded into the last. One that is already there is
/// written again. No write reaches the store before it is on the journal's disk, so a replay never takes the store back.
///
/// What [`close`](super::StoreCache::close) could not write in time stays in the journal, instead of going to the dead-letter
/// callback. The directory belongs to one cache at a time. On a network file system locks and syncs may promise less.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use millpond_cache::Cache;
/// use millpond_cache::backing::{Journal, Store, StoreError, Write, WriteBehind, Written};
/// use std::time::Duration;
///
/// struct Down;
///
/// impl Store<String, u64> for Down {
///     type Error = &'static str;
///
///     async fn load(&self, _: &String) -> Result<Option<u64>, StoreError<&'static str>> {
///         Err(StoreError::Transient("down"))
///     }
///
///     async fn write(&self, _: &[Write<String, u64>]) -> Result<Written<&'static str>, StoreError<&'static str>> {
///         Err(StoreError::Transient("down"))
///     }
/// }
///
/// let directory = tempfile::tempdir()?;
/// for start in 0..2 {
///     let journal = Journal::options(directory.path()).open()?;
///     assert_eq!(journal.report().replayed(), start);
///     let settings = WriteBehind::new(|letter| eprintln!("lost: {letter:?}")).journal(journal);
///     let views = Cache::builder().max_capacity(100).read_through(Down).write_behind(settings).build()?;
///     if start == 0 {
///         views.put(String::from("KJFK"), 7).await?;
///     }
///     assert_eq!(views.get("KJFK").await?, Some(7));
///     let error = views.close(Duration::from_millis(10)).await.unwrap_err();
///     assert_eq!(error.unwritten(), 1, "and it is in the journal");
/// }
/// # Ok(())
/// # }
/// ```
pub struct Journal<K, V> {
    pub(super) opened: Opened<K, V>,
    report: JournalReport,
    directory: PathBuf,
}

impl Journal<(), ()> {
    /// How to keep a journal in a directory, which is created if need be.
    pub fn options(directory: impl Into<PathBuf>) -> JournalOptions {
        JournalOptions {
            directory: directory.into(),
            sync: JournalSync::default(),
            segment_bytes: 16 << 20,
            max_bytes: 1 << 30,
            schema: 0,
            salvages: false,
        }
    }
}

impl<K, V> Journal<K, V> {
    /// What opening it found.
    #[must_use]
    pub fn report(&self) -> JournalReport {
        self.report
    }

    /// Its directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }
}

impl<K, V> fmt::Debug for Journal<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal")
            .field("directory", &self.directory)
            .field("report", &self.report)
            .finish_non_exhaustive()
    }
}

type Parts<K, V> = (Journal<K, V>, Arc<Handle<K, V>>);

/// The cache's end of a journal. Numbers in the files are those of the queue, after the highest that was there before.
struct Handle<K, V> {
    shared: Arc<Shared>,
    base: u64,
    /// Numbers of the queue up to this one stand for what was replayed.
    restored: AtomicU64,
    max_bytes: u64,
    compact_from: u64,
    is_frozen: AtomicBool,
    thread: Mutex<Option<JoinHandle<()>>>,
    types: PhantomData<fn(K, V)>,
}

impl<K, V> Handle<K, V> {
    fn enter(&self, entry: Entry) {
        let mut state = self.shared.state.lock();
        // Of a dead thread nobody answers, and the receipt says so.
        if !state.is_dead {
            state.is_idle = false;
            state.entries.push(entry);
            self.shared.bell.notify_one();
        }
    }
}

fn encode<K: Serialize, V: Serialize>(key: &K, value: Option<&V>) -> Result<Vec<u8>, JournalError> {
    let record = postcard::to_stdvec(&(key, value));
    let record = record.map_err(|error| JournalError::Encode(error.to_string()))?;
    // A block has room for a whole group and one more.
    if record.len() > u32::MAX as usize / 2 {
        return Err(JournalError::Encode(format!("{} bytes are too many", record.len())));
    }
    Ok(record)
}

impl<K, V> Log<K, V> for Handle<K, V>
where
    K: Serialize + Send + Sync + 'static,
    V: Serialize + Send + Sync + 'static,
{
    fn admit(&self) -> Result<(), JournalError> {
        let bytes = self.shared.bytes.load(Ordering::Acquire);
        if bytes >= self.max_bytes { Err(JournalError::Full(bytes)) } else { Ok(()) }
    }

    fn encode(&self, key: &K, value: Option<&V>) -> Result<Vec<u8>, JournalError> {
        encode(key, value)
    }

    fn append(&self, number: u64, record: Vec<u8>) -> Receipt {
        let (answer, receipt) = oneshot::channel();
        self.enter(Entry::Write { number: self.base + number, record, answer });
        Receipt(receipt)
    }

    fn wants_live(&self, length: usize) -> bool {
        let Shared { bytes, compact_at, live_then, .. } = &*self.shared;
        let (bytes, at) = (bytes.load(Ordering::Acquire), compact_at.load(Ordering::Acquire));
        // A journal that was full of what was live is worth another look when half of that is done.
        let has_halved = length > 0 && length <= live_then.load(Ordering::Acquire) / 2;
        (bytes >= at || (has_halved && bytes >= self.compact_from && at != u64::MAX))
            && !self.is_frozen.load(Ordering::Acquire)
    }

    fn keep_live(&self, number: u64, live: Vec<Departed<K, V>>) {
        self.shared.compact_at.store(u64::MAX, Ordering::Release);
        self.shared.live_then.store(live.len(), Ordering::Release);
        let records = move || live.iter().map(|(key, value)| encode(&**key, value.as_deref())).collect();
        self.enter(Entry::Live { number: self.base + number, encode: Box::new(records) });
    }

    fn barrier(&self) -> Option<Receipt> {
        let state = self.shared.state.lock();
        if state.is_dead || state.is_idle {
            return None;
        }
        drop(state);
        let (answer, receipt) = oneshot::channel();
        self.enter(Entry::Barrier { answer });
        Some(Receipt(receipt))
    }

    fn begin(&self, restored: u64) {
        self.restored.store(restored, Ordering::Release);
        self.is_frozen.store(false, Ordering::Release);
        self.resolved(0);
    }

    fn resolved(&self, number: u64) {
        let restored = self.restored.load(Ordering::Acquire);
        if self.is_frozen.load(Ordering::Acquire) || number < restored {
            return;
        }
        let mut state = self.shared.state.lock();
        if self.base + number > state.resolved {
            state.resolved = self.base + number;
            self.shared.bell.notify_one();
        }
    }

    fn freeze(&self) {
        self.is_frozen.store(true, Ordering::Release);
    }

    fn is_whole(&self) -> bool {
        !self.shared.has_failed.load(Ordering::Acquire) && !self.shared.state.lock().is_dead
    }

    fn close(&self) -> Option<Receipt> {
        let (answer, receipt) = oneshot::channel();
        let mut state = self.shared.state.lock();
        if state.is_dead {
            return None;
        }
        state.closers.push(answer);
        state.shall_close = true;
        self.shared.bell.notify_one();
        Some(Receipt(receipt))
    }

    fn figures(&self) -> LogFigures {
        LogFigures {
            bytes: self.shared.bytes.load(Ordering::Acquire),
            syncs: self.shared.syncs.load(Ordering::Relaxed),
            blocks: self.shared.blocks.load(Ordering::Relaxed),
            compactions: self.shared.compactions.load(Ordering::Relaxed),
        }
    }
}

impl<K, V> Drop for Handle<K, V> {
    /// Waits for the last sync, so that the directory is free when this returns.
    fn drop(&mut self) {
        self.shared.state.lock().shall_close = true;
        self.shared.bell.notify_one();
        if let Some(thread) = self.thread.lock().take() {
            let _panicked = thread.join();
        }
    }
}
