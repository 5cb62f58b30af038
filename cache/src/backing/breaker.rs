//! A circuit breaker (M. Nygard, "Release It!", 2007): after some transient failures in a row the store is left alone for a
//! while, then one call tries it for all.

use parking_lot::Mutex;

/// Off, or failures in a row that open it and the time until it is tried, in ticks.
#[derive(Debug)]
pub(crate) struct Breaker {
    failures_to_open: u32,
    cool_down: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    failures: u32,
    /// Not to be asked before this time. Something only while it is open.
    open_until: Option<u64>,
    is_probed: bool,
}

/// The right to ask the store once. Dropping it without an answer tells the breaker nothing.
pub(crate) struct Permit<'b> {
    breaker: &'b Breaker,
    is_probe: bool,
}

impl Breaker {
    /// `failures_to_open` 0: never opens.
    pub(crate) fn new(failures_to_open: u32, cool_down: u64) -> Self {
        Self { failures_to_open, cool_down, state: Mutex::default() }
    }

    /// `None`: leave the store alone.
    pub(crate) fn permit(&self, now: u64) -> Option<Permit<'_>> {
        let mut is_probe = false;
        if self.failures_to_open > 0 {
            let mut state = self.state.lock();
            if let Some(until) = state.open_until {
                if now < until || state.is_probed {
                    return None;
                }
                state.is_probed = true;
                is_probe = true;
            }
        }
        Some(Permit { breaker: self, is_probe })
    }

    pub(crate) fn is_open(&self) -> bool {
        self.state.lock().open_until.is_some()
    }
}

impl Permit<'_> {
    /// The store answered, be it with a permanent error.
    pub(crate) fn answered(self) {
        if self.breaker.failures_to_open > 0 {
            let mut state = self.breaker.state.lock();
            // An answer to a call that began before the breaker opened is no probe.
            if self.is_probe || state.open_until.is_none() {
                state.failures = 0;
                state.open_until = None;
            }
        }
    }

    /// The store did not answer.
    pub(crate) fn failed(self, now: u64) {
        if self.breaker.failures_to_open > 0 {
            let mut state = self.breaker.state.lock();
            state.failures = state.failures.saturating_add(1);
            let opens = state.open_until.is_none() && state.failures >= self.breaker.failures_to_open;
            if self.is_probe || opens {
                state.open_until = Some(now.saturating_add(self.breaker.cool_down));
            }
        }
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if self.is_probe {
            self.breaker.state.lock().is_probed = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_after_failures_in_a_row_and_lets_one_call_probe() {
        let breaker = Breaker::new(2, 100);
        let fail = |now| breaker.permit(now).unwrap().failed(now);
        fail(0);
        breaker.permit(0).unwrap().answered();
        fail(0);
        let early = breaker.permit(0).unwrap();
        assert!(!breaker.is_open());
        fail(0);
        assert!(breaker.is_open() && breaker.permit(99).is_none());
        early.answered();
        assert!(breaker.is_open(), "an early call says nothing about now");
        let probe = breaker.permit(100).unwrap();
        assert!(breaker.permit(100).is_none(), "one probe at a time");
        drop(probe);
        fail(100);
        assert!(breaker.permit(199).is_none());
        breaker.permit(200).unwrap().answered();
        assert!(!breaker.is_open());
        fail(200);
        assert!(!breaker.is_open(), "the count began anew");
    }

    #[test]
    fn switched_off_it_never_opens() {
        let breaker = Breaker::new(0, 100);
        for _ in 0..100 {
            breaker.permit(0).unwrap().failed(0);
        }
        assert!(!breaker.is_open() && breaker.permit(0).is_some());
    }
}
