//! The names of the pools, and the way from a name to a pool.

use clap::ValueEnum;
use deadpool_postgres::RecyclingMethod;

use super::bb8::Bb8;
use super::deadpool::Deadpool;
use super::millpond::Millpond;
use super::millpond_sqlx::MillpondSqlx;
use super::mobc::Mobc;
use super::r2d2::R2d2;
use super::sqlx::Sqlx;
use super::{Database, Settings};

/// A pool.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Kind {
    /// Millpond with tokio-postgres
    Millpond,
    /// Millpond with sqlx
    MillpondSqlx,
    Deadpool,
    /// deadpool with `RecyclingMethod::Verified`
    DeadpoolVerified,
    Bb8,
    Mobc,
    R2d2,
    Sqlx,
}

impl Kind {
    /// Makes a pool. Called in the runtime whose tasks use it; opens nothing.
    ///
    /// # Errors
    /// If the settings can't be honoured.
    pub(crate) fn open(self, settings: &Settings) -> anyhow::Result<Box<dyn Database>> {
        Ok(match self {
            Self::Millpond => Box::new(Millpond::open(settings)?),
            Self::MillpondSqlx => Box::new(MillpondSqlx::open(settings)?),
            Self::Deadpool => Box::new(Deadpool::open(settings, RecyclingMethod::Fast)?),
            Self::DeadpoolVerified => Box::new(Deadpool::open(settings, RecyclingMethod::Verified)?),
            Self::Bb8 => Box::new(Bb8::open(settings)?),
            Self::Mobc => Box::new(Mobc::open(settings)?),
            Self::R2d2 => Box::new(R2d2::open(settings)?),
            Self::Sqlx => Box::new(Sqlx::open(settings)?),
        })
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let value = self.to_possible_value().expect("no value is skipped");
        f.pad(value.get_name())
    }
}
