//! A manager under remote control: each step succeeds, fails, hangs or panics as the test wants.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::time::Duration;

use millpond_pool::{Manager, Pool, PoolBuilder, TokioClock, Verdict};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Act {
    Work,
    Fail,
    Hang,
    Panic,
    /// Takes 100 ms of tokio's time.
    Slow,
    /// Fails with an error that the manager calls permanent.
    Refuse,
}

#[derive(Debug, Default)]
pub(crate) struct Control {
    pub(crate) connect: Step,
    pub(crate) validate: Step,
    pub(crate) reset: Step,
    pub(crate) on_return: Step,
    pub(crate) close: Step,
    /// For hooks, where a test sets them.
    pub(crate) after_connect: Step,
    pub(crate) before_acquire: Step,
    pub(crate) after_release: Step,
    pub(crate) connects: AtomicUsize,
    pub(crate) validations: AtomicUsize,
    pub(crate) live: AtomicUsize,
    pub(crate) most: AtomicUsize,
    pub(crate) connecting: AtomicUsize,
    pub(crate) most_connecting: AtomicUsize,
}

/// What a step does now.
#[derive(Debug, Default)]
pub(crate) struct Step(AtomicU8);

impl Step {
    pub(crate) fn set(&self, act: Act) {
        self.0.store(act as u8, Ordering::SeqCst);
    }

    pub(crate) fn get(&self) -> Act {
        [Act::Work, Act::Fail, Act::Hang, Act::Panic, Act::Slow, Act::Refuse]
            [usize::from(self.0.load(Ordering::SeqCst))]
    }

    pub(crate) async fn run(&self) -> Result<(), Broken> {
        match self.get() {
            Act::Work => Ok(()),
            Act::Fail => Err(Broken("down")),
            Act::Refuse => Err(Broken("refused")),
            Act::Hang => std::future::pending().await,
            Act::Panic => panic!("told to"),
            Act::Slow => {
                tokio::time::sleep(Duration::from_millis(100)).await;
                Ok(())
            }
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Broken(pub(crate) &'static str);

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Broken {}

/// A connection that counts itself.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) id: usize,
    control: Arc<Control>,
}

impl Connection {
    /// Which target it leads to.
    pub(crate) fn home(&self) -> usize {
        Arc::as_ptr(&self.control) as usize
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.control.live.fetch_sub(1, Ordering::SeqCst);
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Fake(pub(crate) Arc<Control>);

struct Dialling<'c>(&'c Control);

impl Drop for Dialling<'_> {
    fn drop(&mut self) {
        self.0.connecting.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Manager for Fake {
    type Connection = Connection;
    type Error = Broken;

    async fn connect(&self) -> Result<Connection, Broken> {
        let id = self.0.connects.fetch_add(1, Ordering::SeqCst);
        let connecting = self.0.connecting.fetch_add(1, Ordering::SeqCst) + 1;
        self.0.most_connecting.fetch_max(connecting, Ordering::SeqCst);
        let _dialling = Dialling(&self.0);
        self.0.connect.run().await?;
        let live = self.0.live.fetch_add(1, Ordering::SeqCst) + 1;
        self.0.most.fetch_max(live, Ordering::SeqCst);
        Ok(Connection { id, control: Arc::clone(&self.0) })
    }

    async fn validate(&self, _: &mut Connection) -> Result<(), Broken> {
        self.0.validations.fetch_add(1, Ordering::SeqCst);
        self.0.validate.run().await
    }

    async fn reset(&self, _: &mut Connection) -> Result<(), Broken> {
        self.0.reset.run().await
    }

    fn on_return(&self, _: &mut Connection) -> Verdict {
        match self.0.on_return.get() {
            Act::Work => Verdict::Keep,
            Act::Panic => panic!("told to"),
            Act::Slow => Verdict::Reset,
            Act::Fail | Act::Refuse | Act::Hang => Verdict::Discard,
        }
    }

    async fn close(&self, connection: Connection) {
        let _told = self.0.close.run().await;
        drop(connection);
    }

    fn is_permanent(&self, error: &Broken) -> bool {
        error.0 == "refused"
    }
}

impl Control {
    pub(crate) fn connects(&self) -> usize {
        self.connects.load(Ordering::SeqCst)
    }

    pub(crate) fn live(&self) -> usize {
        self.live.load(Ordering::SeqCst)
    }

    pub(crate) fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }
}

/// A pool over a fake manager, with its remote control.
pub(crate) fn pool(
    configure: impl FnOnce(PoolBuilder<Fake>) -> PoolBuilder<Fake>,
) -> (Pool<Fake>, Arc<Control>) {
    let manager = Fake::default();
    let control = Arc::clone(&manager.0);
    // Ages move with tokio's time, which most tests pause.
    let builder =
        Pool::builder(manager).clock(TokioClock::new()).max_size(2).acquire_timeout(Duration::from_secs(5));
    (configure(builder).build().unwrap(), control)
}

/// Lets all tasks run that can.
pub(crate) async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}
