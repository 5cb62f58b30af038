//! The thread that writes a journal: the only one that touches its files once it is open.

use std::fs::{self, File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use super::format::{BLOCK_HEADER, HEADER, Header, Marks, VERSION, seal};
use super::recover::{Sealed, segment_path, sync_directory};
use super::report::JournalSync;
use crate::backing::journal_error::JournalError;

/// A block is closed when it has this many bytes.
pub(super) const BLOCK: usize = 4 << 20;

type Answer = oneshot::Sender<Result<(), Arc<JournalError>>>;

/// Work for the thread.
pub(super) enum Entry {
    /// A write to be recorded.
    Write { number: u64, record: Vec<u8>, answer: Answer },
    /// Somebody who wants to know that all before is on the disk.
    Barrier { answer: Answer },
    /// All that is not resolved at this point: with it, nothing that came before is needed.
    Live { number: u64, encode: Encode },
}

/// Makes records of what is live: the user's serializer, which runs on the thread.
pub(super) type Encode = Box<dyn FnOnce() -> Result<Vec<Vec<u8>>, JournalError> + Send>;

#[derive(Default)]
pub(super) struct State {
    pub(super) entries: Vec<Entry>,
    /// Numbers up to this one need not be kept.
    pub(super) resolved: u64,
    pub(super) closers: Vec<Answer>,
    pub(super) shall_close: bool,
    /// Whether the thread is gone.
    pub(super) is_dead: bool,
    /// Whether all that came is on the disk.
    pub(super) is_idle: bool,
}

/// Between the thread and those who hand it work.
#[derive(Default)]
pub(super) struct Shared {
    pub(super) state: Mutex<State>,
    pub(super) bell: Condvar,
    pub(super) bytes: AtomicU64,
    /// The size from which it wants to be compacted; `u64::MAX` while it is about to be.
    pub(super) compact_at: AtomicU64,
    /// Writes that were live when that was last decided.
    pub(super) live_then: AtomicUsize,
    pub(super) syncs: AtomicU64,
    pub(super) blocks: AtomicU64,
    pub(super) compactions: AtomicU64,
    /// Whether a write was accepted that is not in the journal.
    pub(super) has_failed: AtomicBool,
    /// For tests: bytes that the disk still takes (a segment that is deleted gives its own back), and whether syncs fail.
    #[cfg(test)]
    pub(super) room: Mutex<Option<usize>>,
    #[cfg(test)]
    pub(super) syncs_fail: AtomicBool,
    /// For tests: syncs begun, and a lock that each of them waits for.
    #[cfg(test)]
    pub(super) syncs_begun: AtomicU64,
    #[cfg(test)]
    pub(super) sync_gate: Mutex<()>,
    /// For tests: whether a compaction is under way, and whether its syncs fail.
    #[cfg(test)]
    pub(super) is_rewriting: AtomicBool,
    #[cfg(test)]
    pub(super) live_syncs_fail: AtomicBool,
    /// For tests: whether segments stay that nobody needs.
    #[cfg(test)]
    pub(super) keeps_all: AtomicBool,
}

struct Active {
    file: File,
    id: u64,
    path: PathBuf,
    end: u64,
    synced: u64,
    last: u64,
}

pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) directory: PathBuf,
    pub(super) sync: JournalSync,
    pub(super) segment_bytes: u64,
    /// The least size from which it is compacted.
    pub(super) compact_from: u64,
    pub(super) schema: u32,
    pub(super) sealed: Vec<Sealed>,
    pub(super) next_id: u64,
    pub(super) previous_end: u64,
    pub(super) resolved: u64,
    pub(super) files: Files,
}

/// What the thread has open.
pub(super) struct Files {
    active: Option<Active>,
    /// Held for as long as the journal is open.
    _lock: File,
    unsynced_since: Option<Instant>,
    /// What the last block says is resolved.
    marked: u64,
    /// A sync in the background failed: the next write is told.
    grudge: Option<Arc<JournalError>>,
    /// Whether the disk did not take the last thing that it was given; most likely it is full.
    lacks_room: bool,
    /// Whether what is live was written anew, or could not be, since the size was last looked at.
    pub(super) was_compacted: bool,
}

impl Files {
    pub(super) fn new(lock: File) -> Self {
        Self {
            active: None,
            _lock: lock,
            unsynced_since: None,
            marked: 0,
            grudge: None,
            lacks_room: false,
            was_compacted: false,
        }
    }
}

/// Tells those who wait when the thread ends, however it does.
struct Farewell(Arc<Shared>);

impl Drop for Farewell {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.is_dead = true;
        let entries = std::mem::take(&mut state.entries);
        let closers = std::mem::take(&mut state.closers);
        drop(state);
        // There may be keys and values in it, and a drop that panics must not keep the rest from happening.
        let _panicked = catch_unwind(AssertUnwindSafe(|| drop(entries)));
        for closer in closers {
            let _ = closer.send(Ok(()));
        }
    }
}

impl Writer {
    /// The first segment of this run: opening fails if none can be written.
    pub(super) fn begin(&mut self) -> Result<(), JournalError> {
        self.active()?;
        self.shared.compact_at.store(self.compact_from, Ordering::Release);
        self.count_bytes();
        Ok(())
    }

    pub(super) fn run(self) {
        let _farewell = Farewell(Arc::clone(&self.shared));
        // Dropped first: who hears the farewell finds the directory free.
        let mut writer = self;
        writer.work();
    }

    fn work(&mut self) {
        loop {
            let (entries, resolved, shall_close) = self.next_work();
            self.resolved = self.resolved.max(resolved);
            self.commit(entries);
            self.sync_if_due(shall_close);
            self.trim();
            self.count_bytes();
            if shall_close && self.shared.state.lock().entries.is_empty() {
                self.end();
                return;
            }
        }
    }

    fn next_work(&mut self) -> (Vec<Entry>, u64, bool) {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.state.lock();
        loop {
            if !state.entries.is_empty() || state.shall_close || state.resolved > self.resolved {
                state.is_idle = false;
                return (std::mem::take(&mut state.entries), state.resolved, state.shall_close);
            }
            state.is_idle = self.files.unsynced_since.is_none();
            match (self.sync, self.files.unsynced_since) {
                (JournalSync::Interval(interval), Some(since)) => {
                    let left = interval.saturating_sub(since.elapsed());
                    if left == Duration::ZERO {
                        return (Vec::new(), state.resolved, false);
                    }
                    let _timed_out = shared.bell.wait_for(&mut state, left);
                }
                _ => shared.bell.wait(&mut state),
            }
        }
    }

    /// Writes what came, in blocks, and answers.
    fn commit(&mut self, entries: Vec<Entry>) {
        let mut group: Vec<Entry> = Vec::new();
        let mut bytes = 0;
        for entry in entries {
            match entry {
                Entry::Live { number, encode } => {
                    if !group.is_empty() {
                        self.commit_group(std::mem::take(&mut group));
                        bytes = 0;
                    }
                    self.compact(number, encode);
                    continue;
                }
                Entry::Write { ref record, .. } => bytes += record.len(),
                Entry::Barrier { .. } => {}
            }
            group.push(entry);
            if bytes >= BLOCK || (bytes > 0 && self.sync == JournalSync::Each) {
                self.commit_group(std::mem::take(&mut group));
                bytes = 0;
            }
        }
        if !group.is_empty() {
            self.commit_group(group);
        }
    }

    fn commit_group(&mut self, mut group: Vec<Entry>) {
        let has_records = group.iter().any(|entry| matches!(entry, Entry::Write { .. }));
        let is_barrier = group.iter().any(|entry| matches!(entry, Entry::Barrier { .. }));
        let may_wait = matches!(self.sync, JournalSync::Interval(_)) && !is_barrier;
        let mut outcome = Ok(());
        if has_records {
            outcome = self.write(&mut group).map_err(Arc::new);
        }
        if outcome.is_ok() && !may_wait {
            outcome = self.sync().map_err(Arc::new);
        }
        if let Some(grudge) = self.files.grudge.take_if(|_| has_records) {
            outcome = outcome.and(Err(grudge));
        }
        if outcome.is_err() {
            self.shared.has_failed.store(true, Ordering::Release);
        }
        for entry in group {
            if let Entry::Write { answer, .. } | Entry::Barrier { answer } = entry {
                // Who left need not know.
                let _ = answer.send(outcome.clone());
            }
        }
    }

    /// Appends one block with all records of the group.
    fn write(&mut self, group: &mut [Entry]) -> Result<(), JournalError> {
        let mut block = vec![0; BLOCK_HEADER];
        let (mut count, mut last) = (0, 0);
        for entry in group {
            let Entry::Write { number, record, .. } = entry else { continue };
            block.extend(number.to_le_bytes());
            block.extend(std::mem::take(record));
            count += 1;
            last = *number;
        }
        self.append(block, count, last)
    }

    pub(super) fn append(&mut self, block: Vec<u8>, count: u32, last: u64) -> Result<(), JournalError> {
        let appended = self.try_append(block, count, last);
        self.files.lacks_room = appended.is_err();
        appended
    }

    fn try_append(&mut self, mut block: Vec<u8>, count: u32, last: u64) -> Result<(), JournalError> {
        if self.files.active.as_ref().is_some_and(|active| active.end >= self.segment_bytes) {
            self.rotate()?;
        }
        let resolved = self.resolved;
        #[cfg(test)]
        let shared = Arc::clone(&self.shared);
        let active = self.active()?;
        // A mark alone says nothing new of numbers.
        let last = if count == 0 { active.last } else { last };
        seal(&mut block, active.id, active.end, Marks { count, last, resolved, synced: active.synced });
        #[cfg(test)]
        let written = write_if_room(&shared, &mut active.file, &block);
        #[cfg(not(test))]
        let written = active.file.write_all(&block);
        if let Err(error) = written {
            let error = JournalError::Io { path: active.path.clone(), source: error };
            let cut = active.file.set_len(active.end);
            if cut.and_then(|()| active.file.seek(SeekFrom::Start(active.end))).is_err() {
                // What is half written stays where it is, above the end that the next segment confirms.
                self.abandon();
            }
            return Err(error);
        }
        active.end += block.len() as u64;
        active.last = active.last.max(last);
        self.files.marked = resolved;
        if count > 0 {
            // A mark alone may be lost: then more is replayed.
            self.files.unsynced_since.get_or_insert_with(Instant::now);
        }
        self.shared.blocks.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    pub(super) fn sync(&mut self) -> Result<(), JournalError> {
        if self.files.unsynced_since.is_none() {
            return Ok(());
        }
        let Some(active) = &mut self.files.active else { return Ok(()) };
        self.shared.syncs.fetch_add(1, Ordering::Relaxed);
        #[cfg(test)]
        {
            self.shared.syncs_begun.fetch_add(1, Ordering::SeqCst);
            drop(self.shared.sync_gate.lock());
        }
        let synced = active.file.sync_data();
        #[cfg(test)]
        let synced = if self.shared.syncs_fail.load(Ordering::Acquire)
            || self.shared.is_rewriting.load(Ordering::Acquire)
                && self.shared.live_syncs_fail.load(Ordering::Acquire)
        {
            Err(std::io::Error::other("the sync fails, as it was told"))
        } else {
            synced
        };
        if let Err(source) = synced {
            let path = active.path.clone();
            // What the kernel could not write it may have forgotten: a second sync would prove nothing.
            self.abandon();
            return Err(JournalError::Io { path, source });
        }
        active.synced = active.end;
        self.files.unsynced_since = None;
        Ok(())
    }

    fn sync_if_due(&mut self, shall_close: bool) {
        let due = match (self.sync, self.files.unsynced_since) {
            (JournalSync::Interval(interval), Some(since)) => since.elapsed() >= interval,
            _ => false,
        };
        if due || shall_close {
            self.sync_unasked();
        }
    }

    /// A sync for which nobody waits.
    pub(super) fn sync_unasked(&mut self) {
        if let Err(error) = self.sync() {
            self.shared.has_failed.store(true, Ordering::Release);
            self.files.grudge = Some(Arc::new(error));
        }
    }

    /// Leaves the segment as it is. What was synced of it counts.
    pub(super) fn abandon(&mut self) {
        let Some(active) = self.files.active.take() else { return };
        self.files.unsynced_since = None;
        self.previous_end = active.synced;
        self.sealed.push(Sealed { path: active.path, bytes: active.end, last: active.last });
    }

    fn rotate(&mut self) -> Result<(), JournalError> {
        self.sync()?;
        self.abandon();
        Ok(())
    }

    fn active(&mut self) -> Result<&mut Active, JournalError> {
        if self.files.active.is_none() {
            let id = self.next_id;
            let path = segment_path(&self.directory, id);
            let (previous_end, resolved) = (self.previous_end, self.resolved);
            let header = Header { version: VERSION, schema: self.schema, id, previous_end, resolved };
            let create = || {
                let mut file = OpenOptions::new().create(true).write(true).truncate(true).open(&path)?;
                #[cfg(test)]
                write_if_room(&self.shared, &mut file, &header.to_bytes())?;
                #[cfg(not(test))]
                file.write_all(&header.to_bytes())?;
                file.sync_all()?;
                Ok(file)
            };
            let file = create().map_err(JournalError::io(&path))?;
            sync_directory(&self.directory)?;
            self.next_id += 1;
            let end = HEADER as u64;
            self.files.active = Some(Active { file, id, path, end, synced: end, last: 0 });
        }
        Ok(self.files.active.as_mut().expect("just made"))
    }

    /// Deletes what is not needed any more, and writes down how far that is.
    fn trim(&mut self) {
        #[cfg(test)]
        if self.shared.keeps_all.load(Ordering::SeqCst) {
            return;
        }
        self.delete_done();
        let Some(active) = &self.files.active else { return };
        if active.last > 0 && active.last <= self.resolved {
            if self.files.lacks_room {
                self.clear();
            } else if active.end >= self.segment_bytes / 4 {
                // All is done: a fresh segment is cheaper than reading this one again.
                self.files.lacks_room = self.rotate().is_ok() && self.active().is_err();
                self.delete_done();
            } else if self.files.marked < self.resolved && self.append(vec![0; BLOCK_HEADER], 0, 0).is_err() {
                self.clear();
            }
        } else if active.last > 0 && self.files.marked < self.resolved {
            let _ = self.append(vec![0; BLOCK_HEADER], 0, 0);
        }
    }

    /// Deletes segments, oldest first, in which nothing is needed any more.
    fn delete_done(&mut self) {
        while let Some(oldest) = self.sealed.first() {
            // The next one is deleted when this one surely is: no older value must outlive a newer one.
            let is_needed = oldest.last > self.resolved;
            if is_needed || !is_gone(&oldest.path) || sync_directory(&self.directory).is_err() {
                break;
            }
            let _freed = self.sealed.remove(0);
            #[cfg(test)]
            if let Some(left) = &mut *self.shared.room.lock() {
                *left += _freed.bytes as usize;
            }
        }
    }

    /// On a disk that is full, all in the last segment is done: it goes first, and the next write finds the room for another.
    /// A crash in between finds an empty directory, as after an orderly end.
    fn clear(&mut self) {
        self.abandon();
        self.delete_done();
    }

    fn count_bytes(&mut self) {
        let active = self.files.active.as_ref().map_or(0, |active| active.end);
        let sealed: u64 = self.sealed.iter().map(|sealed| sealed.bytes).sum();
        let bytes = active + sealed;
        self.shared.bytes.store(bytes, Ordering::Release);
        self.plan_compaction(bytes);
    }

    fn end(&mut self) {
        if self.sync().is_err() {
            self.shared.has_failed.store(true, Ordering::Release);
        }
        let is_empty = self.files.active.as_ref().is_none_or(|active| active.last <= self.resolved);
        if is_empty && self.sealed.is_empty() {
            if let Some(active) = self.files.active.take() {
                let _ = fs::remove_file(&active.path);
                let _ = sync_directory(&self.directory);
            }
        }
        self.count_bytes();
    }
}

/// Also if somebody else has deleted it.
fn is_gone(path: &std::path::Path) -> bool {
    match fs::remove_file(path) {
        Ok(()) => true,
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    }
}

/// A disk with as much room as a test says: what fits is written, the rest is refused.
#[cfg(test)]
fn write_if_room(shared: &Shared, file: &mut File, block: &[u8]) -> std::io::Result<()> {
    let mut room = shared.room.lock();
    match &mut *room {
        Some(left) if *left < block.len() => {
            // What is half written is cut off again.
            file.write_all(&block[..*left])?;
            Err(std::io::ErrorKind::StorageFull.into())
        }
        Some(left) => {
            *left -= block.len();
            file.write_all(block)
        }
        None => file.write_all(block),
    }
}
