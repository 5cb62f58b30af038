//! What the caches do by themselves: for how long, again before anybody waits, together, by tags, over a restart.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Running, poll_until, start};

/// A figure of one cache.
async fn figure(service: &Running, cache: &str, name: &str) -> u64 {
    service.json("/stats").await["cache"][cache][name].as_u64().unwrap()
}

/// Statements, each of which takes a connection once.
async fn statements(service: &Running) -> u64 {
    service.json("/stats").await["pool"]["acquired"].as_u64().unwrap()
}

fn codes(answer: &Value) -> Vec<String> {
    let airports = answer["airports"].as_array().unwrap();
    airports.iter().map(|airport| airport["icao"].as_str().unwrap().to_owned()).collect()
}

fn strip(name: &str, country: &str) -> Value {
    json!({ "name": name, "country": country, "lat": 64.0, "lon": -21.0 })
}

/// An airport that comes from elsewhere is seen when its absence is forgotten, long before `--ttl`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn absence_is_remembered_briefly() {
    let folder = tempfile::tempdir().unwrap();
    let database = format!("sqlite:{}", folder.path().join("both.sqlite").display());
    let service = start(&["--database", &database, "--negative-ttl", "700ms"]).await;
    let other = start(&["--database", &database]).await;
    assert_eq!(service.get("/airports/KJFK").await.status(), 200);
    let before = statements(&service).await;
    for path in ["/airports/BI07", "/airports/BI07", "/airports?icao=BI07", "/airports?icao=bi07,KJFK"] {
        service.get(path).await;
    }
    assert_eq!(statements(&service).await - before, 1, "once for all");
    assert_eq!(other.put("/airports/BI07", &strip("New", "IS")).await.status(), 201);
    assert_eq!(other.delete("/airports/KJFK").await.status(), 204);
    poll_until(async || service.get("/airports/BI07").await.status() == 200).await;
    assert_eq!(service.get("/airports/KJFK").await.status(), 200, "what is there is remembered for longer");
    service.stop().await;
    other.stop().await;
}

/// What was cached together does not end together, and nothing lives for longer than `--ttl`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lives_differ() {
    let all: Vec<String> =
        airports::import::airports().unwrap().into_iter().take(100).map(|airport| airport.icao).collect();
    let path = format!("/airports?icao={}", all.join(","));
    let first_end = async |ttl: &str, jitter: &str| {
        let service = start(&["--ttl", ttl, "--ttl-jitter", jitter]).await;
        let load = async || {
            let before = figure(&service, "airports", "misses").await;
            service.json(&path).await;
            figure(&service, "airports", "misses").await - before
        };
        let began = Instant::now();
        assert_eq!(load().await, 100);
        poll_until(async || load().await > 0).await;
        let after = began.elapsed();
        service.stop().await;
        after
    };
    assert!(first_end("1500ms", "0").await >= Duration::from_millis(1500));
    // Of a hundred that live for between nothing and eight seconds, one ends soon.
    assert!(first_end("8s", "1").await < Duration::from_secs(7));
}

/// Nobody waits for a search that has become old, and it is done again once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_search_is_done_again_ahead_of_time() {
    let folder = tempfile::tempdir().unwrap();
    let database = format!("sqlite:{}", folder.path().join("both.sqlite").display());
    let service = start(&["--database", &database, "--refresh-after", "400ms"]).await;
    let other = start(&["--database", &database]).await;
    let path = "/airports/BIRK/nearest?n=1";
    let nearest = async || service.json(path).await["nearest"][0]["icao"].clone();
    let before = nearest().await;
    assert_eq!(other.put("/airports/BI08", &strip("Next door", "IS")).await.status(), 201);
    assert_eq!(
        other
            .put(
                "/airports/BI08",
                &json!({ "name": "Next door", "country": "IS", "lat": 64.13, "lon": -21.94 })
            )
            .await
            .status(),
        200
    );
    assert_eq!(nearest().await, before, "it is not old yet");
    poll_until(async || nearest().await == "BI08").await;
    assert_eq!(figure(&service, "nearest", "misses").await, 1, "nobody waited");
    assert!(figure(&service, "nearest", "refreshes").await >= 1);
    let (searches, refreshes) =
        (figure(&service, "nearest", "loads").await, figure(&service, "nearest", "refreshes").await);
    assert_eq!(searches, refreshes + 1, "the first one, and one each time");
    // A write of this service's own is seen at once, whatever is under way.
    assert_eq!(service.delete("/airports/BI08").await.status(), 204);
    assert_eq!(nearest().await, before);
    service.stop().await;
    other.stop().await;
}

/// A write forgets the lists of its countries and those of all, and no others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_are_forgotten_by_country() {
    let service = start(&[]).await;
    let lists = [
        "/airports?country=IS&limit=3",
        "/airports?country=FR&limit=3",
        "/airports?limit=3",
        "/airports?country=GB&q=strip",
    ];
    for path in lists {
        service.json(path).await;
    }
    let asked = async |path: &str| {
        let before = figure(&service, "lists", "misses").await;
        service.json(path).await;
        figure(&service, "lists", "misses").await - before
    };
    assert_eq!(service.put("/airports/BI09", &strip("Strip", "IS")).await.status(), 201);
    for (path, misses) in lists.into_iter().zip([1, 0, 1, 0]) {
        assert_eq!(asked(path).await, misses, "{path}");
    }
    // From one country to another: both.
    assert_eq!(service.put("/airports/BI09", &strip("Strip", "GB")).await.status(), 200);
    for (path, misses) in lists.into_iter().zip([1, 0, 1, 1]) {
        assert_eq!(asked(path).await, misses, "{path}");
    }
    assert_eq!(codes(&service.json(lists[3]).await).iter().filter(|code| *code == "BI09").count(), 1);
    service.stop().await;
}

/// One query for what is missing, in the order of the question, each once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_airports_are_one_query() {
    for arguments in [&[][..], &["--cache-capacity", "0"]] {
        let cached = arguments.is_empty();
        let service = start(arguments).await;
        let single = service.json("/airports/LFPG").await;
        let before = statements(&service).await;
        let answer = service.json("/airports?icao=kjfk,LFPG,ZZ9Z,EGLL,KJFK").await;
        assert_eq!(codes(&answer), ["KJFK", "LFPG", "EGLL"]);
        assert_eq!((&answer["airports"][1], &answer["missing"]), (&single, &json!(["ZZ9Z"])));
        assert_eq!(statements(&service).await - before, 1);
        // What it brought is there for others, and what others brought for it.
        service.json("/airports/EGLL").await;
        assert_eq!(service.get("/airports/ZZ9Z").await.status(), 404);
        service.json("/airports?icao=EGLL,KJFK").await;
        let more = statements(&service).await - before - 1;
        assert_eq!(more, if cached { 0 } else { 3 });
        assert_eq!(service.json("/airports?icao=ZZ9Z").await, json!({ "airports": [], "missing": ["ZZ9Z"] }));
        // A write of one is seen.
        assert_eq!(service.put("/airports/EGLL", &strip("Heathrow", "GB")).await.status(), 200);
        assert_eq!(service.json("/airports?icao=KJFK,EGLL").await["airports"][1]["name"], "Heathrow");
        // As with single ones: an entity tag, which spares those who have the answer.
        let first = service.get("/airports?icao=KJFK,EGLL").await;
        let tag = first.headers()["etag"].clone();
        let again = service
            .request(reqwest::Method::GET, "/airports?icao=KJFK,EGLL")
            .header("if-none-match", tag)
            .send()
            .await
            .unwrap();
        assert_eq!(again.status(), 304);
        service.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_codes_are_named() {
    let service = start(&[]).await;
    let many = vec!["KJFK"; 101].join(",");
    let before = statements(&service).await;
    for (query, wanted) in [
        ("KJFK,nonsense,EGLL,J'K", &["\"nonsense\"", "\"J'K\""][..]),
        ("", &["\"\""]),
        ("KJFK,,EGLL", &["\"\""]),
        ("KJF%00", &["icao"]),
        (&many, &["100"]),
        ("KJFK&country=US", &["no other parameter"]),
        ("KJFK&after=", &["no other parameter"]),
        ("KJFK&icao=EGLL", &["icao"]),
    ] {
        let response = service.get(&format!("/airports?icao={query}")).await;
        assert_eq!(response.status(), 400, "{query:.40}");
        let problem: Value = response.json().await.unwrap();
        let detail = problem["detail"].as_str().unwrap();
        assert!(wanted.iter().all(|part| detail.contains(part)), "{query:.40}: {detail}");
    }
    assert_eq!(statements(&service).await, before, "the database was not asked");
    let most: HashSet<String> =
        airports::import::airports().unwrap().into_iter().take(100).map(|airport| airport.icao).collect();
    let list = most.iter().cloned().collect::<Vec<_>>().join(",");
    let answer = service.json(&format!("/airports?icao={list}")).await;
    assert_eq!(codes(&answer).into_iter().collect::<HashSet<_>>(), most);
    service.stop().await;
}

/// After an orderly end, and after saves between, the next process asks the database for nothing that was cached.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_is_warm() {
    let folder = tempfile::tempdir().unwrap();
    let database = format!("sqlite:{}", folder.path().join("airports.sqlite").display());
    let file = folder.path().join("warm");
    let snapshot = file.to_str().unwrap();
    let arguments = ["--database", &database, "--snapshot", snapshot];
    let paths =
        ["/airports/KJFK", "/airports/ZZ9Z", "/airports?country=IS&limit=3", "/airports/LFPG/nearest?n=2"];
    let ask = async |service: &Running| {
        let mut answers = Vec::new();
        for path in paths {
            let response = service.get(path).await;
            let tag = response.headers().get("etag").cloned();
            answers.push((response.status(), tag, response.text().await.unwrap()));
        }
        answers
    };
    let service = start(&[&arguments[..], &["--snapshot-every", "1h"]].concat()).await;
    assert!(!file.exists());
    let first = ask(&service).await;
    service.stop().await;
    assert!(file.exists(), "saved at the end");

    let service = start(&[&arguments[..], &["--snapshot-every", "1h"]].concat()).await;
    let before = statements(&service).await;
    assert_eq!(ask(&service).await, first);
    assert_eq!(statements(&service).await, before);
    // Lists still know their tags; and a write takes the file away, which would bring back what it has made wrong.
    assert_eq!(service.put("/airports/BI00", &strip("First", "IS")).await.status(), 201);
    assert_eq!(codes(&service.json(paths[2]).await)[0], "BI00");
    assert!(!file.exists());
    service.stop().await;

    std::fs::remove_file(&file).unwrap();
    let service = start(&[&arguments[..], &["--snapshot-every", "20ms"]].concat()).await;
    ask(&service).await;
    poll_until(async || file.exists()).await;
    // As if it were killed: what is in the file must do.
    poll_until(async || {
        let copy = folder.path().join("copy");
        std::fs::copy(&file, &copy).is_ok() && {
            let other = start(&[
                "--database",
                &database,
                "--snapshot",
                copy.to_str().unwrap(),
                "--snapshot-every",
                "1h",
            ])
            .await;
            let before = statements(&other).await;
            ask(&other).await;
            let asked = statements(&other).await - before;
            other.stop().await;
            asked == 0
        }
    })
    .await;
    service.stop().await;
}

/// A file of no use is a cold start, and the next save replaces it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_snapshot_is_ignored() {
    let folder = tempfile::tempdir().unwrap();
    let database = format!("sqlite:{}", folder.path().join("airports.sqlite").display());
    let file = folder.path().join("warm");
    let arguments = ["--database", &database, "--snapshot", file.to_str().unwrap(), "--snapshot-every", "1h"];
    let service = start(&arguments).await;
    service.json("/airports/KJFK").await;
    service.json("/airports?limit=5").await;
    service.stop().await;
    let good = std::fs::read(&file).unwrap();
    let mut damaged = good.clone();
    // In the last of its parts, after others that can be read.
    *damaged.last_mut().unwrap() ^= 1;
    for bad in [b"not a snapshot".to_vec(), Vec::new(), good[..good.len() / 2].to_vec(), damaged] {
        std::fs::write(&file, &bad).unwrap();
        let service = start(&arguments).await;
        let before = statements(&service).await;
        service.json("/airports/KJFK").await;
        assert_eq!(statements(&service).await - before, 1, "cold");
        service.stop().await;
        assert_ne!(std::fs::read(&file).unwrap(), bad, "replaced");
    }
    // A place that can't be written, or is a folder, costs nothing but the warmth.
    for place in ["nowhere/at/all", ""] {
        let place = folder.path().join(place);
        let service = start(&[
            "--database",
            &database,
            "--snapshot",
            place.to_str().unwrap(),
            "--snapshot-every",
            "10ms",
        ])
        .await;
        service.json("/airports/KJFK").await;
        assert_eq!(service.put("/airports/BI0A", &strip("A", "IS")).await.status().as_u16() / 100, 2);
        service.stop().await;
    }
}
