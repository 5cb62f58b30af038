//! The servers start, die, freeze and come back.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use servers::{Error, Postgres, Redis, require};

fn psql(server: &Postgres, sql: &str) -> Result<String, String> {
    let output = Command::new("psql").args(["-XAtq", &server.url(), "-c", sql]).output().expect("psql runs");
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

#[test]
fn postgres_survives_kill_and_restart_on_the_same_port() {
    let Some(mut server) = require(Postgres::start()) else { return };
    let port = server.port();
    psql(&server, "create table t (n int); insert into t values (7)").unwrap();
    server.kill();
    assert!(psql(&server, "select 1").is_err(), "a killed server answers");
    server.restart().unwrap();
    assert_eq!(server.port(), port);
    assert_eq!(psql(&server, "select n from t").unwrap(), "7");
    let pid = server.pid().unwrap();
    drop(server);
    assert!(!Path::new(&format!("/proc/{pid}")).exists(), "the server outlived its handle");
}

#[test]
fn postgres_freezes_and_thaws() {
    let Some(server) = require(Postgres::builder().setting("max_connections", "7").start()) else { return };
    assert_eq!(psql(&server, "show max_connections").unwrap(), "7");
    server.pause();
    let frozen =
        Command::new("timeout").args(["1", "psql", "-X", &server.url(), "-c", "select 1"]).output().unwrap();
    assert!(!frozen.status.success(), "a frozen server answers");
    server.resume();
    assert_eq!(psql(&server, "select 1").unwrap(), "1");
}

#[test]
fn redis_survives_kill_and_restart_on_the_same_port() {
    let Some(mut server) = require(Redis::start()) else { return };
    let ping = |server: &Redis| -> std::io::Result<[u8; 7]> {
        let mut stream = TcpStream::connect(("127.0.0.1", server.port()))?;
        stream.set_read_timeout(Some(Duration::from_millis(300)))?;
        stream.write_all(b"PING\r\n")?;
        let mut answer = [0; 7];
        stream.read_exact(&mut answer)?;
        Ok(answer)
    };
    assert_eq!(&ping(&server).unwrap(), b"+PONG\r\n");
    server.pause();
    assert!(ping(&server).is_err(), "a frozen server answers");
    server.resume();
    server.kill();
    assert!(ping(&server).is_err(), "a killed server answers");
    server.restart().unwrap();
    assert_eq!(&ping(&server).unwrap(), b"+PONG\r\n");
}

#[test]
fn a_missing_binary_is_a_skip_with_a_name() {
    let missing =
        Err::<Postgres, _>(Error::NotFound { binary: "postgres", looked_in: vec!["/nowhere".into()] });
    let text = missing.as_ref().unwrap_err().to_string();
    assert!(text.contains("postgres") && text.contains("/nowhere"), "{text}");
    if std::env::var_os("MILLPOND_REQUIRE_SERVERS").is_none() {
        assert!(require(missing).is_none());
    }
}
