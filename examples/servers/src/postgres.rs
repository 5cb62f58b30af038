//! A private PostgreSQL server.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::account::Account;
use crate::daemon::{self, Daemon, Kind};
use crate::{Error, binaries, template};

/// How long one question to the server may take while it is starting.
const PATIENCE: Duration = Duration::from_millis(500);

/// A running PostgreSQL server of one's own; dropping it ends the server and deletes its data.
///
/// The superuser is `postgres` with a random password; [`url`](Self::url) carries both.
///
/// All methods take `&self`, so a test may share the server between threads. Each blocks until what it says is
/// done.
#[derive(Debug)]
pub struct Postgres {
    daemon: Daemon<PostgresKind>,
}

impl Postgres {
    /// Starts a server with the default settings. Takes about 0.2 s, the first time on a machine about 2 s.
    ///
    /// # Errors
    /// [`Error::NotFound`] where PostgreSQL is not installed; others when it does not start.
    pub fn start() -> Result<Self, Error> {
        Self::builder().start()
    }

    /// A server with other settings.
    pub fn builder() -> PostgresBuilder {
        PostgresBuilder {
            binaries: None,
            durable: false,
            max_connections: 100,
            config: Vec::new(),
            databases: Vec::new(),
            start_timeout: Duration::from_secs(60),
        }
    }

    /// The URL of the database `postgres`, with user and password. It stays the same over restarts.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_of("postgres")
    }

    /// The URL of another database, such as one made by [`PostgresBuilder::database`].
    #[must_use]
    pub fn url_of(&self, database: &str) -> String {
        format!("postgres://postgres:{}@127.0.0.1:{}/{database}", self.daemon.kind().password, self.port())
    }

    /// The port on 127.0.0.1. It stays the same over restarts.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.daemon.port()
    }

    /// The superuser's password.
    #[must_use]
    pub fn password(&self) -> &str {
        &self.daemon.kind().password
    }

    /// The process number of the server's first process, or `None` when it is down.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.daemon.pid()
    }

    /// Whether the server's first process is there. A paused server is running.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.pid().is_some()
    }

    /// The server's folder; it goes when the server is dropped.
    #[must_use]
    pub fn home(&self) -> &Path {
        self.daemon.home()
    }

    /// Everything the server has logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.daemon.log()
    }

    /// Shuts the server down in order: connections are closed, data is written. Does nothing when it is down.
    ///
    /// # Errors
    /// When the operating system refuses to send a signal.
    pub fn stop(&self) -> Result<(), Error> {
        self.daemon.stop()
    }

    /// `kill -9` for every process of the server at once, as a crash does. Does nothing when it is down.
    ///
    /// Committed data survives, also with the default `fsync=off`: that setting matters only when the whole
    /// machine crashes.
    ///
    /// # Errors
    /// When the operating system refuses to send a signal.
    pub fn kill(&self) -> Result<(), Error> {
        self.daemon.kill()
    }

    /// Freezes every process of the server. Clients can still connect, and then hear nothing, as with a dead host
    /// or a network that swallows packets.
    ///
    /// # Errors
    /// [`Error::NotRunning`] when the server is down.
    pub fn pause(&self) -> Result<(), Error> {
        self.daemon.pause()
    }

    /// Thaws a paused server; it goes on where it was.
    ///
    /// # Errors
    /// [`Error::NotRunning`] when the server is down.
    pub fn resume(&self) -> Result<(), Error> {
        self.daemon.resume()
    }

    /// Starts the server again on the same port with the same data, after shutting it down if it is up. Returns
    /// once it answers, which after [`kill`](Self::kill) means once it has recovered.
    ///
    /// # Errors
    /// As for [`start`](Self::start). The server is down then, and may be restarted once more.
    pub fn restart(&self) -> Result<(), Error> {
        self.daemon.restart()
    }

    /// Runs SQL in the database `postgres` through `psql` and returns its rows, one a line, columns parted by `|`.
    ///
    /// For what a test does from the side, such as `pg_terminate_backend`.
    ///
    /// # Errors
    /// [`Error::NotFound`] where `psql` is not installed beside the server, [`Error::Program`] with the server's
    /// message when a statement fails.
    pub fn psql(&self, sql: &str) -> Result<String, Error> {
        let folder = &self.daemon.kind().binaries;
        let found = binaries::folder_with(Some(folder), &["psql"]);
        let psql = found.or_else(|_| binaries::folder_with(None, &["psql"]))?.join("psql");
        let mut command = Command::new(psql);
        template::clean_environment(&mut command);
        command
            .args(["--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "--set=ON_ERROR_STOP=1"])
            .args(["--no-password", "--host=127.0.0.1", "--username=postgres", "--dbname=postgres"])
            .arg(format!("--port={}", self.port()))
            .arg(format!("--command={sql}"))
            .env("PGPASSWORD", self.password())
            .env("PGCONNECT_TIMEOUT", "10")
            .stdin(Stdio::null());
        let output = command.output().map_err(Error::io("run psql"))?;
        template::check("psql", &output).map(|text| text.trim_end().to_owned())
    }
}

/// The settings of a [`Postgres`] server.
#[derive(Debug, Clone)]
#[must_use]
pub struct PostgresBuilder {
    binaries: Option<PathBuf>,
    durable: bool,
    max_connections: u32,
    config: Vec<(String, String)>,
    databases: Vec<String>,
    start_timeout: Duration,
}

impl PostgresBuilder {
    /// Takes `postgres` and `initdb` from this folder and no other. By default `PATH` and the usual folders are
    /// searched.
    pub fn binaries_in(mut self, folder: impl Into<PathBuf>) -> Self {
        self.binaries = Some(folder.into());
        self
    }

    /// Whether commits wait for the disk (`fsync`). Off by default: the data is thrown away with the server.
    pub fn durable(mut self, durable: bool) -> Self {
        self.durable = durable;
        self
    }

    /// How many connections the server takes. 100 by default; 3 of them are kept for superusers.
    pub fn max_connections(mut self, connections: u32) -> Self {
        self.max_connections = connections;
        self
    }

    /// One more line of `postgresql.conf`, such as `("idle_session_timeout", "1s")`. Later lines win.
    pub fn config(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.config.push((name.into(), value.into()));
        self
    }

    /// Makes this database before the server starts. Names are lower-case letters, digits and underscores.
    pub fn database(mut self, name: impl Into<String>) -> Self {
        self.databases.push(name.into());
        self
    }

    /// Makes all of these databases; see [`database`](Self::database).
    pub fn databases<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.databases.extend(names.into_iter().map(Into::into));
        self
    }

    /// How long the server may take until it answers, at each start. 60 s by default.
    pub fn start_timeout(mut self, limit: Duration) -> Self {
        self.start_timeout = limit;
        self
    }

    /// Starts the server and returns once it answers.
    ///
    /// # Errors
    /// [`Error::NotFound`] where PostgreSQL is not installed, [`Error::BadSetting`] for a setting that cannot be
    /// written down, [`Error::Exited`] with the server's log for one that the server rejects.
    pub fn start(self) -> Result<Postgres, Error> {
        self.check_settings()?;
        let folder = binaries::folder_with(self.binaries.as_deref(), &["postgres", "initdb"])?;
        let account = Account::for_server(PostgresKind::NAME, &["postgres", "nobody"])?;
        let home = daemon::make_home(PostgresKind::NAME, account)?;
        let data = home.path().join("data");
        let password = template::make_cluster(&folder, account, &data)?;
        make_databases(&folder, account, &data, &self.databases)?;

        let on_off = |on| if on { "on" } else { "off" };
        let mut config: Vec<(String, String)> = [
            ("listen_addresses", "127.0.0.1"),
            // Loopback only: a socket file would need a short path, and nothing here uses one.
            ("unix_socket_directories", ""),
            ("fsync", on_off(self.durable)),
            // On also without fsync: `kill -9` can leave half a page in the system's cache.
            ("full_page_writes", "on"),
            ("shared_buffers", "32MB"),
            // Shared memory as files in the folder: nothing stays in /dev/shm after `kill -9`.
            ("dynamic_shared_memory_type", "mmap"),
            ("timezone", "UTC"),
            ("log_timezone", "UTC"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        config.push(("max_connections".to_owned(), self.max_connections.to_string()));
        config.extend(self.config);
        let kind = PostgresKind { binaries: folder, password, config };
        Ok(Postgres { daemon: Daemon::start(kind, account, home, self.start_timeout)? })
    }

    fn check_settings(&self) -> Result<(), Error> {
        let bad = |name: &str, why| Err(Error::BadSetting { name: name.to_owned(), why });
        for (name, value) in &self.config {
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
            if name.is_empty() || !name.chars().all(plain) {
                return bad(name, "a setting's name is letters, digits, underscores and dots");
            }
            if name == "port" || name == "listen_addresses" {
                return bad(name, "the server's address is chosen by this crate");
            }
            if value.contains('\0') {
                return bad(name, "a value cannot hold a NUL");
            }
        }
        for name in &self.databases {
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
            if name.is_empty() || name.len() > 63 || !name.chars().all(plain) {
                return bad(name, "a database's name is 1 to 63 lower-case letters, digits and underscores");
            }
        }
        Ok(())
    }
}

/// Makes databases in a cluster that is not running, in the server's single-user mode: it needs no client program.
fn make_databases(binaries: &Path, account: Account, data: &Path, names: &[String]) -> Result<(), Error> {
    if names.is_empty() {
        return Ok(());
    }
    let mut command = Command::new(binaries.join("postgres"));
    command.args([
        "--single",
        "-c",
        "fsync=off",
        "-c",
        "exit_on_error=on",
        "-c",
        "dynamic_shared_memory_type=mmap",
    ]);
    command.arg("-D").arg(data).arg("postgres");
    template::clean_environment(&mut command);
    command.current_dir("/").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    account.apply(&mut command);
    let mut process = command.spawn().map_err(Error::io("run postgres --single"))?;
    if let Some(mut input) = process.stdin.take() {
        let sql: String = names.iter().map(|name| format!("CREATE DATABASE \"{name}\"\n")).collect();
        // If it has already ended, its status and output say why.
        let _ = input.write_all(sql.as_bytes());
    }
    let output = process.wait_with_output().map_err(Error::io("run postgres --single"))?;
    template::check("postgres --single", &output).map(drop)
}

#[derive(Debug)]
struct PostgresKind {
    binaries: PathBuf,
    password: String,
    config: Vec<(String, String)>,
}

impl Kind for PostgresKind {
    const NAME: &'static str = "postgres";
    const STOP: Signal = Signal::SIGINT;
    const END: Signal = Signal::SIGQUIT;

    fn command(&self, home: &Path, port: u16) -> Command {
        let mut command = Command::new(self.binaries.join("postgres"));
        template::clean_environment(&mut command);
        command.arg("-D").arg(home.join("data")).arg("-c").arg(format!("port={port}"));
        for (name, value) in &self.config {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        command
    }

    /// The server itself says "ready" in its process file, and answers a client's first message by asking for a
    /// password. The file makes sure that it is this server that answers, and not another on the same port.
    fn answers(&self, home: &Path, port: u16, pid: u32) -> bool {
        let Ok(file) = fs::read_to_string(home.join("data/postmaster.pid")) else { return false };
        let lines: Vec<&str> = file.lines().map(str::trim).collect();
        let own = lines.first().is_some_and(|line| *line == pid.to_string());
        own && lines.get(7) == Some(&"ready") && asks_for_password(port).unwrap_or(false)
    }

    /// A killed server leaves a few bytes of System V shared memory, of which a system has only so many pieces.
    /// A restart takes them over; for a server that will not restart they are removed here.
    fn sweep(&self, home: &Path) {
        let Ok(file) = fs::read_to_string(home.join("data/postmaster.pid")) else { return };
        let segment = file.lines().nth(6).and_then(|line| line.split_ascii_whitespace().nth(1));
        if let Some(segment) = segment {
            let quiet = Command::new("ipcrm").args(["-m", segment]).stderr(Stdio::null()).status();
            drop(quiet);
        }
    }
}

/// Sends the start of a PostgreSQL session (protocol 3.0) and looks at the kind of the answer: `R` is a request
/// for authentication; a server that is still starting sends `E`.
fn asks_for_password(port: u16) -> std::io::Result<bool> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let body = b"\x00\x03\x00\x00user\0postgres\0database\0postgres\0\0";
    let mut message = Vec::from(u32::try_from(body.len() + 4).unwrap_or(u32::MAX).to_be_bytes());
    message.extend_from_slice(body);
    stream.write_all(&message)?;
    let mut kind = [0];
    stream.read_exact(&mut kind)?;
    Ok(kind == *b"R")
}
