//! How large the window should be: compares what a larger or smaller window would have earned at the margin.
//!
//! Gains come from ghosts: misses that a window larger by `d` would have caught, or that a main region larger by `d` would
//! have. Losses come from activations: first hits on entries that the change would have pushed out. No hit is counted, so
//! hits stay free. The tallies decay, the step adapts as in Rprop (M. Riedmiller, H. Braun, 1993).

use super::ghost::{BUCKETS, Kind};

const DECAY: f64 = 0.8;
/// The largest step, as a part of the capacity.
const STEP: f64 = 0.125;
const MAX_WINDOW: f64 = 0.9;
const MIN_WINDOW: f64 = 0.01;

/// Sizes of the regions when a decision is due, in weight.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub(super) capacity: u64,
    pub(super) window_max: u64,
    pub(super) probation: u64,
    pub(super) protected: u64,
}

/// Decayed counts of events since the beginning.
#[derive(Debug)]
pub(super) struct Climber {
    window_ghosts: [f64; BUCKETS],
    main_ghosts: [f64; BUCKETS],
    /// Activations: probation, protected, older half of the window.
    activations: [f64; 3],
    misses: u64,
    scale: f64,
    /// Sign of the last step; 0 before the first.
    direction: f64,
}

impl Climber {
    pub(super) fn new() -> Self {
        Self {
            window_ghosts: [0.0; BUCKETS],
            main_ghosts: [0.0; BUCKETS],
            activations: [0.0; 3],
            misses: 0,
            scale: 1.0,
            direction: 0.0,
        }
    }

    /// Counts a miss that a larger region would have caught.
    pub(super) fn ghost(&mut self, kind: Kind, bucket: usize) {
        match kind {
            Kind::Window => self.window_ghosts[bucket] += 1.0,
            Kind::Main => self.main_ghosts[bucket] += 1.0,
        }
    }

    /// Counts a miss; true when a decision is due, which is every `period` misses.
    #[inline]
    pub(super) fn miss(&mut self, period: u64) -> bool {
        self.misses += 1;
        if self.misses < period {
            return false;
        }
        self.misses = 0;
        true
    }

    /// How much the window should grow (or shrink, if negative), in weight.
    pub(super) fn decide(&mut self, activations: [u32; 3], sizes: Sizes) -> f64 {
        for (sum, new) in self.activations.iter_mut().zip(activations) {
            *sum += f64::from(new);
        }
        let step = self.best(sizes).map_or(0.0, |(direction, distance)| {
            if self.direction * direction < 0.0 {
                self.scale = (self.scale / 2.0).max(0.05);
            } else if self.direction * direction > 0.0 {
                self.scale = (self.scale * 1.2).min(1.0);
            }
            self.direction = direction;
            direction * distance.min(STEP * sizes.capacity as f64 * self.scale)
        });
        let tallies = [&mut self.window_ghosts[..], &mut self.main_ghosts[..], &mut self.activations[..]];
        for tally in tallies.into_iter().flatten() {
            *tally *= DECAY;
        }
        step
    }

    /// The most profitable change: its direction and distance.
    fn best(&self, sizes: Sizes) -> Option<(f64, f64)> {
        let capacity = sizes.capacity as f64;
        let window = sizes.window_max as f64;
        let (probation, protected) = (sizes.probation as f64, sizes.protected as f64);
        let [in_probation, in_protected, in_window] = self.activations;
        let mut best: Option<(f64, f64, f64)> = None;
        let mut consider = |gain: f64, loss: f64, direction: f64, distance: f64| {
            let profit = gain - loss;
            let noise = 2.0 * (gain + loss).sqrt().max(1.0);
            let rate = profit / distance;
            if profit > noise && best.is_none_or(|(most, ..)| rate > most) {
                best = Some((rate, direction, distance));
            }
        };
        for exponent in 1..=5usize {
            let distance = capacity / f64::from(1u32 << exponent);
            // Buckets reach up to 1/64 << bucket of the capacity.
            let reach = 7 - exponent;
            if window + distance <= MAX_WINDOW * capacity {
                let gain: f64 = self.window_ghosts[..reach].iter().sum();
                let per_probation = if probation > 0.0 { in_probation / probation } else { 0.0 };
                let per_protected = if protected > 0.0 { in_protected / protected } else { 0.0 };
                let loss =
                    per_probation * distance.min(probation) + per_protected * (distance - probation).max(0.0);
                consider(gain, loss, 1.0, distance);
            }
            let shrink = distance.min(window - (MIN_WINDOW * capacity).max(1.0));
            if shrink >= 1.0 {
                let gain = shrink / distance * self.main_ghosts[..reach].iter().sum::<f64>();
                let loss = in_window / (window / 2.0) * shrink;
                consider(gain, loss, -1.0, shrink);
            }
        }
        best.map(|(_, direction, distance)| (direction, distance))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZES: Sizes = Sizes { capacity: 1000, window_max: 20, probation: 200, protected: 780 };

    #[test]
    fn grows_for_misses_that_a_larger_window_would_catch() {
        let mut climber = Climber::new();
        (0..100).for_each(|_| climber.ghost(Kind::Window, 0));
        assert!(climber.decide([10, 10, 10], SIZES) > 0.0);
    }

    #[test]
    fn stays_when_main_earns_more() {
        let mut climber = Climber::new();
        (0..100).for_each(|_| climber.ghost(Kind::Window, 3));
        assert_eq!(climber.decide([100_000, 100_000, 0], SIZES), 0.0);
    }

    #[test]
    fn shrinks_for_misses_that_a_larger_main_would_catch() {
        let mut climber = Climber::new();
        (0..100).for_each(|_| climber.ghost(Kind::Main, 2));
        let sizes = Sizes { window_max: 500, ..SIZES };
        assert!(climber.decide([0, 0, 1], sizes) < 0.0);
    }

    #[test]
    fn turning_round_halves_the_step() {
        let mut climber = Climber::new();
        let sizes = Sizes { window_max: 500, ..SIZES };
        (0..1000).for_each(|_| climber.ghost(Kind::Main, 5));
        let first = climber.decide([0, 0, 0], sizes);
        (0..10_000).for_each(|_| climber.ghost(Kind::Window, 4));
        let second = climber.decide([0, 0, 0], sizes);
        assert!(first < 0.0 && second > 0.0);
        assert!(second <= 0.5 * 125.0 + 1.0);
    }
}
