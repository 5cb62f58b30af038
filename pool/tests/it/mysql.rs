//! A real MariaDB server, and what may happen to it.

use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use millpond_pool::managers::SqlxMySql;
use millpond_pool::{Error, Pool};
use sqlx::mysql::MySqlConnectOptions;
use tempfile::TempDir;

/// A server of one's own, with a database `app` for a user `app`; gone when dropped.
pub(crate) struct MariaDb {
    programs: PathBuf,
    home: TempDir,
    pub(crate) port: u16,
    process: Option<Child>,
}

/// The folder above the one with the server, found by `PATH` or where packagers put it.
fn prefix() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/sbin", "/usr/local/sbin", "/usr/local/mysql/bin"].map(PathBuf::from);
    let found = env::split_paths(&path).chain(usual).find(|folder| folder.join("mariadbd").is_file())?;
    fs::canonicalize(found).ok()?.parent().map(Path::to_owned)
}

impl MariaDb {
    pub(crate) fn start() -> Option<Self> {
        let Some(prefix) = prefix() else {
            // As `servers::require` does for the others.
            let required =
                env::var_os("MILLPOND_REQUIRE_SERVERS").is_some_and(|it| !it.is_empty() && it != "0");
            assert!(!required, "mariadbd not found (MILLPOND_REQUIRE_SERVERS is set)");
            let _told = writeln!(std::io::stderr(), "skipped: mariadbd not found");
            return None;
        };
        let home = tempfile::tempdir().unwrap();
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let mut server = Self { programs: prefix, home, port, process: None };
        let output = server
            .command("bin/mariadb-install-db")
            .args(["--auth-root-authentication-method=normal", "--skip-test-db"])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let accounts = "create or replace user app@'127.0.0.1' identified by 'secret';\n\
                        grant all on *.* to app@'127.0.0.1';\ncreate database if not exists app;\n";
        fs::write(server.home.path().join("accounts.sql"), accounts).unwrap();
        server.run();
        Some(server)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command
            .arg("--no-defaults")
            .arg(format!("--basedir={}", self.programs.display()))
            .arg(format!("--datadir={}", self.home.path().join("data").display()))
            .stdin(Stdio::null());
        if fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0) {
            command.arg("--user=root");
        }
        command
    }

    #[expect(clippy::disallowed_methods, reason = "another process is polled, with a deadline")]
    fn run(&mut self) {
        let home = self.home.path();
        let log = fs::File::create(home.join("log")).unwrap();
        let process = self
            .command("sbin/mariadbd")
            .arg(format!("--port={}", self.port))
            .arg(format!("--socket={}", home.join("s").display()))
            .arg(format!("--pid-file={}", home.join("pid").display()))
            .arg(format!("--init-file={}", home.join("accounts.sql").display()))
            .args(["--bind-address=127.0.0.1", "--skip-name-resolve", "--innodb-buffer-pool-size=16M"])
            .args(["--innodb-flush-log-at-trx-commit=0", "--sync-binlog=0"])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.process = Some(process);
        let began = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_err() {
            let log = || fs::read_to_string(home.join("log")).unwrap_or_default();
            assert!(began.elapsed() < Duration::from_secs(60), "{}", log());
            thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn kill(&mut self) -> std::io::Result<()> {
        if let Some(mut process) = self.process.take() {
            process.kill()?;
            process.wait()?;
        }
        Ok(())
    }

    pub(crate) fn restart(&mut self) -> std::io::Result<()> {
        self.kill()?;
        self.run();
        Ok(())
    }

    pub(crate) fn options(&self) -> MySqlConnectOptions {
        let options = MySqlConnectOptions::new().host("127.0.0.1").port(self.port).database("app");
        options.username("app").password("secret")
    }
}

impl Drop for MariaDb {
    fn drop(&mut self) {
        let _gone = self.kill();
    }
}

async fn one(pool: &Pool<SqlxMySql>) -> Result<i64, String> {
    let mut connection = pool.get().await.map_err(|error| error.to_string())?;
    sqlx::query_scalar("select 1").fetch_one(&mut *connection).await.map_err(|error| error.to_string())
}

async fn kill_all_but(other: &mut sqlx::MySqlConnection) {
    let ids: Vec<i64> = sqlx::query_scalar(
        "select id from information_schema.processlist where user = 'app' and id <> connection_id()",
    )
    .fetch_all(&mut *other)
    .await
    .unwrap();
    for id in ids {
        sqlx::raw_sql(sqlx::AssertSqlSafe(format!("kill {id}"))).execute(&mut *other).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mariadb_is_killed_and_comes_back() {
    let Some(mut server) = MariaDb::start() else { return };
    let manager = SqlxMySql::new(server.options()).clean(true);
    let pool = Pool::builder(manager).max_size(2).validation_bypass(Duration::ZERO).build().unwrap();
    assert_eq!(one(&pool).await.unwrap(), 1);

    // A transaction of the user's own does not come back.
    {
        let mut connection = pool.get().await.unwrap();
        sqlx::query("create table t (n int)").execute(&mut *connection).await.unwrap();
        sqlx::raw_sql("start transaction; insert into t values (1)").execute(&mut *connection).await.unwrap();
    }
    {
        let mut connection = pool.get().await.unwrap();
        let count: i64 =
            sqlx::query_scalar("select count(*) from t").fetch_one(&mut *connection).await.unwrap();
        assert_eq!((count, pool.stats().opened), (0, 1));
    }

    // All connections are killed: the check finds it, no caller sees it.
    let held = pool.get().await.unwrap();
    let mut other = pool.get().await.unwrap();
    drop(held);
    kill_all_but(&mut other).await;
    for _ in 0..4 {
        assert_eq!(one(&pool).await.unwrap(), 1);
    }
    drop(other);

    // The same without a check on each borrow: each dead one is seen once at most, as the news takes a moment.
    let unchecked = Pool::builder(SqlxMySql::new(server.options())).max_size(3).build().unwrap();
    drop([unchecked.get().await.unwrap(), unchecked.get().await.unwrap(), unchecked.get().await.unwrap()]);
    let mut other = pool.get().await.unwrap();
    kill_all_but(&mut other).await;
    let mut errors = 0;
    for _ in 0..20 {
        errors += usize::from(one(&unchecked).await.is_err());
    }
    assert!((1..=3).contains(&errors), "{errors}: none is lent again after it failed");
    drop(other);

    server.kill().unwrap();
    let began = Instant::now();
    assert!(one(&pool).await.unwrap_err().to_lowercase().contains("refused"));
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    server.restart().unwrap();
    let began = Instant::now();
    while one(&pool).await.is_err() {
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", pool.stats());
        tokio::task::yield_now().await;
    }
    assert_eq!(pool.close(Duration::from_secs(5)).await, 0);

    for wrong in [server.options().password("wrong"), server.options().database("nosuch")] {
        let pool = Pool::builder(SqlxMySql::new(wrong)).build().unwrap();
        let began = Instant::now();
        assert!(matches!(pool.get().await, Err(Error::Connect { .. })));
        assert!(began.elapsed() < Duration::from_secs(2), "a permanent error is told at once");
    }
}
