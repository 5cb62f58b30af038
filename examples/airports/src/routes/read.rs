//! Reading: one airport, a list, the nearest.

use std::sync::Arc;

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::{Deserialize, Serialize};

use super::conditional::respond;
use super::{App, several};
use crate::airport::{self, Airport};
use crate::cached::{Answer, NearestKey};
use crate::nearest;
use crate::problem::Problem;
use crate::store::Filter;

const DEFAULT_LIMIT: i64 = 20;
const MOST_LIMIT: i64 = 100;
const DEFAULT_NEAREST: usize = 5;
const MOST_NEAREST: usize = 50;
const LONGEST_TEXT: usize = 64;

pub(super) type PathOf = Result<Path<String>, PathRejection>;

pub(super) fn not_found(icao: &str) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, format!("there is no airport {icao}"))
}

pub(super) fn key(path: PathOf) -> Result<String, Problem> {
    airport::icao(&path?.0).map_err(Problem::bad_request)
}

pub(super) async fn airport(
    State(app): State<Arc<App>>,
    path: PathOf,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let icao = key(path)?;
    respond(known(&app, &icao).await?, &headers, app.max_age)
}

/// The answer for an airport, or 404.
pub(super) async fn known(app: &App, icao: &String) -> Result<Answer, Problem> {
    let load = async {
        let found = app.airport(icao).await?;
        found.as_ref().map(Answer::new).transpose()
    };
    app.caches.airport(icao.clone(), load).await?.ok_or_else(|| not_found(icao))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    country: Option<String>,
    q: Option<String>,
    limit: Option<i64>,
    after: Option<String>,
    /// Several airports by their codes, which goes with none of the others.
    icao: Option<String>,
}

#[derive(Serialize)]
struct List {
    airports: Vec<Airport>,
    /// Where the list goes on, if it does.
    next: Option<String>,
}

pub(super) async fn list(
    State(app): State<Arc<App>>,
    query: Result<Query<ListQuery>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Query(query) = query?;
    if let Some(codes) = &query.icao {
        if query.country.is_some() || query.q.is_some() || query.limit.is_some() || query.after.is_some() {
            return Err(Problem::bad_request("icao: goes with no other parameter"));
        }
        return several::several(&app, codes, &headers).await;
    }
    let limit = query.limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MOST_LIMIT).contains(&limit) {
        return Err(Problem::bad_request(format!("limit: must be between 1 and {MOST_LIMIT}")));
    }
    // What it decodes to where the bytes are not UTF-8.
    if query.q.as_ref().is_some_and(|text| text.contains(char::REPLACEMENT_CHARACTER)) {
        return Err(Problem::bad_request("q: is not UTF-8"));
    }
    let text = query.q.map(|text| text.trim().to_lowercase()).filter(|text| !text.is_empty());
    if text.as_ref().is_some_and(|text| text.chars().count() > LONGEST_TEXT || text.contains('\0')) {
        return Err(Problem::bad_request(format!(
            "q: must be at most {LONGEST_TEXT} characters, without NUL"
        )));
    }
    let filter = Filter {
        country: query.country.as_deref().map(airport::country).transpose().map_err(Problem::bad_request)?,
        text,
        after: match query.after.as_deref() {
            None | Some("") => String::new(),
            Some(after) => {
                airport::icao(after).map_err(|reason| Problem::bad_request(format!("after: {reason}")))?
            }
        },
        limit,
    };
    let load = async {
        // One more than asked for tells whether the list goes on.
        let mut airports = app.store.list(&Filter { limit: limit + 1, ..filter.clone() }).await?;
        let more = airports.len() > usize::try_from(limit).unwrap_or(usize::MAX);
        if more {
            airports.pop();
        }
        let next = airports.last().filter(|_| more).map(|last| address(&filter, &last.icao));
        Answer::new(&List { airports, next }).map(Some)
    };
    let known = app.caches.list(address(&filter, &filter.after), filter.country.as_deref(), load).await?;
    respond(known.ok_or_else(|| Problem::internal(&"a list has no answer"))?, &headers, app.max_age)
}

/// The address of a list; also what it is cached by.
fn address(filter: &Filter, after: &str) -> String {
    #[derive(Serialize)]
    struct Parameters<'p> {
        #[serde(skip_serializing_if = "Option::is_none")]
        country: Option<&'p str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        q: Option<&'p str>,
        limit: i64,
        #[serde(skip_serializing_if = "str::is_empty")]
        after: &'p str,
    }
    let parameters = Parameters {
        country: filter.country.as_deref(),
        q: filter.text.as_deref(),
        limit: filter.limit,
        after,
    };
    let query = serde_urlencoded::to_string(parameters).unwrap_or_default();
    format!("/airports?{query}")
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NearestQuery {
    n: Option<usize>,
}

pub(super) async fn nearest(
    State(app): State<Arc<App>>,
    path: PathOf,
    query: Result<Query<NearestQuery>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let icao = key(path)?;
    let n = query?.0.n.unwrap_or(DEFAULT_NEAREST);
    if !(1..=MOST_NEAREST).contains(&n) {
        return Err(Problem::bad_request(format!("n: must be between 1 and {MOST_NEAREST}")));
    }
    let load = {
        let (store, icao) = (app.store.clone(), icao.clone());
        async move { nearest::search(&store, &icao, n).await }
    };
    let known = app.caches.nearest(NearestKey { icao: icao.clone(), n }, load).await?;
    respond(known.ok_or_else(|| not_found(&icao))?, &headers, app.max_age)
}
