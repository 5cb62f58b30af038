//! Views are counted to the last one, by few statements, over several instances and restarts.

use std::sync::Arc;

use reqwest::Method;
use servers::{Postgres, require};

use crate::support::{Running, poll_until, start};

const CODES: [&str; 3] = ["KJFK", "LFPG", "BIKF"];

async fn view(service: &Running, icao: &str) {
    let counted = service.request(Method::POST, &format!("/airports/{icao}/views")).send().await.unwrap();
    assert_eq!(counted.status(), 202);
}

async fn views(service: &Running, icao: &str) -> u64 {
    service.json(&format!("/airports/{icao}/views")).await["views"].as_u64().unwrap()
}

/// Many clients at once, on all airports.
async fn crowd(service: &Arc<Running>, clients: usize, each: usize) {
    let clients = (0..clients).map(|client| {
        let service = Arc::clone(service);
        tokio::spawn(async move {
            for n in 0..each {
                view(&service, CODES[(client + n) % CODES.len()]).await;
            }
        })
    });
    for client in futures::future::join_all(clients).await {
        client.unwrap();
    }
}

async fn counted(database: &str) {
    let arguments = ["--database", database];
    let one = Arc::new(start(&arguments).await);
    assert_eq!(views(&one, "KJFK").await, 0);
    crowd(&one, 12, 100).await;
    for icao in CODES {
        assert_eq!(views(&one, icao).await, 400, "at once, where they were counted");
    }
    poll_until(async || one.json("/stats").await["views"]["queued"] == 0).await;
    let stats = one.json("/stats").await["views"].clone();
    assert_eq!((stats["accepted"].as_u64(), stats["dead"].as_u64()), (Some(1200), Some(0)));
    let statements = stats["statements"].as_u64().unwrap();
    assert!(statements < 200, "{statements} statements for 1200 views");
    // A second instance adds to it, and each comes to know what the other has counted.
    let other = Arc::new(start(&arguments).await);
    crowd(&other, 3, 50).await;
    for instance in [&one, &other] {
        poll_until(async || views(instance, "KJFK").await == 450).await;
    }
    // Who ends leaves what was counted, and who starts finds it.
    Arc::into_inner(one).unwrap().stop().await;
    poll_until(async || views(&other, "LFPG").await == 450).await;
    Arc::into_inner(other).unwrap().stop().await;
    let next = start(&arguments).await;
    for icao in CODES {
        assert_eq!(views(&next, icao).await, 450);
    }
    assert_eq!(next.request(Method::POST, "/airports/NOPE/views").send().await.unwrap().status(), 404);
    assert_eq!(next.get("/airports/NOPE/views").await.status(), 404);
    next.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn views_are_counted_on_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    counted(&format!("sqlite:{}", folder.path().join("views.sqlite").display())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn views_are_counted_on_postgres() {
    let Some(server) = require(Postgres::start()) else { return };
    counted(&server.url()).await;
    // Nobody has ended without adding up.
    let mut connection = <sqlx::PgConnection as sqlx::Connection>::connect(&server.url()).await.unwrap();
    let rows: i64 =
        sqlx::query_scalar("SELECT COUNT(*) FROM views").fetch_one(&mut connection).await.unwrap();
    assert_eq!(rows, 3);
}

/// While the database is away views are counted all the same, and are there when it is back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn views_wait_for_a_database_that_is_away() {
    let Some(server) = require(Postgres::start()) else { return };
    let service = Arc::new(start(&["--database", &server.url(), "--acquire-timeout", "500ms"]).await);
    for icao in CODES {
        service.json(&format!("/airports/{icao}")).await;
    }
    crowd(&service, 3, 10).await;
    tokio::task::block_in_place(|| server.kill().unwrap());
    crowd(&service, 3, 10).await;
    tokio::task::block_in_place(|| server.restart().unwrap());
    poll_until(async || service.json("/stats").await["views"]["queued"] == 0).await;
    assert_eq!(views(&service, "KJFK").await, 20);
    Arc::into_inner(service).unwrap().stop().await;
    let next = start(&["--database", &server.url()]).await;
    assert_eq!(views(&next, "KJFK").await, 20);
    next.stop().await;
}
