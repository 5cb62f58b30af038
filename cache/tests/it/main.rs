//! One binary, one file per behaviour.

mod basic;
