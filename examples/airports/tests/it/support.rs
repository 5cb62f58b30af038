//! A running service, and a client for it.

use std::time::{Duration, Instant};

use airports::config::Config;
use airports::serve::Service;
use clap::Parser;
use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub(crate) const TOKEN: &str = "open sesame";

pub(crate) struct Running {
    pub(crate) url: String,
    client: Client,
    stop: Option<oneshot::Sender<()>>,
    serving: JoinHandle<()>,
    _folder: TempDir,
}

/// Starts the service on SQLite, or on the database in `arguments`.
pub(crate) async fn start(arguments: &[&str]) -> Running {
    let folder = tempfile::tempdir().unwrap();
    let database = format!("sqlite:{}", folder.path().join("airports.sqlite").display());
    let mut all = vec!["airports", "--listen", "127.0.0.1:0"];
    if !arguments.contains(&"--admin-token") {
        all.extend(["--admin-token", TOKEN]);
    }
    if !arguments.contains(&"--database") {
        all.extend(["--database", &database]);
    }
    all.extend(arguments);
    let service = Service::start(&Config::parse_from(all)).await.unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let url = service.url();
    let serving = tokio::spawn(service.run_until(async {
        let _stop = stopped.await;
    }));
    let client = Client::builder().timeout(Duration::from_secs(20)).build().unwrap();
    Running { url, client, stop: Some(stop), serving, _folder: folder }
}

impl Running {
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url))
    }

    pub(crate) async fn get(&self, path: &str) -> Response {
        self.request(Method::GET, path).send().await.unwrap()
    }

    pub(crate) async fn json(&self, path: &str) -> Value {
        let response = self.get(path).await;
        assert_eq!(response.status(), 200, "{path}");
        response.json().await.unwrap()
    }

    pub(crate) async fn put(&self, path: &str, body: &Value) -> Response {
        self.request(Method::PUT, path).bearer_auth(TOKEN).json(body).send().await.unwrap()
    }

    pub(crate) async fn delete(&self, path: &str) -> Response {
        self.request(Method::DELETE, path).bearer_auth(TOKEN).send().await.unwrap()
    }

    pub(crate) async fn stop(mut self) {
        self.stop.take().unwrap().send(()).unwrap();
        self.serving.await.unwrap();
    }
}

/// Asks until it is so; fails after ten seconds.
pub(crate) async fn poll_until(so: impl AsyncFn() -> bool) {
    let began = Instant::now();
    while !so().await {
        assert!(began.elapsed() < Duration::from_secs(10), "it did not become so");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
