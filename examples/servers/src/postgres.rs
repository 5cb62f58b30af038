//! A private PostgreSQL server.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::Signal;
use nix::unistd::{User, chown, geteuid};
use tempfile::TempDir;

use crate::binaries::folder_of;
use crate::error::Error;
use crate::process::{destroy, free_port, signal_tree, stop, wait_ready};

/// Settings of a server.
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing before `start`"]
pub struct PostgresBuilder {
    durable: bool,
    settings: Vec<(String, String)>,
}

impl PostgresBuilder {
    /// Writes reach the disk before they are acknowledged. Default: they do not, which is faster and survives `kill -9` of
    /// the server, not of the machine.
    pub fn durable(mut self) -> Self {
        self.durable = true;
        self
    }

    /// One line of postgresql.conf, for example `("max_connections", "20")`. Default: PostgreSQL's.
    pub fn setting(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.push((name.into(), value.into()));
        self
    }

    /// Starts the server and waits until it answers.
    ///
    /// # Errors
    /// [`Error::NotFound`] where PostgreSQL is not installed; otherwise the step that failed.
    pub fn start(self) -> Result<Postgres, Error> {
        let bin = folder_of(&["postgres", "initdb", "pg_isready"])?;
        let user = unprivileged_user()?;
        let folder = TempDir::with_prefix("millpond-postgres-").map_err(Error::io("making a folder"))?;
        if let Some(user) = &user {
            chown(folder.path(), Some(user.uid), Some(user.gid)).map_err(|errno| Error::Failed {
                step: "handing the folder to the server's user",
                reason: errno.to_string(),
            })?;
        }
        let data = folder.path().join("data");
        let mut initdb = as_user(Command::new(bin.join("initdb")), user.as_ref(), folder.path());
        let output = initdb
            .args([
                "--username=postgres",
                "--auth=trust",
                "--encoding=UTF8",
                "--locale=C",
                "--no-sync",
                "--pgdata",
            ])
            .arg(&data)
            .output()
            .map_err(Error::io("initdb"))?;
        if !output.status.success() {
            let reason = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(Error::Failed { step: "initdb", reason });
        }
        let mut settings = self.settings;
        if !self.durable {
            // Commits still reach the kernel, so they survive a kill of the server.
            for (name, value) in [("fsync", "off"), ("full_page_writes", "off")] {
                settings.push((name.into(), value.into()));
            }
        }
        let mut server = Postgres { child: None, port: free_port()?, bin, user, data, settings, folder };
        server.launch()?;
        Ok(server)
    }
}

/// A running server of one's own; stopped and removed on drop.
///
/// One superuser `postgres`, trusted on loopback, and one database `postgres`.
#[derive(Debug)]
pub struct Postgres {
    child: Option<Child>,
    port: u16,
    bin: PathBuf,
    user: Option<User>,
    data: PathBuf,
    settings: Vec<(String, String)>,
    // Last: removed after the server has ended.
    folder: TempDir,
}

impl Postgres {
    /// Starts a server with the default settings.
    ///
    /// # Errors
    /// [`Error::NotFound`] where PostgreSQL is not installed; otherwise the step that failed.
    pub fn start() -> Result<Self, Error> {
        Self::builder().start()
    }

    /// Settings of a server.
    pub fn builder() -> PostgresBuilder {
        PostgresBuilder { durable: false, settings: Vec::new() }
    }

    /// `postgres://postgres@127.0.0.1:PORT/postgres`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// The port, the same for the server's whole life.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The main process, while the server runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Ends the server with a fast shutdown; connections are cut. It can be started again.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            stop(&mut child, Signal::SIGINT);
        }
    }

    /// `kill -9` of the server and all its backends.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            destroy(&mut child);
        }
    }

    /// Freezes the server and its backends: connections stay open and nothing answers.
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

    /// Starts the server again on the same port with the same data, after [`kill`](Self::kill) or [`stop`](Self::stop);
    /// stops it first if it runs.
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
        let errors = log.try_clone().map_err(Error::io("opening the log"))?;
        let mut command =
            as_user(Command::new(self.bin.join("postgres")), self.user.as_ref(), self.folder.path());
        command.arg("-D").arg(&self.data).arg("-p").arg(self.port.to_string());
        command.args(["-c", "listen_addresses=127.0.0.1", "-c"]);
        command.arg(format!("unix_socket_directories={}", self.folder.path().display()));
        for (name, value) in &self.settings {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        // A group of its own: ^C in a terminal must not end it before those who use it.
        let child =
            command.stdout(log).stderr(errors).process_group(0).spawn().map_err(Error::io("postgres"))?;
        let child = self.child.insert(child);
        let (bin, port) = (&self.bin, self.port.to_string());
        let ready = || {
            let answer = Command::new(bin.join("pg_isready"))
                .args(["-q", "-t", "1", "-U", "postgres", "-d", "postgres", "-h", "127.0.0.1", "-p", &port])
                .stdout(Stdio::null())
                .status();
            answer.is_ok_and(|status| status.success())
        };
        wait_ready("postgres", child, &path, ready)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            signal_tree(child.id(), Signal::SIGCONT);
            // Immediate shutdown: the data goes anyway.
            stop(&mut child, Signal::SIGQUIT);
        }
    }
}

/// PostgreSQL refuses to run as root: whom to run it as, if we are.
fn unprivileged_user() -> Result<Option<User>, Error> {
    if !geteuid().is_root() {
        return Ok(None);
    }
    for name in ["postgres", "nobody"] {
        if let Ok(Some(user)) = User::from_name(name) {
            return Ok(Some(user));
        }
    }
    Err(Error::NoUser)
}

fn as_user(mut command: Command, user: Option<&User>, folder: &Path) -> Command {
    if let Some(user) = user {
        command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
    }
    // Wherever we stand may be closed to that user.
    command.current_dir(folder).env("HOME", folder).env("LC_ALL", "C").stdin(Stdio::null());
    command
}

/// The end of the server's log, for messages.
impl Postgres {
    /// All that the server has logged.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}
