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

    fn handle(&self) -> Handle {
        if let Some(handle) = &self.explicit {
            return handle.clone();
        }
        Handle::try_current().unwrap_or_else(|_| self.private.get_or_init(Private::start).handle.clone())
    }

    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        drop(self.handle().spawn(task));
    }

    /// A timer that works wherever it is polled.
    pub(crate) fn sleep_until(&self, deadline: Instant) -> Sleep {
        let handle = self.handle();
        let _context = handle.enter();
        tokio::time::sleep_until(deadline)
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
