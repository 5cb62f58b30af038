//! Where one caller wants its connection to lead, and what it gets.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use super::target::{Member, Role};
use crate::error::Error;
use crate::guard::Guard;
use crate::manager::Manager;
use crate::request::Request;

/// Where a connection is to lead.
///
/// ```
/// use millpond_pool::multi::Route;
/// use millpond_pool::Request;
/// use std::time::Duration;
/// let route = Route::read().key(&"user 42").request(Request::new().timeout(Duration::from_secs(1)));
/// ```
#[derive(Clone, Copy, Debug)]
#[must_use = "a route does nothing by itself"]
pub struct Route {
    pub(super) wants: Option<Role>,
    pub(super) fallback: bool,
    pub(super) key: Option<u64>,
    pub(super) request: Request,
}

impl Route {
    /// To a primary.
    pub fn write() -> Self {
        Self { wants: Some(Role::Primary), fallback: false, key: None, request: Request::new() }
    }

    /// To a replica, or to a primary where no replica is fit.
    pub fn read() -> Self {
        Self { wants: Some(Role::Replica), fallback: true, key: None, request: Request::new() }
    }

    /// To any target.
    pub fn any() -> Self {
        Self { wants: None, fallback: false, key: None, request: Request::new() }
    }

    /// For reads: whether a primary may stand in for replicas. Default: true.
    pub fn fallback(mut self, fallback: bool) -> Self {
        self.fallback = fallback && self.wants == Some(Role::Replica);
        self
    }

    /// Always to the same of the targets that are fit, for equal keys: for what is cached there. If that one fails, to a
    /// second one that is always the same too. The hash is the standard library's with its default keys, the same in every
    /// process of one build.
    pub fn key(mut self, key: &(impl Hash + ?Sized)) -> Self {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        self.key = Some(hasher.finish());
        self
    }

    /// Timeout and priority.
    pub fn request(mut self, request: Request) -> Self {
        self.request = request;
        self
    }
}

/// A borrowed connection that knows where it leads.
pub struct Routed<M: Manager> {
    pub(super) guard: Guard<M>,
    pub(super) member: Arc<Member<M>>,
}

impl<M: Manager> Routed<M> {
    /// The target's name.
    #[must_use]
    pub fn target(&self) -> &str {
        &self.member.name
    }

    /// The target's role, as last seen.
    #[must_use]
    pub fn role(&self) -> Role {
        self.member.role()
    }

    /// The guard alone.
    #[must_use]
    pub fn into_guard(self) -> Guard<M> {
        self.guard
    }
}

impl<M: Manager> Deref for Routed<M> {
    type Target = M::Connection;

    fn deref(&self) -> &M::Connection {
        &self.guard
    }
}

impl<M: Manager> DerefMut for Routed<M> {
    fn deref_mut(&mut self) -> &mut M::Connection {
        &mut self.guard
    }
}

impl<M: Manager> fmt::Debug for Routed<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Routed").field("target", &self.target()).finish_non_exhaustive()
    }
}

/// Why no target gave a connection.
#[derive(Debug)]
#[non_exhaustive]
pub enum RouteError<E> {
    /// There is no target of that role.
    NoTarget,
    /// The last target that was tried says so.
    Target {
        /// Its name.
        name: String,
        /// What its pool said.
        error: Error<E>,
    },
}

impl<E: fmt::Display> fmt::Display for RouteError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoTarget => f.write_str("no target takes this"),
            Self::Target { name, error } => write!(f, "{name}: {error}"),
        }
    }
}

impl<E: std::error::Error + 'static> std::error::Error for RouteError<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NoTarget => None,
            Self::Target { error, .. } => Some(error),
        }
    }
}
