//! From a configuration to a running server, and its clean end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::cached::Caches;
use crate::cluster::Cluster;
use crate::config::Config;
use crate::metrics::Metrics;
use crate::routes::App;
use crate::store::Store;
use crate::views::Views;
use crate::warm::Snapshot;
use crate::{connections, import, layers, routes};

/// How long requests in progress may take after the signal to stop.
const STOP_WITHIN: Duration = Duration::from_secs(10);

/// How long the last views may take to be written at the end.
const VIEWS_WITHIN: Duration = Duration::from_secs(5);

/// How often the samples of the metrics are folded.
const FOLD_EVERY: Duration = Duration::from_secs(5);

/// A service that listens and does not serve yet.
#[derive(Debug)]
pub struct Service {
    listener: TcpListener,
    router: Router,
    app: Arc<App>,
    address: SocketAddr,
    slow_client: Duration,
    snapshot_every: Duration,
}

impl Service {
    /// Connects, fills an empty database, and listens.
    ///
    /// # Errors
    /// If the database does not answer, or the address is taken.
    pub async fn start(config: &Config) -> anyhow::Result<Self> {
        let store = Store::new(config)?;
        prepare(&store).await.with_context(|| format!("preparing {}", without_password(&config.database)))?;
        let cluster = Cluster::new(config, &store)?;
        let views = match store.create_views().await {
            Ok(()) => Some(Views::new(&store)?),
            Err(error) => {
                tracing::warn!(%error, "the database takes no table of views: they are not counted");
                None
            }
        };
        let app = Arc::new(App {
            store,
            views,
            cluster,
            caches: Arc::new(Caches::new(config)?),
            snapshot: Snapshot::new(config.snapshot.clone()),
            metrics: Metrics::default(),
            admin_token: config.admin_token.clone().filter(|token| !token.is_empty()),
            max_age: config.ttl.as_secs(),
            slow_client: config.slow_client,
        });
        let loading = Arc::clone(&app);
        tokio::task::spawn_blocking(move || loading.snapshot.load(&loading.caches)).await?;
        if let Some(cluster) = &app.cluster {
            cluster.attach(&app.caches);
        }
        let router = layers::around(routes::router(Arc::clone(&app)), Arc::clone(&app), config);
        let listener = TcpListener::bind(config.listen)
            .await
            .with_context(|| format!("listening on {}", config.listen))?;
        let address = listener.local_addr()?;
        let (slow_client, snapshot_every) = (config.slow_client, config.snapshot_every);
        Ok(Self { listener, router, app, address, slow_client, snapshot_every })
    }

    /// Where it listens.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Serves until `stop` resolves; then lets requests in progress end, for a while, saves what is cached, and closes the pool.
    pub async fn run_until(self, stop: impl Future<Output = ()> + Send + 'static) {
        let (stopping, stopped) = oneshot::channel();
        let signal = async move {
            stop.await;
            tracing::info!("stopping");
            // Nobody listens if serving ended first.
            let _ended = stopping.send(());
        };
        let serving = connections::serve(self.listener, self.router, self.slow_client, signal);
        let deadline = async {
            let _stop = stopped.await;
            tokio::time::sleep(STOP_WITHIN).await;
        };
        tokio::select! {
            () = serving => {}
            () = fold(&self.app.metrics) => {}
            () = watch(&self.app) => {}
            () = save_now_and_then(&self.app, self.snapshot_every) => {}
            () = deadline => tracing::warn!("requests in progress were cut off after {STOP_WITHIN:?}"),
        }
        save(&self.app).await;
        if let Some(views) = &self.app.views
            && let Err(error) = views.close(VIEWS_WITHIN).await
        {
            tracing::warn!(error = format!("{error:#}"), "the last views could not be written");
        }
        let left = self.app.store.close(Duration::from_secs(2)).await;
        tracing::info!(left, "stopped");
    }
}

async fn fold(metrics: &Metrics) {
    let mut ticks = tokio::time::interval(FOLD_EVERY);
    loop {
        ticks.tick().await;
        metrics.fold();
    }
}

async fn watch(app: &App) {
    match &app.cluster {
        Some(cluster) => cluster.watch().await,
        None => std::future::pending().await,
    }
}

async fn save_now_and_then(app: &Arc<App>, every: Duration) {
    loop {
        // From the end of one on: a disk that is slow is not kept busy.
        tokio::time::sleep(every).await;
        save(app).await;
    }
}

/// Saves what is cached. A failure is no reason to serve no more.
async fn save(app: &Arc<App>) {
    let saving = Arc::clone(app);
    let saved = tokio::task::spawn_blocking(move || saving.snapshot.save(&saving.caches)).await;
    if let Err(error) = saved.map_err(anyhow::Error::from).and_then(|saved| saved) {
        tracing::warn!(error = format!("{error:#}"), "what is cached could not be saved");
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

/// Makes the table and fills it from the bundled data if it is empty.
async fn prepare(store: &Store) -> anyhow::Result<()> {
    store.create().await?;
    if store.count().await? == 0 {
        import_all(store).await?;
    }
    if let Err(error) = store.create_places().await {
        tracing::warn!(%error, "the database takes no index of places: a search for the nearest looks through all airports");
    }
    Ok(())
}

async fn import_all(store: &Store) -> anyhow::Result<()> {
    let airports = import::airports()?;
    let bar = ProgressBar::new(airports.len() as u64).with_message("importing airports");
    bar.set_style(ProgressStyle::with_template("{msg} {bar:40} {pos}/{len}")?);
    let is_mine = store.fill(&airports, |rows| bar.inc(rows)).await?;
    bar.finish_and_clear();
    if is_mine {
        tracing::info!(airports = airports.len(), "imported");
    }
    Ok(())
}

/// The address without its password, for logs: neither before the host nor among the parameters.
fn without_password(database: &str) -> &str {
    let Some((scheme, rest)) = database.split_once("://") else { return database };
    let place = rest.split('?').next().unwrap_or(rest);
    let host = place.rsplit('@').next().unwrap_or(place);
    if scheme.starts_with("postgres") { host } else { database }
}
