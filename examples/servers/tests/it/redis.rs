//! Redis.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::thread;
use std::time::Duration;

use servers::{Error, Redis};

use crate::support::{is_alive, is_stopped};

/// Sends one inline command after the password, and returns the first `length` bytes of its answer.
fn ask(redis: &Redis, command: &str, length: usize) -> std::io::Result<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, redis.port()))?;
    stream.set_read_timeout(Some(Duration::from_millis(500)))?;
    stream.write_all(format!("AUTH {}\r\n{command}\r\n", redis.password()).as_bytes())?;
    let mut answer = vec![0; "+OK\r\n".len() + length];
    stream.read_exact(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer[5..]).into_owned())
}

#[test]
fn it_answers_as_soon_as_it_is_started_and_only_with_the_password() {
    let Some(redis) = servers::require(Redis::start()) else { return };
    assert_eq!(ask(&redis, "PING", 5).unwrap(), "+PONG");
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, redis.port())).unwrap();
    stream.write_all(b"GET a\r\n").unwrap();
    let mut answer = [0; 7];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"-NOAUTH");
    assert_eq!(redis.url(), format!("redis://:{}@127.0.0.1:{}/0", redis.password(), redis.port()));
}

#[test]
fn kill_9_loses_data_unless_it_is_durable_and_the_port_stays() {
    for (durable, kept) in [(false, "$-1"), (true, "$3\r\nyes")] {
        let Some(redis) = servers::require(Redis::builder().durable(durable).start()) else { return };
        let (url, pid) = (redis.url(), redis.pid().unwrap());
        assert_eq!(ask(&redis, "SET key yes", 3).unwrap(), "+OK");
        redis.kill().unwrap();
        assert!(!is_alive(pid));
        assert!(ask(&redis, "PING", 5).is_err());
        redis.restart().unwrap();
        assert_eq!(redis.url(), url);
        assert_eq!(ask(&redis, "GET key", kept.len()).unwrap(), kept);
    }
}

#[test]
fn a_paused_server_is_silent_until_it_is_resumed() {
    let Some(redis) = servers::require(Redis::start()) else { return };
    redis.pause().unwrap();
    assert!(is_stopped(redis.pid().unwrap()));
    assert!(ask(&redis, "PING", 5).is_err());
    redis.resume().unwrap();
    assert_eq!(ask(&redis, "PING", 5).unwrap(), "+PONG");
}

#[test]
fn nothing_is_left_after_a_drop() {
    let Some(redis) = servers::require(Redis::start()) else { return };
    let (pid, home) = (redis.pid().unwrap(), redis.home().to_owned());
    drop(redis);
    assert!(!is_alive(pid));
    assert!(!home.exists());
}

#[test]
fn many_start_at_once() {
    thread::scope(|scope| {
        let starts: Vec<_> = (0..4).map(|_| scope.spawn(Redis::start)).collect();
        for start in starts {
            let Some(redis) = servers::require(start.join().unwrap()) else { return };
            assert_eq!(ask(&redis, "PING", 5).unwrap(), "+PONG");
        }
    });
}

#[test]
fn settings_are_as_asked_or_refused() {
    let Some(redis) = servers::require(Redis::builder().databases(2).max_connections(50).start()) else {
        return;
    };
    assert_eq!(ask(&redis, "SELECT 1", 3).unwrap(), "+OK");
    assert_eq!(ask(&redis, "SELECT 2", 4).unwrap(), "-ERR");

    let error = Redis::builder().config("no-such-setting", "1").start().unwrap_err();
    assert!(
        matches!(&error, Error::Exited { server: "redis", log, .. } if log.contains("no-such-setting")),
        "{error}"
    );
    for (name, value) in [("", "1"), ("a b", "1"), ("port", "1"), ("timeout", "1\nport 2")] {
        let error = Redis::builder().config(name, value).start().unwrap_err();
        assert!(matches!(&error, Error::BadSetting { name: bad, .. } if bad == name), "{error:?}");
    }
}
