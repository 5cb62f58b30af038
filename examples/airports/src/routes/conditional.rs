//! Answers with an entity tag: 304 for those who have them already.

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::cached::Answer;
use crate::problem::Problem;

/// The response for an answer; the body is the cache's own, not a copy.
pub(super) fn respond(answer: Answer, headers: &HeaderMap, max_age: u64) -> Result<Response, Problem> {
    let control = format!("public, max-age={max_age}");
    let control = HeaderValue::try_from(control).map_err(|error| Problem::internal(&error))?;
    let known = headers.get_all(header::IF_NONE_MATCH).iter().any(|list| matches(list, &answer.etag));
    let common = [(header::ETAG, answer.etag), (header::CACHE_CONTROL, control)];
    if known {
        return Ok((StatusCode::NOT_MODIFIED, common).into_response());
    }
    Ok((common, [(header::CONTENT_TYPE, "application/json")], answer.body).into_response())
}

/// Weak comparison (RFC 9110, 13.1.2) with each tag of a list. What can't be read matches nothing.
fn matches(list: &HeaderValue, etag: &HeaderValue) -> bool {
    let (Ok(list), Ok(etag)) = (list.to_str(), etag.to_str()) else { return false };
    let strong = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    list.trim() == "*" || list.split(',').any(|tag| strong(tag) == strong(etag))
}
