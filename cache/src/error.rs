//! What can be wrong with a configuration.

/// A new bound in the wrong unit, see [`Cache::set_max_capacity`](crate::Cache::set_max_capacity).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResizeError {
    /// The cache has a weigher, so its bound is a weight.
    #[error("set_max_capacity: this cache has a weigher, use set_max_weight")]
    CountsWeight,
    /// The cache has no weigher, so its bound is a number of entries.
    #[error("set_max_weight: this cache has no weigher, use set_max_capacity")]
    CountsEntries,
}

/// A setting that a cache can't be built with. Names the field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// `max_capacity` and `max_weight` bound different things; one of them must go.
    #[error("max_capacity: both max_capacity and max_weight are set; choose one")]
    TwoBounds,
    /// `max_weight` counts what `weigher` returns, so it needs one.
    #[error("max_weight: set a weigher as well, it says what an entry weighs")]
    NoWeigher,
    /// `weigher` has no effect without `max_weight`.
    #[error("weigher: set max_weight as well, max_capacity counts entries")]
    NoMaxWeight,
    /// `admission` by size compares weights, so it needs a `weigher`.
    #[error("admission: size-aware admission needs a weigher, without one all entries weigh the same")]
    AdmissionNeedsWeigher,
    /// `admission` chooses who comes in, and an LRU cache lets everything in; one of the two settings must go.
    #[error("admission: an LRU cache admits everything; choose another eviction_policy or no admission")]
    AdmissionUnderLru,
    /// `expire_after` decides how long each entry lives, and so does `time_to_live`; one of them must go.
    #[error("expire_after: both expire_after and time_to_live are set; choose one")]
    TwoLifetimes,
    /// `time_to_live_jitter` shortens `time_to_live`, so it needs one.
    #[error("time_to_live_jitter: set time_to_live as well, it is what is shortened")]
    NoTimeToLive,
    /// `time_to_live_jitter` must be a fraction from 0 to 1.
    #[error("time_to_live_jitter: not a fraction from 0 to 1")]
    Jitter,
    /// `clock` says what the time is, and `clock_thread` keeps the system's; one of them must go.
    #[error("clock_thread: it keeps the system's time, and a clock is set; choose one")]
    TwoClocks,
    /// `refresh_after` must come before `time_to_live` ends the entry.
    #[error("refresh_after: not shorter than time_to_live, so no entry would ever be refreshed")]
    RefreshTooLate,
    /// `refresh_backoff`, `refresh_early` and `refresh_executor` say how to refresh, `refresh_after` when.
    #[error("refresh_after: set it as well, it says when a value is refreshed")]
    NoRefresh,
    /// `refresh_early` must be a finite number, not below 0.
    #[error("refresh_early: not a finite number from 0 on")]
    RefreshEarly,
    /// The number of shards must be a power of two between 1 and 65,536.
    #[error("shards: {0} is not a power of two between 1 and 65536")]
    Shards(usize),
}
