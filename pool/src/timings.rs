//! How long things take, as histograms: waiting, opening, checking, holding.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::meters::Meters;

/// Four buckets for each doubling, from 1 µs to about an hour.
const BUCKETS: usize = 128;

/// The bucket of a span: exact below 4 µs, within 25 % above.
fn bucket(nanos: u64) -> usize {
    let units = nanos >> 10;
    let index = if units < 4 {
        units
    } else {
        let log = u64::from(units.ilog2());
        4 + (log - 2) * 4 + ((units >> (log - 2)) & 3)
    };
    usize::try_from(index).unwrap_or(BUCKETS).min(BUCKETS - 1)
}

/// The first span, in nanoseconds, that is above the bucket.
fn end(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    let units = if bucket < 4 { bucket + 1 } else { (4 + (bucket & 3) + 1) << ((bucket >> 2) - 1) };
    units << 10
}

/// Spans that are recorded by anybody at any time, without a lock.
pub(crate) struct Recorder {
    buckets: Box<[AtomicU64]>,
    nanos: AtomicU64,
    longest: AtomicU64,
}

impl Default for Recorder {
    fn default() -> Self {
        Self {
            buckets: (0..BUCKETS).map(|_| AtomicU64::new(0)).collect(),
            nanos: AtomicU64::new(0),
            longest: AtomicU64::new(0),
        }
    }
}

impl Recorder {
    fn record(&self, span: Duration) {
        let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        self.buckets[bucket(nanos)].fetch_add(1, Ordering::Relaxed);
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
        if nanos > self.longest.load(Ordering::Relaxed) {
            self.longest.fetch_max(nanos, Ordering::Relaxed);
        }
    }

    fn snapshot(&self) -> Histogram {
        let buckets: Box<[u64]> = self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).collect();
        Histogram {
            count: buckets.iter().sum(),
            sum: Duration::from_nanos(self.nanos.load(Ordering::Relaxed)),
            longest: Duration::from_nanos(self.longest.load(Ordering::Relaxed)),
            buckets,
        }
    }
}

/// What a pool records as it goes.
pub(crate) struct Recorders {
    queue: Recorder,
    connect: Recorder,
    validate: Recorder,
    hold: Recorder,
    pub(crate) meters: Meters,
}

impl Recorders {
    pub(crate) fn new(meters: Meters) -> Self {
        Self {
            queue: Recorder::default(),
            connect: Recorder::default(),
            validate: Recorder::default(),
            hold: Recorder::default(),
            meters,
        }
    }

    /// A wait ended, well or not.
    pub(crate) fn queue(&self, span: Duration) {
        self.queue.record(span);
        self.meters.queue(span);
    }

    pub(crate) fn connect(&self, span: Duration) {
        self.connect.record(span);
        self.meters.connect(span);
    }

    pub(crate) fn validate(&self, span: Duration) {
        self.validate.record(span);
        self.meters.validate(span);
    }

    pub(crate) fn hold(&self, span: Duration) {
        self.hold.record(span);
        self.meters.hold(span);
    }

    pub(crate) fn snapshot(&self) -> Timings {
        Timings {
            queue: self.queue.snapshot(),
            connect: self.connect.snapshot(),
            validate: self.validate.snapshot(),
            hold: self.hold.snapshot(),
        }
    }
}

/// How long a borrower waited, a connection took to be opened and checked, and was held: four histograms, because they have
/// four different causes. From [`Pool::timings`](crate::Pool::timings).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Timings {
    /// Waits in the queue, those that ended in an error included. Borrows that need no wait are not in it.
    pub queue: Histogram,
    /// Attempts to open a connection that succeeded, `after_connect` included.
    pub connect: Histogram,
    /// Checks and resets, passed or not, and `after_release`.
    pub validate: Histogram,
    /// From borrow to return. Empty unless
    /// [`record_hold_times`](crate::PoolBuilder::record_hold_times), leak detection or
    /// [`warn_nested`](crate::PoolBuilder::warn_nested) is on.
    pub hold: Histogram,
}

/// Counts of spans, in buckets that grow by a fourth at most.
#[derive(Clone)]
pub struct Histogram {
    buckets: Box<[u64]>,
    count: u64,
    sum: Duration,
    longest: Duration,
}

impl Histogram {
    /// How many spans.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// All of them together.
    #[must_use]
    pub fn sum(&self) -> Duration {
        self.sum
    }

    /// The longest.
    #[must_use]
    pub fn longest(&self) -> Duration {
        self.longest
    }

    /// Their mean; zero if there are none.
    #[must_use]
    pub fn mean(&self) -> Duration {
        let nanos = self.sum.as_nanos() / u128::from(self.count.max(1));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// A span that a share `q` of all, 0 to 1, do not exceed: the upper end of the bucket, so up to 25 % too much, and never
    /// more than the longest. Zero if there are none.
    #[must_use]
    pub fn quantile(&self, q: f64) -> Duration {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_precision_loss,
            clippy::cast_sign_loss,
            reason = "a share of a count"
        )]
        let rank = ((self.count as f64 * q.clamp(0.0, 1.0)).ceil() as u64).max(1);
        let mut seen = 0;
        for (index, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return Duration::from_nanos(end(index)).min(self.longest);
            }
        }
        self.longest
    }
}

impl fmt::Debug for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Histogram")
            .field("count", &self.count)
            .field("mean", &self.mean())
            .field("p50", &self.quantile(0.5))
            .field("p99", &self.quantile(0.99))
            .field("longest", &self.longest)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_meet_and_quantiles_are_close() {
        for index in 0..BUCKETS - 1 {
            assert_eq!(bucket(end(index)), index + 1);
            assert_eq!(bucket(end(index) - 1), index);
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
        let recorder = Recorder::default();
        for millis in 1..=1000 {
            recorder.record(Duration::from_millis(millis));
        }
        let histogram = recorder.snapshot();
        assert_eq!((histogram.count(), histogram.longest()), (1000, Duration::from_secs(1)));
        for (q, exact) in [(0.5, 500.0), (0.99, 990.0)] {
            let found = histogram.quantile(q).as_secs_f64() * 1000.0;
            assert!(found >= exact && found <= exact * 1.26, "{q}: {found}");
        }
        assert_eq!(histogram.mean(), Duration::from_micros(500_500));
        assert_eq!(Recorder::default().snapshot().quantile(0.5), Duration::ZERO);
    }
}
