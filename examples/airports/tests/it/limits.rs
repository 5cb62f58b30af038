//! Clients that ask too much, too slowly, or never end.

use std::time::{Duration, Instant};

use servers::{Postgres, require};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{TOKEN, poll_until, start};

async fn raw(url: &str) -> TcpStream {
    TcpStream::connect(url.trim_start_matches("http://")).await.unwrap()
}

/// What comes until the service closes the connection.
async fn answer(stream: &mut TcpStream, patience: Duration) -> String {
    let mut text = Vec::new();
    let ended = tokio::time::timeout(patience, stream.read_to_end(&mut text)).await;
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(ended.is_ok(), "still open after {patience:?}: {text}");
    text
}

/// `--max-requests` counts all routes together.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_limit_of_requests_is_one_for_all_routes() {
    let Some(server) = require(Postgres::start()) else { return };
    let service =
        start(&["--database", &server.url(), "--max-requests", "1", "--request-timeout", "3s"]).await;
    service.json("/airports/KJFK").await;
    server.pause().unwrap();
    let (slow, refused) = tokio::join!(service.get("/airports/EGLL"), async {
        // The other one may not have arrived yet.
        let mut refused = service.get("/stats").await.status();
        let began = Instant::now();
        while refused == 200 && began.elapsed() < Duration::from_secs(2) {
            refused = service.get("/stats").await.status();
        }
        refused
    });
    server.resume().unwrap();
    assert_eq!((slow.status().as_u16(), refused.as_u16()), (503, 503));
    poll_until(async || service.get("/airports/EGLL").await.status() == 200).await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_trickles_is_refused_in_time() {
    let service = start(&["--slow-client", "500ms"]).await;
    let head = |token: &str| {
        format!(
            "PUT /airports/BI00 HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {token}\r\n\
             content-type: application/json\r\ncontent-length: 100\r\n\r\n{{"
        )
    };
    let mut slow = raw(&service.url).await;
    slow.write_all(head(TOKEN).as_bytes()).await.unwrap();
    let text = answer(&mut slow, Duration::from_secs(5)).await;
    assert!(text.starts_with("HTTP/1.1 408") && text.contains("application/problem+json"), "{text}");
    // Who may not write is told so before the body is read.
    let mut stranger = raw(&service.url).await;
    stranger.write_all(head("guess").as_bytes()).await.unwrap();
    let text = answer(&mut stranger, Duration::from_secs(5)).await;
    assert!(text.starts_with("HTTP/1.1 401"), "{text}");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_trickles_and_an_idle_connection_are_closed() {
    let service = start(&["--slow-client", "500ms"]).await;
    let mut slow = raw(&service.url).await;
    slow.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\nx-slow: ").await.unwrap();
    answer(&mut slow, Duration::from_secs(5)).await;
    let mut silent = raw(&service.url).await;
    answer(&mut silent, Duration::from_secs(5)).await;
    let mut idle = raw(&service.url).await;
    idle.write_all(b"GET /airports/KJFK HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let text = answer(&mut idle, Duration::from_secs(5)).await;
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    service.stop().await;
}

/// What is not HTTP, or too much of it, costs its sender a 4xx or the connection, and nobody else anything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_that_are_wrong_or_huge_are_refused() {
    let service = start(&[]).await;
    let many: String = (0..500).map(|n| format!("x-{n}: y\r\n")).collect();
    let heads = [
        "\0\0\0\0\r\n\r\n".to_owned(),
        "GET /airports/KJFK\r\n\r\n".to_owned(),
        "GET /airports/KJFK HTTP/9.9\r\n\r\n".to_owned(),
        "GET /airports/\0 HTTP/1.1\r\nhost: x\r\n\r\n".to_owned(),
        format!("GET /airports/KJFK HTTP/1.1\r\nhost: x\r\n{many}\r\n"),
        format!("GET /airports/KJFK HTTP/1.1\r\nhost: x\r\nx-long: {}\r\n\r\n", "y".repeat(1 << 20)),
        format!("GET /airports?q={} HTTP/1.1\r\nhost: x\r\n\r\n", "y".repeat(1 << 17)),
        "PUT /airports/BI00 HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n".to_owned(),
    ];
    for head in heads {
        let mut stream = raw(&service.url).await;
        let mut text = vec![0; 64];
        // It may close before it has read everything.
        let _sent = stream.write_all(head.as_bytes()).await;
        let read = tokio::time::timeout(Duration::from_secs(5), stream.read(&mut text)).await.unwrap();
        let text = String::from_utf8_lossy(&text[..read.unwrap_or(0)]).into_owned();
        assert!(text.is_empty() || text.starts_with("HTTP/1.1 4"), "{head:.60}: {text}");
    }
    assert_eq!(service.get("/airports/KJFK").await.status(), 200);
    service.stop().await;
}

/// Connections that are never used do not keep the service from ending.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn open_connections_do_not_hold_up_the_end() {
    let service = start(&[]).await;
    let mut half = raw(&service.url).await;
    half.write_all(b"GET /heal").await.unwrap();
    let silent = raw(&service.url).await;
    service.get("/health").await;
    let began = Instant::now();
    service.stop().await;
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    drop((half, silent));
}

/// A client that asks and asks and never reads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_takes_no_answers_is_sent_away() {
    let service = start(&["--slow-client", "500ms"]).await;
    let mut deaf = raw(&service.url).await;
    let asking = async {
        while deaf.write_all(b"GET /airports?limit=100 HTTP/1.1\r\nhost: x\r\n\r\n").await.is_ok() {}
    };
    let ended = tokio::time::timeout(Duration::from_secs(15), asking).await;
    assert!(ended.is_ok(), "its connection is still open");
    service.stop().await;
}

/// Pages of a hundred airports do not take a hundred times the memory that `--cache-capacity` promises.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_lists_count_by_their_length() {
    let service = start(&["--cache-capacity", "200"]).await;
    let (mut bytes, mut after) = (0, "0000".to_owned());
    for _ in 0..60 {
        let page = service.get(&format!("/airports?limit=100&after={after}")).await.bytes().await.unwrap();
        bytes += page.len();
        let page: serde_json::Value = serde_json::from_slice(&page).unwrap();
        after = page["airports"][99]["icao"].as_str().unwrap().to_owned();
    }
    let most = 200 * 1024 / (bytes / 60) + 1;
    poll_until(async || {
        let entries = service.json("/stats").await["cache"]["lists"]["entries"].as_u64().unwrap();
        entries > 0 && entries <= most as u64
    })
    .await;
    service.stop().await;
}
