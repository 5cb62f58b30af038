//! How old values may get, beside the end of their life: what the builder was told, in ticks.

use std::sync::OnceLock;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use crate::clock::nanos;
use crate::error::BuildError;
use crate::refresher::Refresher;

/// What a cache does with values that are past their time, or about to be.
pub(crate) struct Freshness<K, V> {
    /// How long an expired entry stays for loads that fail; 0 = not at all.
    pub(crate) grace: u64,
    pub(crate) negative: Option<Negative<V>>,
    /// Set by `refresh_after`.
    pub(crate) refresh: Option<Box<Refreshing<K>>>,
}

/// Values that say "there is no such thing" live for a time of their own.
pub(crate) struct Negative<V> {
    pub(crate) life: u64,
    pub(crate) is_negative: Box<dyn Fn(&V) -> bool + Send + Sync>,
}

/// Begins the refresh of an entry that a read has found due, at the time that it saw.
pub(crate) type Trigger<K> = Box<dyn Fn(&K, u64) + Send + Sync>;

/// Values are loaded again before they end.
pub(crate) struct Refreshing<K> {
    /// From a write on.
    pub(crate) after: u64,
    /// The wait after the first failure, which doubles with each further one, and the longest.
    pub(crate) backoff: Option<(u64, u64)>,
    /// How eager an early refresh is; 0 = there is none.
    pub(crate) beta: f64,
    pub(crate) refresher: Refresher,
    /// What plain reads do; nothing without a loader that was given at build.
    pub(crate) trigger: OnceLock<Trigger<K>>,
    /// Refreshes that have begun and not ended.
    pub(crate) in_flight: AtomicUsize,
}

impl<K, V> Default for Freshness<K, V> {
    fn default() -> Self {
        Self { grace: 0, negative: None, refresh: None }
    }
}

impl<K> Default for Refreshing<K> {
    fn default() -> Self {
        Self {
            after: 0,
            backoff: None,
            beta: 0.0,
            refresher: Refresher::own(),
            trigger: OnceLock::new(),
            in_flight: AtomicUsize::new(0),
        }
    }
}

impl<K, V> Freshness<K, V> {
    /// Whether nothing of it is used.
    pub(crate) fn is_off(&self) -> bool {
        self.grace == 0 && self.negative.is_none() && self.refresh.is_none()
    }

    /// Whether loads are measured.
    pub(crate) fn measures(&self) -> bool {
        self.refresh.as_ref().is_some_and(|refresh| refresh.beta > 0.0)
    }

    /// The life of this value, in ticks, if it is a negative one.
    pub(crate) fn negative_life(&self, value: &V) -> Option<u64> {
        self.negative.as_ref().filter(|negative| (negative.is_negative)(value)).map(|negative| negative.life)
    }

    pub(crate) fn refreshing(&mut self) -> &mut Refreshing<K> {
        self.refresh.get_or_insert_default()
    }

    /// What only shows when all is set.
    pub(crate) fn check(&self, time_to_live: Option<Duration>) -> Result<(), BuildError> {
        let Some(refresh) = &self.refresh else { return Ok(()) };
        if refresh.after == 0 {
            return Err(BuildError::NoRefresh);
        }
        if !(refresh.beta.is_finite() && refresh.beta >= 0.0) {
            return Err(BuildError::RefreshEarly);
        }
        match time_to_live {
            Some(life) if refresh.after >= nanos(life) => Err(BuildError::RefreshTooLate),
            _ => Ok(()),
        }
    }
}

impl<K> Refreshing<K> {
    /// When a value that is written now is to be loaded again; 0 = never.
    pub(crate) fn next(&self, now: u64) -> u64 {
        now.checked_add(self.after).filter(|&due| due < u64::MAX).unwrap_or(0)
    }

    /// How long to wait after a failure that others came before.
    pub(crate) fn delay(&self, failures: u32) -> u64 {
        let (first, cap) = self.backoff.unwrap_or(((self.after / 16).max(1), self.after));
        first.saturating_mul(1u64.checked_shl(failures).unwrap_or(u64::MAX)).min(cap)
    }
}
