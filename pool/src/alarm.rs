//! The timer of all who wait in one runtime: a task that wakes those whose time is up. See [`core::alarms`](crate::core).

use std::pin::pin;
use std::sync::{Arc, Weak};
use std::task::Poll;

use tokio::runtime::Id;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::contain;
use crate::core::Cover;
use crate::inner::Inner;
use crate::manager::Manager;
use crate::rt::sleep_until;

/// The task's own part. If its runtime ends before it does, the alarm of the pool's own runtime wakes who still waits. So there
/// are no more alarms than runtimes, however many have come and gone.
struct Alarm<M: Manager> {
    inner: Weak<Inner<M>>,
    runtime: Id,
    bell: Arc<Notify>,
    ended: bool,
}

impl<M: Manager> Drop for Alarm<M> {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let Some(inner) = self.inner.upgrade() else { return };
        let now = Instant::now();
        if !inner.core.alarm_lost(self.runtime) {
            return;
        }
        let Some(heir) = inner.rt.private() else { return };
        match inner.core.cover(heir, now) {
            Cover::Enough => {}
            Cover::Late(bell) => bell.notify_one(),
            Cover::None(bell) => {
                let alarm = Self { inner: self.inner.clone(), runtime: heir, bell, ended: false };
                inner.rt.spawn_privately(watch(alarm, now));
            }
        }
    }
}

/// Does what a new waiter found to be needed.
#[inline]
pub(crate) fn see_to<M: Manager>(inner: &Arc<Inner<M>>, runtime: Id, cover: Cover, deadline: Instant) {
    match cover {
        Cover::Enough => {}
        Cover::Late(bell) => bell.notify_one(),
        Cover::None(bell) => start(inner, runtime, bell, deadline),
    }
}

#[cold]
fn start<M: Manager>(inner: &Arc<Inner<M>>, runtime: Id, bell: Arc<Notify>, deadline: Instant) {
    let alarm = Alarm { inner: Arc::downgrade(inner), runtime, bell, ended: false };
    inner.rt.spawn(watch(alarm, deadline));
}

async fn watch<M: Manager>(mut alarm: Alarm<M>, mut at: Instant) {
    loop {
        {
            let mut told = pin!(alarm.bell.notified());
            let mut timer = pin!(sleep_until(at));
            std::future::poll_fn(|context| {
                if told.as_mut().poll(context).is_ready() {
                    return Poll::Ready(());
                }
                timer.as_mut().poll(context)
            })
            .await;
        }
        let Some(inner) = alarm.inner.upgrade() else { return };
        let (late, next) = inner.core.ring(alarm.runtime, Instant::now());
        for waiter in late {
            let _contained = contain::call(|| waiter.wake());
        }
        match next {
            Some(next) => at = next,
            None => {
                alarm.ended = true;
                return;
            }
        }
    }
}

#[cfg(all(test, not(any(millpond_loom, millpond_shuttle))))]
mod tests {
    use std::convert::Infallible;
    use std::time::Duration;

    use futures::FutureExt as _;
    use tokio::runtime::{Builder, Runtime};

    use super::*;
    use crate::Pool;

    struct Units;

    impl Manager for Units {
        type Connection = ();
        type Error = Infallible;

        async fn connect(&self) -> Result<(), Infallible> {
            Ok(())
        }

        async fn validate(&self, (): &mut ()) -> Result<(), Infallible> {
            Ok(())
        }
    }

    fn runtime() -> Runtime {
        Builder::new_current_thread().enable_all().build().unwrap()
    }

    #[test]
    fn runtimes_that_come_and_go_leave_no_alarms() {
        let long = Duration::from_secs(3600);
        let pool = Pool::builder(Units).max_size(1).build().unwrap();
        let stays = runtime();
        let held = stays.block_on(pool.get()).unwrap();
        let mut waits = Box::pin(pool.get_timeout(long));
        stays.block_on(async { assert!(waits.as_mut().now_or_never().is_none()) });
        for _ in 0..20 {
            runtime().block_on(async {
                assert!(pool.get_timeout(long).now_or_never().is_none());
                // The alarm's task begins.
                tokio::task::yield_now().await;
            });
        }
        // That of the runtime that stays, and the pool's own.
        assert!(pool.inner().core.alarms() <= 2, "{} alarms", pool.inner().core.alarms());
        drop(held);
    }
}
