//! The clean end, and starts that can't be.

use clap::Parser;
use orders::config::Config;
use orders::serve;

use crate::support::{Place, list, order, place, stock, user};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_to_stop_writes_the_orders_that_wait() {
    for there in Place::all() {
        let process = there.spawn("a", &["--max-delay", "1h"]).await;
        let client = &process.client;
        user(client, "ann").await;
        stock(client, "tea", 100).await;
        for n in 0..50 {
            place(client, order(&format!("o{n}"), "ann", "tea", 1)).await.unwrap();
        }
        process.terminate().await;
        // Another instance does not have the first one's journal.
        let other = there.start("b", &[]).await;
        assert_eq!(list(&other.client, "ann").await.len(), 50);
        let segments = std::fs::read_dir(there.path().join("a/journal")).unwrap();
        let names: Vec<_> = segments.map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["lock"], "the journal is empty");
        other.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_placed_during_the_stop_are_refused_or_kept() {
    let there = Place::sqlite();
    let service = there.start("a", &["--max-delay", "1h"]).await;
    user(&service.client, "ann").await;
    stock(&service.client, "tea", 1_000_000).await;
    let load: Vec<_> = (0..8)
        .map(|task| {
            let client = service.client.clone();
            tokio::spawn(async move {
                let mut acknowledged = Vec::new();
                for n in 0.. {
                    let id = format!("{task}-{n}");
                    if place(&client, order(&id, "ann", "tea", 1)).await.is_err() {
                        break;
                    }
                    acknowledged.push(id);
                }
                acknowledged
            })
        })
        .collect();
    crate::support::poll_until("orders come", async || list(&service.client, "ann").await.len() > 20).await;
    service.stop().await;
    let mut acknowledged = Vec::new();
    for task in load {
        acknowledged.extend(task.await.unwrap());
    }
    let again = there.start("a", &[]).await;
    let mut found: Vec<String> =
        list(&again.client, "ann").await.into_iter().map(|order| order.order_id).collect();
    found.sort();
    acknowledged.sort();
    let lost: Vec<_> = acknowledged.iter().filter(|id| found.binary_search(id).is_err()).collect();
    assert!(lost.is_empty(), "{lost:?}");
    assert_eq!(crate::support::left(&again.client, "tea").await, 1_000_000 - found.len() as i64);
    again.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_configuration_is_an_error_with_a_reason() {
    let there = Place::sqlite();
    let running = there.start("a", &[]).await;
    let taken = there.path().join("a").display().to_string();
    let fresh = there.path().join("b").display().to_string();
    let start = async |data: &str, arguments: &[&str]| {
        let own = ["orders", "--listen", "127.0.0.1:0", "--data", data];
        let config = Config::try_parse_from([&own[..], arguments].concat())?;
        serve::start(&config).await.map(drop)
    };
    for (data, arguments, reason) in [
        (&fresh, &["--database", "mysql://x"][..], "neither sqlite"),
        (&fresh, &["--database", "sqlite::memory:"], "name of a file"),
        (&fresh, &["--database", "sqlite:/nowhere/at/all.sqlite"], "unable to open database file"),
        (&taken, &["--database", &there.database], "in use"),
        (&fresh, &["--max-connections", "0"], "max-connections"),
        (&fresh, &["--stock-ttl", "soon"], "stock-ttl"),
        (&fresh, &["--database", &there.database, "--listen", &running.url[7..]], "cannot be used multiple"),
    ] {
        let error = format!("{:#}", start(data, arguments).await.unwrap_err());
        assert!(error.contains(reason), "{arguments:?}: {error}");
    }
    let error = start(&fresh, &["--database", "postgres://u:secret@127.0.0.1:1/x"]).await.unwrap_err();
    let error = format!("{error:#}");
    assert!(error.contains("refused") && !error.contains("secret"), "{error}");
    running.stop().await;
}
