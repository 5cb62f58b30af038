//! The accounting, driven by hand.
