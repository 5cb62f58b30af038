//! PostgreSQL dies or hangs: statuses, not hangs, and recovery without a restart.

use std::sync::Arc;
use std::time::{Duration, Instant};

use orders::proto::{GetOrderRequest, GetUserRequest};
use tonic::Code::{DeadlineExceeded, Unavailable};
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::support::{Place, left, list, order, place, poll_until, stock, user};

async fn is_healthy(url: &str) -> bool {
    let channel = Channel::from_shared(url.to_owned()).unwrap().connect().await.unwrap();
    let request = HealthCheckRequest { service: "millpond.orders.v1.Orders".to_owned() };
    let answer = HealthClient::new(channel).check(request).await.unwrap().into_inner();
    answer.status() == ServingStatus::Serving
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_database_costs_statuses_and_no_order() {
    let Some(there) = Place::postgres() else { return };
    let server = there.postgres.as_ref().unwrap();
    let service = there.start("a", &["--max-delay", "1h", "--acquire-timeout", "500ms"]).await;
    let client = &service.client;
    user(client, "ann").await;
    stock(client, "tea", 100).await;
    for n in 0..10 {
        place(client, order(&format!("o{n}"), "ann", "tea", 1)).await.unwrap();
    }
    poll_until("healthy", async || is_healthy(&service.url).await).await;
    server.kill().unwrap();
    let began = Instant::now();
    for n in 10..15 {
        let status = place(client, order(&format!("o{n}"), "ann", "tea", 1)).await.unwrap_err();
        assert_eq!(status.code(), Unavailable, "{status}");
    }
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    // Users are cached, and orders that wait need no database.
    client.clone().get_user(GetUserRequest { user_id: "ann".into() }).await.unwrap();
    client.clone().get_order(GetOrderRequest { order_id: "o3".into() }).await.unwrap();
    poll_until("not healthy", async || !is_healthy(&service.url).await).await;
    server.restart().unwrap();
    poll_until("healthy again", async || is_healthy(&service.url).await).await;
    // Those that failed are asked for again, with their ids: whatever became of them, each is there once now.
    for n in 10..15 {
        let id = format!("o{n}");
        poll_until("placed", async || place(client, order(&id, "ann", "tea", 1)).await.is_ok()).await;
    }
    assert_eq!((list(client, "ann").await.len(), left(client, "tea").await), (15, 85));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_hangs_is_a_deadline_and_the_order_ends_once() {
    let Some(there) = Place::postgres() else { return };
    let server = there.postgres.as_ref().unwrap();
    let service = there.start("a", &["--request-timeout", "300ms", "--max-delay", "1h"]).await;
    let client = &service.client;
    user(client, "ann").await;
    stock(client, "tea", 100).await;
    place(client, order("o0", "ann", "tea", 1)).await.unwrap();
    server.pause().unwrap();
    let began = Instant::now();
    let status = place(client, order("o1", "ann", "tea", 1)).await.unwrap_err();
    assert_eq!(status.code(), DeadlineExceeded, "{status}");
    assert!(began.elapsed() < Duration::from_secs(2));
    server.resume().unwrap();
    poll_until("placed", async || place(client, order("o1", "ann", "tea", 1)).await.is_ok()).await;
    poll_until("listed", async || list(client, "ann").await.len() == 2).await;
    assert_eq!(left(client, "tea").await, 98);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_without_a_database_leaves_the_orders_in_the_journal() {
    let Some(there) = Place::postgres() else { return };
    let server = there.postgres.as_ref().unwrap();
    let service = there.start("a", &["--max-delay", "1h", "--stop-within", "1s"]).await;
    user(&service.client, "ann").await;
    stock(&service.client, "tea", 100).await;
    for n in 0..10 {
        place(&service.client, order(&format!("o{n}"), "ann", "tea", 1)).await.unwrap();
    }
    server.kill().unwrap();
    let began = Instant::now();
    service.stop().await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    server.restart().unwrap();
    let again = there.start("a", &[]).await;
    assert_eq!((list(&again.client, "ann").await.len(), left(&again.client, "tea").await), (10, 90));
    again.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_gives_up_on_statements_too() {
    let Some(there) = Place::postgres() else { return };
    let there = Arc::new(there);
    let service = there.start("a", &["--request-timeout", "300ms"]).await;
    user(&service.client, "ann").await;
    stock(&service.client, "tea", 100).await;
    // Somebody else holds the row for longer than a request may take.
    let holder = Arc::clone(&there);
    let held = tokio::task::spawn_blocking(move || {
        let sql = "begin; select 1 from stock where sku = 'tea' for update; select pg_sleep(600); commit";
        holder.postgres.as_ref().unwrap().psql(sql)
    });
    let active = |what: &str| {
        let sql = format!(
            "select count(*) from pg_stat_activity where state = 'active' and query ilike '%{what}%' and pid <> pg_backend_pid()"
        );
        there.postgres.as_ref().unwrap().psql(&sql).unwrap()
    };
    poll_until("held", async || active("pg_sleep") == "1").await;
    let status = place(&service.client, order("o1", "ann", "tea", 1)).await.unwrap_err();
    assert!([DeadlineExceeded, Unavailable].contains(&status.code()), "{status}");
    poll_until("given up", async || active("update stock") == "0").await;
    assert_eq!(active("pg_sleep"), "1", "it did not wait for the row");
    let end = "select pg_terminate_backend(pid) from pg_stat_activity where query ilike '%pg_sleep%' and pid <> pg_backend_pid()";
    there.postgres.as_ref().unwrap().psql(end).unwrap();
    assert!(held.await.unwrap().is_err());
    poll_until("placed", async || place(&service.client, order("o1", "ann", "tea", 1)).await.is_ok()).await;
    assert_eq!(left(&service.client, "tea").await, 99);
    service.stop().await;
}
