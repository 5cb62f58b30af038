//! Random schedules of the whole pool, tasks and all, under shuttle: uniformly random ones, and those of PCT (Burckhardt et
//! al., "A randomized scheduler with probabilistic guarantees of finding bugs", ASPLOS 2010).
//!
//! `RUSTFLAGS="--cfg millpond_shuttle" MILLPOND_SCHEDULES=5000 cargo test -p millpond-pool --release --lib schedules`
//!
//! There is no time in a schedule: nothing times out, so that a caller who is forgotten shows as a deadlock.

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use shuttle::future::{block_on, spawn, yield_now};

use crate::{Fairness, Guard, Manager, Pool, PoolBuilder, Verdict};

#[derive(Debug, Default)]
struct Counts {
    opened: AtomicUsize,
    live: AtomicUsize,
    most: AtomicUsize,
    checks: AtomicUsize,
}

struct Counted(Arc<Counts>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.live.fetch_sub(1, Ordering::Relaxed);
    }
}

#[derive(Debug)]
struct Dead;

impl fmt::Display for Dead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("dead")
    }
}

impl std::error::Error for Dead {}

/// Connects with a yield; every third check fails; every fifth return asks for a reset.
struct Fake(Arc<Counts>);

impl Manager for Fake {
    type Connection = Counted;
    type Error = Dead;

    async fn connect(&self) -> Result<Counted, Dead> {
        yield_now().await;
        self.0.opened.fetch_add(1, Ordering::Relaxed);
        let live = self.0.live.fetch_add(1, Ordering::Relaxed) + 1;
        self.0.most.fetch_max(live, Ordering::Relaxed);
        Ok(Counted(Arc::clone(&self.0)))
    }

    async fn validate(&self, _: &mut Counted) -> Result<(), Dead> {
        yield_now().await;
        if self.0.checks.fetch_add(1, Ordering::Relaxed) % 3 == 2 { Err(Dead) } else { Ok(()) }
    }

    fn on_return(&self, _: &mut Counted) -> Verdict {
        if self.0.checks.fetch_add(1, Ordering::Relaxed) % 5 == 4 { Verdict::Reset } else { Verdict::Keep }
    }

    async fn reset(&self, _: &mut Counted) -> Result<(), Dead> {
        yield_now().await;
        Ok(())
    }
}

fn pool(configure: impl FnOnce(PoolBuilder<Fake>) -> PoolBuilder<Fake>) -> (Pool<Fake>, Arc<Counts>) {
    let counts = Arc::new(Counts::default());
    let builder = Pool::builder(Fake(Arc::clone(&counts))).max_size(2).validation_bypass(Duration::MAX);
    // No system clock: a schedule must be the same each time it is run.
    let builder = builder.clock(crate::ManualClock::new()).warn_nested(false);
    (configure(builder).build().expect("the settings are valid"), counts)
}

fn check(test: fn()) {
    let schedules =
        std::env::var("MILLPOND_SCHEDULES").ok().and_then(|text| text.parse().ok()).unwrap_or(200);
    shuttle::check_random(test, schedules);
    shuttle::check_pct(test, schedules, 3);
}

/// Polls once or twice, and leaves if nothing came of it.
async fn glance(pool: &Pool<Fake>) -> Option<Guard<Fake>> {
    let mut asking = Box::pin(pool.get());
    let mut polls = 0;
    poll_fn(|context| match asking.as_mut().poll(context) {
        Poll::Ready(guard) => Poll::Ready(guard.ok()),
        Poll::Pending if polls == 1 => Poll::Ready(None),
        Poll::Pending => {
            polls += 1;
            context.waker().wake_by_ref();
            Poll::Pending
        }
    })
    .await
}

async fn storm(pool: Pool<Fake>, counts: Arc<Counts>) {
    let tasks: Vec<_> = (0..4)
        .map(|task| {
            let pool = pool.clone();
            spawn(async move {
                for step in 0..3 {
                    match (task + step) % 4 {
                        0 => drop(glance(&pool).await),
                        1 => Guard::discard(pool.get().await.expect("nothing fails to open")),
                        _ => {
                            let held = pool.get().await.expect("nothing fails to open");
                            yield_now().await;
                            drop(held);
                        }
                    }
                    pool.check_invariants();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no task panics");
    }
    assert!(counts.most.load(Ordering::Relaxed) <= 2, "T3");
    // T1: all slots are there.
    let held = (pool.get().await, pool.get().await);
    assert!(held.0.is_ok() && held.1.is_ok());
    drop(held);
    pool.check_invariants();
}

/// T1, T3, T8, T11: callers, leavers, dead connections and resets.
#[test]
fn schedules_of_a_storm() {
    check(|| {
        let (pool, counts) = pool(|b| b);
        block_on(storm(pool, counts));
    });
}

/// The same under eventual fairness.
#[test]
fn schedules_of_a_storm_of_the_quick() {
    check(|| {
        let (pool, counts) = pool(|b| b.fairness(Fairness::Eventual(Duration::from_millis(1))));
        block_on(storm(pool, counts));
    });
}

/// T14, T7: all who wait are told of a close, and nothing is left.
#[test]
fn schedules_of_a_close() {
    check(|| {
        block_on(async {
            let (pool, counts) = pool(|b| b.max_size(1));
            let tasks: Vec<_> = (0..3)
                .map(|_| {
                    let pool = pool.clone();
                    spawn(async move {
                        if let Ok(held) = pool.get().await {
                            yield_now().await;
                            drop(held);
                        }
                    })
                })
                .collect();
            yield_now().await;
            let closer = pool.clone();
            assert_eq!(closer.close(Duration::from_secs(1)).await, 0);
            for task in tasks {
                task.await.expect("no task panics");
            }
            // What was being opened at the close is ended by its opener, after the close.
            let left = || {
                let status = pool.stats().status;
                status.total() - status.opening + counts.live.load(Ordering::Relaxed)
            };
            while left() > 0 {
                yield_now().await;
            }
        });
    });
}

/// T33, T38: resets and resizes beside callers.
#[test]
fn schedules_of_resets_and_resizes() {
    check(|| {
        block_on(async {
            let (pool, counts) = pool(|b| b);
            let changer = pool.clone();
            let changes = spawn(async move {
                changer.reset();
                yield_now().await;
                changer.resize(1);
                yield_now().await;
                changer.suspend();
                changer.resize(2);
                yield_now().await;
                changer.resume();
            });
            storm(pool, counts).await;
            changes.await.expect("no task panics");
        });
    });
}
