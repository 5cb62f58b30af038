//! The database file over the life of several processes, and the process itself: crashes, signals, wrong options.

use std::io::Read as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;
use servers::{Postgres, require};

use crate::support::start;

fn url(folder: &Path) -> String {
    format!("sqlite:{}", folder.join("airports.sqlite").display())
}

/// The service as a process of its own.
fn spawn(arguments: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_airports"))
        .args(["--listen", "127.0.0.1:0"])
        .args(arguments)
        .env_remove("RUST_LOG")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

async fn ended(child: &mut Child) -> ExitStatus {
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        assert!(began.elapsed() < Duration::from_secs(20), "it does not end");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn said(child: &mut Child) -> String {
    let mut text = String::new();
    child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_serves_what_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let database = url(folder.path());
    let service = start(&["--database", &database]).await;
    let body = json!({ "name": "Kept", "country": "IS", "lat": 64.0, "lon": -21.0 });
    assert_eq!(service.put("/airports/BI05", &body).await.status(), 201);
    assert_eq!(service.delete("/airports/KJFK").await.status(), 204);
    service.stop().await;
    let service = start(&["--database", &database]).await;
    assert_eq!(service.json("/airports/BI05").await["name"], "Kept");
    assert_eq!(service.get("/airports/KJFK").await.status(), 404, "not imported again");
    service.stop().await;
}

/// An import is all or nothing: whenever the process is killed, the next one serves all rows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_during_the_import_leaves_nothing_half_done() {
    let count = airports::import::airports().unwrap().len();
    for wait in [20, 60, 120, 250, 500] {
        let folder = tempfile::tempdir().unwrap();
        let mut child = spawn(&["--database", &url(folder.path())]);
        tokio::time::sleep(Duration::from_millis(wait)).await;
        child.kill().unwrap();
        child.wait().unwrap();
        let service = start(&["--database", &url(folder.path())]).await;
        assert_eq!(service.json("/health").await["airports"], count, "killed after {wait} ms");
        service.stop().await;
    }
}

/// A file that can't be written is served; a write is refused with a reason.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_only_database_is_served() {
    let folder = tempfile::tempdir().unwrap();
    start(&["--database", &url(folder.path())]).await.stop().await;
    let service = start(&["--database", &format!("{}?mode=ro", url(folder.path()))]).await;
    assert_eq!(service.get("/airports/KJFK").await.status(), 200);
    assert_eq!(service.get("/airports/KJFK/nearest").await.status(), 200);
    let body = json!({ "name": "No", "country": "IS", "lat": 64.0, "lon": -21.0 });
    assert_eq!(service.put("/airports/BI00", &body).await.status(), 503);
    assert_eq!(service.delete("/airports/KJFK").await.status(), 503);
    assert_eq!(service.get("/airports/KJFK").await.status(), 200);
    service.stop().await;
}

/// Several instances that start on one empty server at once do not trip over each other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn instances_may_start_at_once() {
    let Some(server) = require(Postgres::start()) else { return };
    let url = server.url();
    let arguments = ["--database", &url];
    let services = futures::future::join_all((0..4).map(|_| start(&arguments))).await;
    let count = airports::import::airports().unwrap().len();
    for service in services {
        assert_eq!(service.json("/health").await["airports"], count);
        service.stop().await;
    }
    let folder = tempfile::tempdir().unwrap();
    let database = self::url(folder.path());
    let arguments = ["--database", &database];
    for service in futures::future::join_all((0..4).map(|_| start(&arguments))).await {
        assert_eq!(service.json("/health").await["airports"], count);
        service.stop().await;
    }
}

/// SIGTERM: no new connections, requests in progress are answered, exit status 0.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_under_load_cuts_off_no_answer() {
    use std::io::BufRead as _;

    let folder = tempfile::tempdir().unwrap();
    let mut child = spawn(&["--database", &url(folder.path())]);
    let mut banner = String::new();
    std::io::BufReader::new(child.stdout.take().unwrap()).read_line(&mut banner).unwrap();
    let url = banner.trim().strip_prefix("Serving ").unwrap().to_owned();
    let clients: Vec<_> = (0..8)
        .map(|client| {
            let url = url.clone();
            tokio::spawn(async move {
                let http = reqwest::Client::new();
                let (mut answered, mut n) = (0, client);
                loop {
                    n += 8;
                    // A question each time, and a dear one.
                    let response = http.get(format!("{url}/airports?q=a{n}&limit=100")).send().await;
                    let response = match response {
                        Ok(response) => response,
                        // Refused, or closed before the request was read: nothing was promised.
                        Err(error) => {
                            assert!(error.is_connect() || error.is_request(), "{error:?}");
                            return answered;
                        }
                    };
                    assert_eq!(response.status(), 200);
                    response.json::<serde_json::Value>().await.expect("a whole answer");
                    answered += 1;
                }
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let signalled = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(signalled.success());
    let status = ended(&mut child).await;
    let log = said(&mut child);
    assert!(status.success(), "{status}: {log}");
    assert!(log.contains("stopped") && !log.contains("cut off"), "{log}");
    for client in clients {
        assert!(client.await.unwrap() > 0);
    }
}

/// SIGTERM in the middle of the import, and at the first sign of life: exit status 0, and nothing half done.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_is_a_clean_end_however_early() {
    use std::io::BufRead as _;

    let folder = tempfile::tempdir().unwrap();
    let terminate = async |mut child: Child| {
        assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
        let status = ended(&mut child).await;
        assert!(status.success(), "{status}");
    };
    let child = spawn(&["--database", &url(folder.path())]);
    let began = Instant::now();
    while !folder.path().join("airports.sqlite").exists() {
        assert!(began.elapsed() < Duration::from_secs(20), "it does not begin");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    terminate(child).await;
    for _ in 0..10 {
        let mut child = spawn(&["--database", &url(folder.path())]);
        let mut banner = String::new();
        let mut lines = std::io::BufReader::new(child.stdout.take().unwrap());
        lines.read_line(&mut banner).unwrap();
        assert!(banner.starts_with("Serving "), "{banner}");
        terminate(child).await;
    }
    let service = start(&["--database", &url(folder.path())]).await;
    assert_eq!(service.json("/health").await["airports"], airports::import::airports().unwrap().len());
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_keeps_it_from_starting_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("no.sqlite");
    std::fs::write(&file, "This is not a database, however long one looks at it.".repeat(100)).unwrap();
    let other = start(&[]).await;
    let taken = other.url.trim_start_matches("http://").to_owned();
    let fresh = url(folder.path());
    for (arguments, reason) in [
        (&["--database", &format!("sqlite:{}", file.display())][..], "not a database"),
        (&["--database", &fresh, "--listen", &taken], "in use"),
        (&["--database", "postgres://me:hush@127.0.0.1:1/x"], "refused"),
        (&["--database", "postgres://127.0.0.1:1/x?user=me&password=hush"], "refused"),
        (&["--database", "nonsense"], "neither sqlite"),
        (&["--database", "mysql://me:hush@127.0.0.1/x"], "neither sqlite"),
        (&["--database", "sqlite:"], "name of a file"),
        (&["--database", "sqlite::memory:"], "name of a file"),
        (&["--database", "sqlite://:memory:"], "name of a file"),
        (&["--database", "sqlite://x?cache=shared&mode=memory"], "name of a file"),
        (&["--max-requests", "0"], "--max-requests"),
        (&["--request-timeout", "0s"], "--request-timeout"),
        (&["--acquire-timeout", "0s"], "--acquire-timeout"),
        (&["--ttl", "0s"], "--ttl"),
        (&["--nosuch"], "--nosuch"),
    ] {
        let mut all = arguments.to_vec();
        if !all.contains(&"--database") {
            all.extend(["--database", &fresh]);
        }
        let mut child = if all.contains(&"--listen") {
            Command::new(env!("CARGO_BIN_EXE_airports"))
                .args(&all)
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap()
        } else {
            spawn(&all)
        };
        let status = ended(&mut child).await;
        let text = said(&mut child);
        assert!(!status.success() && text.contains(reason), "{arguments:?}: {status}: {text}");
        assert!(!text.contains("panicked") && !text.contains("hush"), "{arguments:?}: {text}");
    }
    other.stop().await;
}

/// Extreme but sound options work.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_largest_options_work() {
    let largest = u64::MAX.to_string();
    let service = start(&[
        "--cache-capacity",
        &largest,
        "--ttl",
        "1000000000years",
        "--negative-ttl",
        "0s",
        "--request-timeout",
        "1day",
        "--acquire-timeout",
        "1day",
        "--max-connections",
        "65535",
        "--max-requests",
        "65535",
    ])
    .await;
    for _ in 0..2 {
        assert_eq!(service.get("/airports/KJFK").await.status(), 200);
        assert_eq!(service.get("/airports/ZZ9Z").await.status(), 404);
    }
    let misses = service.json("/stats").await["cache"]["airports"]["misses"].clone();
    assert_eq!(misses, 3, "absence is not cached at all");
    service.stop().await;
}

#[test]
fn help_lists_every_option_and_no_secret() {
    let output = Command::new(env!("CARGO_BIN_EXE_airports"))
        .arg("--help")
        .env("AIRPORTS_DATABASE", "postgres://me:hush@example.org/x")
        .env("AIRPORTS_ADMIN_TOKEN", "hush")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    for option in [
        "listen",
        "database",
        "max-connections",
        "cache-capacity",
        "ttl",
        "negative-ttl",
        "acquire-timeout",
        "request-timeout",
        "slow-client",
        "max-requests",
        "admin-token",
    ] {
        assert!(text.contains(&format!("--{option} ")), "{option}: {text}");
        let twin = format!("[env: AIRPORTS_{}", option.replace('-', "_").to_uppercase());
        assert!(text.contains(&twin), "{twin}: {text}");
    }
    assert!(!text.contains("hush"), "{text}");
}
