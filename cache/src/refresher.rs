//! Where refreshes run: by the caller's executor, or by one thread of the cache's own.

use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use parking_lot::Mutex;

use crate::contain::contain;

/// A refresh that is ready to run, for [`CacheBuilder::refresh_executor`](crate::CacheBuilder::refresh_executor).
///
/// Never panics. Dropping it without a call counts as a failed refresh.
pub type RefreshJob = Box<dyn FnOnce() + Send>;

/// Refreshes that wait for the cache's own thread, at most.
const WAITING: usize = 1024;

/// Runs refreshes in the background.
pub(crate) enum Refresher {
    /// A thread, started with the first refresh. It ends when the cache does.
    Own(Mutex<Option<SyncSender<RefreshJob>>>),
    Given(Box<dyn Fn(RefreshJob) + Send + Sync>),
}

impl Refresher {
    pub(crate) fn own() -> Self {
        Self::Own(Mutex::new(None))
    }

    /// Has a job run, or drops it where that can't be. Never panics.
    pub(crate) fn run(&self, job: RefreshJob) {
        // The executor is foreign code, and a drop of a job runs drops of keys: a read must not fail for either.
        let _panicked = contain(|| match self {
            Self::Given(executor) => executor(job),
            Self::Own(sender) => {
                let mut sender = sender.lock();
                if sender.is_none() {
                    *sender = start();
                }
                let rejected = match &*sender {
                    Some(sender) => sender.try_send(job).err().map(drop_later),
                    None => Some(job),
                };
                drop(sender);
                drop(rejected);
            }
        });
    }
}

fn drop_later(error: std::sync::mpsc::TrySendError<RefreshJob>) -> RefreshJob {
    match error {
        std::sync::mpsc::TrySendError::Full(job) | std::sync::mpsc::TrySendError::Disconnected(job) => job,
    }
}

fn start() -> Option<SyncSender<RefreshJob>> {
    let (sender, jobs) = sync_channel::<RefreshJob>(WAITING);
    let run = move || {
        while let Ok(job) = jobs.recv() {
            // A job's last act may be to drop the cache, which runs drops of the user's.
            let _panicked = contain(job);
        }
    };
    thread::Builder::new().name(String::from("cache refresher")).spawn(run).ok().map(|_thread| sender)
}
