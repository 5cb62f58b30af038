//! A server does not outlive the process that started it, however that process ends.
//!
//! This test binary runs itself again with a variable set; that second process starts a server, tells about it and
//! then waits to be killed, or ends with the server in a static.

use std::env;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use servers::{Postgres, Redis};

use crate::support::{children, eventually, is_alive};

const ROLE: &str = "MILLPOND_TEST_OWNER";

/// Not a test of its own: what the second process does. Without the variable it does nothing.
#[test]
fn owner() {
    static KEPT: OnceLock<(Postgres, Redis)> = OnceLock::new();
    let Ok(role) = env::var(ROLE) else { return };
    let (postgres, redis) = KEPT.get_or_init(|| (Postgres::start().unwrap(), Redis::start().unwrap()));
    if role == "paused" {
        postgres.pause().unwrap();
        redis.pause().unwrap();
    }
    for (pid, home) in [(postgres.pid(), postgres.home()), (redis.pid(), redis.home())] {
        eprintln!("server {} {}", pid.unwrap(), home.display());
    }
    if role != "returns" {
        loop {
            std::thread::park();
        }
    }
}

fn check(role: &str) {
    if servers::require(Postgres::start()).is_none() || servers::require(Redis::start()).is_none() {
        return;
    }
    let mut owner = Command::new(env::current_exe().unwrap())
        .args(["--exact", "owner_dies::owner", "--nocapture"])
        .env(ROLE, role)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(owner.stderr.take().unwrap()).lines().map_while(Result::ok);
    let servers: Vec<(u32, PathBuf)> = lines
        .filter_map(|line| {
            let (pid, home) = line.strip_prefix("server ")?.split_once(' ')?;
            Some((pid.parse().unwrap(), PathBuf::from(home)))
        })
        .take(2)
        .collect();
    assert_eq!(servers.len(), 2);
    let family: Vec<u32> = servers.iter().flat_map(|(pid, _)| children(*pid)).collect();
    if role != "returns" {
        assert!(servers.iter().all(|(pid, home)| is_alive(*pid) && home.is_dir()));
        owner.kill().unwrap();
    }
    owner.wait().unwrap();
    for (pid, home) in servers {
        eventually("the server is gone", || !is_alive(pid));
        eventually("its folder is gone", || !home.exists());
    }
    for pid in family {
        eventually("its processes are gone", || !is_alive(pid));
    }
}

#[test]
fn a_killed_owner_takes_its_servers_along() {
    check("killed");
}

#[test]
fn a_killed_owner_takes_its_paused_servers_along() {
    check("paused");
}

#[test]
fn servers_in_a_static_end_with_the_process() {
    check("returns");
}
