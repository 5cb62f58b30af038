//! Entity tags: 304 for those who have an answer already, 412 for a write to what is no longer what its author has seen.

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::airport::Airport;
use crate::cached::Answer;
use crate::problem::Problem;

/// The response for an answer; the body is the cache's own, not a copy.
pub(super) fn respond(answer: Answer, headers: &HeaderMap, max_age: u64) -> Result<Response, Problem> {
    let control = format!("public, max-age={max_age}");
    let control = HeaderValue::try_from(control).map_err(|error| Problem::internal(&error))?;
    let known = headers.get_all(header::IF_NONE_MATCH).iter().any(|list| matches(list, &answer.etag));
    let common = [(header::ETAG, answer.etag), (header::CACHE_CONTROL, control)];
    if known {
        // A 304 has the `Vary` that the 200 would have (RFC 9110, 15.4.5); the compression adds it to bodies only.
        return Ok((StatusCode::NOT_MODIFIED, common, [(header::VARY, "accept-encoding")]).into_response());
    }
    Ok((common, [(header::CONTENT_TYPE, "application/json")], answer.body).into_response())
}

/// What a write asks for first (RFC 9110, 13.1.1 and 13.1.2).
///
/// `If-Match` compares weakly too, against the letter of the RFC: our tags are weak only because an answer may be sent
/// compressed, and for a write it is the content that counts.
#[derive(Debug)]
pub(super) struct Preconditions {
    if_match: Vec<HeaderValue>,
    if_none_match: Vec<HeaderValue>,
}

impl Preconditions {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let all = |name| headers.get_all(name).iter().cloned().collect();
        Self { if_match: all(header::IF_MATCH), if_none_match: all(header::IF_NONE_MATCH) }
    }

    /// Whether the write may go on, with what there is now.
    pub(super) fn hold(&self, current: Option<&Airport>) -> bool {
        let etag = current.and_then(|airport| Answer::new(airport).ok()).map(|answer| answer.etag);
        let among = |lists: &[HeaderValue]| {
            etag.as_ref().is_some_and(|etag| lists.iter().any(|list| matches(list, etag)))
        };
        (self.if_match.is_empty() || among(&self.if_match)) && !among(&self.if_none_match)
    }
}

/// Weak comparison (RFC 9110, 13.1.2) with each tag of a list. What can't be read matches nothing.
fn matches(list: &HeaderValue, etag: &HeaderValue) -> bool {
    let (Ok(list), Ok(etag)) = (list.to_str(), etag.to_str()) else { return false };
    let strong = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    list.trim() == "*" || list.split(',').any(|tag| strong(tag) == strong(etag))
}
