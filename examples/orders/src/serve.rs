//! From a configuration to a running server, and its clean end.

use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::config::Config;
use crate::data::Data;
use crate::database::Database;
use crate::orders::Orders;
use crate::proto;
use crate::proto::orders_server::{OrdersServer, SERVICE_NAME};
use crate::service::{App, Service};
use crate::stock::{self, Stock};
use crate::users::Users;

/// The largest request, in bytes; all of ours are smaller than 2 KiB.
const LARGEST_REQUEST: usize = 16 << 10;

/// How often the database is asked whether it is there.
const PING_EVERY: Duration = Duration::from_secs(1);

/// How long a client may be silent before it is asked whether it is there, and how long it may take to answer.
const KEEPALIVE: Duration = Duration::from_secs(20);

/// A service that listens and does not serve yet.
#[derive(Debug)]
pub struct Listening {
    listener: TcpListener,
    address: SocketAddr,
    app: Arc<App>,
    stop_within: Duration,
    max_requests: usize,
}

/// Connects, makes missing tables, brings to the database what an earlier process has left in the journal, and listens.
///
/// # Errors
/// If the database does not answer, the data folder is in use or damaged, or the address is taken.
pub async fn start(config: &Config) -> anyhow::Result<Listening> {
    let database = Arc::new(Database::new(config)?);
    database.create().await.with_context(|| format!("preparing {}", without_password(&config.database)))?;
    let data = Data::open(&config.data)?;
    let orders = Orders::open(&database, &data, config).context("opening the journal of orders")?;
    let instance = data.instance()?;
    // First the orders that count, then the units of those that do not: nobody knows of them.
    orders.flush().await;
    let released = stock::release_all(&database, &instance).await?;
    if released > 0 {
        tracing::info!(reservations = released, "units of unfinished orders were given back");
    }
    let app = App {
        users: Users::new(&database, config)?,
        stock: Stock::new(&database, config)?,
        orders,
        database,
        instance,
        request_timeout: config.request_timeout,
        under_way: TaskTracker::new(),
        placing: Mutex::new(HashSet::new()),
    };
    let listener =
        TcpListener::bind(config.listen).await.with_context(|| format!("listening on {}", config.listen))?;
    let address = listener.local_addr()?;
    let (stop_within, max_requests) = (config.stop_within, usize::from(config.max_requests));
    Ok(Listening { listener, address, app: Arc::new(app), stop_within, max_requests })
}

impl Listening {
    /// Where it listens.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Serves until `stop` resolves; then lets requests in progress end, for a while, and writes the orders that wait.
    ///
    /// # Errors
    /// If connections can't be accepted any more.
    pub async fn run_until(self, stop: impl Future<Output = ()> + Send + 'static) -> anyhow::Result<()> {
        let app = self.app;
        let reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .build_v1()
            .context("telling of the service")?;
        let (reporter, health) = tonic_health::server::health_reporter();
        let (stopping, stopped) = oneshot::channel();
        let telling = reporter.clone();
        let signal = async move {
            stop.await;
            tracing::info!("stopping");
            tell(&telling, ServingStatus::NotServing).await;
            // Nobody listens if serving ended first.
            let _ended = stopping.send(Instant::now());
        };
        let service = OrdersServer::new(Service(Arc::clone(&app))).max_decoding_message_size(LARGEST_REQUEST);
        let serving = Server::builder()
            .concurrency_limit_per_connection(self.max_requests)
            .http2_keepalive_interval(Some(KEEPALIVE))
            .http2_keepalive_timeout(Some(KEEPALIVE))
            .add_service(health)
            .add_service(reflection)
            .add_service(service)
            .serve_with_incoming_shutdown(TcpIncoming::from(self.listener).with_nodelay(Some(true)), signal);
        let until = async {
            let began = stopped.await.unwrap_or_else(|_| Instant::now());
            began + self.stop_within
        };
        let deadline = async {
            let end = until.await;
            tokio::time::sleep_until(end - self.stop_within / 2).await;
        };
        let served = tokio::select! {
            served = serving => served.context("serving"),
            () = watch(&app.database, &reporter) => Ok(()),
            () = deadline => {
                tracing::warn!("requests in progress were cut off");
                Ok(())
            }
        };
        app.end(self.stop_within / 2).await;
        served
    }
}

impl App {
    /// Ends what is under way, then writes what waits.
    async fn end(&self, within: Duration) {
        let end = Instant::now() + within;
        let left = || end.saturating_duration_since(Instant::now());
        self.under_way.close();
        if tokio::time::timeout(left() / 2, self.under_way.wait()).await.is_err() {
            tracing::warn!(orders = self.under_way.len(), "orders under way were given up");
        }
        self.stock.close(left() / 2).await;
        self.orders.close(left()).await;
        let left = self.database.close(Duration::from_secs(1)).await;
        tracing::info!(connections = left, "stopped");
    }
}

async fn tell(reporter: &HealthReporter, status: ServingStatus) {
    reporter.set_service_status("", status).await;
    reporter.set_service_status(SERVICE_NAME, status).await;
}

/// Tells health checks whether the database is there.
async fn watch(database: &Database, reporter: &HealthReporter) {
    loop {
        let pinged = tokio::time::timeout(PING_EVERY, database.ping()).await;
        let is_there = matches!(pinged, Ok(Ok(())));
        tell(reporter, if is_there { ServingStatus::Serving } else { ServingStatus::NotServing }).await;
        tokio::time::sleep(PING_EVERY).await;
    }
}

/// Resolves at SIGINT or SIGTERM, which end the process no more from this call on.
///
/// # Errors
/// If the system takes no handler.
#[cfg(unix)]
pub fn interrupted() -> io::Result<impl Future<Output = ()> + Send + 'static> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// Resolves at Ctrl-C.
///
/// # Errors
/// None.
#[cfg(not(unix))]
pub fn interrupted() -> io::Result<impl Future<Output = ()> + Send + 'static> {
    Ok(async {
        let _signalled = tokio::signal::ctrl_c().await;
    })
}

/// The address without its password, for logs: neither before the host nor among the parameters.
fn without_password(database: &str) -> &str {
    let Some((scheme, rest)) = database.split_once("://") else { return database };
    let place = rest.split('?').next().unwrap_or(rest);
    let host = place.rsplit('@').next().unwrap_or(place);
    if scheme.starts_with("postgres") { host } else { database }
}
