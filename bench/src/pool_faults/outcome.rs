//! What came of a fault.

use std::time::{Duration, Instant};

use super::caller::Seen;
use super::fault::Fault;
use crate::databases::Kind;

/// What came of one fault with one pool.
#[derive(Clone, Debug, Default)]
pub(super) struct Outcome {
    /// Callers that got no connection.
    pub(super) refused: usize,
    /// Queries that failed and had begun before the fault was complete.
    pub(super) in_flight: usize,
    /// Queries that failed and had begun later: on a connection that was dead when it was lent.
    pub(super) dead: usize,
    /// The longest time to an answer from the pool.
    pub(super) stall: Duration,
    /// Callers that were answered since the fault began.
    pub(super) seen: usize,
    /// From the end of the fault to the last failure; `None` if nobody succeeded after it.
    pub(super) recovery: Option<Duration>,
    /// Connections opened in a second of the fault.
    pub(super) dials_per_second: f64,
    /// Connections opened in all.
    pub(super) dials: usize,
    /// The most connections that the server had at a time.
    pub(super) most: usize,
    /// Connections that could be borrowed at once when all was over.
    pub(super) usable: usize,
    /// Borrows that were served.
    pub(super) served: usize,
    /// How long callers that got none waited in the last second of the fault: the median.
    pub(super) told_after: Option<Duration>,
    /// Of the callers that got none, those whose error tells the cause.
    pub(super) told_why: usize,
    /// Connections lent inside a transaction that was not the borrower's.
    pub(super) inside: usize,
    /// What does not fit elsewhere.
    pub(super) remark: String,
}

/// What came of one fault with one pool, or what kept it from being played.
pub(super) struct Cell {
    pub(super) kind: Kind,
    pub(super) fault: Fault,
    pub(super) outcome: Result<Outcome, String>,
}

/// When the fault began, when it was complete, and when it was over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub(super) began: Instant,
    pub(super) complete: Instant,
    pub(super) over: Instant,
}

impl Outcome {
    /// Counts what callers saw since the fault began.
    pub(super) fn count(&mut self, all: &[Seen], times: Times) {
        let Times { began, complete, over } = times;
        let late = over.checked_sub(Duration::from_secs(1)).unwrap_or(began).max(began);
        let (mut last_failure, mut last_success) = (None, None);
        let mut waits = Vec::new();
        for seen in all.iter().filter(|seen| seen.ended >= began) {
            self.seen += 1;
            if seen.answered >= began {
                self.stall = self.stall.max(seen.answered - seen.asked);
            }
            if let Some(error) = &seen.refused {
                self.refused += 1;
                self.told_why += usize::from(tells_why(error));
                if (late..over).contains(&seen.answered) {
                    waits.push(seen.answered - seen.asked);
                }
                if self.remark.is_empty() {
                    self.remark.clone_from(error);
                }
            } else if seen.failed.is_some() {
                *(if seen.answered < complete { &mut self.in_flight } else { &mut self.dead }) += 1;
            } else {
                self.served += 1;
                last_success = last_success.max(Some(seen.ended));
                continue;
            }
            last_failure = last_failure.max(Some(seen.ended));
        }
        let last_failure = last_failure.unwrap_or(began);
        if last_success.is_some_and(|success| success > last_failure && success >= over) {
            self.recovery = Some(last_failure.saturating_duration_since(over));
        }
        waits.sort_unstable();
        self.told_after = waits.get(waits.len() / 2).copied();
    }
}

/// Whether an error names what happened to the connection, and not only that there is none.
fn tells_why(error: &str) -> bool {
    let error = error.to_lowercase();
    ["reset", "refused", "broken pipe", "unexpected", "connection closed", "eof", "end of file", "hung up"]
        .iter()
        .any(|cause| error.contains(cause))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_told_apart_by_their_times() {
        let zero = Instant::now();
        let at = |millis| zero + Duration::from_millis(millis);
        let seen = |asked, answered, ended, refused: Option<&str>, failed: Option<&str>| Seen {
            asked: at(asked),
            answered: at(answered),
            refused: refused.map(str::to_owned),
            ended: at(ended),
            failed: failed.map(str::to_owned),
        };
        let all = [
            seen(0, 90, 95, None, Some("before the fault: none of its doing")),
            seen(95, 99, 130, None, Some("cut")),
            seen(100, 115, 130, None, Some("dead")),
            seen(130, 180, 180, Some("Connection reset by peer"), None),
            seen(200, 230, 230, Some("timed out"), None),
            seen(230, 240, 250, None, None),
        ];
        let mut outcome = Outcome::default();
        outcome.count(&all, Times { began: at(100), complete: at(110), over: at(200) });
        let Outcome { refused, in_flight, dead, served, told_why, .. } = outcome;
        assert_eq!((refused, in_flight, dead, served, told_why), (2, 1, 1, 1, 1));
        assert_eq!(outcome.stall, Duration::from_millis(50));
        assert_eq!(outcome.recovery, Some(Duration::from_millis(30)));
        assert_eq!(outcome.told_after, Some(Duration::from_millis(50)));
        let mut outcome = Outcome::default();
        outcome.count(&all[..5], Times { began: at(100), complete: at(110), over: at(200) });
        assert_eq!(outcome.recovery, None, "nobody succeeded");
    }
}
