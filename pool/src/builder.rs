//! The builder: every setting, its unit and its default; cross-field rules are checked once, in `build`.

use std::fmt;
use std::time::Duration;

use tokio::runtime::Handle;

use crate::config::Config;
use crate::error::BuildError;
use crate::inner::{Background, Inner};
use crate::manager::Manager;
use crate::pool::Pool;
use crate::{maintenance, opener};

/// Configures a [`Pool`].
#[must_use = "a builder does nothing before `build`"]
pub struct PoolBuilder<M> {
    manager: M,
    config: Config,
    handle: Option<Handle>,
}

impl<M: Manager> Pool<M> {
    /// Starts the configuration of a pool.
    pub fn builder(manager: M) -> PoolBuilder<M> {
        PoolBuilder { manager, config: Config::default(), handle: None }
    }
}

impl<M: Manager> PoolBuilder<M> {
    /// All settings at once.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// The most connections, those being opened included. Default: 10.
    pub fn max_size(mut self, connections: usize) -> Self {
        self.config.max_size = connections;
        self
    }

    /// Connections kept ready even when nobody asks. Default: 0.
    pub fn min_idle(mut self, connections: usize) -> Self {
        self.config.min_idle = connections;
        self
    }

    /// The most connections that are opened at a time. Default: 3, so that a burst is served by connections that come
    /// back and not by a herd of new ones.
    pub fn max_opening(mut self, connections: usize) -> Self {
        self.config.max_opening = connections;
        self
    }

    /// How long [`Pool::get`] may take in all. Default: 30 s.
    pub fn acquire_timeout(mut self, timeout: Duration) -> Self {
        self.config.acquire_timeout = timeout;
        self
    }

    /// How long one attempt to open a connection may take. Default: 10 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.config.connect_timeout = timeout;
        self
    }

    /// How long a check or a reset may take. Default: 5 s.
    pub fn validation_timeout(mut self, timeout: Duration) -> Self {
        self.config.validation_timeout = timeout;
        self
    }

    /// A connection used this recently is lent without a check. Default: 500 ms. `Duration::MAX`: never check on borrow.
    pub fn validation_bypass(mut self, window: Duration) -> Self {
        self.config.validation_bypass = window;
        self
    }

    /// How long a connection above [`min_idle`](Self::min_idle) may be idle before it is closed. Default: 10 minutes;
    /// `None`: for ever.
    pub fn idle_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.config.idle_timeout = timeout.into();
        self
    }

    /// How old a connection may become. Default: 30 minutes; `None`: any age. Each draws up to 10 % less at birth, so that
    /// those born together do not end together.
    pub fn max_lifetime(mut self, lifetime: impl Into<Option<Duration>>) -> Self {
        self.config.max_lifetime = lifetime.into();
        self
    }

    /// How long a connection may be idle before it is checked in the background. Default: 2 minutes; `None`: never.
    pub fn keepalive(mut self, period: impl Into<Option<Duration>>) -> Self {
        self.config.keepalive = period.into();
        self
    }

    /// A name for logs and metrics. Default: none.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.config.name = Some(name.into());
        self
    }

    /// The runtime for background work. Default: that of the task that needs it; for callers outside of any, a small one
    /// of the pool's own, on a thread that ends with the pool.
    pub fn runtime(mut self, handle: Handle) -> Self {
        self.handle = Some(handle);
        self
    }

    /// Builds the pool. Opens nothing yet; needs no runtime.
    ///
    /// # Errors
    /// [`BuildError`] names the setting that can't be honoured.
    pub fn build(self) -> Result<Pool<M>, BuildError> {
        let Config { max_size, min_idle, .. } = self.config;
        if max_size == 0 {
            return Err(BuildError::MaxSize);
        }
        if min_idle > max_size {
            return Err(BuildError::MinIdle { min_idle, max_size });
        }
        if self.config.max_opening == 0 {
            return Err(BuildError::MaxOpening);
        }
        let durations = [
            ("connect_timeout", Some(self.config.connect_timeout)),
            ("validation_timeout", Some(self.config.validation_timeout)),
            ("idle_timeout", self.config.idle_timeout),
            ("max_lifetime", self.config.max_lifetime),
            ("keepalive", self.config.keepalive),
        ];
        for (field, duration) in durations {
            if duration == Some(Duration::ZERO) {
                return Err(BuildError::Zero(field));
            }
        }
        let background = Background {
            open: opener::start,
            maintain: maintenance::start,
            check: maintenance::check_in_background,
        };
        Ok(Pool::new(Inner::new(self.manager, self.config, self.handle, background)))
    }
}

impl<M> fmt::Debug for PoolBuilder<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolBuilder").field("config", &self.config).finish_non_exhaustive()
    }
}
