//! A private Redis server.

use std::fs::{self, OpenOptions};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::account::Account;
use crate::daemon::{self, Daemon, Kind};
use crate::{Error, binaries, secret};

/// How long one question to the server may take while it is starting.
const PATIENCE: Duration = Duration::from_millis(500);

/// A running Redis server of one's own; dropping it ends the server and deletes its data.
///
/// Its random password is part of [`url`](Self::url). It keeps everything in memory unless it is
/// [`durable`](RedisBuilder::durable). Valkey, which speaks the same protocol, is taken where Redis is missing.
///
/// All methods take `&self`, so a test may share the server between threads. Each blocks until what it says is
/// done.
#[derive(Debug)]
pub struct Redis {
    daemon: Daemon<RedisKind>,
}

impl Redis {
    /// Starts a server with the default settings. Takes some hundredths of a second.
    ///
    /// # Errors
    /// [`Error::NotFound`] where Redis is not installed; others when it does not start.
    pub fn start() -> Result<Self, Error> {
        Self::builder().start()
    }

    /// A server with other settings.
    pub fn builder() -> RedisBuilder {
        RedisBuilder {
            binaries: None,
            durable: false,
            config: Vec::new(),
            start_timeout: Duration::from_secs(60),
        }
    }

    /// The URL of database 0, with the password. It stays the same over restarts.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://:{}@127.0.0.1:{}/0", self.password(), self.port())
    }

    /// The port on 127.0.0.1. It stays the same over restarts.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.daemon.port()
    }

    /// The password of the default user.
    #[must_use]
    pub fn password(&self) -> &str {
        &self.daemon.kind().password
    }

    /// The server's process number, or `None` when it is down.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.daemon.pid()
    }

    /// Whether the server's process is there. A paused server is running.
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

    /// Shuts the server down in order. Does nothing when it is down.
    ///
    /// # Errors
    /// When the operating system refuses to send a signal.
    pub fn stop(&self) -> Result<(), Error> {
        self.daemon.stop()
    }

    /// `kill -9`, as a crash does. Does nothing when the server is down. What is not durable is lost.
    ///
    /// # Errors
    /// When the operating system refuses to send a signal.
    pub fn kill(&self) -> Result<(), Error> {
        self.daemon.kill()
    }

    /// Freezes the server. Clients can still connect, and then hear nothing.
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

    /// Starts the server again on the same port, after shutting it down if it is up, and returns once it answers.
    /// Data is there again only if the server is [`durable`](RedisBuilder::durable).
    ///
    /// # Errors
    /// As for [`start`](Self::start). The server is down then, and may be restarted once more.
    pub fn restart(&self) -> Result<(), Error> {
        self.daemon.restart()
    }
}

/// The settings of a [`Redis`] server.
#[derive(Debug, Clone)]
#[must_use]
pub struct RedisBuilder {
    binaries: Option<PathBuf>,
    durable: bool,
    config: Vec<(String, String)>,
    start_timeout: Duration,
}

impl RedisBuilder {
    /// Takes the server from this folder and no other. By default `PATH` and the usual folders are searched.
    pub fn binaries_in(mut self, folder: impl Into<PathBuf>) -> Self {
        self.binaries = Some(folder.into());
        self
    }

    /// Whether every write goes to the append-only file and waits for the disk, so that it survives
    /// [`kill`](Redis::kill). Off by default.
    pub fn durable(mut self, durable: bool) -> Self {
        self.durable = durable;
        self
    }

    /// How many clients the server takes at once. Redis's own default is 10,000.
    pub fn max_connections(self, connections: u32) -> Self {
        self.config("maxclients", connections.to_string())
    }

    /// How many numbered databases there are. Redis's own default is 16.
    pub fn databases(self, databases: u32) -> Self {
        self.config("databases", databases.to_string())
    }

    /// One more line of `redis.conf`, such as `("timeout", "1")`. Later lines win.
    pub fn config(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.config.push((name.into(), value.into()));
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
    /// [`Error::NotFound`] where Redis is not installed, [`Error::BadSetting`] for a setting that cannot be written
    /// down, [`Error::Exited`] with the server's log for one that the server rejects.
    pub fn start(self) -> Result<Redis, Error> {
        let lines = self.config_lines()?;
        let only = self.binaries.as_deref();
        let program = match binaries::folder_with(only, &["redis-server"]) {
            Ok(folder) => folder.join("redis-server"),
            Err(missing) => {
                binaries::folder_with(only, &["valkey-server"]).map_err(|_| missing)?.join("valkey-server")
            }
        };
        let account = Account::for_server(RedisKind::NAME, &["redis", "nobody"])?;
        let home = daemon::make_home(RedisKind::NAME, account)?;
        let password = secret::password();
        write_config(&home.path().join("redis.conf"), account, &password, &lines)?;
        let kind = RedisKind { program, password };
        Ok(Redis { daemon: Daemon::start(kind, account, home, self.start_timeout)? })
    }

    fn config_lines(&self) -> Result<String, Error> {
        let bad = |name: &str, why| Err(Error::BadSetting { name: name.to_owned(), why });
        let mut lines = String::from("save \"\"\n");
        if self.durable {
            lines.push_str("appendonly yes\nappendfsync always\n");
        }
        for (name, value) in &self.config {
            if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
                return bad(name, "a setting's name is letters, digits and dashes");
            }
            if ["port", "bind", "dir", "daemonize", "requirepass", "logfile"].contains(&name.as_str()) {
                return bad(name, "this setting is chosen by this crate");
            }
            if value.chars().any(char::is_control) {
                return bad(name, "a value cannot hold line breaks or other control characters");
            }
            lines.push_str(&format!("{name} {value}\n"));
        }
        Ok(lines)
    }
}

/// Everything but the port goes into a file that only the server's user can read: the password is in it.
fn write_config(path: &Path, account: Account, password: &str, lines: &str) -> Result<(), Error> {
    let text = format!("bind 127.0.0.1\ndir ./\ndaemonize no\nlogfile \"\"\nrequirepass {password}\n{lines}");
    let write = || {
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        fs::write(path, text)
    };
    write().map_err(Error::io("write redis.conf"))?;
    account.give(path)
}

#[derive(Debug)]
struct RedisKind {
    program: PathBuf,
    password: String,
}

impl Kind for RedisKind {
    const NAME: &'static str = "redis";
    const STOP: Signal = Signal::SIGTERM;
    const END: Signal = Signal::SIGKILL;

    fn command(&self, home: &Path, port: u16) -> Command {
        let mut command = Command::new(&self.program);
        command.arg(home.join("redis.conf")).arg("--port").arg(port.to_string());
        command
    }

    /// Only this server knows the password, so an answer comes from it and no other on the same port. While it
    /// loads its data it answers `-LOADING`.
    fn answers(&self, _home: &Path, port: u16, _pid: u32) -> bool {
        self.ping(port).unwrap_or(false)
    }

    fn sweep(&self, _home: &Path) {}
}

impl RedisKind {
    fn ping(&self, port: u16) -> std::io::Result<bool> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.write_all(format!("AUTH {}\r\nPING\r\n", self.password).as_bytes())?;
        let expected = b"+OK\r\n+PONG\r\n";
        let mut answer = vec![0; expected.len()];
        stream.read_exact(&mut answer)?;
        Ok(answer == expected)
    }
}
