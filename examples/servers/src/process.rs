//! A server process and the children it forks: wait for it, kill it, freeze it.
//!
//! PostgreSQL's backends leave their parent's process group, so signals go to the tree that /proc shows. Where there is no
//! /proc, only the main process gets them.

use std::fs;
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::error::Error;

/// How long a server may take to answer.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// How long it may take to end when asked politely.
const STOP_WITHIN: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(20);

/// A free port on loopback. Another process may take it before the server does; starting again picks another.
///
/// # Errors
/// If the system gives none.
pub fn free_port() -> Result<u16, Error> {
    std::net::TcpListener::bind(("127.0.0.1", 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(Error::io("finding a free port"))
}

/// Polls until `ready`, or says what the log holds.
pub(crate) fn wait_ready(
    server: &'static str,
    child: &mut Child,
    log: &Path,
    mut ready: impl FnMut() -> bool,
) -> Result<(), Error> {
    let began = Instant::now();
    loop {
        if ready() {
            return Ok(());
        }
        let ended = child.try_wait().map_err(Error::io("watching the server"))?;
        if ended.is_some() || began.elapsed() > READY_WITHIN {
            let text = fs::read_to_string(log).unwrap_or_default();
            let tail: Vec<&str> = text.lines().rev().take(20).collect();
            let log = tail.into_iter().rev().collect::<Vec<_>>().join("\n");
            return Err(Error::NotReady { server, waited: began.elapsed(), log });
        }
        pause(POLL);
    }
}

/// Sends a signal to a process and all that descend from it.
pub(crate) fn signal_tree(root: u32, signal: Signal) -> Vec<u32> {
    // The parent first: it must not start another child while we look.
    let mut tree = vec![root];
    send(root, signal);
    let mut index = 0;
    while index < tree.len() {
        for child in children_of(tree[index]) {
            if !tree.contains(&child) {
                send(child, signal);
                tree.push(child);
            }
        }
        index += 1;
    }
    tree
}

fn send(pid: u32, signal: Signal) {
    if let Ok(pid) = i32::try_from(pid) {
        // It may have ended by itself.
        let _gone = kill(Pid::from_raw(pid), signal);
    }
}

/// The processes whose parent is `parent`.
fn children_of(parent: u32) -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| parent_of(*pid) == Some(parent))
        .collect()
}

fn parent_of(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything; the state and the parent follow it.
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

/// Asks a server to end, and kills what does not.
pub(crate) fn stop(child: &mut Child, polite: Signal) {
    send(child.id(), Signal::SIGCONT);
    send(child.id(), polite);
    let began = Instant::now();
    while began.elapsed() < STOP_WITHIN {
        match child.try_wait() {
            Ok(Some(_)) | Err(_) => return,
            Ok(None) => pause(POLL),
        }
    }
    destroy(child);
}

/// `kill -9` for the whole server.
pub(crate) fn destroy(child: &mut Child) {
    // Frozen first, until no new child shows: one whose parent is dead belongs to init, and is not found any more.
    let mut tree = signal_tree(child.id(), Signal::SIGSTOP);
    loop {
        pause(POLL / 10);
        let again = signal_tree(child.id(), Signal::SIGSTOP);
        let grown = again.len() > tree.len();
        tree = again;
        if !grown {
            break;
        }
    }
    for &pid in &tree {
        send(pid, Signal::SIGKILL);
    }
    let _ended = child.wait();
    // The children die by themselves; until they have, they hold the server's shared memory.
    let began = Instant::now();
    while began.elapsed() < STOP_WITHIN && tree.iter().any(|&pid| is_alive(pid)) {
        pause(POLL / 4);
    }
}

/// Whether a process still runs; a zombie does not.
fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place that polls: a process outside gives no event to wait for"
)]
fn pause(time: Duration) {
    std::thread::sleep(time);
}
