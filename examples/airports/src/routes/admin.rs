//! Writing: behind a bearer token, off without one.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use subtle::ConstantTimeEq;

use super::App;
use crate::airport::{self, AirportInput};
use crate::problem::Problem;

fn authorize(app: &App, headers: &HeaderMap) -> Result<(), Problem> {
    let Some(token) = &app.admin_token else {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "writing is off: the service was started without --admin-token",
        ));
    };
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let given = given.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
    // Takes the same time whichever byte differs.
    if bool::from(given.as_bytes().ct_eq(token.as_bytes())) {
        return Ok(());
    }
    Err(Problem::new(StatusCode::UNAUTHORIZED, "a valid bearer token is needed"))
}

pub(super) async fn put(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    path: Result<Path<String>, PathRejection>,
    body: Result<Json<AirportInput>, JsonRejection>,
) -> Result<Response, Problem> {
    authorize(&app, &headers)?;
    let icao = airport::icao(&path?.0).map_err(Problem::bad_request)?;
    let airport = body?.0.validate(&icao).map_err(Problem::invalid)?;
    let before = app.store.put(&airport).await?;
    let old_country = before.as_ref().map_or(airport.country.as_str(), |before| before.country.as_str());
    app.caches.written(&icao, &[old_country, &airport.country]);
    let status = if before.is_some() { StatusCode::OK } else { StatusCode::CREATED };
    Ok((status, Json(airport)).into_response())
}

pub(super) async fn delete(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    path: Result<Path<String>, PathRejection>,
) -> Result<StatusCode, Problem> {
    authorize(&app, &headers)?;
    let icao = airport::icao(&path?.0).map_err(Problem::bad_request)?;
    let Some(gone) = app.store.delete(&icao).await? else {
        return Err(Problem::new(StatusCode::NOT_FOUND, format!("there is no airport {icao}")));
    };
    app.caches.written(&icao, &[&gone.country]);
    Ok(StatusCode::NO_CONTENT)
}
