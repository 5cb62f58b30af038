//! Writing: behind a bearer token, off without one.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequest, Path, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::App;
use super::conditional::Preconditions;
use crate::airport::{self, AirportInput};
use crate::problem::Problem;
use crate::store::{self, Written};

fn authorize(app: &App, headers: &HeaderMap) -> Result<(), Problem> {
    let Some(token) = &app.admin_token else {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "writing is off: the service was started without --admin-token",
        ));
    };
    let given = headers.get(header::AUTHORIZATION).and_then(|value| bearer(value.as_bytes()));
    // Takes the same time whichever byte differs; of digests, so that the length does not show either.
    let same = given.is_some_and(|given| Sha256::digest(given).ct_eq(&Sha256::digest(token)).into());
    if same {
        return Ok(());
    }
    Err(Problem::new(StatusCode::UNAUTHORIZED, "a valid bearer token is needed"))
}

/// The token; the name of the scheme may be in any case (RFC 9110, 11.1).
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then_some(token)
}

/// Reads the body, for as long as it may take.
async fn body(app: &App, request: Request) -> Result<AirportInput, Problem> {
    match tokio::time::timeout(app.slow_client, Json::from_request(request, &())).await {
        Ok(body) => Ok(body?.0),
        Err(_elapsed) => Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "the body took too long to arrive")),
    }
}

/// Runs a write and what follows from it to the end, also when the client leaves in the middle: the caches must hear of it.
async fn to_the_end<T: Send + 'static>(
    app: Arc<App>,
    icao: String,
    write: impl Future<Output = Result<T, store::Error>> + Send + 'static,
) -> Result<T, Problem> {
    let written = tokio::spawn(async move {
        let _writing = app.snapshot.writing();
        let write = async {
            let result = write.await;
            if matches!(result, Err(store::Error::Statement(_))) {
                // It may have been committed before the connection broke. Without a connection nothing was, and what is
                // cached may be all there is.
                app.caches.in_doubt();
            }
            result
        };
        match &app.cluster {
            None => Ok(write.await?),
            Some(cluster) => Ok(cluster.writing(&icao, write).await??),
        }
    });
    written.await.map_err(|error| Problem::internal(&error))?
}

pub(super) async fn put(
    State(app): State<Arc<App>>,
    path: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, Problem> {
    authorize(&app, request.headers())?;
    let icao = airport::icao(&path?.0).map_err(Problem::bad_request)?;
    let preconditions = Preconditions::of(request.headers());
    let airport = body(&app, request).await?.validate(&icao).map_err(Problem::invalid)?;
    let write = {
        let (app, airport) = (Arc::clone(&app), airport.clone());
        async move {
            let written = app.store.put(&airport, |current| preconditions.hold(current)).await?;
            // Also what was refused: the client has seen something else, which may be what is cached here.
            let before = written.before();
            let old = before.map_or(airport.country.as_str(), |before| before.country.as_str());
            app.caches.written(&airport.icao, &[old, &airport.country]);
            Ok(written)
        }
    };
    let status = match to_the_end(app, icao.clone(), write).await? {
        Written::Done(Some(_)) => StatusCode::OK,
        Written::Done(None) => StatusCode::CREATED,
        Written::Refused(_) => return Err(refused(&icao)),
    };
    Ok((status, Json(airport)).into_response())
}

pub(super) async fn delete(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    path: Result<Path<String>, PathRejection>,
) -> Result<StatusCode, Problem> {
    authorize(&app, &headers)?;
    let icao = airport::icao(&path?.0).map_err(Problem::bad_request)?;
    let preconditions = Preconditions::of(&headers);
    let write = {
        let (app, icao) = (Arc::clone(&app), icao.clone());
        async move {
            let written = app.store.delete(&icao, |current| preconditions.hold(current)).await?;
            // Also where there was nothing: it may have been removed behind our back.
            let country = written.before().map(|before| before.country.as_str());
            app.caches.written(&icao, country.as_slice());
            Ok(written)
        }
    };
    match to_the_end(app, icao.clone(), write).await? {
        Written::Done(Some(_)) => Ok(StatusCode::NO_CONTENT),
        Written::Done(None) => {
            Err(Problem::new(StatusCode::NOT_FOUND, format!("there is no airport {icao}")))
        }
        Written::Refused(_) => Err(refused(&icao)),
    }
}

fn refused(icao: &str) -> Problem {
    Problem::new(
        StatusCode::PRECONDITION_FAILED,
        format!("{icao} is not as the request wants it (If-Match, If-None-Match)"),
    )
}
