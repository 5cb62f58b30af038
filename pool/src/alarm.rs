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

/// The task's own part. If its runtime ends before it does, it goes on in the pool's own.
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
        let Some(at) = inner.core.alarm_lost(self.runtime, Instant::now()) else { return };
        let alarm = Self { inner: self.inner.clone(), bell: Arc::clone(&self.bell), ..*self };
        inner.rt.spawn_privately(watch(alarm, at));
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
