//! The eviction policy.
