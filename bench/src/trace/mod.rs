//! Request traces: who asked for what, in order.
//!
//! Readers stream: memory does not depend on a trace's length. One file per format; all turn a record into one or more
//! [`Request`]s. Compressed files are unpacked on the way. What a policy simulation needs more than once is [`loaded`]
//! into memory with keys renumbered.
//!
//! - Formats: [`text`], [`lirs`], [`arc`], [`cache2k`], [`corda`], [`oracle`], [`csv`], [`access_log`].
//! - Made up: [`synthetic`] generators, with [`sizes`], and [`stress`], real traces joined to a phase shift.
//! - [`open`]: from a path or a name to a stream.
#![allow(unreachable_pub, reason = "`pub` marks what other folders may use, in a binary too")]

pub mod access_log;
pub mod arc;
pub mod cache2k;
pub mod columns;
pub mod compression;
pub mod corda;
pub mod csv;
pub mod lirs;
pub mod loaded;
pub mod open;
pub mod oracle;
pub mod sizes;
pub mod stress;
pub mod synthetic;
pub mod text;

use std::hash::Hash;

use anyhow::Context as _;
pub use columns::Columns;
pub use loaded::Loaded;
pub use open::{Format, Source};

/// One access.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Request {
    /// What is asked for: the key itself if it is a number, else its hash.
    pub key: u64,
    /// Its size in bytes; 1 where the format does not say.
    pub size: u32,
}

impl Request {
    /// A request in a format without sizes.
    #[must_use]
    pub fn new(key: u64) -> Self {
        Self { key, size: 1 }
    }
}

/// Requests one after the other, or what went wrong in reading them.
pub type Requests = Box<dyn Iterator<Item = anyhow::Result<Request>>>;

/// A number for a key that may be a word. The same in every run.
fn key_of(text: &str) -> u64 {
    text.parse().unwrap_or_else(|_| hash_of(text))
}

/// A size in bytes. Nothing counts as 1, so that every entry weighs something; more than 4 GiB as 4 GiB.
fn size_of(text: &str) -> anyhow::Result<u32> {
    let size: u64 = text.parse().with_context(|| format!("not a size: {text:?}"))?;
    Ok(u32::try_from(size).unwrap_or(u32::MAX).max(1))
}

fn hash_of(value: impl Hash) -> u64 {
    ahash::RandomState::with_seeds(1, 2, 3, 4).hash_one(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_fit() {
        assert_eq!(size_of("0").unwrap(), 1);
        assert_eq!(size_of("5000000000").unwrap(), u32::MAX);
        assert!(size_of("12 kB").is_err() && size_of("").is_err() && size_of("-1").is_err());
    }
}
