//! What the service does for those who use it right; the same on SQLite and PostgreSQL.

use std::collections::HashSet;

use reqwest::Method;
use reqwest::header::{CACHE_CONTROL, ETAG, HeaderName, IF_MATCH, IF_NONE_MATCH, VARY};
use serde_json::{Value, json};
use servers::{Postgres, require};

use crate::support::{Running, TOKEN, start};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_sqlite() {
    let service = start(&[]).await;
    everything(&service).await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_postgres() {
    let Some(server) = require(Postgres::start()) else { return };
    let service = start(&["--database", &server.url()]).await;
    everything(&service).await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_the_cache_off() {
    let service = start(&["--cache-capacity", "0"]).await;
    everything(&service).await;
    service.stop().await;
}

async fn everything(service: &Running) {
    reads(service).await;
    pages(service).await;
    nearest(service).await;
    conditional(service).await;
    writes(service).await;
    conditional_writes(service).await;
    operations(service).await;
}

async fn reads(service: &Running) {
    let airport = service.json("/airports/KJFK").await;
    assert!(airport["name"].as_str().unwrap().contains("John F Kennedy"), "{airport}");
    assert_eq!(service.json("/airports/kjfk").await, airport, "codes are not case sensitive");
    let missing = service.get("/airports/ZZ9Z").await;
    assert_eq!(missing.status(), 404);
    assert_eq!(missing.headers()["content-type"], "application/problem+json");
    let problem: Value = missing.json().await.unwrap();
    assert_eq!(
        (problem["status"].as_u64(), problem["detail"].as_str()),
        (Some(404), Some("there is no airport ZZ9Z"))
    );
    let found = service.json("/airports?q=keflavik&country=is").await;
    assert_eq!(found["airports"][0]["icao"], "BIKF", "{found}");
}

async fn pages(service: &Running) {
    let mut seen = HashSet::new();
    let mut next = Some("/airports?country=IS&limit=7".to_owned());
    while let Some(path) = next {
        let page = service.json(&path).await;
        for airport in page["airports"].as_array().unwrap() {
            assert_eq!(airport["country"], "IS");
            assert!(seen.insert(airport["icao"].as_str().unwrap().to_owned()), "shown twice");
        }
        next = page["next"].as_str().map(str::to_owned);
    }
    let all = airports::import::airports().unwrap();
    assert_eq!(seen.len(), all.iter().filter(|airport| airport.country == "IS").count());
}

async fn nearest(service: &Running) {
    let answer = service.json("/airports/LFPG/nearest?n=3").await;
    let nearest = answer["nearest"].as_array().unwrap();
    assert_eq!(nearest.len(), 3);
    let distances: Vec<f64> = nearest.iter().map(|one| one["distance_km"].as_f64().unwrap()).collect();
    assert!(distances.is_sorted() && distances[0] > 0.0 && distances[2] < 40.0, "{distances:?}");
    assert!(nearest.iter().all(|one| one["country"] == "FR"));
    assert_eq!(service.get("/airports/ZZ9Z/nearest").await.status(), 404);
}

async fn conditional(service: &Running) {
    let first = service.get("/airports/EGLL").await;
    let tag = first.headers()[ETAG].to_str().unwrap().to_owned();
    assert!(first.headers()[CACHE_CONTROL].to_str().unwrap().contains("max-age=600"));
    assert!(first.headers().contains_key("x-request-id"));
    for (tags, status) in [
        (tag.as_str(), 304),
        ("*", 304),
        ("\"x\", W/\"y\"", 200),
        (&format!("\"a\", {tag}"), 304),
        ("\u{e9}", 200),
    ] {
        let response =
            service.request(Method::GET, "/airports/EGLL").header(IF_NONE_MATCH, tags).send().await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{tags}");
        assert_eq!(response.headers()[ETAG].to_str().unwrap(), tag);
        assert_eq!(response.headers()[VARY], "accept-encoding", "{tags}");
        assert_eq!(response.headers().get_all(VARY).iter().count(), 1, "{tags}");
    }
}

/// No write over what its author has not seen.
async fn conditional_writes(service: &Running) {
    let path = "/airports/BI06";
    let body = |name: &str| json!({ "name": name, "country": "IS", "lat": 64.1, "lon": -21.9 });
    let send = async |method: Method, name: &str, condition: HeaderName, tags: &str| {
        let request = service.request(method, path).bearer_auth(TOKEN).header(condition, tags);
        request.json(&body(name)).send().await.unwrap().status().as_u16()
    };
    let tag = async || service.get(path).await.headers()[ETAG].to_str().unwrap().to_owned();
    assert_eq!(send(Method::PUT, "A", IF_MATCH, "*").await, 412, "there is nothing to match");
    assert_eq!(send(Method::PUT, "A", IF_NONE_MATCH, "*").await, 201);
    assert_eq!(send(Method::PUT, "B", IF_NONE_MATCH, "*").await, 412, "there is one already");
    let first = tag().await;
    assert_eq!(send(Method::PUT, "B", IF_MATCH, &format!("\"x\", {first}")).await, 200);
    assert_eq!(send(Method::PUT, "C", IF_MATCH, &first).await, 412, "it has changed since");
    assert_eq!(service.json(path).await["name"], "B");
    let second = tag().await;
    assert_eq!(send(Method::PUT, "C", IF_NONE_MATCH, &second).await, 412);
    assert_eq!(send(Method::DELETE, "", IF_MATCH, &first).await, 412);
    assert_eq!(service.get(path).await.status(), 200);
    assert_eq!(send(Method::DELETE, "", IF_MATCH, &second).await, 204);
    assert_eq!(send(Method::DELETE, "", IF_MATCH, &second).await, 412, "it is gone");
    assert_eq!(service.get(path).await.status(), 404);
}

async fn writes(service: &Running) {
    let path = "/airports/BI00";
    let body = json!({ "name": "Test Strip", "country": "is", "lat": 64.1, "lon": -21.9, "city": "Nowhere" });
    assert_eq!(service.get(path).await.status(), 404, "and cached as such");
    let listed = async |word: &str| {
        let list = service.json(&format!("/airports?country=IS&q={word}")).await;
        list["airports"].as_array().unwrap().len()
    };
    let everywhere =
        async || service.json("/airports?q=strip&limit=1&after=BHZZ").await["airports"][0]["icao"].clone();
    assert_eq!(listed("test%20strip").await, 0);
    let near = async || service.json("/airports/BIRK/nearest?n=1").await["nearest"][0]["icao"].clone();
    let nearest_before = near().await;
    let everywhere_before = everywhere().await;

    assert_eq!(service.put(path, &body).await.status(), 201);
    assert_eq!(service.json(path).await["name"], "Test Strip");
    assert_eq!(listed("test%20strip").await, 1);
    assert_eq!(everywhere().await, "BI00");
    assert_eq!(near().await, "BI00");

    let renamed = json!({ "icao": "bi00", "name": "Other Field", "country": "GB", "lat": 51.0, "lon": 0.0 });
    assert_eq!(service.put(path, &renamed).await.status(), 200);
    assert_eq!(service.json(path).await["country"], "GB");
    assert_eq!(listed("test%20strip").await, 0, "it left the lists of its old country");
    assert_eq!(near().await, nearest_before);

    assert_eq!(service.delete(path).await.status(), 204);
    assert_eq!(service.get(path).await.status(), 404);
    assert_eq!(service.delete(path).await.status(), 404);
    assert_eq!(everywhere().await, everywhere_before);
}

async fn operations(service: &Running) {
    let count = airports::import::airports().unwrap().len();
    let health = service.json("/health").await;
    assert_eq!((health["status"].as_str(), health["airports"].as_u64()), (Some("ok"), Some(count as u64)));
    let stats = service.json("/stats").await;
    assert!(stats["pool"]["acquired"].as_u64().unwrap() > 10, "{stats}");
    let text = service.get("/metrics").await.text().await.unwrap();
    assert!(text.contains("pool_connections{state=\"idle\"}"), "{text}");
    assert!(text.contains("http_requests_total{route=\"/airports/{icao}\",status=\"200\"}"), "{text}");
}

/// A second call is a hit; absence is cached too; all who ask for one cold key share one load.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cache_serves_and_coalesces() {
    let service = start(&[]).await;
    let figures = async || {
        let stats = service.json("/stats").await;
        let of = |name: &str| stats["cache"]["airports"][name].as_u64().unwrap();
        (of("hits"), of("misses"), of("loads"), stats["pool"]["acquired"].as_u64().unwrap())
    };
    let (hits, misses, loads, acquired) = figures().await;
    service.json("/airports/KJFK").await;
    service.json("/airports/KJFK").await;
    service.get("/airports/ZZ9Z").await;
    service.get("/airports/ZZ9Z").await;
    assert_eq!(figures().await, (hits + 2, misses + 2, loads + 2, acquired + 2));

    let before = service.json("/stats").await["pool"]["acquired"].as_u64().unwrap();
    let cold = (0..64).map(|_| service.get("/airports/LFPG/nearest?n=2"));
    let answers = futures::future::join_all(cold).await;
    assert!(answers.iter().all(|answer| answer.status() == 200));
    let after = service.json("/stats").await["pool"]["acquired"].as_u64().unwrap();
    assert_eq!(after - before, 1, "one search, which is one statement");
    service.stop().await;
}
