//! Several airports by their codes, in one answer.

use std::collections::HashSet;

use axum::http::HeaderMap;
use axum::response::Response;
use serde_json::json;

use super::App;
use super::conditional::respond;
use crate::airport;
use crate::cached::{Answer, Known};
use crate::problem::Problem;

/// No request may ask for more.
const MOST_CODES: usize = 100;

/// The airports of a list of codes, in its order, each once, and which of them there are not. What is not cached is one query.
pub(super) async fn several(app: &App, list: &str, headers: &HeaderMap) -> Result<Response, Problem> {
    let codes = parse(list)?;
    let load = |missing: Vec<String>| async move {
        let found = app.several(&missing).await?;
        let mut found: Vec<(String, Known)> = found
            .into_iter()
            .map(|airport| Ok((airport.icao.clone(), Some(Answer::new(&airport)?))))
            .collect::<Result<_, Problem>>()?;
        let known: HashSet<String> = found.iter().map(|(icao, _)| icao.clone()).collect();
        found.extend(missing.into_iter().filter(|icao| !known.contains(icao)).map(|icao| (icao, None)));
        Ok(found)
    };
    let known = app.caches.airports(&codes, load).await?;
    let mut body = b"{\"airports\":[".to_vec();
    let mut missing = Vec::new();
    for code in &codes {
        match known.get(code) {
            Some(Some(answer)) => {
                if !body.ends_with(b"[") {
                    body.push(b',');
                }
                // As it was serialized once.
                body.extend_from_slice(&answer.body);
            }
            _ => missing.push(code),
        }
    }
    body.extend_from_slice(b"],\"missing\":");
    body.extend_from_slice(json!(missing).to_string().as_bytes());
    body.push(b'}');
    respond(Answer::of(body.into())?, headers, app.max_age)
}

/// The codes, in upper case, each once.
fn parse(list: &str) -> Result<Vec<String>, Problem> {
    if list.split(',').count() > MOST_CODES {
        return Err(Problem::bad_request(format!("icao: more than {MOST_CODES} codes")));
    }
    let (mut codes, mut wrong) = (Vec::new(), Vec::new());
    for part in list.split(',') {
        match airport::icao(part) {
            Ok(code) if codes.contains(&code) => {}
            Ok(code) => codes.push(code),
            Err(reason) => wrong.push(reason),
        }
    }
    if wrong.is_empty() {
        return Ok(codes);
    }
    Err(Problem { errors: wrong.clone(), ..Problem::bad_request(wrong.join("; ")) })
}
