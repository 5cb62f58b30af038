//! Signals to a whole process tree.
//!
//! PostgreSQL is one process per connection and more in the background, each in a session of its own, so neither
//! a process group nor a session reaches them all. The tree does: every process of a server descends from the one
//! that was started. A process can fork while the tree is read; so the parent is stopped first, and its children
//! are listed only once it has really stopped.

use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::{Error, poll};

/// How long the kernel may take to stop or end a process. It takes microseconds; a loaded machine takes more.
const PROMPT: Duration = Duration::from_secs(10);

/// Sends `signal` to one process. A process that is already gone is no error.
pub(crate) fn signal(pid: u32, signal: Signal) -> Result<(), Error> {
    let raw = i32::try_from(pid).unwrap_or(i32::MAX);
    match kill(Pid::from_raw(raw), signal) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(errno) => Err(Error::io(format!("send {signal} to process {pid}"))(errno)),
    }
}

/// Freezes `root` and everything below it, parents first, and returns all of them in that order.
pub(crate) fn pause(root: u32) -> Result<Vec<u32>, Error> {
    let mut tree = vec![root];
    let mut next = 0;
    while let Some(&pid) = tree.get(next) {
        signal(pid, Signal::SIGSTOP)?;
        poll::until(PROMPT, || {
            state(pid).is_none_or(|state| matches!(state, 'T' | 't' | 'Z' | 'X')).then_some(())
        });
        tree.extend(children(pid)?);
        next += 1;
    }
    Ok(tree)
}

/// Thaws `root` and everything below it.
pub(crate) fn resume(root: u32) -> Result<(), Error> {
    for pid in descend(root)?.into_iter().rev() {
        signal(pid, Signal::SIGCONT)?;
    }
    Ok(())
}

/// `kill -9` for `root` and everything below it. Returns the processes below it; `root` is the caller's child and
/// the caller must still wait for it, then call [`wait_gone`].
pub(crate) fn kill_all(root: u32) -> Result<Vec<u32>, Error> {
    let mut tree = pause(root)?;
    for &pid in tree.iter().rev() {
        signal(pid, Signal::SIGKILL)?;
    }
    tree.remove(0);
    Ok(tree)
}

/// Waits until none of `pids` runs any more. A zombie no longer runs.
pub(crate) fn wait_gone(pids: &[u32]) {
    poll::until(PROMPT, || {
        pids.iter().all(|&pid| state(pid).is_none_or(|state| matches!(state, 'Z' | 'X'))).then_some(())
    });
}

/// `root` and everything below it, parents first.
pub(crate) fn descend(root: u32) -> Result<Vec<u32>, Error> {
    let mut tree = vec![root];
    let mut next = 0;
    while let Some(&pid) = tree.get(next) {
        tree.extend(children(pid)?);
        next += 1;
    }
    Ok(tree)
}

fn children(parent: u32) -> Result<Vec<u32>, Error> {
    Ok(table::read()?
        .into_iter()
        .filter(|process| process.parent == parent)
        .map(|process| process.pid)
        .collect())
}

/// The state letter of a process, as `ps` shows it; `None` when there is no such process.
fn state(pid: u32) -> Option<char> {
    table::one(pid).map(|process| process.state)
}

struct Process {
    pid: u32,
    parent: u32,
    state: char,
}

/// The process table from `/proc`.
#[cfg(target_os = "linux")]
mod table {
    use std::fs;

    use super::Process;
    use crate::Error;

    pub(super) fn read() -> Result<Vec<Process>, Error> {
        let entries = fs::read_dir("/proc").map_err(Error::io("read /proc"))?;
        let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        Ok(pids.filter_map(one).collect())
    }

    pub(super) fn one(pid: u32) -> Option<Process> {
        // `pid (name) state parent …`, where the name may hold spaces and brackets.
        let line = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (_, rest) = line.rsplit_once(')')?;
        let mut fields = rest.split_ascii_whitespace();
        let state = fields.next()?.chars().next()?;
        Some(Process { pid, parent: fields.next()?.parse().ok()?, state })
    }
}

/// The process table from `ps`, where there is no `/proc`.
#[cfg(not(target_os = "linux"))]
mod table {
    use std::process::Command;

    use super::Process;
    use crate::Error;

    pub(super) fn read() -> Result<Vec<Process>, Error> {
        let output = Command::new("ps").args(["-A", "-o", "pid=,ppid=,state="]).output();
        let output = output.map_err(Error::io("run ps"))?;
        let text = String::from_utf8_lossy(&output.stdout);
        Ok(text
            .lines()
            .filter_map(|line| {
                let mut fields = line.split_ascii_whitespace();
                let pid = fields.next()?.parse().ok()?;
                let parent = fields.next()?.parse().ok()?;
                Some(Process { pid, parent, state: fields.next()?.chars().next()? })
            })
            .collect())
    }

    pub(super) fn one(pid: u32) -> Option<Process> {
        read().ok()?.into_iter().find(|process| process.pid == pid)
    }
}
