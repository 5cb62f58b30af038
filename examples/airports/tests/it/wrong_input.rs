//! Whatever a client sends: 4xx with a reason, never a 5xx.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{TOKEN, start};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_requests_are_4xx_with_a_reason() {
    let service = start(&[]).await;
    let wrong = [
        ("/nothing", 404),
        ("/airports/TOOLONG", 400),
        ("/airports/%FF%FE", 400),
        ("/airports/'%20OR%201=1--", 400),
        ("/airports/KJ%00K", 400),
        ("/airports?limit=0", 400),
        ("/airports?limit=-1", 400),
        ("/airports?limit=101", 400),
        ("/airports?limit=99999999999999999999", 400),
        ("/airports?limit=ten", 400),
        ("/airports?country=ISL", 400),
        ("/airports?country=1%27", 400),
        ("/airports?after=nonsense", 400),
        ("/airports?nosuch=1", 400),
        ("/airports?limit=1&limit=2", 400),
        ("/airports?q=%00", 400),
        ("/airports?q=%FF", 400),
        ("/airports?limit=", 400),
        ("/airports?country=", 400),
        ("/airports?country=%C3%89S", 400),
        ("/airports?q=a&q=b", 400),
        ("/airports/", 404),
        ("/airports/KJFK/", 404),
        ("/airports/%2e%2e%2fetc", 400),
        ("/airports/..%5C..%5Cx", 400),
        ("/airports/KJF%C3%89", 400),
        ("/airports/%F0%9F%9B%AB", 400),
        ("/airports/KJFK/nearest?n=", 400),
        ("/airports/KJFK/nearest?n=1&n=2", 400),
        ("/airports/KJFK/nearest?n=1e1", 400),
        ("/airports/KJFK/nearest?limit=1", 400),
        ("/airports/JFK/nearest", 400),
        ("/airports/KJFK/nearest?n=0", 400),
        ("/airports/KJFK/nearest?n=51", 400),
        ("/airports/KJFK/nearest?n=18446744073709551616", 400),
        ("/airports/KJFK/nearest?n=-3", 400),
    ];
    for (path, status) in wrong {
        let response = service.get(path).await;
        assert_eq!(response.status().as_u16(), status, "{path}");
        assert_eq!(response.headers()["content-type"], "application/problem+json", "{path}");
        let problem: Value = response.json().await.unwrap();
        assert_eq!(problem["status"].as_u64(), Some(u64::from(status)), "{path}");
        assert!(!problem["detail"].as_str().unwrap().is_empty(), "{path}");
    }
    let too_long = format!("/airports?q={}", "x".repeat(65));
    assert_eq!(service.get(&too_long).await.status(), 400);
    // Wild cards and quotes are text like any other.
    for text in ["%25", "_", "'", "%22", "!", "%27%3B%20DROP%20TABLE%20airports%3B--", "%F0%9F%9B%AB"] {
        let list = service.json(&format!("/airports?limit=1&q={text}")).await;
        assert!(list["airports"].as_array().unwrap().len() <= 1);
    }
    assert_eq!(service.json("/airports?q=%25").await["airports"].as_array().unwrap().len(), 0);
    for method in [Method::POST, Method::PATCH] {
        let response = service.request(method, "/airports/KJFK").send().await.unwrap();
        assert_eq!(response.status(), 405);
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        let allowed = response.headers()["allow"].to_str().unwrap();
        assert!(["GET", "HEAD", "PUT", "DELETE"].iter().all(|method| allowed.contains(method)), "{allowed}");
    }
    let options = service.request(Method::OPTIONS, "/airports").send().await.unwrap();
    assert_eq!((options.status().as_u16(), &options.headers()["allow"]), (405, &"GET,HEAD".parse().unwrap()));
    for path in ["/airports/KJFK", "/airports?limit=3", "/airports/KJFK/nearest", "/health", "/airports/ZZ9Z"]
    {
        let (get, head) =
            (service.get(path).await, service.request(Method::HEAD, path).send().await.unwrap());
        assert_eq!(head.status(), get.status(), "{path}");
        for name in ["content-type", "content-length", "etag", "cache-control"] {
            assert_eq!(head.headers().get(name), get.headers().get(name), "{path}: {name}");
        }
        assert!(head.bytes().await.unwrap().is_empty(), "{path}");
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_writes_are_4xx_with_a_reason() {
    let service = start(&[]).await;
    let good = json!({ "name": "A", "country": "IS", "lat": 1, "lon": 2 });
    let put = |body: String, token: &str, kind: &str| {
        let request = service.request(Method::PUT, "/airports/BI00").header("content-type", kind).body(body);
        request.header("authorization", token).send()
    };
    let bearer = format!("Bearer {TOKEN}");
    let json_type = "application/json";
    for token in ["", "Bearer", "Bearer wrong", "Basic b3BlbiBzZXNhbWU=", "bearer open sesame!"] {
        let response = put(good.to_string(), token, json_type).await.unwrap();
        assert_eq!(response.status(), 401, "{token}");
        assert_eq!(response.headers()["www-authenticate"], "Bearer");
    }
    assert_eq!(service.request(Method::DELETE, "/airports/KJFK").send().await.unwrap().status(), 401);
    let with = |field: &str, value: Value| {
        let mut body = good.clone();
        body[field] = value;
        body.to_string()
    };
    let wrong = [
        (String::new(), 400),
        ("{".to_owned(), 400),
        ("[]".to_owned(), 422),
        (with("lat", json!(91)), 422),
        (with("lon", json!(-180.1)), 422),
        (with("lat", json!("north")), 422),
        (with("country", json!("Iceland")), 422),
        (with("name", json!("  ")), 422),
        (with("name", json!("x".repeat(201))), 422),
        (with("city", json!("a\u{0}b")), 422),
        (with("icao", json!("KJFK")), 422),
        (with("elevation", json!(1e308)), 422),
        (with("nosuch", json!(1)), 422),
        (json!({ "name": "A" }).to_string(), 422),
        (with("name", json!("x".repeat(20_000))), 413),
    ];
    for (body, status) in wrong {
        let response = put(body.clone(), &bearer, json_type).await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{:.100}", body);
        let problem: Value = response.json().await.unwrap();
        assert!(!problem["detail"].as_str().unwrap().is_empty());
    }
    assert_eq!(put(good.to_string(), &bearer, "text/plain").await.unwrap().status(), 415);
    let several = json!({ "name": "", "country": "X", "lat": 1000, "lon": 0 });
    let problem: Value = service.put("/airports/BI00", &several).await.json().await.unwrap();
    assert_eq!(problem["errors"].as_array().unwrap().len(), 3, "all that is wrong at once: {problem}");
    service.stop().await;

    let locked = start(&["--admin-token", ""]).await;
    assert_eq!(locked.put("/airports/BI00", &good).await.status(), 403);
    locked.stop().await;
}
