//! From a configuration to a running server, and its clean end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::cached::Caches;
use crate::config::Config;
use crate::metrics::Metrics;
use crate::routes::App;
use crate::store::Store;
use crate::{import, layers, routes};

/// How long requests in progress may take after the signal to stop.
const STOP_WITHIN: Duration = Duration::from_secs(10);

/// A service that listens and does not serve yet.
#[derive(Debug)]
pub struct Service {
    listener: TcpListener,
    router: Router,
    app: Arc<App>,
    address: SocketAddr,
}

impl Service {
    /// Connects, fills an empty database, and listens.
    ///
    /// # Errors
    /// If the database does not answer, or the address is taken.
    pub async fn start(config: &Config) -> anyhow::Result<Self> {
        let store = Store::new(config)?;
        prepare(&store).await.with_context(|| format!("preparing {}", without_password(&config.database)))?;
        let app = Arc::new(App {
            store,
            caches: Caches::new(config)?,
            metrics: Metrics::default(),
            admin_token: config.admin_token.clone().filter(|token| !token.is_empty()),
            max_age: config.ttl.as_secs(),
        });
        let router = layers::around(routes::router(Arc::clone(&app)), Arc::clone(&app), config);
        let listener = TcpListener::bind(config.listen)
            .await
            .with_context(|| format!("listening on {}", config.listen))?;
        let address = listener.local_addr()?;
        Ok(Self { listener, router, app, address })
    }

    /// Where it listens.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Serves until `stop` resolves; then lets requests in progress end, for a while, and closes the pool.
    ///
    /// # Errors
    /// If serving fails.
    pub async fn run_until(self, stop: impl Future<Output = ()> + Send + 'static) -> anyhow::Result<()> {
        let (stopping, stopped) = oneshot::channel();
        let signal = async move {
            stop.await;
            tracing::info!("stopping");
            // Nobody listens if serving ended first.
            let _ended = stopping.send(());
        };
        let serving = axum::serve(self.listener, self.router).with_graceful_shutdown(signal).into_future();
        let deadline = async {
            let _stop = stopped.await;
            tokio::time::sleep(STOP_WITHIN).await;
        };
        tokio::select! {
            result = serving => result.context("serving")?,
            () = deadline => tracing::warn!("requests in progress were cut off after {STOP_WITHIN:?}"),
        }
        let left = self.app.store.close(Duration::from_secs(2)).await;
        tracing::info!(left, "stopped");
        Ok(())
    }
}

/// Resolves at SIGINT or SIGTERM.
pub async fn interrupted() {
    let interrupt = tokio::signal::ctrl_c();
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = interrupt => {}
                _ = terminate.recv() => {}
            }
            return;
        }
    }
    let _signalled = interrupt.await;
}

/// Makes the table and fills it from the bundled data if it is empty.
async fn prepare(store: &Store) -> anyhow::Result<()> {
    store.create().await?;
    if store.count().await? > 0 {
        return Ok(());
    }
    let airports = import::airports()?;
    let bar = ProgressBar::new(airports.len() as u64).with_message("importing airports");
    bar.set_style(ProgressStyle::with_template("{msg} {bar:40} {pos}/{len}")?);
    store.fill(&airports, |rows| bar.inc(rows)).await?;
    bar.finish_and_clear();
    tracing::info!(airports = airports.len(), "imported");
    Ok(())
}

/// The address without its password, for logs.
fn without_password(database: &str) -> String {
    match (database.find("://"), database.rfind('@')) {
        (Some(scheme), Some(at)) => format!("{}://…{}", &database[..scheme], &database[at..]),
        _ => database.to_owned(),
    }
}
