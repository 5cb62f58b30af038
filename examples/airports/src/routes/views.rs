//! Views of an airport. Not a field of the airport: its answer is cached everywhere, and would change with every view.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::App;
use super::read::{PathOf, key, known};
use crate::problem::Problem;
use crate::views::Views;

fn views(app: &App) -> Result<&Views, Problem> {
    app.views.as_ref().ok_or_else(|| Problem::unavailable("views are not counted on this database"))
}

pub(super) async fn count(State(app): State<Arc<App>>, path: PathOf) -> Result<StatusCode, Problem> {
    let icao = key(path)?;
    let views = views(&app)?;
    known(&app, &icao).await?;
    views.count(&icao).await.map_err(|error| Problem::unavailable(error.to_string()))?;
    Ok(StatusCode::ACCEPTED)
}

pub(super) async fn show(State(app): State<Arc<App>>, path: PathOf) -> Result<Json<Value>, Problem> {
    let icao = key(path)?;
    let views = views(&app)?;
    known(&app, &icao).await?;
    let views = views.of(&icao).await.map_err(|error| Problem::from(&*error))?;
    Ok(Json(json!({ "icao": icao, "views": views })))
}
