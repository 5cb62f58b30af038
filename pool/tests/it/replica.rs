//! Three real PostgreSQL servers: a primary and two streaming replicas of it, one of which is promoted.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{MetadataExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use millpond_pool::Config;
use millpond_pool::managers::TokioPostgres;
use millpond_pool::multi::{MultiTarget, Role, Route, Target};
use servers::{Postgres, require};
use tempfile::TempDir;

/// A streaming replica. Its programs and its user are those of its primary.
struct Replica {
    programs: PathBuf,
    account: Option<(u32, u32)>,
    home: TempDir,
    port: u16,
    password: String,
    process: Option<Child>,
}

impl Replica {
    fn of(primary: &Postgres) -> Self {
        let process = PathBuf::from(format!("/proc/{}", primary.pid().unwrap()));
        let programs = fs::read_link(process.join("exe")).unwrap().parent().unwrap().to_owned();
        let (owner, own) = (fs::metadata(&process).unwrap(), fs::metadata("/proc/self").unwrap());
        let account = (owner.uid() != own.uid()).then(|| (owner.uid(), owner.gid()));
        let home = tempfile::tempdir().unwrap();
        if let Some((uid, gid)) = account {
            chown(home.path(), Some(uid), Some(gid)).unwrap();
        }
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let mut replica =
            Self { programs, account, home, port, password: primary.password().into(), process: None };
        let output = replica
            .command("pg_basebackup")
            .args([
                "--write-recovery-conf",
                "--checkpoint=fast",
                "--no-sync",
                "--host=127.0.0.1",
                "--username=postgres",
            ])
            .arg(format!("--port={}", primary.port()))
            .arg("--pgdata")
            .arg(replica.data())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        replica.start();
        replica
    }

    fn data(&self) -> PathBuf {
        self.home.path().join("data")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command.env("PGPASSWORD", &self.password).current_dir("/").stdin(Stdio::null());
        if let Some((uid, gid)) = self.account {
            command.uid(uid).gid(gid);
        }
        command
    }

    fn start(&mut self) {
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.data()).stdout(Stdio::null()).stderr(Stdio::null());
        for setting in ["listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off"] {
            command.args(["-c", setting]);
        }
        command.args(["-c", "dynamic_shared_memory_type=mmap", "-c", &format!("port={}", self.port)]);
        self.process = Some(command.spawn().unwrap());
    }

    fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let mut command = self.command("pg_ctl");
            command.args(["stop", "--mode=immediate", "--silent", "--pgdata"]).arg(self.data());
            if !command.status().is_ok_and(|status| status.success()) {
                let _gone = process.kill();
            }
            process.wait().unwrap();
        }
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.stop();
    }
}

fn config(port: u16, password: &str) -> tokio_postgres::Config {
    let mut config = tokio_postgres::Config::new();
    config.host("127.0.0.1").port(port).user("postgres").dbname("postgres").password(password);
    config
}

type Db = MultiTarget<TokioPostgres>;

async fn run(db: &Db, route: Route, sql: &str) -> Result<String, String> {
    let client = db.get(route).await.map_err(|error| error.to_string())?;
    client.batch_execute(sql).await.map_err(|error| format!("{error:?}"))?;
    Ok(client.target().to_owned())
}

async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !is_so().await {
        assert!(began.elapsed() < Duration::from_secs(30), "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_follow_a_promoted_replica() {
    let Some(primary) = require(Postgres::start()) else { return };
    let mut near = Replica::of(&primary);
    let far = Replica::of(&primary);
    let mut settings = Config::default();
    settings.max_size = 4;
    settings.acquire_timeout = Duration::from_secs(5);
    settings.connect_timeout = Duration::from_secs(2);
    settings.validation_timeout = Duration::from_secs(1);
    let mut builder = MultiTarget::builder()
        .config(settings)
        .check_every(Duration::from_millis(100))
        .slow_start(Duration::from_millis(1))
        .role_of(|client: &mut millpond_pool::managers::PostgresClient| {
            Box::pin(async move {
                let recovering = client.query_one("select pg_is_in_recovery()", &[]).await?.get(0);
                Ok(if recovering { Role::Replica } else { Role::Primary })
            })
        });
    // What is configured is wrong on purpose: the servers know better.
    for (name, port) in [("near", near.port), ("far", far.port), ("first", primary.port())] {
        let manager = TokioPostgres::new(config(port, primary.password()));
        builder = builder.target(Target::new(name, manager).role(Role::Replica));
    }
    let db = builder.build().unwrap();
    eventually("all are up", async || {
        db.check().await;
        let up = db.targets();
        up.iter().filter(|target| target.role == Role::Primary).count() == 1
            && up.iter().all(|target| !target.ejected)
            && run(&db, Route::read().fallback(false), "select 1").await.is_ok()
    })
    .await;

    // Writes go to the primary, reads to the replicas, and what was written arrives there.
    assert_eq!(
        run(&db, Route::write(), "create table t (n int); insert into t values (1)").await.unwrap(),
        "first"
    );
    eventually("it is replicated", async || {
        run(&db, Route::read().key(&1), "select n from t").await.is_ok()
            && run(&db, Route::read().key(&2), "select n from t").await.is_ok()
    })
    .await;
    let mut readers = std::collections::BTreeSet::new();
    for _ in 0..6 {
        readers.insert(run(&db, Route::read(), "select n from t").await.unwrap());
    }
    assert_eq!(readers.into_iter().collect::<Vec<_>>(), ["far", "near"]);

    // A replica dies: reads go on at the other one; when it is back it is let in again.
    near.stop();
    let mut failed = 0;
    for _ in 0..20 {
        match run(&db, Route::read(), "select n from t").await {
            Ok(target) => assert_eq!(target, "far"),
            // What was in flight, or idle and not yet known to be dead.
            Err(_) => failed += 1,
        }
    }
    assert!(failed <= 4, "{failed} of 20");
    near.start();
    eventually("it is let in again", async || {
        run(&db, Route::read(), "select n from t").await.is_ok_and(|target| target == "near")
    })
    .await;

    // The primary dies, a replica is promoted: writes follow.
    primary.kill().unwrap();
    assert!(run(&db, Route::write(), "insert into t values (2)").await.is_err());
    let (direct, connection) =
        config(far.port, primary.password()).connect(tokio_postgres::NoTls).await.unwrap();
    let task = tokio::spawn(connection);
    direct.query_one("select pg_promote()", &[]).await.unwrap();
    drop(direct);
    let _ended = task.await;
    let began = Instant::now();
    eventually("writes follow", async || {
        run(&db, Route::write(), "insert into t values (3)").await.is_ok_and(|target| target == "far")
    })
    .await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(run(&db, Route::read().fallback(false), "select n from t").await.unwrap(), "near");
    assert_eq!(db.close(Duration::from_secs(5)).await, 0);
}
