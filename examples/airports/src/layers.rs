//! The middleware around all routes: request id, trace, metrics, panics, compression, limits.

use std::any::Any;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::{BoxError, Router, error_handling::HandleErrorLayer};
use tower::ServiceBuilder;
use tower::limit::GlobalConcurrencyLimitLayer;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer};
use tower_http::trace::TraceLayer;

use crate::config::Config;
use crate::problem::Problem;
use crate::routes::App;

/// The largest body a client may send.
const BODY_LIMIT: usize = 16 * 1024;

/// Puts the middleware around a router.
pub fn around(router: Router, app: Arc<App>, config: &Config) -> Router {
    let guarded = ServiceBuilder::new()
        .layer(HandleErrorLayer::new(refused))
        .load_shed()
        // One limit for all routes: the router puts a copy of every layer around each of them.
        .layer(GlobalConcurrencyLimitLayer::new(usize::from(config.max_requests)))
        .timeout(config.request_timeout);
    let outer = ServiceBuilder::new()
        .layer(SetRequestIdLayer::x_request_id(MakeRequestUuid))
        .layer(TraceLayer::new_for_http())
        .layer(PropagateRequestIdLayer::x_request_id())
        .layer(CompressionLayer::new())
        .layer(from_fn_with_state(app, measure))
        .layer(CatchPanicLayer::custom(panicked));
    router.layer(DefaultBodyLimit::max(BODY_LIMIT)).layer(guarded).layer(outer)
}

async fn measure(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    // The pattern, not the address: a label for each airport would be too many.
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let began = Instant::now();
    let response = next.run(request).await;
    let took: Duration = began.elapsed();
    app.metrics.request(&route, response.status().as_u16(), took);
    response
}

async fn refused(error: BoxError) -> Problem {
    if error.is::<tower::timeout::error::Elapsed>() {
        return Problem::unavailable("the request took too long");
    }
    if error.is::<tower::load_shed::error::Overloaded>() {
        return Problem::unavailable("the service has too much to do");
    }
    Problem::internal(&error)
}

#[expect(clippy::needless_pass_by_value, reason = "the signature that catch-panic asks for")]
fn panicked(payload: Box<dyn Any + Send>) -> Response {
    let message = payload.downcast_ref::<&str>().copied().map(str::to_owned);
    let message = message.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_default();
    tracing::error!(%message, "a handler panicked");
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the service made a mistake; it was logged")
        .into_response()
}
