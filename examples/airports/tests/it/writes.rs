//! Writes beside reads and beside each other: what a write has answered, every later read shows.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use servers::{Postgres, require};
use sqlx::Connection;

use crate::support::{Running, TOKEN, poll_until, start};

fn strip(elevation: u64, country: &str) -> Value {
    json!({ "name": "Strip", "country": country, "lat": 64.0, "lon": -21.0, "elevation": elevation })
}

/// Readers never see less than what was written before they asked, in the airport, in its list, near it.
async fn no_stale_reads(service: Arc<Running>) {
    let written = Arc::new(AtomicU64::new(0));
    assert_eq!(service.put("/airports/BI01", &strip(0, "IS")).await.status(), 201);
    let stop = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..6)
        .map(|reader| {
            let (service, written, stop) = (Arc::clone(&service), Arc::clone(&written), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut reads = 0_u64;
                while !stop.load(Ordering::Relaxed) {
                    let before = written.load(Ordering::Acquire);
                    let seen = match reader % 3 {
                        0 => service.json("/airports/BI01").await["elevation"].clone(),
                        1 => {
                            let list = service.json("/airports?country=IS&limit=1&after=BI00").await;
                            list["airports"][0]["elevation"].clone()
                        }
                        _ => {
                            let list = service.json("/airports?q=bi01&limit=1").await;
                            list["airports"][0]["elevation"].clone()
                        }
                    };
                    let seen = seen.as_f64().unwrap() as u64;
                    assert!(seen >= before, "reader {reader} saw {seen} after {before} was written");
                    reads += 1;
                }
                reads
            })
        })
        .collect();
    for n in 1..=60 {
        assert_eq!(service.put("/airports/BI01", &strip(n, "IS")).await.status(), 200);
        written.store(n, Ordering::Release);
    }
    stop.store(true, Ordering::Relaxed);
    for reader in readers {
        assert!(reader.await.unwrap() > 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_stale_reads_on_sqlite() {
    let service = Arc::new(start(&[]).await);
    no_stale_reads(Arc::clone(&service)).await;
    Arc::into_inner(service).unwrap().stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_stale_reads_on_postgres() {
    let Some(server) = require(Postgres::start()) else { return };
    let service = Arc::new(start(&["--database", &server.url()]).await);
    no_stale_reads(Arc::clone(&service)).await;
    Arc::into_inner(service).unwrap().stop().await;
}

/// Writers of one airport at once: none fails, and all lists agree with the last one.
async fn writers_at_once(service: &Running) {
    const COUNTRIES: [&str; 4] = ["IS", "GB", "FR", "DE"];
    for round in 0..10 {
        let writers = (0..8).map(|n| async move {
            let status = service.put("/airports/BI02", &strip(n, COUNTRIES[n as usize % 4])).await.status();
            // So that a list which is forgotten too early is in the cache again.
            for country in COUNTRIES {
                service.json(&format!("/airports?country={country}&q=bi02")).await;
            }
            status.as_u16()
        });
        let statuses = futures::future::join_all(writers).await;
        assert!(statuses.iter().all(|status| [200, 201].contains(status)), "round {round}: {statuses:?}");
        let now = service.json("/airports/BI02").await["country"].clone();
        for country in COUNTRIES {
            let list = service.json(&format!("/airports?country={country}&q=bi02")).await;
            let listed = list["airports"].as_array().unwrap().len();
            assert_eq!(listed, usize::from(now == country), "round {round}: it is in {now}, asked {country}");
        }
        assert_eq!(service.delete("/airports/BI02").await.status(), 204);
        assert_eq!(service.get("/airports/BI02").await.status(), 404);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_at_once_on_sqlite() {
    let service = start(&[]).await;
    writers_at_once(&service).await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_at_once_on_postgres() {
    let Some(server) = require(Postgres::start()) else { return };
    let service = start(&["--database", &server.url()]).await;
    writers_at_once(&service).await;
    service.stop().await;
}

/// A client that leaves in the middle of a write leaves no stale answer behind.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_goes_on_when_its_client_leaves() {
    let Some(server) = require(Postgres::start()) else { return };
    let service = start(&["--database", &server.url()]).await;
    assert_eq!(service.put("/airports/BI03", &strip(0, "IS")).await.status(), 201);
    let mut connection = sqlx::PgConnection::connect(&server.url()).await.unwrap();
    for (n, patience) in (1..=20_u64).zip([2, 4, 6, 8, 10].into_iter().cycle()) {
        // Holds the row, so that the write is somewhere in the middle when its client leaves.
        let mut transaction = connection.begin().await.unwrap();
        sqlx::query("SELECT 1 FROM airports WHERE icao = 'BI03' FOR UPDATE")
            .execute(&mut *transaction)
            .await
            .unwrap();
        let write = service
            .request(Method::PUT, "/airports/BI03")
            .bearer_auth(TOKEN)
            .json(&strip(n, "IS"))
            .timeout(Duration::from_millis(60 + patience));
        let (left, ()) = tokio::join!(write.send(), async {
            tokio::time::sleep(Duration::from_millis(60)).await;
            service.json("/airports/BI03").await;
            transaction.rollback().await.unwrap();
        });
        drop(left);
        poll_until(async || service.json("/stats").await["pool"]["in_use"] == 0).await;
        let stored: f64 = sqlx::query_scalar("SELECT elevation FROM airports WHERE icao = 'BI03'")
            .fetch_one(&mut connection)
            .await
            .unwrap();
        let seen = service.json("/airports/BI03").await["elevation"].as_f64().unwrap();
        assert!((seen - stored).abs() < 0.5, "the database has {stored}, the service says {seen}");
    }
    service.stop().await;
}

/// What another instance has removed is forgotten when somebody asks to remove it here.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removal_of_what_is_gone_is_remembered() {
    let folder = tempfile::tempdir().unwrap();
    let database = format!("sqlite:{}", folder.path().join("both.sqlite").display());
    let one = start(&["--database", &database]).await;
    let other = start(&["--database", &database]).await;
    assert_eq!(one.put("/airports/BI04", &strip(0, "IS")).await.status(), 201);
    assert_eq!(other.get("/airports/BI04").await.status(), 200);
    assert_eq!(one.delete("/airports/BI04").await.status(), 204);
    assert_eq!(other.delete("/airports/BI04").await.status(), 404);
    assert_eq!(other.get("/airports/BI04").await.status(), 404, "no longer from the cache");
    one.stop().await;
    other.stop().await;
}
