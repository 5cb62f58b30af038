//! PostgreSQL.

use std::net::{Ipv4Addr, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use servers::{Error, Postgres};

use crate::support::{children, eventually, is_alive, is_stopped};

#[test]
fn it_answers_queries_as_soon_as_it_is_started() {
    let Some(postgres) = servers::require(Postgres::start()) else { return };
    assert_eq!(postgres.psql("select 6 * 7").unwrap(), "42");
    assert_eq!(postgres.psql("show fsync").unwrap(), "off");
    assert_eq!(postgres.psql("show listen_addresses").unwrap(), "127.0.0.1");
    assert_eq!(postgres.psql("select current_user").unwrap(), "postgres");
}

#[test]
fn a_failing_statement_is_an_error_with_its_message() {
    let Some(postgres) = servers::require(Postgres::start()) else { return };
    let error = postgres.psql("select 1/0").unwrap_err();
    assert!(matches!(error, Error::Program { program: "psql", .. }), "{error:?}");
    assert!(error.to_string().contains("division by zero"), "{error}");
}

#[test]
fn settings_and_databases_are_as_asked() {
    let builder = Postgres::builder()
        .durable(true)
        .max_connections(17)
        .config("work_mem", "7MB")
        .database("one")
        .databases(["two", "three_3"]);
    let Some(postgres) = servers::require(builder.start()) else { return };
    assert_eq!(postgres.psql("show fsync").unwrap(), "on");
    assert_eq!(postgres.psql("show max_connections").unwrap(), "17");
    assert_eq!(postgres.psql("show work_mem").unwrap(), "7MB");
    let sql = "select datname from pg_database where not datistemplate order by 1";
    assert_eq!(postgres.psql(sql).unwrap(), "one\npostgres\nthree_3\ntwo");
    assert!(postgres.url_of("two").ends_with("/two"));
}

#[test]
fn committed_data_survives_kill_9_and_the_port_stays() {
    let Some(postgres) = servers::require(Postgres::start()) else { return };
    let (url, before) = (postgres.url(), postgres.pid().unwrap());
    postgres.psql("create table t as select generate_series(1, 1000) as n").unwrap();
    let family = children(before);
    assert!(!family.is_empty(), "PostgreSQL has background processes");

    postgres.kill().unwrap();
    assert!(!postgres.is_running());
    assert!(!is_alive(before));
    assert!(family.into_iter().all(|pid| !is_alive(pid)));
    assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, postgres.port())).is_err());
    assert!(postgres.psql("select 1").is_err());

    postgres.restart().unwrap();
    assert_eq!(postgres.url(), url);
    assert_ne!(postgres.pid(), Some(before));
    assert_eq!(postgres.psql("select count(*) from t").unwrap(), "1000");
    assert!(postgres.log().contains("was not properly shut down"), "it really crashed:\n{}", postgres.log());
}

#[test]
fn a_stopped_server_comes_back_with_its_data() {
    let Some(postgres) = servers::require(Postgres::start()) else { return };
    postgres.psql("create table t as select 5 as n").unwrap();
    postgres.stop().unwrap();
    postgres.stop().unwrap();
    assert_eq!(postgres.pid(), None);
    postgres.restart().unwrap();
    assert_eq!(postgres.psql("select n from t").unwrap(), "5");
    // Also when it is up.
    postgres.restart().unwrap();
    assert_eq!(postgres.psql("select n from t").unwrap(), "5");
    assert!(!postgres.log().contains("was not properly shut down"), "each stop was in order");
}

#[test]
fn a_paused_server_is_silent_until_it_is_resumed() {
    let Some(postgres) = servers::require(Postgres::start()) else { return };
    let root = postgres.pid().unwrap();
    postgres.pause().unwrap();
    assert!(is_stopped(root));
    // A process that ended just before stays a zombie: its parent is stopped too.
    assert!(
        children(root).into_iter().all(|pid| is_stopped(pid) || !is_alive(pid)),
        "every process is stopped"
    );

    thread::scope(|scope| {
        let (sender, answer) = mpsc::channel();
        let postgres = &postgres;
        scope.spawn(move || sender.send(postgres.psql("select 1")));
        // Connecting works, the answer does not come.
        assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, postgres.port())).is_ok());
        assert!(answer.recv_timeout(Duration::from_millis(300)).is_err(), "a paused server cannot answer");
        postgres.resume().unwrap();
        assert_eq!(answer.recv_timeout(Duration::from_secs(20)).unwrap().unwrap(), "1");
    });
}

#[test]
fn a_paused_server_can_be_stopped_killed_and_dropped() {
    let Some(postgres) = servers::require(Postgres::start()) else { return };
    postgres.pause().unwrap();
    postgres.stop().unwrap();
    assert!(!postgres.is_running());
    assert!(matches!(postgres.pause(), Err(Error::NotRunning { server: "postgres" })));
    assert!(matches!(postgres.resume(), Err(Error::NotRunning { server: "postgres" })));
    postgres.restart().unwrap();
    postgres.pause().unwrap();
    postgres.kill().unwrap();
    postgres.restart().unwrap();
    assert_eq!(postgres.psql("select 1").unwrap(), "1");
    postgres.pause().unwrap();
    let root = postgres.pid().unwrap();
    drop(postgres);
    assert!(!is_alive(root));
}

#[test]
fn nothing_is_left_after_a_drop_or_a_panic() {
    for panics in [false, true] {
        let Some(postgres) = servers::require(Postgres::start()) else { return };
        let (root, home) = (postgres.pid().unwrap(), postgres.home().to_owned());
        let family = children(root);
        assert!(home.is_dir());
        let outcome = thread::spawn(move || {
            let _server = postgres;
            assert!(!panics, "this panic belongs to the test");
        });
        assert_eq!(outcome.join().is_err(), panics);
        assert!(!is_alive(root));
        assert!(family.into_iter().all(|pid| !is_alive(pid)));
        assert!(!home.exists());
    }
}

#[test]
fn a_server_that_dies_by_itself_is_seen_to_be_down() {
    let Some(postgres) = servers::require(Postgres::start()) else { return };
    let root = postgres.pid().unwrap();
    assert!(
        std::process::Command::new("kill").args(["-QUIT", &root.to_string()]).status().unwrap().success()
    );
    eventually("the server is down", || !postgres.is_running());
    postgres.restart().unwrap();
    assert_eq!(postgres.psql("select 1").unwrap(), "1");
}

#[test]
fn many_start_at_once() {
    thread::scope(|scope| {
        let starts: Vec<_> = (0..4).map(|_| scope.spawn(Postgres::start)).collect();
        let servers: Vec<_> =
            starts.into_iter().map(|start| servers::require(start.join().unwrap())).collect();
        let Some(servers) = servers.into_iter().collect::<Option<Vec<_>>>() else { return };
        let mut ports: Vec<_> = servers.iter().map(Postgres::port).collect();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 4);
        for (number, server) in servers.iter().enumerate() {
            server.psql(&format!("create table t as select {number} as n")).unwrap();
        }
        for (number, server) in servers.iter().enumerate() {
            assert_eq!(server.psql("select n from t").unwrap(), number.to_string());
        }
    });
}

#[test]
fn a_setting_that_the_server_rejects_is_told_from_its_log() {
    let started = Postgres::builder().config("no_such_setting", "1").start();
    if let Err(Error::NotFound { .. }) = started {
        servers::require(started);
        return;
    }
    let error = started.unwrap_err();
    assert!(matches!(error, Error::Exited { server: "postgres", .. }), "{error:?}");
    assert!(error.to_string().contains("no_such_setting"), "{error}");
}

#[test]
fn settings_that_cannot_be_written_down_are_refused() {
    let long = "x".repeat(64);
    for name in ["", "Upper", "semi;colon", "dash-ed", "quo\"te", "new\nline", long.as_str()] {
        let error = Postgres::builder().database(name).start().unwrap_err();
        assert!(matches!(&error, Error::BadSetting { name: bad, .. } if bad == name), "{error:?}");
    }
    for (name, value) in
        [("", "1"), ("a b", "1"), ("port", "1"), ("listen_addresses", "*"), ("work_mem", "\0")]
    {
        let error = Postgres::builder().config(name, value).start().unwrap_err();
        assert!(matches!(&error, Error::BadSetting { name: bad, .. } if bad == name), "{error:?}");
    }
}
