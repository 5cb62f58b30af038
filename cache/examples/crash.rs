//! Kills a process that puts, many times, and counts what became of the writes that it had acknowledged.
//!
//! ```sh
//! cargo run --release -p millpond-cache --features journal --example crash -- 200
//! ```
//!
//! The child process writes through a write-behind cache to a file, one line for each write, so that the file is the history of the
//! store. It says on its standard output what was acknowledged. The parent kills it at a random time (SIGKILL), starts it
//! again, and compares. Each task owns some keys and writes 1, 2, 3, … to each; a process goes on from what the store has.
//!
//! - *lost*: acknowledged writes of keys for which the store, after the next start, has an older value.
//! - *reordered*: lines of the history in which a key went back.
//!
//! A kill leaves the system's file cache alone: what a machine loses without power this does not show.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::thread;
use std::time::Duration;

use millpond_cache::Cache;
use millpond_cache::backing::{
    Blocking, BlockingStore, Journal, JournalSync, StoreError, Write, WriteBehind, Written,
};
use parking_lot::Mutex;

const TASKS: u64 = 8;
const KEYS: u64 = 5;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// A table whose whole history is one file.
struct FileStore {
    file: Mutex<File>,
    values: Mutex<HashMap<u64, u64>>,
    /// Whether it takes most writes of one key not at once, so that the journal can't be cut before them and is compacted.
    blocks: bool,
}

/// The key, and which of its values are taken.
const BLOCKED: u64 = 0;
const TAKEN: u64 = 64;

impl FileStore {
    fn open(path: &Path, blocks: bool) -> Result<Self> {
        let values = history(path)?.into_iter().collect();
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(Self { file: Mutex::new(file), values: Mutex::new(values), blocks })
    }
}

impl BlockingStore<u64, u64> for FileStore {
    type Error = std::io::Error;

    fn load(&self, key: &u64) -> std::result::Result<Option<u64>, StoreError<Self::Error>> {
        Ok(self.values.lock().get(key).copied())
    }

    fn write(
        &self,
        batch: &[Write<u64, u64>],
    ) -> std::result::Result<Written<Self::Error>, StoreError<Self::Error>> {
        let mut lines = String::new();
        let is_blocked = |write: &Write<u64, u64>| {
            self.blocks && *write.key() == BLOCKED && write.value().is_some_and(|value| value % TAKEN != 0)
        };
        for write in batch.iter().filter(|write| !is_blocked(write)) {
            lines += &format!("{} {}\n", write.key(), write.value().copied().unwrap_or(0));
        }
        self.file.lock().write_all(lines.as_bytes())?;
        let mut values = self.values.lock();
        let taken = batch.iter().filter(|write| !is_blocked(write));
        values.extend(taken.filter_map(|write| Some((*write.key(), *write.value()?))));
        let blocked = batch.iter().enumerate().filter(|(_, write)| is_blocked(write));
        let busy = || StoreError::Transient(std::io::ErrorKind::ResourceBusy.into());
        Ok(Written::except(blocked.map(|(place, _)| (place, busy()))))
    }
}

/// All whole lines; a torn last one is cut off, as a database does with a torn transaction.
fn history(path: &Path) -> Result<Vec<(u64, u64)>> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let whole = text.rfind('\n').map_or(0, |end| end + 1);
    if whole < text.len() {
        OpenOptions::new().write(true).open(path)?.set_len(whole as u64)?;
    }
    text[..whole].lines().map(parse).collect()
}

fn parse(line: &str) -> Result<(u64, u64)> {
    let (key, value) = line.split_once(' ').ok_or_else(|| format!("{line:?} is no line of ours"))?;
    Ok((key.parse()?, value.parse()?))
}

fn sync_of(mode: &str) -> Option<JournalSync> {
    match mode {
        "each" => Some(JournalSync::Each),
        "group" => Some(JournalSync::Group),
        "interval" => Some(JournalSync::Interval(Duration::from_millis(20))),
        _ => None,
    }
}

/// The process that is killed. With `ends` it only brings what was left to the store.
#[tokio::main]
async fn child(directory: &Path, mode: &str, ends: bool) -> Result<()> {
    let store = FileStore::open(&directory.join("store"), !ends)?;
    let mut settings = WriteBehind::new(|letter| eprintln!("lost: {letter:?}"));
    settings = settings.max_delay(Duration::from_millis(5)).max_batch(16);
    if let Some(sync) = sync_of(mode) {
        // Small segments, so that kills meet rotation, deletion and compaction too.
        let options =
            Journal::options(directory.join("journal")).sync(sync).segment_bytes(4096).max_bytes(16 << 10);
        settings = settings.journal(options.open()?);
    }
    let builder = Cache::builder().max_capacity(20).read_through(Blocking::new(store));
    let cache = builder.write_behind(settings).build()?;
    if ends {
        cache.close(Duration::from_secs(30)).await?;
        return Ok(());
    }
    let mut tasks = Vec::new();
    for task in 0..TASKS {
        let cache = cache.clone();
        tasks.push(tokio::spawn(async move {
            loop {
                for key in task * KEYS..(task + 1) * KEYS {
                    let next = cache.get(&key).await?.unwrap_or(0) + 1;
                    cache.put(key, next).await?;
                    // One write to the pipe, so that no half line is read after the kill.
                    std::io::stdout().write_all(format!("{key} {next}\n").as_bytes())?;
                }
                tokio::task::yield_now().await;
            }
            #[expect(unreachable_code, reason = "names the type of the error")]
            Result::Ok(())
        }));
    }
    for task in tasks {
        task.await??;
    }
    Ok(())
}

#[derive(Default)]
struct Count {
    rounds: u64,
    acknowledged: u64,
    found: u64,
    lost: u64,
    reordered: u64,
}

fn spawn(directory: &Path, mode: &str, what: &str) -> Result<std::process::Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["child", mode, what]).arg(directory).stdout(Stdio::piped());
    Ok(command.spawn()?)
}

fn round(directory: &Path, mode: &str, wait: Duration, count: &mut Count) -> Result<()> {
    let mut child = spawn(directory, mode, "puts")?;
    let output = child.stdout.take().ok_or("no output")?;
    let reader = thread::spawn(move || {
        let lines = BufReader::new(output).lines();
        lines.map(|line| parse(&line?)).collect::<Result<Vec<_>>>()
    });
    #[expect(clippy::disallowed_methods, reason = "the moment of the kill is a time, not an event")]
    thread::sleep(wait);
    let has_ended = child.try_wait()?;
    child.kill()?;
    child.wait()?;
    if let Some(status) = has_ended {
        return Err(format!("the child ended by itself: {status}").into());
    }
    let acknowledged = reader.join().map_err(|_| "the reader panicked")??;
    if !spawn(directory, mode, "ends")?.wait()?.success() {
        return Err("the next start failed".into());
    }
    let mut stored: HashMap<u64, u64> = HashMap::new();
    let mut reordered = 0;
    for (key, value) in history(&directory.join("store"))? {
        let before = stored.insert(key, value);
        reordered += u64::from(before.is_some_and(|before| before > value));
    }
    count.rounds += 1;
    count.acknowledged += acknowledged.len() as u64;
    // The history is kept over the rounds: of it, only what came in this one is new.
    count.reordered = reordered;
    for (key, value) in acknowledged {
        let is_found = stored.get(&key).is_some_and(|&stored| stored >= value);
        *(if is_found { &mut count.found } else { &mut count.lost }) += 1;
    }
    Ok(())
}

fn parent(rounds: u64) -> Result<bool> {
    let mut random = random_numbers(std::process::id().into());
    let mut out = std::io::stdout();
    writeln!(out, "journal    rounds  acknowledged     found  lost  reordered")?;
    let mut is_good = true;
    for mode in ["each", "group", "interval", "none"] {
        let directory = tempfile::tempdir()?;
        let mut count = Count::default();
        for _ in 0..rounds.div_ceil(4) {
            // From before the first write to some thousands of them.
            let wait = Duration::from_micros(random() % 120_000);
            round(directory.path(), mode, wait, &mut count)?;
        }
        let Count { rounds, acknowledged, found, lost, reordered } = count;
        writeln!(out, "{mode:<10} {rounds:>6} {acknowledged:>13} {found:>9} {lost:>5} {reordered:>10}")?;
        // Without a journal what was in the queue may be lost, and nothing may be reordered.
        is_good &= reordered == 0 && (lost == 0 || mode == "none") && acknowledged > 0;
    }
    Ok(is_good)
}

/// A small xorshift: repeatable enough, and no dependency.
fn random_numbers(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state >> 8
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["child", mode, what, directory] => {
            child(&PathBuf::from(directory), mode, what == "ends").map(|()| true)
        }
        [] => parent(200),
        [rounds] => rounds.parse().map_err(Into::into).and_then(parent),
        _ => Err("usage: crash [rounds]".into()),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
