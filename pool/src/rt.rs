//! Where background work runs, and timers for callers of any executor: tokio's, or shuttle's for random schedules.

use std::time::Duration;

use tokio::time::Instant;

#[cfg(not(millpond_shuttle))]
mod imp {
    use std::sync::OnceLock;

    use tokio::runtime::{Builder, Handle, Id};
    use tokio::sync::oneshot;
    use tokio::time::Instant;

    pub(crate) use tokio::time::{Sleep, sleep, sleep_until, timeout, timeout_at};

    #[derive(Debug)]
    pub(crate) struct Rt {
        explicit: Option<Handle>,
        private: OnceLock<Private>,
    }

    /// A runtime on a thread of its own, which ends when this is dropped.
    #[derive(Debug)]
    struct Private {
        handle: Handle,
        _end: oneshot::Sender<()>,
    }

    impl Rt {
        pub(crate) fn new(explicit: Option<Handle>) -> Self {
            Self { explicit, private: OnceLock::new() }
        }

        /// The runtime given at build, or the caller's, or one that was started before.
        fn present(&self) -> Option<Handle> {
            if let Some(handle) = &self.explicit {
                return Some(handle.clone());
            }
            Handle::try_current().ok().or_else(|| self.private.get().map(|private| private.handle.clone()))
        }

        fn handle(&self) -> Handle {
            self.present().unwrap_or_else(|| self.private.get_or_init(Private::start).handle.clone())
        }

        /// Runs a task; starts a runtime for it if there is none.
        pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
            drop(self.handle().spawn(task));
        }

        /// Runs a task if there is a runtime; drops it otherwise.
        pub(crate) fn spawn_if_possible(&self, task: impl Future<Output = ()> + Send + 'static) {
            if let Some(handle) = self.present() {
                drop(handle.spawn(task));
            }
        }

        /// Makes something that holds a timer, which then works wherever it is polled.
        pub(crate) fn enter<R>(&self, make: impl FnOnce() -> R) -> R {
            let handle = self.handle();
            let _context = handle.enter();
            make()
        }

        /// A timer that works wherever it is polled.
        pub(crate) fn sleep_until(&self, deadline: Instant) -> Sleep {
            self.enter(|| sleep_until(deadline))
        }

        /// The runtime whose timers a task that waits here has; it is started if there is none.
        #[expect(clippy::unnecessary_wraps, reason = "a twin of shuttle's, which has no time")]
        pub(crate) fn timer(&self) -> Option<Id> {
            Some(match &self.explicit {
                Some(handle) => handle.id(),
                None => Handle::try_current().map_or_else(|_| self.handle().id(), |handle| handle.id()),
            })
        }

        /// The runtime that is the pool's own; it is started if there is none.
        #[expect(clippy::unnecessary_wraps, reason = "a twin of shuttle's, which has no time")]
        pub(crate) fn private(&self) -> Option<Id> {
            Some(self.private.get_or_init(Private::start).handle.id())
        }

        /// Runs a task where no runtime of others ends it.
        pub(crate) fn spawn_privately(&self, task: impl Future<Output = ()> + Send + 'static) {
            drop(self.private.get_or_init(Private::start).handle.spawn(task));
        }
    }

    impl Private {
        fn start() -> Self {
            let (end, ended) = oneshot::channel::<()>();
            let runtime =
                Builder::new_current_thread().enable_all().build().expect("the system gives a runtime");
            let handle = runtime.handle().clone();
            std::thread::Builder::new()
                .name("millpond-pool".into())
                .spawn(move || {
                    // Ends when the sender is dropped with the pool.
                    let _dropped = runtime.block_on(ended);
                    runtime.shutdown_background();
                })
                .expect("the system gives a thread");
            Self { handle, _end: end }
        }
    }
}

#[cfg(millpond_shuttle)]
mod imp {
    use std::convert::Infallible;
    use std::future::Pending;
    use std::time::Duration;

    use tokio::runtime::{Handle, Id};
    use tokio::time::Instant;

    /// A schedule has no time: nothing is ever due.
    pub(crate) type Sleep = Pending<()>;

    pub(crate) async fn sleep(_: Duration) {
        std::future::pending().await
    }

    pub(crate) async fn sleep_until(_: Instant) {
        std::future::pending().await
    }

    pub(crate) async fn timeout<F: Future>(_: Duration, work: F) -> Result<F::Output, Infallible> {
        Ok(work.await)
    }

    pub(crate) async fn timeout_at<F: Future>(_: Instant, work: F) -> Result<F::Output, Infallible> {
        Ok(work.await)
    }

    #[derive(Debug)]
    pub(crate) struct Rt;

    impl Rt {
        pub(crate) fn new(_: Option<Handle>) -> Self {
            Self
        }

        pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
            drop(shuttle::future::spawn(task));
        }

        pub(crate) fn spawn_if_possible(&self, task: impl Future<Output = ()> + Send + 'static) {
            self.spawn(task);
        }

        pub(crate) fn enter<R>(&self, make: impl FnOnce() -> R) -> R {
            make()
        }

        pub(crate) fn sleep_until(&self, _: Instant) -> Sleep {
            std::future::pending()
        }

        pub(crate) fn timer(&self) -> Option<Id> {
            None
        }

        pub(crate) fn private(&self) -> Option<Id> {
            None
        }

        pub(crate) fn spawn_privately(&self, task: impl Future<Output = ()> + Send + 'static) {
            self.spawn(task);
        }
    }
}

pub(crate) use imp::{Rt, sleep, sleep_until, timeout, timeout_at};

/// `from + by`, or a moment about 30 years away where that overflows.
pub(crate) fn after(from: Instant, by: Duration) -> Instant {
    from.checked_add(by).unwrap_or_else(|| from + Duration::from_secs(86_400 * 365 * 30))
}
