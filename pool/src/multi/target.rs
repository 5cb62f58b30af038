//! One target: what it is configured as, and how it fares.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::balance;
use crate::manager::Manager;
use crate::pool::Pool;
use crate::stats::Stats;

/// What a target does in its group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Role {
    /// Takes writes, and reads where no replica does.
    #[default]
    Primary,
    /// Takes reads.
    Replica,
}

/// A target as configured, for [`MultiTarget`](super::MultiTarget).
#[derive(Debug)]
#[must_use = "a target does nothing by itself"]
pub struct Target<M> {
    pub(super) name: String,
    pub(super) manager: M,
    pub(super) weight: u32,
    pub(super) role: Role,
}

impl<M: Manager> Target<M> {
    /// A target of this name, which is unique in its group; weight 1, primary.
    pub fn new(name: impl Into<String>, manager: M) -> Self {
        Self { name: name.into(), manager, weight: 1, role: Role::Primary }
    }

    /// Its share of the work, beside the others' weights. At least 1. Default: 1.
    pub fn weight(mut self, weight: u32) -> Self {
        self.weight = weight.max(1);
        self
    }

    /// Default: [`Role::Primary`].
    pub fn role(mut self, role: Role) -> Self {
        self.role = role;
        self
    }
}

/// How a target fares; from [`MultiTarget::targets`](super::MultiTarget::targets).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TargetStatus {
    /// Its name.
    pub name: String,
    /// Its role, as last seen.
    pub role: Role,
    /// Whether it gets no work because it failed.
    pub ejected: bool,
    /// Its own pool.
    pub stats: Stats,
}

/// A target at work.
pub(super) struct Member<M: Manager> {
    pub(super) name: String,
    pub(super) hash: u64,
    pub(super) pool: Pool<M>,
    pub(super) weight: u32,
    role: AtomicU8,
    ejected: AtomicBool,
    /// When it was last let in again.
    readmitted: Mutex<Option<Instant>>,
    /// Whether somebody looks at it now.
    pub(super) checking: AtomicBool,
}

impl<M: Manager> Member<M> {
    pub(super) fn new(name: String, weight: u32, role: Role, pool: Pool<M>) -> Self {
        Self {
            hash: balance::hash(name.as_bytes()),
            name,
            pool,
            weight,
            role: AtomicU8::new(role as u8),
            ejected: AtomicBool::new(false),
            readmitted: Mutex::new(None),
            checking: AtomicBool::new(false),
        }
    }

    pub(super) fn role(&self) -> Role {
        if self.role.load(Ordering::Relaxed) == Role::Primary as u8 { Role::Primary } else { Role::Replica }
    }

    /// True if that is news.
    pub(super) fn set_role(&self, role: Role) -> bool {
        self.role.swap(role as u8, Ordering::Relaxed) != role as u8
    }

    pub(super) fn is_ejected(&self) -> bool {
        self.ejected.load(Ordering::Relaxed)
    }

    pub(super) fn eject(&self) {
        self.ejected.store(true, Ordering::Relaxed);
    }

    pub(super) fn readmit(&self) {
        if self.is_ejected() {
            *self.readmitted.lock() = Some(Instant::now());
            self.ejected.store(false, Ordering::Relaxed);
        }
    }

    /// Its weight, less for a while after it was let in again: it starts with cold caches, and all at once would be a herd.
    pub(super) fn weight_now(&self, slow_start: Duration) -> f64 {
        let weight = f64::from(self.weight);
        let Some(since) = *self.readmitted.lock() else { return weight };
        let share = since.elapsed().as_secs_f64() / slow_start.as_secs_f64().max(f64::EPSILON);
        weight * share.clamp(0.1, 1.0)
    }

    pub(super) fn status(&self) -> TargetStatus {
        TargetStatus {
            name: self.name.clone(),
            role: self.role(),
            ejected: self.is_ejected(),
            stats: self.pool.stats(),
        }
    }
}
