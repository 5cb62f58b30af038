//! Shedding: when the queue stands for too long, late waiters are turned away rather than served too late to be of use.
//!
//! CoDel (Nichols and Jacobson, "Controlling Queue Delay", ACM Queue 10(5), 2012) for a queue of requests, in the form that
//! Elixir's `DBConnection` gave it: if even the shortest wait of an interval was above the target, then for the next interval
//! everybody who has waited for more than twice the target is turned away as their turn comes. A burst that drains within an
//! interval costs nobody anything.

use crate::clock::Ticks;

#[derive(Debug)]
pub(crate) struct Codel {
    target: Ticks,
    interval: Ticks,
    /// When the present interval ends.
    until: Ticks,
    /// The shortest wait of the present interval, if anybody was served.
    least: Option<Ticks>,
    slow: bool,
}

impl Codel {
    pub(crate) fn new(target: Ticks, interval: Ticks) -> Self {
        Self { target, interval, until: 0, least: None, slow: false }
    }

    /// Somebody is served after a wait, or a connection finds nobody who waits: a wait of nothing.
    pub(crate) fn observe(&mut self, waited: Ticks, now: Ticks) {
        self.roll(now);
        self.least = Some(self.least.map_or(waited, |least| least.min(waited)));
    }

    fn roll(&mut self, now: Ticks) {
        if now >= self.until {
            // Nobody was served in this interval: nothing is known, and nothing changes. Nothing for longer than that: the
            // pool is idle, or borrows need no lock.
            let quiet = now >= self.until.saturating_add(self.interval);
            self.slow = !quiet && self.least.map_or(self.slow, |least| least > self.target);
            self.least = None;
            self.until = now.saturating_add(self.interval);
        }
    }

    /// Whether one who has waited for so long is to be turned away.
    pub(crate) fn is_late(&mut self, waited: Ticks, now: Ticks) -> bool {
        self.roll(now);
        self.slow && waited > self.target.saturating_mul(2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standing_queue_sheds_and_a_burst_does_not() {
        let mut codel = Codel::new(50, 1000);
        codel.observe(0, 1);
        codel.observe(400, 500);
        assert!(!codel.is_late(900, 1200), "somebody was served at once in that interval");
        codel.observe(300, 1300);
        codel.observe(200, 2000);
        assert!(codel.is_late(101, 2300) && !codel.is_late(100, 2300));
        codel.observe(20, 2400);
        assert!(!codel.is_late(500, 3400));
        codel.observe(300, 3500);
        codel.observe(300, 4500);
        assert!(codel.is_late(500, 4600), "as before, while nobody is served");
        assert!(!codel.is_late(500, 9000), "long over");
    }
}
