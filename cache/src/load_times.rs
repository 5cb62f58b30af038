//! How long loads take: a histogram that all threads record into without a lock.
//!
//! Buckets grow with the times, 16 to each power of two (G. Tene's HdrHistogram has made the layout known).

use std::fmt;
use std::time::Duration;

use histogram::{AtomicHistogram, Config, Histogram};

/// 16 buckets to a power of two: a bucket is 1/16 of its times wide.
const GROUPING: u8 = 4;
/// Longer times count as the longest, 73 minutes.
const LONGEST: u8 = 42;

fn config() -> Config {
    Config::new(GROUPING, LONGEST).expect("the powers are in order")
}

/// What threads record into.
pub(crate) struct Recorder(AtomicHistogram);

impl Recorder {
    pub(crate) fn new() -> Self {
        Self(AtomicHistogram::with_config(&config()))
    }

    pub(crate) fn record(&self, nanos: u64) {
        let recorded = self.0.increment(nanos.min((1 << LONGEST) - 1));
        debug_assert!(recorded.is_ok(), "within the bounds");
    }

    pub(crate) fn snapshot(&self) -> LoadTimes {
        LoadTimes(Some(self.0.load()))
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.snapshot().fmt(f)
    }
}

/// How long loads took, of [`Stats::load_times`](crate::Stats::load_times).
///
/// Times are right to 1/16. Those above 73 minutes count as that.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct LoadTimes(Option<Histogram>);

impl LoadTimes {
    /// Loads in it.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.as_ref().map_or(0, |histogram| histogram.as_slice().iter().sum())
    }

    /// The time that this part of the loads, from 0 to 1, did not exceed; `None` if there were no loads, or of a `quantile` that is
    /// no such part.
    ///
    /// ```
    /// let cache = millpond_cache::Cache::builder().record_stats().build()?;
    /// assert_eq!(cache.stats().load_times().quantile(0.99), None);
    /// cache.get_or_insert_with(1, || 1);
    /// assert!(cache.stats().load_times().quantile(0.99).is_some());
    /// # Ok::<(), millpond_cache::BuildError>(())
    /// ```
    #[must_use]
    pub fn quantile(&self, quantile: f64) -> Option<Duration> {
        let bucket = self.0.as_ref()?.quantile_bucket(quantile).ok()??;
        Some(Duration::from_nanos(bucket.end()))
    }

    /// Each bucket that holds loads: the longest time in it, and how many there are.
    pub fn buckets(&self) -> impl Iterator<Item = (Duration, u64)> {
        let all = self.0.iter().flat_map(Histogram::iter);
        all.filter(|bucket| bucket.count() > 0)
            .map(|bucket| (Duration::from_nanos(bucket.end()), bucket.count()))
    }

    pub(crate) fn subtract(&mut self, earlier: &Self) {
        if let (Some(own), Some(earlier)) = (&mut self.0, &earlier.0) {
            for (count, earlier) in own.as_mut_slice().iter_mut().zip(earlier.as_slice()) {
                *count = count.saturating_sub(*earlier);
            }
        }
    }
}

impl fmt::Debug for LoadTimes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadTimes")
            .field("count", &self.count())
            .field("p50", &self.quantile(0.5))
            .field("p99", &self.quantile(0.99))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_right_to_a_sixteenth() {
        let recorder = Recorder::new();
        for nanos in [0, 1, 17, 1_000, 123_456_789, u64::MAX] {
            recorder.record(nanos);
        }
        let times = recorder.snapshot();
        assert_eq!(times.count(), 6);
        let buckets: Vec<u128> = times.buckets().map(|(time, _)| time.as_nanos()).collect();
        for (bucket, nanos) in buckets.iter().zip([0, 1, 17, 1_000, 123_456_789, (1 << LONGEST) - 1]) {
            assert!((nanos..=nanos + nanos / 16 + 1).contains(bucket), "{bucket} for {nanos}");
        }
        assert_eq!(times.quantile(1.0), Some(Duration::from_nanos((1 << LONGEST) - 1)));
        assert_eq!(times.quantile(2.0), None);
        let mut rest = times.clone();
        rest.subtract(&times);
        assert_eq!((rest.count(), rest.quantile(0.5)), (0, None));
    }
}
