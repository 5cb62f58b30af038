//! For clients: calls that are made again when the service is away, with tower's retries and backoff.
//!
//! Every call of this service may be made again: ids are the client's, so a call whose answer was lost and the one after it have
//! the effect of one.

use std::error::Error as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{Instant, Sleep};
use tonic::{Code, Response, Status};
use tower::retry::backoff::{Backoff as _, ExponentialBackoff, ExponentialBackoffMaker, MakeBackoff as _};
use tower::retry::{Policy, Retry};
use tower::util::rng::HasherRng;
use tower::{ServiceExt as _, service_fn};

/// Before the second attempt, and between later ones at most.
const PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// Makes calls again for a bounded time, and counts that. Clones count together.
#[derive(Clone, Debug)]
pub struct Again {
    patience: Duration,
    retries: Arc<AtomicU64>,
}

impl Again {
    /// A call is made again until this long after its begin.
    #[must_use]
    pub fn new(patience: Duration) -> Self {
        Self { patience, retries: Arc::default() }
    }

    /// Calls that were made again, since it was made.
    #[must_use]
    pub fn retries(&self) -> u64 {
        self.retries.load(Ordering::Relaxed)
    }

    /// Makes a call until it has an answer that counts.
    ///
    /// # Errors
    /// One that another call would get too, or the last one when the time is over.
    pub async fn call<Q, A, F>(&self, request: Q, call: impl Fn(Q) -> F + Clone) -> Result<A, Status>
    where
        Q: Clone,
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let mut pauses = ExponentialBackoffMaker::new(PAUSES.0, PAUSES.1, 0.5, HasherRng::default())
            .map_err(|error| Status::internal(error.to_string()))?;
        let policy = Attempts {
            pauses: pauses.make_backoff(),
            until: Instant::now() + self.patience,
            retries: Arc::clone(&self.retries),
        };
        Retry::new(policy, service_fn(call)).oneshot(request).await.map(Response::into_inner)
    }
}

/// Of one call.
#[derive(Clone, Debug)]
struct Attempts {
    pauses: ExponentialBackoff,
    until: Instant,
    retries: Arc<AtomicU64>,
}

impl<Q: Clone, A> Policy<Q, A, Status> for Attempts {
    type Future = Sleep;

    fn retry(&mut self, _: &mut Q, result: &mut Result<A, Status>) -> Option<Sleep> {
        let is_over = Instant::now() >= self.until;
        if is_over || !result.as_ref().is_err_and(is_worth_another) {
            return None;
        }
        self.retries.fetch_add(1, Ordering::Relaxed);
        Some(self.pauses.next_backoff())
    }

    fn clone_request(&mut self, request: &Q) -> Option<Q> {
        Some(request.clone())
    }
}

/// Whether the service was away, too busy or too slow, or the connection broke, whatever its code: then the error has a cause.
fn is_worth_another(status: &Status) -> bool {
    use Code::{Aborted, Cancelled, DeadlineExceeded, ResourceExhausted, Unavailable};
    let codes = [Unavailable, DeadlineExceeded, Aborted, ResourceExhausted, Cancelled];
    status.source().is_some() || codes.contains(&status.code())
}
