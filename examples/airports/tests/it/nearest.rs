//! The search for the nearest, against the distances to all airports: the same on SQLite and PostgreSQL.

use airports::airport::{Airport, distance_km};
use airports::config::Config;
use airports::store::Store;
use clap::Parser as _;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::json;
use servers::{Postgres, require};
use sqlx::Connection as _;
use sqlx::sqlite::SqliteConnection;

use crate::support::{Running, poll_until, start};

/// Codes and distances as the service has to round them.
fn by_hand(all: &[Airport], centre: &Airport, n: usize) -> Vec<(String, f64)> {
    let from = (centre.lat, centre.lon);
    let mut ranked: Vec<(f64, &str)> = all
        .iter()
        .filter(|airport| airport.icao != centre.icao)
        .map(|airport| (distance_km(from, (airport.lat, airport.lon)), airport.icao.as_str()))
        .collect();
    let order = |a: &(f64, &str), b: &(f64, &str)| a.0.total_cmp(&b.0).then_with(|| a.1.cmp(b.1));
    if n < ranked.len() {
        ranked.select_nth_unstable_by(n, order);
        ranked.truncate(n);
    }
    ranked.sort_by(order);
    ranked.into_iter().map(|(km, icao)| (icao.to_owned(), (km * 10.0).round() / 10.0)).collect()
}

async fn found(service: &Running, icao: &str, n: usize) -> Vec<(String, f64)> {
    let answer = service.json(&format!("/airports/{icao}/nearest?n={n}")).await;
    assert_eq!(answer["from"], icao);
    let nearest = answer["nearest"].as_array().unwrap();
    let one = |one: &serde_json::Value| {
        (one["icao"].as_str().unwrap().to_owned(), one["distance_km"].as_f64().unwrap())
    };
    nearest.iter().map(one).collect()
}

/// Around poles and the 180th meridian, where there is nothing, where there are many at one place, and anywhere.
async fn everywhere(service: &Running) {
    let mut all = airports::import::airports().unwrap();
    let mut random = StdRng::seed_from_u64(1);
    let mut places = vec![
        (90.0, 0.0),
        (90.0, 135.0),
        (-90.0, -180.0),
        (89.99, -45.0),
        (-89.99, 179.99),
        (0.0, 0.0),
        (0.0, 180.0),
        (0.0, -180.0),
        (0.0, 179.999),
        (-17.0, -179.9),
        (-17.0, 179.95),
        (52.0, 180.0),
        (68.0, -180.0),
        (60.0, 30.0),
        (-60.0, -100.0),
        // As far from all others as can be, several on one spot, and two that are equally far from them.
        (-48.9, -123.4),
        (-48.9, -123.4),
        (-48.9, -123.4),
        (-48.9, -122.9),
        (-48.9, -123.9),
        (-60.0, -140.0),
        // Where they are dense.
        (40.7, -74.0),
        (34.0, -118.2),
    ];
    places.extend((0..20).map(|_| {
        // Evenly on the sphere.
        let lat = random.random_range(-1.0_f64..=1.0).asin().to_degrees();
        (lat, random.random_range(-180.0..=180.0))
    }));
    let mut centres = Vec::new();
    for (number, (lat, lon)) in places.into_iter().enumerate() {
        let icao = format!("_{number:03}");
        // Elsewhere first: a write has to move it.
        for (lat, lon) in [(lat / 2.0, -lon), (lat, lon)] {
            let body = json!({ "name": "Somewhere", "country": "IS", "lat": lat, "lon": lon });
            assert!(service.put(&format!("/airports/{icao}"), &body).await.status().is_success());
        }
        let made = serde_json::from_value(service.json(&format!("/airports/{icao}")).await).unwrap();
        centres.push(made);
    }
    all.extend(centres.iter().cloned());
    centres.extend((0..60).map(|_| all[random.random_range(0..all.len())].clone()));
    centres
        .extend(all.iter().filter(|airport| airport.lat.abs() > 82.0 || airport.lon.abs() > 179.5).cloned());
    for centre in centres {
        let wanted = by_hand(&all, &centre, 50);
        for n in [1, 2, 7, 50] {
            assert_eq!(found(service, &centre.icao, n).await, wanted[..n], "{n} of {centre:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everywhere_on_sqlite() {
    let service = start(&[]).await;
    everywhere(&service).await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everywhere_on_postgres() {
    let Some(server) = require(Postgres::start()) else { return };
    let service = start(&["--database", &server.url()]).await;
    everywhere(&service).await;
    let scans = "SELECT idx_scan > 100 FROM pg_stat_user_indexes WHERE indexrelname = 'airports_by_place'";
    // The server's statistics come a little later.
    poll_until(async || server.psql(scans).unwrap() == "t").await;
    service.stop().await;
}

/// A database as older versions made it, with few airports, gets the index.
async fn few(database: &str) {
    let few = &airports::import::airports().unwrap()[..4];
    let store = Store::new(&Config::parse_from(["airports", "--database", database])).unwrap();
    store.create().await.unwrap();
    store.fill(few, |_| ()).await.unwrap();
    store.close(std::time::Duration::from_secs(1)).await;
    let service = start(&["--database", database]).await;
    for centre in few {
        for n in [1, 3, 50] {
            assert_eq!(found(&service, &centre.icao, n).await, by_hand(few, centre, n), "{n} of {centre:?}");
        }
    }
    assert_eq!(service.get("/airports/ZZ9Z/nearest").await.status(), 404);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_database_of_sqlite_with_few() {
    let folder = tempfile::tempdir().unwrap();
    let database = format!("sqlite:{}", folder.path().join("old.sqlite").display());
    few(&database).await;
    let mut connection = SqliteConnection::connect(&database).await.unwrap();
    let plan = "SELECT sql FROM sqlite_schema WHERE name = 'airports_by_place'";
    let sql: String = sqlx::query_scalar(plan).fetch_one(&mut connection).await.unwrap();
    assert!(sql.contains("(lat, lon)"), "{sql}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_database_of_postgres_with_few() {
    let Some(server) = require(Postgres::start()) else { return };
    few(&server.url()).await;
    let index = "SELECT indexdef FROM pg_indexes WHERE indexname = 'airports_by_place'";
    let sql = server.psql(index).unwrap();
    assert!(sql.contains("(lat, lon)"), "{sql}");
}
