//! The database dies under load: 503 or a cached answer, never a hang, and recovery without a restart.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use servers::{Postgres, require};

use crate::support::start;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_database_costs_503s_and_nothing_else() {
    let Some(server) = require(Postgres::start()) else { return };
    let url = server.url();
    let service = Arc::new(start(&["--database", &url, "--acquire-timeout", "1s"]).await);
    let codes: Arc<Vec<String>> =
        Arc::new(airports::import::airports().unwrap().into_iter().map(|a| a.icao).collect());
    assert_eq!(service.get("/airports/KJFK").await.status(), 200);
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..8)
        .map(|client| {
            let (service, codes, stop) = (Arc::clone(&service), Arc::clone(&codes), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut seen: BTreeMap<u16, usize> = BTreeMap::new();
                let mut longest = Duration::ZERO;
                let mut next = client;
                while !stop.load(Ordering::Relaxed) {
                    next = (next * 31 + 17) % codes.len();
                    let began = Instant::now();
                    let response = service.get(&format!("/airports/{}", codes[next])).await;
                    longest = longest.max(began.elapsed());
                    if response.status() == 503 {
                        assert_eq!(response.headers()["retry-after"], "1");
                    }
                    *seen.entry(response.status().as_u16()).or_default() += 1;
                }
                (seen, longest)
            })
        })
        .collect();
    server.kill().unwrap();
    assert_eq!(service.get("/airports/KJFK").await.status(), 200, "cached");
    assert_eq!(service.get("/health").await.status(), 503);
    server.restart().unwrap();
    let back = Instant::now();
    while service.get("/health").await.status() != 200 {
        assert!(back.elapsed() < Duration::from_secs(10), "no recovery");
    }
    let health: serde_json::Value = service.get("/health").await.json().await.unwrap();
    assert_eq!(health["airports"].as_u64(), Some(codes.len() as u64), "the data survived");
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        let (seen, longest) = client.await.unwrap();
        assert!(seen.keys().all(|status| [200, 503].contains(status)), "{seen:?}");
        assert!(longest < Duration::from_secs(4), "{longest:?}");
    }
    assert!(back.elapsed() < Duration::from_secs(2), "recovered after {:?}", back.elapsed());
    Arc::into_inner(service).unwrap().stop().await;
}

/// A write that found no connection has changed nothing: what is cached goes on being served.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_in_an_outage_costs_no_cached_answers() {
    let Some(server) = require(Postgres::start()) else { return };
    let url = server.url();
    let service = start(&["--database", &url, "--acquire-timeout", "500ms", "--max-connections", "1"]).await;
    let list = "/airports?country=IS&limit=3";
    for path in ["/airports/KJFK", list] {
        assert_eq!(service.get(path).await.status(), 200);
    }
    server.kill().unwrap();
    // Whoever finds the broken connection throws it away.
    assert_eq!(service.get("/airports/EGLL").await.status(), 503);
    let body = serde_json::json!({ "name": "A", "country": "IS", "lat": 64.0, "lon": -21.0 });
    assert_eq!(service.put("/airports/BI00", &body).await.status(), 503);
    assert_eq!(service.delete("/airports/BIKF").await.status(), 503);
    for path in ["/airports/KJFK", list] {
        assert_eq!(service.get(path).await.status(), 200, "{path}");
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_configuration_is_an_error_with_a_reason() {
    use airports::config::Config;
    use airports::serve::Service;
    use clap::Parser;

    let start = async |arguments: &[&str]| {
        let config = Config::try_parse_from([&["airports", "--listen", "127.0.0.1:0"], arguments].concat())?;
        Service::start(&config).await.map(drop)
    };
    for (arguments, reason) in [
        (&["--database", "mysql://x"][..], "neither sqlite"),
        (&["--database", "sqlite:/nowhere/at/all.sqlite"], "unable to open database file"),
        (&["--max-connections", "0"], "max-connections"),
        (&["--ttl", "soon"], "ttl"),
        (&["--ttl-jitter", "2"], "from 0 to 1"),
        (&["--refresh-after", "10m"], "refresh_after"),
    ] {
        let error = format!("{:#}", start(arguments).await.unwrap_err());
        assert!(error.contains(reason), "{arguments:?}: {error}");
    }
    let error = start(&["--database", "postgres://u:secret@127.0.0.1:1/x"]).await.unwrap_err();
    let error = format!("{error:#}");
    assert!(error.contains("refused") && !error.contains("secret"), "{error}");
}
