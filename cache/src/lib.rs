//! An in-process cache.
/// The eviction policy: knows slots, hashes and weights; no key, no value, no lock, no clock.
#[doc(hidden)]
pub mod policy;
