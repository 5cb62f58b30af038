//! The process that cleans up when ours cannot.
//!
//! Drop does not run when a test process is killed, aborts, or keeps a server in a `static`. Linux can signal a
//! child when its parent ends, but it means the parent *thread*, and a test thread ends long before the tests do;
//! it also leaves the folder behind. A small shell that waits at the end of a pipe is portable, needs no `unsafe`,
//! and sees every kind of end: the kernel closes the pipe.

use std::fmt;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use crate::Error;

const SCRIPT: &str = include_str!("watcher.sh");

/// One watcher process, told which process is the server at the moment.
#[derive(Debug)]
pub(crate) struct Watcher {
    process: Child,
    /// Closed on drop at the latest; its end is the watcher's signal to act.
    pipe: Option<ChildStdin>,
}

impl Watcher {
    /// Starts the watcher of the server in `folder`. `signal` is the name of the one that ends it at once.
    pub(crate) fn start(folder: &Path, signal: &str) -> Result<Self, Error> {
        let mut process = Command::new("/bin/sh")
            .args(["-c", SCRIPT, "server-watcher"])
            .arg(folder)
            .arg(signal)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Outside of our process group, so that what ends us (Ctrl-C, a test runner's timeout) spares it.
            .process_group(0)
            .spawn()
            .map_err(Error::io("start /bin/sh to watch over a server"))?;
        let pipe = process.stdin.take();
        Ok(Self { process, pipe })
    }

    /// The server runs now, as process `pid`.
    pub(crate) fn server_is(&mut self, pid: u32) {
        self.tell(pid);
    }

    /// The server is down; there is nothing to end.
    pub(crate) fn server_is_down(&mut self) {
        self.tell("down");
    }

    /// The owner has cleaned up; the watcher ends.
    pub(crate) fn dismiss(&mut self) {
        self.tell("done");
        self.pipe = None;
        // It ends by itself in any case; waiting only leaves no zombie behind.
        let _ = self.process.wait();
    }

    fn tell(&mut self, word: impl fmt::Display) {
        // A watcher that someone has killed is a loss of comfort, not of the server.
        if let Some(pipe) = &mut self.pipe {
            let _ = writeln!(pipe, "{word}");
        }
    }
}
