//! Several targets that do the same: replicas of a database, nodes of a proxy.
//!
//! Each target has a pool of its own, with its own queue, backoff and breaker, so that one that is down slows nobody who
//! can be served elsewhere. [`MultiTarget`] chooses the pool: among the targets of the wanted role, in turn, by weight, by
//! load or by key.
//!
//! ```
//! use millpond_pool::multi::{Balance, MultiTarget, Role, Route, Target};
//! # use millpond_pool::managers::Objects;
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let manager = |name: &'static str| Objects::new(move || name);
//! let db = MultiTarget::builder()
//!     .target(Target::new("primary", manager("primary")))
//!     .target(Target::new("replica 1", manager("replica 1")).role(Role::Replica).weight(2))
//!     .target(Target::new("replica 2", manager("replica 2")).role(Role::Replica))
//!     .balance(Balance::LeastInUse)
//!     .build()?;
//! assert_eq!(db.get(Route::write()).await?.target(), "primary");
//! assert!(db.get(Route::read()).await?.target().starts_with("replica"));
//! # Ok(()) }
//! ```
//!
//! # Health
//! A target whose pool can't connect is *ejected*: it gets no work. It is looked at every
//! [`check_every`](MultiTargetBuilder::check_every) and let in again when a connection works; for
//! [`slow_start`](MultiTargetBuilder::slow_start) after that it gets less than its share. If all are ejected they are tried
//! all the same.
//!
//! # Failover
//! With [`role_of`](MultiTargetBuilder::role_of) the roles are asked of the targets themselves, so that writes follow a
//! promoted replica within one check, or at once after [`MultiTarget::check`].

mod balance;
mod check;
mod route;
mod target;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tokio::time::Instant;

use crate::config::Config;
use crate::error::{BuildError, Error, Step};
use crate::manager::Manager;
use crate::pool::Pool;
use crate::rt::{Rt, timeout};

pub use balance::Balance;
pub use route::{Route, RouteError, Routed};
pub use target::{Role, Target, TargetStatus};

use balance::{Candidate, Rounds};
use target::Member;

/// What a resolver returns: the whole list, `Box::pin(async move { … })`.
pub type ResolverFuture<M> =
    Pin<Box<dyn Future<Output = Result<Vec<Target<M>>, <M as Manager>::Error>> + Send>>;

type Resolver<M> = Box<dyn Fn() -> ResolverFuture<M> + Send + Sync>;

/// What a question for the role returns: `Box::pin(async move { … })`.
pub type RoleFuture<'c, E> = Pin<Box<dyn Future<Output = Result<Role, E>> + Send + 'c>>;

type RoleOf<M> = Box<
    dyn for<'c> Fn(&'c mut <M as Manager>::Connection) -> RoleFuture<'c, <M as Manager>::Error> + Send + Sync,
>;

type Prepare<M> = Box<dyn Fn(crate::PoolBuilder<M>) -> crate::PoolBuilder<M> + Send + Sync>;

/// Pools of several targets, and the choice between them. A handle: cloning it is cheap and gives the same.
pub struct MultiTarget<M: Manager> {
    shared: Arc<Shared<M>>,
}

type Members<M> = Arc<[Arc<Member<M>>]>;

struct Shared<M: Manager> {
    members: RwLock<Members<M>>,
    rounds: Mutex<Rounds>,
    turn: AtomicUsize,
    balance: Balance,
    config: Config,
    prepare: Option<Prepare<M>>,
    check_every: Duration,
    slow_start: Duration,
    resolve_every: Duration,
    role_of: Option<RoleOf<M>>,
    resolver: Option<Resolver<M>>,
    rt: Rt,
    watched: AtomicBool,
}

/// Configures a [`MultiTarget`].
#[must_use = "a builder does nothing before `build`"]
pub struct MultiTargetBuilder<M: Manager> {
    targets: Vec<Target<M>>,
    balance: Balance,
    config: Config,
    prepare: Option<Prepare<M>>,
    check_every: Duration,
    slow_start: Duration,
    resolve_every: Duration,
    role_of: Option<RoleOf<M>>,
    resolver: Option<Resolver<M>>,
}

impl<M: Manager> MultiTargetBuilder<M> {
    /// One more target.
    pub fn target(mut self, target: Target<M>) -> Self {
        self.targets.push(target);
        self
    }

    /// Where targets come from, instead of or after those given here: asked at the first borrow and every
    /// [`resolve_every`](Self::resolve_every). A target is known by its name: one that stays keeps its pool and its
    /// connections; one that is gone is closed, its borrowed connections as they come back. An error changes nothing.
    pub fn resolver(mut self, resolver: impl Fn() -> ResolverFuture<M> + Send + Sync + 'static) -> Self {
        self.resolver = Some(Box::new(resolver));
        self
    }

    /// How often the resolver is asked. Default: 30 s.
    pub fn resolve_every(mut self, period: Duration) -> Self {
        self.resolve_every = period;
        self
    }

    /// How work is spread. Default: [`Balance::RoundRobin`].
    pub fn balance(mut self, balance: Balance) -> Self {
        self.balance = balance;
        self
    }

    /// The settings of each target's pool: `max_size` and the like are for one target. Each pool's name is the target's,
    /// behind the name given here, if any.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// What else each target's pool needs: hooks, listeners, a clock.
    pub fn each_pool(
        mut self,
        prepare: impl Fn(crate::PoolBuilder<M>) -> crate::PoolBuilder<M> + Send + Sync + 'static,
    ) -> Self {
        self.prepare = Some(Box::new(prepare));
        self
    }

    /// Asks a target for its role, such as by `select pg_is_in_recovery()`: every [`check_every`](Self::check_every), of
    /// each. Default: roles are as configured.
    pub fn role_of<F>(mut self, role_of: F) -> Self
    where
        F: for<'c> Fn(&'c mut M::Connection) -> RoleFuture<'c, M::Error> + Send + Sync + 'static,
    {
        self.role_of = Some(Box::new(role_of));
        self
    }

    /// How often ejected targets are looked at, and roles asked. Bounded by the pool's
    /// [`validation_timeout`](crate::PoolBuilder::validation_timeout). Default: 1 s.
    pub fn check_every(mut self, period: Duration) -> Self {
        self.check_every = period;
        self
    }

    /// For how long a target that is let in again gets less than its share, from a tenth on. Default: 10 s.
    pub fn slow_start(mut self, span: Duration) -> Self {
        self.slow_start = span;
        self
    }

    /// Builds the pools. Opens nothing yet.
    ///
    /// # Errors
    /// [`BuildError`] names the setting that can't be honoured; [`BuildError::Targets`] if there is no target and no
    /// resolver, or two of one name.
    pub fn build(self) -> Result<MultiTarget<M>, BuildError> {
        self.config.validate()?;
        for (field, period) in [("check_every", self.check_every), ("resolve_every", self.resolve_every)] {
            if period.is_zero() {
                return Err(BuildError::Zero(field));
            }
        }
        if self.targets.is_empty() && self.resolver.is_none() {
            return Err(BuildError::Targets("there must be one, or a resolver"));
        }
        let shared = Shared {
            members: RwLock::new(Arc::from([])),
            rounds: Mutex::default(),
            turn: AtomicUsize::new(0),
            balance: self.balance,
            config: self.config,
            prepare: self.prepare,
            check_every: self.check_every,
            slow_start: self.slow_start,
            resolve_every: self.resolve_every,
            role_of: self.role_of,
            resolver: self.resolver,
            rt: Rt::new(None),
            watched: AtomicBool::new(false),
        };
        shared.replace(self.targets)?;
        Ok(MultiTarget { shared: Arc::new(shared) })
    }
}

impl<M: Manager> fmt::Debug for MultiTargetBuilder<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MultiTargetBuilder")
            .field("targets", &self.targets.len())
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl<M: Manager> Shared<M> {
    fn members(&self) -> Members<M> {
        Arc::clone(&self.members.read())
    }

    /// Takes over a list of targets.
    fn replace(&self, targets: Vec<Target<M>>) -> Result<(), BuildError> {
        let present = self.members();
        let mut next: Vec<Arc<Member<M>>> = Vec::with_capacity(targets.len());
        for Target { name, manager, weight, role } in targets {
            if next.iter().any(|member| member.name == name) {
                return Err(BuildError::Targets("two have one name"));
            }
            let old = present.iter().find(|member| member.name == name);
            next.push(match old {
                Some(member) if member.weight == weight => {
                    if self.role_of.is_none() && member.set_role(role) {
                        member.pool.reset();
                    }
                    Arc::clone(member)
                }
                Some(member) => Arc::new(Member::new(name, weight, member.role(), member.pool.clone())),
                None => {
                    let full = match &self.config.name {
                        Some(group) => format!("{group} {name}"),
                        None => name.clone(),
                    };
                    let mut builder = Pool::builder(manager).config(self.config.clone()).name(full);
                    if let Some(prepare) = &self.prepare {
                        builder = prepare(builder);
                    }
                    Arc::new(Member::new(name, weight, role, builder.build()?))
                }
            });
        }
        *self.members.write() = next.into();
        self.rounds.lock().clear();
        // Pools whose last handle is gone close by themselves.
        Ok(())
    }

    /// Whether there is a target for this route beside those in `tried`.
    fn is_any_left(members: &Members<M>, route: &Route, tried: &[usize]) -> bool {
        members.iter().enumerate().any(|(index, member)| {
            let role = member.role();
            let fit =
                route.wants.is_none_or(|wants| wants == role) || (route.fallback && role == Role::Primary);
            fit && !tried.contains(&index)
        })
    }

    /// The next target for this route, but none of those in `tried`.
    fn pick(&self, members: &Members<M>, route: &Route, tried: &[usize]) -> Option<usize> {
        let all = |wants: Option<Role>, ejected: bool| -> Vec<Candidate> {
            let by_load = self.balance == Balance::LeastInUse && route.key.is_none();
            let fit = members.iter().enumerate().filter(|(index, member)| {
                wants.is_none_or(|role| member.role() == role)
                    && member.is_ejected() == ejected
                    && !tried.contains(index)
            });
            fit.map(|(index, member)| {
                let load = if by_load {
                    let status = member.pool.stats().status;
                    status.in_use + status.waiting
                } else {
                    0
                };
                // Keys must find home: no slow start for them.
                let weight = if route.key.is_some() {
                    f64::from(member.weight)
                } else {
                    member.weight_now(self.slow_start)
                };
                Candidate { index, hash: member.hash, weight, load }
            })
            .collect()
        };
        let mut groups = vec![(route.wants, false)];
        if route.fallback {
            groups.push((Some(Role::Primary), false));
        }
        groups.push((route.wants, true));
        if route.fallback {
            groups.push((Some(Role::Primary), true));
        }
        groups.into_iter().find_map(|(wants, ejected)| {
            let candidates = all(wants, ejected);
            match (route.key, self.balance) {
                (Some(key), _) => balance::rendezvous(&candidates, key),
                (None, Balance::RoundRobin) => self.rounds.lock().next(&candidates),
                (None, Balance::LeastInUse) => {
                    balance::least_in_use(&candidates, self.turn.fetch_add(1, Ordering::Relaxed))
                }
            }
        })
    }
}

/// Whether an error says that the target is at fault, and not how busy it is.
fn is_targets_fault<E>(error: &Error<E>) -> bool {
    match error {
        Error::Connect { .. } => true,
        Error::Timeout { step, .. } => matches!(step, Step::Connect | Step::Validate),
        Error::QueueFull { .. } | Error::Shed { .. } | Error::Closed => false,
    }
}

impl<M: Manager> Clone for MultiTarget<M> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<M: Manager> MultiTarget<M> {
    /// Starts the configuration.
    pub fn builder() -> MultiTargetBuilder<M> {
        MultiTargetBuilder {
            targets: Vec::new(),
            balance: Balance::default(),
            config: Config::default(),
            prepare: None,
            check_every: Duration::from_secs(1),
            slow_start: Duration::from_secs(10),
            resolve_every: Duration::from_secs(30),
            role_of: None,
            resolver: None,
        }
    }

    /// Borrows a connection to a target that is fit for this. If one fails or is busy for its part of the timeout, the next
    /// is tried with what is left. Costs an allocation or two, and with [`Balance::LeastInUse`] a short lock a target, beside
    /// what [`Pool::get`] costs.
    ///
    /// # Errors
    /// [`RouteError::NoTarget`] if there is none of that role; else what the last one said. Within the timeout.
    ///
    /// # Cancellation
    /// As [`Pool::get`].
    pub async fn get(&self, route: Route) -> Result<Routed<M>, RouteError<M::Error>> {
        let shared = &self.shared;
        check::watch(shared);
        let began = Instant::now();
        let limit = route.request.timeout.unwrap_or(shared.config.acquire_timeout);
        let mut members = shared.members();
        if members.is_empty() && shared.resolver.is_some() {
            let resolving = shared.rt.enter(|| timeout(limit, check::resolve(shared)));
            let _known_now = resolving.await;
            members = shared.members();
        }
        let (mut tried, mut last) = (Vec::new(), RouteError::NoTarget);
        while let Some(index) = shared.pick(&members, &route, &tried) {
            let member = &members[index];
            tried.push(index);
            let left = limit.saturating_sub(began.elapsed());
            let more = Shared::is_any_left(&members, &route, &tried);
            // While there are others, none gets all of the time.
            let part = if more { left / 2 } else { left };
            match member.pool.get_with(route.request.timeout(part)).await {
                Ok(guard) => return Ok(Routed { guard, member: Arc::clone(member) }),
                Err(error) => {
                    if is_targets_fault(&error) {
                        member.eject();
                    }
                    last = RouteError::Target { name: member.name.clone(), error };
                }
            }
        }
        Err(last)
    }

    /// How each target fares.
    #[must_use]
    pub fn targets(&self) -> Vec<TargetStatus> {
        self.shared.members().iter().map(|member| member.status()).collect()
    }

    /// The pool of one target.
    #[must_use]
    pub fn pool(&self, name: &str) -> Option<Pool<M>> {
        self.shared.members().iter().find(|member| member.name == name).map(|member| member.pool.clone())
    }

    /// Looks at all targets now: lets in those that work again, ejects those that do not, and asks for roles. After a write
    /// that failed because its target is a primary no more.
    pub async fn check(&self) {
        check::check_all(&self.shared, true).await;
    }

    /// Asks the resolver now.
    ///
    /// # Errors
    /// Its error, and then nothing has changed.
    pub async fn resolve(&self) -> Result<(), M::Error> {
        check::resolve(&self.shared).await
    }

    /// Closes all pools, as [`Pool::close`]; returns how many connections are still out.
    pub async fn close(&self, deadline: Duration) -> usize {
        let members = self.shared.members();
        // First all are closed, then all are awaited.
        for member in members.iter() {
            member.pool.close(Duration::ZERO).await;
        }
        let (began, mut out) = (Instant::now(), 0);
        for member in members.iter() {
            out += member.pool.close(deadline.saturating_sub(began.elapsed())).await;
        }
        out
    }
}

impl<M: Manager> fmt::Debug for MultiTarget<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MultiTarget").field("targets", &self.targets()).finish_non_exhaustive()
    }
}
