//! How large the window should be: compares what a step either way would gain with what it would lose.
//!
//! Most climbers watch the hit ratio and need a count of hits, which a cache whose hits write nothing does not have.
//! This one weighs *marginal* evidence, all of it from misses and from first hits:
//! - entries that were rejected at the window's end and came back: a larger window would have kept them;
//! - entries evicted from main that came back: a larger main, so a smaller window, would have kept them;
//! - entries of main that came to life: a step that takes room from main loses its share of them;
//! - the same in the older half of the window, for a step that takes room from the window.
//!
//! The ghosts tell by how much an entry missed the cut, so each step size is judged by the evidence within its reach.
//! A larger window also lets more through: what main loses are misses, and each pushes the window on. In a loop a little
//! larger than the cache this eats up the whole step, so that entries miss the cut by as much as before; a climber that
//! does not see it drives the window to its limit and stays there, with hardly a hit. The reach of a step is therefore
//! what is left of it (see `reach`).
//!
//! Steps in alternating directions shrink, steps in one direction grow again, as in Rprop (M. Riedmiller, H. Braun, "A
//! direct adaptive method for faster backpropagation learning", ICNN 1993).

use super::activity::Activations;
use super::ghost::{Kind, Return};

/// Depths are told apart up to 1/64, 1/32, … 1/2 and all of the capacity; what lies deeper is out of reach.
const BUCKETS: usize = 8;
/// The first bucket's bound, in parts of the capacity; that of each other is twice the one before.
const FIRST_BUCKET: f64 = 1.0 / 64.0;
/// Steps that are considered, in parts of the capacity, each with the last bucket of depths within its reach.
const STEPS: [(f64, usize); 5] =
    [(1.0 / 32.0, 1), (1.0 / 16.0, 2), (1.0 / 8.0, 3), (1.0 / 4.0, 4), (1.0 / 2.0, 5)];
/// A step counts in full until its reach is estimated at less than its size divided by this. The estimate is crude: not
/// all that main gives up is lost, some of it is hit in the window.
const DOUBT: f64 = 2.0;
/// The window may be this much of the capacity.
const LARGEST: f64 = 0.9;
const SMALLEST: f64 = 0.01;
/// No move is larger than this part of the capacity.
const MOVE: f64 = 0.125;
/// How far gain and loss must be apart, in standard deviations of their difference, and at least in events.
const CONFIDENCE: f64 = 2.0;
/// What remains of the evidence after each decision.
const MEMORY: f64 = 0.8;
/// A decision is due after half the capacity's worth of misses, but not before this many.
const MIN_PERIOD: u64 = 256;
/// Rprop.
const TURN: f64 = 0.5;
const GO_ON: f64 = 1.2;
const SLOWEST: f64 = 0.05;

/// The cache as it is, in weight.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) capacity: f64,
    pub(super) window: f64,
    pub(super) probation: f64,
    pub(super) protected: f64,
}

/// Evidence, and the pace of the last steps.
#[derive(Debug)]
pub(super) struct Climber {
    misses: u64,
    /// Misses behind the tallies, which fade with them.
    span: f64,
    rejected: [f64; BUCKETS],
    victims: [f64; BUCKETS],
    probation: f64,
    protected: f64,
    old_window: f64,
    pace: f64,
    /// Sign of the last move; 0 before the first.
    direction: f64,
}

impl Climber {
    pub(super) fn new() -> Self {
        Self {
            misses: 0,
            span: 0.0,
            rejected: [0.0; BUCKETS],
            victims: [0.0; BUCKETS],
            probation: 0.0,
            protected: 0.0,
            old_window: 0.0,
            pace: 1.0,
            direction: 0.0,
        }
    }

    /// Counts a miss; true when a decision is due in a cache of `entries`.
    #[inline]
    pub(super) fn miss(&mut self, entries: u64) -> bool {
        self.misses += 1;
        self.misses >= MIN_PERIOD && self.misses >= entries / 2
    }

    /// Takes note of an entry that came back.
    pub(super) fn returned(&mut self, back: Return, capacity: u64) {
        let tally = match back.kind {
            Kind::Rejected => &mut self.rejected,
            Kind::Victim => &mut self.victims,
        };
        tally[bucket(back.depth, capacity)] += 1.0;
    }

    /// Says by how much, in weight, the window should grow (or shrink, if negative).
    pub(super) fn decide(&mut self, activations: Activations, shape: Shape) -> f64 {
        self.span += self.misses as f64;
        self.misses = 0;
        self.probation += f64::from(activations.probation);
        self.protected += f64::from(activations.protected);
        self.old_window += f64::from(activations.old_window);
        let step = self.best_step(shape);
        let step = self.paced(step, shape.capacity);
        for tally in self.rejected.iter_mut().chain(&mut self.victims) {
            *tally *= MEMORY;
        }
        self.span *= MEMORY;
        self.probation *= MEMORY;
        self.protected *= MEMORY;
        self.old_window *= MEMORY;
        step
    }

    /// The step with the best gain for its size, of those whose gain is beyond doubt; 0 if there is none.
    fn best_step(&self, shape: Shape) -> f64 {
        let Shape { capacity, window, probation, protected } = shape;
        let smallest = (SMALLEST * capacity).max(1.0);
        let mut best = (0.0, 0.0);
        let mut consider = |step: f64, gain: f64, loss: f64| {
            let value = (gain - loss) / step.abs();
            if gain - loss > CONFIDENCE * (gain + loss).sqrt().max(1.0) && value > best.1 {
                best = (step, value);
            }
        };
        for (part, reach) in STEPS {
            let size = part * capacity;
            if window + size <= LARGEST * capacity {
                let loss = density(self.probation, probation) * size.min(probation)
                    + density(self.protected, protected) * (size - probation).max(0.0);
                let gain = self.rejected_within(self.reach(size, window, loss), capacity);
                consider(size, gain, loss);
            }
            let smaller = size.min(window - smallest);
            if smaller >= 1.0 {
                let gain = smaller / size * self.victims[..=reach].iter().sum::<f64>();
                let loss = density(self.old_window, window / 2.0) * smaller;
                consider(-smaller, gain, loss);
            }
        }
        best.0
    }

    /// The depth of the deepest entry that a window larger by `size` would keep, if main loses `loss` hits for it.
    ///
    /// An entry that missed the cut by `depth` was away while `window + depth` passed through the window. With the step,
    /// `loss / span` times as much passes besides, so it is kept if `depth + loss / span * (window + depth) <= size`.
    fn reach(&self, size: f64, window: f64, loss: f64) -> f64 {
        let more = density(loss, self.span);
        let reach = (size - more * window) / (1.0 + more);
        (DOUBT * reach).clamp(0.0, size)
    }

    /// Rejected entries that came back and had missed the cut by no more than `depth`; those in a bucket count as spread
    /// evenly over it.
    fn rejected_within(&self, depth: f64, capacity: f64) -> f64 {
        let (mut sum, mut lower, mut upper) = (0.0, 0.0, FIRST_BUCKET * capacity);
        for events in &self.rejected[..BUCKETS - 1] {
            sum += events * ((depth - lower) / (upper - lower)).clamp(0.0, 1.0);
            lower = upper;
            upper *= 2.0;
        }
        sum
    }

    fn paced(&mut self, step: f64, capacity: f64) -> f64 {
        if step == 0.0 {
            return 0.0;
        }
        let direction = step.signum();
        if self.direction == -direction {
            self.pace = (self.pace * TURN).max(SLOWEST);
        } else if self.direction == direction {
            self.pace = (self.pace * GO_ON).min(1.0);
        }
        self.direction = direction;
        direction * step.abs().min(MOVE * capacity * self.pace)
    }
}

/// Events per unit of room.
fn density(events: f64, room: f64) -> f64 {
    if room > 0.0 { events / room } else { 0.0 }
}

fn bucket(depth: u64, capacity: u64) -> usize {
    let mut bound = FIRST_BUCKET * capacity as f64;
    for bucket in 0..BUCKETS - 1 {
        if depth as f64 <= bound {
            return bucket;
        }
        bound *= 2.0;
    }
    BUCKETS - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPACITY: u64 = 1024;

    fn shape(window: f64) -> Shape {
        let main = CAPACITY as f64 - window;
        Shape { capacity: CAPACITY as f64, window, probation: main * 0.2, protected: main * 0.8 }
    }

    fn back(climber: &mut Climber, kind: Kind, depth: u64, times: u32) {
        for _ in 0..times {
            climber.returned(Return { kind, depth }, CAPACITY);
        }
    }

    #[test]
    fn depths_fall_into_buckets_by_powers_of_two() {
        let depths = [0, 16, 17, 32, 64, 128, 256, 512, 1024, 1025, u64::MAX];
        let buckets = depths.map(|depth| bucket(depth, CAPACITY));
        assert_eq!(buckets, [0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 7]);
    }

    #[test]
    fn without_evidence_it_stays() {
        let mut climber = Climber::new();
        assert_eq!(climber.decide(Activations::default(), shape(20.0)), 0.0);
        back(&mut climber, Kind::Rejected, 5, 2);
        assert_eq!(climber.decide(Activations::default(), shape(20.0)), 0.0, "two returns may be chance");
    }

    #[test]
    fn near_misses_of_the_window_grow_it_by_the_smallest_step_that_catches_them() {
        let mut climber = Climber::new();
        back(&mut climber, Kind::Rejected, 20, 100);
        assert_eq!(climber.decide(Activations::default(), shape(20.0)), 32.0);
    }

    #[test]
    fn evidence_out_of_reach_moves_nothing() {
        let mut climber = Climber::new();
        back(&mut climber, Kind::Rejected, 5000, 100);
        back(&mut climber, Kind::Victim, 5000, 100);
        assert_eq!(climber.decide(Activations::default(), shape(300.0)), 0.0);
    }

    #[test]
    fn a_busy_probation_outweighs_returns() {
        let mut climber = Climber::new();
        back(&mut climber, Kind::Rejected, 20, 100);
        let busy = Activations { probation: 2000, ..Activations::default() };
        assert_eq!(climber.decide(busy, shape(20.0)), 0.0);
    }

    #[test]
    fn a_step_that_would_defeat_itself_is_not_taken() {
        // A loop a little larger than the cache, with the window at 90 %: all that is rejected comes back after a few
        // misses, and each of main's entries is hit once per loop.
        let large = shape(0.8 * CAPACITY as f64);
        let looping = |hits: u32| {
            let mut climber = Climber::new();
            (0..512).for_each(|_| assert!(!climber.miss(1 << 20)));
            back(&mut climber, Kind::Rejected, 11, 512);
            climber.decide(Activations { probation: hits / 5, protected: hits / 5 * 4, old_window: 0 }, large)
        };
        // The depths are known by buckets only, so a hundredth more or less may pass.
        let loops = 1.2 * 512.0 / (large.window + 11.0);
        let in_main = CAPACITY as f64 - large.window;
        assert_eq!(looping((loops * in_main) as u32), 0.0);
        assert!(looping(10) > 0.0, "with a main that earns nothing the same evidence is good");
    }

    #[test]
    fn evidence_counts_in_full_where_main_has_little_to_lose() {
        let mut climber = Climber::new();
        climber.span = 1000.0;
        back(&mut climber, Kind::Rejected, 20, 100);
        assert_eq!(climber.rejected_within(climber.reach(32.0, 20.0, 100.0), CAPACITY as f64), 100.0);
        assert!(climber.rejected_within(climber.reach(32.0, 600.0, 100.0), CAPACITY as f64) < 1.0);
    }

    #[test]
    fn near_misses_of_main_shrink_the_window_unless_its_older_half_is_in_use() {
        let mut climber = Climber::new();
        back(&mut climber, Kind::Victim, 20, 100);
        assert_eq!(climber.decide(Activations::default(), shape(300.0)), -32.0);
        let mut climber = Climber::new();
        back(&mut climber, Kind::Victim, 20, 100);
        let busy = Activations { old_window: 1000, ..Activations::default() };
        assert_eq!(climber.decide(busy, shape(300.0)), 0.0);
    }

    #[test]
    fn the_window_keeps_a_hundredth_and_leaves_a_tenth() {
        let mut climber = Climber::new();
        back(&mut climber, Kind::Victim, 20, 1000);
        assert!(climber.decide(Activations::default(), shape(15.0)) >= -(15.0 - 10.24));
        let mut climber = Climber::new();
        back(&mut climber, Kind::Rejected, 20, 1000);
        assert_eq!(climber.decide(Activations::default(), shape(900.0)), 0.0);
    }

    #[test]
    fn turning_round_halves_the_pace_and_going_on_restores_it() {
        let mut climber = Climber::new();
        let mut moves = Vec::new();
        for kind in [Kind::Rejected, Kind::Victim, Kind::Rejected, Kind::Rejected, Kind::Rejected] {
            climber.rejected = [0.0; BUCKETS];
            climber.victims = [0.0; BUCKETS];
            back(&mut climber, kind, 512, 10_000);
            moves.push(climber.decide(Activations::default(), shape(400.0)));
        }
        let expected = [128.0, -64.0, 32.0, 38.4, 46.08];
        for (moved, expected) in moves.iter().zip(expected) {
            assert!((moved - expected).abs() < 1e-9, "{moves:?}");
        }
    }

    #[test]
    fn a_decision_is_due_after_half_the_capacity_but_not_before_256_misses() {
        let mut climber = Climber::new();
        assert_eq!((1..).find(|_| climber.miss(10)), Some(256));
        let mut climber = Climber::new();
        assert_eq!((1..).find(|_| climber.miss(10_000)), Some(5000));
    }
}
