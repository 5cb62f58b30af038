//! A private Redis server.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::binaries::folder_of;
use crate::error::Error;
use crate::process::{destroy, free_port, signal_tree, stop, wait_ready};

/// A running server of one's own; stopped and removed on drop. Keeps nothing on disk.
#[derive(Debug)]
pub struct Redis {
    child: Option<Child>,
    port: u16,
    bin: PathBuf,
    folder: TempDir,
}

impl Redis {
    /// Starts a server and waits until it answers.
    ///
    /// # Errors
    /// [`Error::NotFound`] where Redis is not installed; otherwise the step that failed.
    pub fn start() -> Result<Self, Error> {
        let bin = folder_of(&["redis-server"])?;
        let folder = TempDir::with_prefix("millpond-redis-").map_err(Error::io("making a folder"))?;
        let mut server = Self { child: None, port: free_port()?, bin, folder };
        server.launch()?;
        Ok(server)
    }

    /// `redis://127.0.0.1:PORT/`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// The port, the same for the server's whole life.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process, while the server runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Ends the server. It can be started again, empty.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            stop(&mut child, Signal::SIGTERM);
        }
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            destroy(&mut child);
        }
    }

    /// Freezes the server: connections stay open and nothing answers.
    pub fn pause(&self) {
        if let Some(pid) = self.pid() {
            signal_tree(pid, Signal::SIGSTOP);
        }
    }

    /// Ends a [`pause`](Self::pause).
    pub fn resume(&self) {
        if let Some(pid) = self.pid() {
            signal_tree(pid, Signal::SIGCONT);
        }
    }

    /// Starts the server again on the same port, empty; stops it first if it runs.
    ///
    /// # Errors
    /// If it does not come up.
    pub fn restart(&mut self) -> Result<(), Error> {
        self.stop();
        self.launch()
    }

    fn launch(&mut self) -> Result<(), Error> {
        let path = self.folder.path().join("log");
        let log =
            File::options().create(true).append(true).open(&path).map_err(Error::io("opening the log"))?;
        let port = self.port;
        let child = Command::new(self.bin.join("redis-server"))
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port"])
            .arg(port.to_string())
            .arg("--dir")
            .arg(self.folder.path())
            .stdin(Stdio::null())
            .stdout(log)
            .process_group(0)
            .spawn()
            .map_err(Error::io("redis-server"))?;
        wait_ready("redis", self.child.insert(child), &path, || answers(port))
    }
}

/// Whether the server answers PING.
fn answers(port: u16) -> bool {
    let ping = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.write_all(b"PING\r\n")?;
        let mut answer = [0; 7];
        stream.read_exact(&mut answer)?;
        Ok(&answer == b"+PONG\r\n")
    };
    ping().unwrap_or(false)
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}
