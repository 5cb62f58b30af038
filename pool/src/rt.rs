//! Where background work runs, and timers for callers of any executor.

use std::sync::OnceLock;
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep};

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
        self.enter(|| tokio::time::sleep_until(deadline))
    }
}

impl Private {
    fn start() -> Self {
        let (end, ended) = oneshot::channel::<()>();
        let runtime = Builder::new_current_thread().enable_all().build().expect("the system gives a runtime");
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

/// `from + by`, or a moment about 30 years away where that overflows.
pub(crate) fn after(from: Instant, by: Duration) -> Instant {
    from.checked_add(by).unwrap_or_else(|| from + Duration::from_secs(86_400 * 365 * 30))
}
