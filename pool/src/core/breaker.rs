//! The circuit breaker and its backoff, one for the whole pool.
//!
//! *Closed*: connections open as they are wanted. After a failure one prober dials at a time, at growing intervals. After
//! [`TRIP`] failures in a row, or a permanent one, the breaker is *open*: callers whom nothing else can serve get the real
//! error at once. The prober's next attempt is the half-open state: if it succeeds the breaker is closed.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::error::{ConnectError, ConnectFailure};

/// Failed attempts in a row after which callers are told at once.
const TRIP: u32 = 3;
/// After the last request a dead target is dialled at the usual pace for this long.
const INTEREST: Duration = Duration::from_secs(30);
/// How seldom it is dialled after that, if a minimum of idle connections is wanted.
const IDLE_PACE: Duration = Duration::from_secs(5);

pub(crate) struct Breaker<E> {
    first: Duration,
    most: Duration,
    failures: u32,
    /// Failures that count for tripping: a permanent one counts for all.
    weight: u32,
    last: Option<(Arc<ConnectError<E>>, Instant)>,
    delay: Duration,
    last_request: Option<Instant>,
}

impl<E> Breaker<E> {
    pub(crate) fn new(first: Duration, most: Duration) -> Self {
        Self { first, most, failures: 0, weight: 0, last: None, delay: Duration::ZERO, last_request: None }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.failures == 0
    }

    pub(crate) fn is_open(&self) -> bool {
        self.weight >= TRIP
    }

    /// A caller wants a connection. True if that ends a long silence, and a sleeping prober should hurry.
    pub(crate) fn requested(&mut self, now: Instant) -> bool {
        let hurry = !self.is_closed() && !self.interested(now);
        self.last_request = Some(now);
        hurry
    }

    /// Whether somebody asked lately.
    pub(crate) fn interested(&self, now: Instant) -> bool {
        self.last_request.is_some_and(|at| now.saturating_duration_since(at) < INTEREST)
    }

    pub(crate) fn succeeded(&mut self) -> Option<Arc<ConnectError<E>>> {
        self.failures = 0;
        self.weight = 0;
        self.last.take().map(|(error, _)| error)
    }

    /// Hands back the error that this one replaces, to be dropped after the unlock.
    pub(crate) fn failed(
        &mut self,
        error: Arc<ConnectError<E>>,
        permanent: bool,
        now: Instant,
    ) -> Option<Arc<ConnectError<E>>> {
        self.failures = self.failures.saturating_add(1);
        self.weight = if permanent { TRIP } else { self.weight.saturating_add(1) };
        let longer = self.first.saturating_mul(1 << (2 * (self.failures - 1)).min(16));
        // A little jitter: many processes lose the same server at the same moment.
        self.delay = longer.min(self.most).mul_f64(0.95 + 0.1 * fastrand::f64());
        self.last.replace((error, now)).map(|(error, _)| error)
    }

    /// When the next attempt is due; now, if the last one succeeded.
    pub(crate) fn next_attempt(&self, now: Instant) -> Instant {
        match &self.last {
            None => now,
            Some((_, failed)) => {
                let pace = if self.interested(now) { Duration::ZERO } else { IDLE_PACE };
                (*failed + self.delay.max(pace)).max(now)
            }
        }
    }

    pub(crate) fn failure(&self, now: Instant) -> Option<ConnectFailure<E>> {
        let (error, at) = self.last.as_ref()?;
        Some(ConnectFailure {
            error: Arc::clone(error),
            age: now.saturating_duration_since(*at),
            failures: self.failures,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error() -> Arc<ConnectError<String>> {
        Arc::new(ConnectError::Manager("down".into()))
    }

    #[tokio::test(start_paused = true)]
    async fn opens_after_three_failures_or_a_permanent_one() {
        let now = Instant::now();
        let mut breaker = Breaker::new(Duration::from_millis(10), Duration::from_millis(240));
        breaker.requested(now);
        for failures in 1..=3 {
            assert!(!breaker.is_open());
            breaker.failed(error(), false, now);
            assert_eq!(breaker.failure(now).unwrap().failures, failures);
        }
        assert!(breaker.is_open());
        for _ in 0..40 {
            breaker.failed(error(), false, now);
        }
        let wait = breaker.next_attempt(now) - now;
        assert!(wait >= Duration::from_millis(228) && wait <= Duration::from_millis(252), "{wait:?}");
        breaker.succeeded();
        assert!(breaker.is_closed() && !breaker.is_open());
        assert_eq!(breaker.next_attempt(now), now);
        breaker.failed(error(), true, now);
        assert!(breaker.is_open());
    }

    #[tokio::test(start_paused = true)]
    async fn a_silence_slows_it_down_and_a_request_hurries_it() {
        let mut breaker = Breaker::new(Duration::from_millis(10), Duration::from_millis(240));
        let now = Instant::now();
        breaker.failed(error(), false, now);
        assert!(breaker.next_attempt(now) - now >= IDLE_PACE);
        assert!(breaker.requested(now), "a prober may be asleep");
        assert!(!breaker.requested(now));
        assert!(breaker.next_attempt(now) - now < Duration::from_millis(20));
    }
}
