//! Clients that make their calls again: the service is killed and comes back under them.

use std::time::Duration;

use clap::Parser;
use orders::again::Again;
use orders::proto::GetUserRequest;
use tonic::Code;

use crate::client::{Options, run};
use crate::support::{Place, poll_until};

/// The example as it is: it fails if a call does, and if the books do not agree.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_outlives_a_service_that_is_killed_and_started_again() {
    let there = Place::sqlite();
    let mut process = there.spawn("a", &[]).await;
    let url = process.url.clone();
    let address = url.strip_prefix("http://").unwrap().to_owned();
    let options = Options::parse_from([
        "client",
        "--orders",
        "500",
        "--users",
        "10",
        "--articles",
        "5",
        "--tasks",
        "8",
        "--units",
        "250",
    ]);
    let client = tokio::spawn(async move { run(&options, url).await });
    let mut kills = 0;
    while kills < 3 {
        // Under load: orders are being taken in.
        let figures = process.client.clone();
        poll_until("orders are placed", async || {
            let figures = figures.clone().get_figures(orders::proto::GetFiguresRequest {}).await.unwrap();
            figures.into_inner().orders_written >= 40
        })
        .await;
        assert!(!client.is_finished(), "the load was over before the service was killed");
        process.kill().await;
        kills += 1;
        process = there.spawn("a", &["--listen", &address]).await;
    }
    client.await.unwrap().unwrap();
    process.terminate().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn patience_has_an_end_and_other_errors_need_none() {
    let there = Place::sqlite();
    let process = there.spawn("a", &[]).await;
    let client = process.client.clone();
    let get = |request| {
        let mut client = client.clone();
        async move { client.get_user(request).await }
    };
    let again = Again::new(Duration::from_millis(300));
    let nobody = GetUserRequest { user_id: "nobody".into() };
    assert_eq!(again.call(nobody.clone(), get).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(again.retries(), 0, "it is no use to ask again");
    process.kill().await;
    assert_eq!(again.call(nobody, get).await.unwrap_err().code(), Code::Unavailable);
    assert!((1..100).contains(&again.retries()), "{}", again.retries());
}
