//! The life of one server process: start, stop, kill, pause, resume, restart, drop.
//!
//! What differs between PostgreSQL and Redis is behind [`Kind`]; everything about processes is here, once.
//! The lock guards the process and is held for the length of each call, so concurrent calls queue up: a `kill`
//! during a `restart` hits the restarted server.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;
use std::{fmt, thread};

use nix::sys::signal::Signal;
use parking_lot::Mutex;
use tempfile::TempDir;

use crate::account::Account;
use crate::watcher::Watcher;
use crate::{Error, poll, port, tree};

/// How long a server may take to shut down in order before it is killed.
const ORDERLY: Duration = Duration::from_secs(20);
/// How long it may take to end at once, for a folder that is deleted anyway.
const ABRUPT: Duration = Duration::from_secs(10);
/// How often a start is tried on another port when somebody else takes the one that was picked.
const PORTS: u32 = 8;
/// How much of the end of a log goes into an error.
const LOG_TAIL: u64 = 4_000;

/// What is particular to one kind of server.
pub(crate) trait Kind: fmt::Debug + Send + Sync + 'static {
    /// Its name in messages.
    const NAME: &'static str;
    /// The signal that shuts it down in order.
    const STOP: Signal;
    /// The signal that ends it at once, with all its processes and shared memory.
    const END: Signal;

    /// The command that runs the server in the foreground on `port`.
    fn command(&self, home: &Path, port: u16) -> Command;

    /// Whether the server that is process `pid` answers on `port`. Must give up within a second.
    fn answers(&self, home: &Path, port: u16, pid: u32) -> bool;

    /// Whatever a killed server leaves outside of its folder. Called once it is down for good.
    fn sweep(&self, home: &Path);
}

/// One server process, its folder and its watcher.
#[derive(Debug)]
pub(crate) struct Daemon<K: Kind> {
    kind: K,
    account: Account,
    start_timeout: Duration,
    port: u16,
    state: Mutex<State>,
    /// Deleted last, after the process that works in it is gone (see `drop`).
    home: TempDir,
}

#[derive(Debug)]
struct State {
    process: Option<Child>,
    watcher: Watcher,
}

/// An empty folder for one server, owned by the user it will run as.
pub(crate) fn make_home(name: &str, account: Account) -> Result<TempDir, Error> {
    let home = tempfile::Builder::new()
        .prefix(&format!("millpond-{name}-"))
        .permissions(Permissions::from_mode(0o700))
        .tempdir();
    let home = home.map_err(Error::io("make a temporary folder"))?;
    account.give(home.path())?;
    Ok(home)
}

impl<K: Kind> Daemon<K> {
    /// Starts the server in `home` and returns once it answers.
    pub(crate) fn start(
        kind: K,
        account: Account,
        home: TempDir,
        start_timeout: Duration,
    ) -> Result<Self, Error> {
        let end = K::END.as_str().trim_start_matches("SIG");
        let state = Mutex::new(State { process: None, watcher: Watcher::start(home.path(), end)? });
        let mut daemon = Self { kind, account, start_timeout, port: 0, state, home };
        for tries_left in (0..PORTS).rev() {
            daemon.port = port::pick();
            match daemon.launch(&mut daemon.state.lock()) {
                // Somebody took the port between the pick and the start.
                Err(Error::Exited { log, .. })
                    if tries_left > 0 && log.contains("Address already in use") => {}
                outcome => {
                    outcome?;
                    break;
                }
            }
        }
        Ok(daemon)
    }

    pub(crate) fn kind(&self) -> &K {
        &self.kind
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        self.state.lock().running().map(|process| process.id())
    }

    pub(crate) fn stop(&self) -> Result<(), Error> {
        self.state.lock().shut_down(K::STOP, ORDERLY)
    }

    pub(crate) fn kill(&self) -> Result<(), Error> {
        self.state.lock().kill()
    }

    pub(crate) fn pause(&self) -> Result<(), Error> {
        let mut state = self.state.lock();
        let process = state.running().ok_or(Error::NotRunning { server: K::NAME })?;
        tree::pause(process.id()).map(drop)
    }

    pub(crate) fn resume(&self) -> Result<(), Error> {
        let mut state = self.state.lock();
        let process = state.running().ok_or(Error::NotRunning { server: K::NAME })?;
        tree::resume(process.id())
    }

    pub(crate) fn restart(&self) -> Result<(), Error> {
        let mut state = self.state.lock();
        state.shut_down(K::STOP, ORDERLY)?;
        self.launch(&mut state)
    }

    /// The whole log so far, of all starts.
    pub(crate) fn log(&self) -> String {
        fs::read(self.log_path())
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    fn log_path(&self) -> PathBuf {
        self.home().join("server.log")
    }

    /// The end of what was written to the log since it was `from` bytes long.
    fn log_tail(&self, from: u64) -> String {
        let read = || {
            let mut file = File::open(self.log_path())?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(from.max(length.saturating_sub(LOG_TAIL))))?;
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            Ok::<_, std::io::Error>(String::from_utf8_lossy(&bytes).trim().to_owned())
        };
        read().unwrap_or_else(|error| format!("(cannot read the log: {error})"))
    }

    /// Starts the process on `self.port` and waits until it answers.
    fn launch(&self, state: &mut State) -> Result<(), Error> {
        let log = OpenOptions::new().create(true).append(true).open(self.log_path());
        let log = log.map_err(Error::io("open the server's log"))?;
        let log_start = log.metadata().map_or(0, |data| data.len());
        let errors = log.try_clone().map_err(Error::io("open the server's log"))?;

        let mut command = self.kind.command(self.home(), self.port);
        // Its own process group: Ctrl-C in a terminal is for the owner, who then stops the server.
        command.process_group(0).stdin(Stdio::null()).stdout(log).stderr(errors).current_dir(self.home());
        // The messages that are looked for are English, and nothing of the caller's settings reaches the server.
        command.env("LC_ALL", "C").env("HOME", self.home());
        self.account.apply(&mut command);
        let process = command.spawn().map_err(Error::io(format!("start {}", K::NAME)))?;
        let pid = process.id();
        state.watcher.server_is(pid);
        let process = state.process.insert(process);

        let answer = poll::until(self.start_timeout, || match process.try_wait() {
            Ok(Some(status)) => Some(Err(status)),
            _ => self.kind.answers(self.home(), self.port, pid).then_some(Ok(())),
        });
        match answer {
            Some(Ok(())) => Ok(()),
            Some(Err(status)) => {
                state.forget();
                Err(Error::Exited { server: K::NAME, status, log: self.log_tail(log_start) })
            }
            None => {
                state.kill()?;
                Err(Error::NotReady {
                    server: K::NAME,
                    waited: self.start_timeout,
                    log: self.log_tail(log_start),
                })
            }
        }
    }
}

impl State {
    /// The process, unless it has ended.
    fn running(&mut self) -> Option<&mut Child> {
        if matches!(self.process.as_mut()?.try_wait(), Ok(Some(_))) {
            self.forget();
        }
        self.process.as_mut()
    }

    /// The process is gone and waited for.
    fn forget(&mut self) {
        self.process = None;
        self.watcher.server_is_down();
    }

    /// Ends the server with `signal`, or kills it after `limit`. A server that is down is left as it is.
    fn shut_down(&mut self, signal: Signal, limit: Duration) -> Result<(), Error> {
        let Some(process) = self.running() else { return Ok(()) };
        let pid = process.id();
        // A paused process would act on the signal only once it is resumed.
        tree::resume(pid)?;
        let family = tree::descend(pid)?;
        tree::signal(pid, signal)?;
        let ended: Option<ExitStatus> = poll::until(limit, || process.try_wait().ok().flatten());
        if ended.is_none() {
            return self.kill();
        }
        tree::wait_gone(&family);
        self.forget();
        Ok(())
    }

    /// `kill -9` for the process and all below it; returns when all are gone.
    fn kill(&mut self) -> Result<(), Error> {
        let Some(process) = self.running() else { return Ok(()) };
        let below = tree::kill_all(process.id())?;
        process.wait().map_err(Error::io("wait for a killed server"))?;
        tree::wait_gone(&below);
        self.forget();
        Ok(())
    }
}

impl<K: Kind> Drop for Daemon<K> {
    fn drop(&mut self) {
        if thread::panicking() {
            // The reason a test failed may stand in the server's log, and the log is about to go.
            eprintln!("the end of the log of {}:\n{}", K::NAME, self.log_tail(0));
        }
        let mut state = self.state.lock();
        // What is left is deleted, so an orderly shutdown would only take time. Nobody can be told of errors.
        if state.shut_down(K::END, ABRUPT).is_err() {
            let _ = state.kill();
        }
        self.kind.sweep(self.home());
        let _ = fs::remove_dir_all(self.home());
        state.watcher.dismiss();
    }
}
