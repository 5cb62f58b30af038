//! Connections: accepted, served over HTTP/1.1, closed when a client is too slow, ended in order.
//!
//! `axum::serve` has no timeouts; a client that sends half a head would keep its connection for ever.

use std::pin::pin;
use std::time::Duration;

use axum::Router;
use axum::serve::Listener;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio_io_timeout::TimeoutStream;

/// More than anyone waits for a head; sums with the clock do not overflow.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// Serves until `stop` resolves, then until no request is in progress.
///
/// A connection is closed when no whole head has come for `slow_client`, be it in the middle of one or between two, and when
/// its client has taken nothing of an answer for as long.
pub async fn serve(
    mut listener: TcpListener,
    router: Router,
    slow_client: Duration,
    stop: impl Future<Output = ()>,
) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(slow_client.min(LONGEST));
    let open = GracefulShutdown::new();
    let mut stop = pin!(stop);
    loop {
        let (stream, peer) = tokio::select! {
            // Outlasts errors, such as too many open files.
            accepted = Listener::accept(&mut listener) => accepted,
            () = &mut stop => break,
        };
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%peer, %error, "a connection broke at once");
            continue;
        }
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(slow_client.min(LONGEST)));
        let service = TowerToHyperService::new(router.clone());
        let connection = open.watch(http.serve_connection(TokioIo::new(Box::pin(stream)), service));
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%peer, %error, "a connection broke");
            }
        });
    }
    drop(listener);
    open.shutdown().await;
}
