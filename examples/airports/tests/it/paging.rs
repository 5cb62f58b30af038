//! Pages to the very end: every row that fits, once, in order, whatever is searched for.

use airports::airport::Airport;
use reqwest::Url;
use servers::{Postgres, require};

use crate::support::{Running, start};

/// Follows the pages of a question to the end.
async fn all(service: &Running, question: &[(&str, &str)]) -> Vec<String> {
    let url = Url::parse_with_params(&format!("{}/airports", service.url), question).unwrap();
    let mut next = Some(format!("/airports?{}", url.query().unwrap_or_default()));
    let mut codes = Vec::new();
    while let Some(path) = next {
        let page = service.json(&path).await;
        let rows = page["airports"].as_array().unwrap();
        codes.extend(rows.iter().map(|row| row["icao"].as_str().unwrap().to_owned()));
        next = page["next"].as_str().map(str::to_owned);
        assert!(next.is_none() || !rows.is_empty(), "an empty page that goes on: {path}");
    }
    codes
}

async fn to_the_end(service: &Running) {
    let rows = airports::import::airports().unwrap();
    let wanted = |fits: &dyn Fn(&Airport) -> bool| {
        let mut codes: Vec<_> = rows.iter().filter(|row| fits(row)).map(|row| row.icao.clone()).collect();
        codes.sort();
        codes
    };
    let compare = |mut found: Vec<String>, wanted: Vec<String>, what: &str| {
        // A server's collation may order codes in its own way; each once is what counts there.
        found.sort();
        assert_eq!(found.len(), wanted.len(), "{what}");
        assert!(found == wanted, "{what}");
    };
    compare(all(service, &[("limit", "100")]).await, wanted(&|_| true), "all");
    for text in [
        "kef", "%", "_", "!", "'", "\"", "\\", "é", "ÅL", " o'hare", "(", "a b", "--", ";", "?", "$1", "İ",
        "名",
    ] {
        let lower = text.trim().to_lowercase();
        let found = all(service, &[("q", text), ("limit", "37")]).await;
        compare(found, wanted(&|row| row.search_text().contains(&lower)), text);
        let found = all(service, &[("q", text), ("country", "us"), ("limit", "1")][..2]).await;
        compare(
            found,
            wanted(&|row| row.country == "US" && row.search_text().contains(&lower)),
            &format!("{text} in US"),
        );
    }
    assert_eq!(all(service, &[("after", "____"), ("q", "kjfk")]).await, [""; 0]);
    // The pages of one that is asked for with the smallest pages.
    let found = all(service, &[("country", "IS"), ("limit", "1")]).await;
    compare(found, wanted(&|row| row.country == "IS"), "one by one");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn to_the_end_on_sqlite() {
    let service = start(&[]).await;
    to_the_end(&service).await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn to_the_end_on_postgres() {
    let Some(server) = require(Postgres::start()) else { return };
    let service = start(&["--database", &server.url()]).await;
    to_the_end(&service).await;
    service.stop().await;
}
