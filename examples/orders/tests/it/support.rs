//! Running services, in this process or in one of their own, and clients for them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use clap::Parser;
use orders::config::Config;
use orders::proto::orders_client::OrdersClient;
use orders::proto::{
    CreateUserRequest, GetStockRequest, ListOrdersRequest, Order, PlaceOrderRequest, SetStockRequest,
};
use orders::serve;
use servers::{Postgres, require};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::Status;
use tonic::transport::Channel;

pub(crate) type Client = OrdersClient<Channel>;

/// A database, and folders for services that use it.
pub(crate) struct Place {
    pub(crate) database: String,
    pub(crate) postgres: Option<Postgres>,
    folder: TempDir,
}

impl Place {
    pub(crate) fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let database = format!("sqlite:{}", folder.path().join("orders.sqlite").display());
        Self { database, postgres: None, folder }
    }

    /// `None`, loudly, where PostgreSQL is not installed.
    pub(crate) fn postgres() -> Option<Self> {
        let postgres = require(Postgres::start())?;
        let folder = tempfile::tempdir().unwrap();
        Some(Self { database: postgres.url(), postgres: Some(postgres), folder })
    }

    /// One of each.
    pub(crate) fn all() -> Vec<Self> {
        std::iter::once(Self::sqlite()).chain(Self::postgres()).collect()
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The settings of an instance of this name.
    pub(crate) fn config(&self, instance: &str) -> Config {
        Config::parse_from(self.arguments(instance, &[]))
    }

    /// What it is started with.
    fn arguments(&self, instance: &str, more: &[&str]) -> Vec<String> {
        let data = self.folder.path().join(instance).display().to_string();
        let own = ["orders", "--database", &self.database, "--data", &data];
        let listen = if more.contains(&"--listen") { &[][..] } else { &["--listen", "127.0.0.1:0"] };
        own.iter().chain(listen).chain(more).map(|&argument| argument.to_owned()).collect()
    }

    /// A service in this process.
    pub(crate) async fn start(&self, instance: &str, more: &[&str]) -> Running {
        let config = Config::parse_from(self.arguments(instance, more));
        let service = serve::start(&config).await.unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let url = service.url();
        let serving = tokio::spawn(service.run_until(async {
            let _stop = stopped.await;
        }));
        let client = connect(&url).await;
        Running { url, client, stop, serving }
    }

    /// A service in a process of its own, which can be killed.
    pub(crate) async fn spawn(&self, instance: &str, more: &[&str]) -> Process {
        let arguments = self.arguments(instance, more);
        let mut command = Command::new(env!("CARGO_BIN_EXE_orders"));
        command.args(&arguments[1..]).env("RUST_LOG", "warn").stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = lines.next_line().await.unwrap().expect("the service ended before it served");
        let url = line.strip_prefix("Serving ").unwrap().to_owned();
        let client = connect(&url).await;
        Process { url, client, child }
    }
}

pub(crate) struct Running {
    pub(crate) url: String,
    pub(crate) client: Client,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<anyhow::Result<()>>,
}

impl Running {
    pub(crate) async fn stop(self) {
        self.stop.send(()).unwrap();
        self.serving.await.unwrap().unwrap();
    }
}

pub(crate) struct Process {
    pub(crate) url: String,
    pub(crate) client: Client,
    child: Child,
}

impl Process {
    /// SIGKILL.
    pub(crate) async fn kill(mut self) {
        assert!(self.child.try_wait().unwrap().is_none(), "it ended by itself");
        self.child.kill().await.unwrap();
    }

    /// SIGTERM, and the end.
    pub(crate) async fn terminate(mut self) {
        let pid = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().await.unwrap().success());
        let status = tokio::time::timeout(Duration::from_secs(20), self.child.wait()).await.unwrap().unwrap();
        assert!(status.success(), "{status}");
    }
}

pub(crate) async fn connect(url: &str) -> Client {
    OrdersClient::new(Channel::from_shared(url.to_owned()).unwrap().connect().await.unwrap())
}

pub(crate) async fn user(client: &Client, id: &str) {
    let request = CreateUserRequest { user_id: id.to_owned(), name: format!("Name of {id}") };
    client.clone().create_user(request).await.unwrap();
}

pub(crate) async fn stock(client: &Client, sku: &str, units: i64) {
    client.clone().set_stock(SetStockRequest { sku: sku.to_owned(), units }).await.unwrap();
}

pub(crate) async fn left(client: &Client, sku: &str) -> i64 {
    client.clone().get_stock(GetStockRequest { sku: sku.to_owned() }).await.unwrap().into_inner().units
}

pub(crate) fn order(id: &str, user: &str, sku: &str, quantity: i64) -> PlaceOrderRequest {
    PlaceOrderRequest { order_id: id.to_owned(), user_id: user.to_owned(), sku: sku.to_owned(), quantity }
}

pub(crate) async fn place(client: &Client, order: PlaceOrderRequest) -> Result<Order, Status> {
    client.clone().place_order(order).await.map(tonic::Response::into_inner)
}

/// All orders of a user, page by page.
pub(crate) async fn list(client: &Client, user: &str) -> Vec<Order> {
    let mut client = client.clone();
    let (mut all, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = ListOrdersRequest { user_id: user.to_owned(), page_size: 37, page_token };
        let page = client.list_orders(request).await.unwrap().into_inner();
        all.extend(page.orders);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return all;
        }
    }
}

/// What there is according to lists: ids, and units sold of each article. No order is there twice.
pub(crate) async fn books(client: &Client, users: &[String]) -> (BTreeSet<String>, BTreeMap<String, i64>) {
    let (mut ids, mut sold) = (BTreeSet::new(), BTreeMap::new());
    for user in users {
        for order in list(client, user).await {
            *sold.entry(order.sku).or_default() += order.quantity;
            assert!(ids.insert(order.order_id.clone()), "{} is there twice", order.order_id);
        }
    }
    (ids, sold)
}

/// Asks until it is so; fails after ten seconds.
pub(crate) async fn poll_until(what: &str, so: impl AsyncFn() -> bool) {
    let began = Instant::now();
    while !so().await {
        assert!(began.elapsed() < Duration::from_secs(10), "{what}: it did not become so");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
