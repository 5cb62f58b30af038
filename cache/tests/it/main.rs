//! One binary, one file per behaviour. b01..b28 are the bug classes that hit other caches; tests carry their numbers.

mod basic;
mod bound;
mod drops;
mod expiry;
mod listener;
mod loading;
mod loading_async;
mod model;
mod panics;
mod stress;
