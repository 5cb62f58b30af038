//! Random callers against a naive reference: a queue and a number.
//!
//! The reference says who has been served after every step: whoever has waited longest, as soon as fewer connections are
//! out than the limit allows. The match is exact, because connecting always works here; what failures do is in `outage`,
//! `cancellation` and `stress`.

use std::future::Future;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use millpond_pool::{Error, Guard};
use proptest::prelude::*;

use crate::support::{Broken, Fake, pool, settle};

const TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Clone, Debug)]
enum Op {
    /// A caller comes.
    Ask,
    /// One of the callers looks whether it is its turn.
    Look(usize),
    /// One leaves, served or not.
    Leave(usize),
    /// All look, this many milliseconds later.
    Later(u64),
    /// Somebody asks and would not wait.
    Try,
    Return(usize),
    Discard(usize),
    Detach(usize),
    Resize(usize),
    /// All connections there are end at their next return.
    Reset,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let any = 0..1000usize;
    let op = prop_oneof![
        8 => Just(Op::Ask),
        6 => any.clone().prop_map(Op::Look),
        3 => any.clone().prop_map(Op::Leave),
        2 => prop_oneof![0..2000u64, 4900..5100u64].prop_map(Op::Later),
        2 => Just(Op::Try),
        6 => any.clone().prop_map(Op::Return),
        2 => any.clone().prop_map(Op::Discard),
        1 => any.prop_map(Op::Detach),
        1 => (1..5usize).prop_map(Op::Resize),
        1 => Just(Op::Reset),
    ];
    prop::collection::vec(op, 1..80)
}

type Asking<'p> = Pin<Box<dyn Future<Output = Result<Guard<Fake>, Error<Broken>>> + 'p>>;

struct Caller<'p> {
    asking: Asking<'p>,
    /// Since it came.
    waited: Duration,
    /// Whether the reference has served it.
    served: bool,
}

/// The reference: the first in the queue is served as soon as there is room.
fn serve(callers: &mut [Caller<'_>], held: usize, limit: usize) {
    let out = held + callers.iter().filter(|caller| caller.served).count();
    let room = limit.saturating_sub(out);
    callers.iter_mut().filter(|caller| !caller.served).take(room).for_each(|caller| caller.served = true);
}

async fn run(ops: Vec<Op>) {
    let mut limit = 2;
    let (pool, control) = pool(|b| {
        let b = b.max_size(limit).acquire_timeout(TIMEOUT).validation_bypass(Duration::MAX);
        b.idle_timeout(None).max_lifetime(None).keepalive(None)
    });
    let mut callers: Vec<Caller<'_>> = Vec::new();
    let mut held: Vec<Guard<Fake>> = Vec::new();
    let mut detached = Vec::new();
    for op in ops {
        match op {
            Op::Ask => {
                let mut asking: Asking<'_> = Box::pin(pool.get());
                match futures::poll!(&mut asking) {
                    Poll::Ready(guard) => {
                        // Nobody may be passed by.
                        assert!(callers.iter().all(|caller| caller.served), "a newcomer overtook");
                        held.push(guard.unwrap());
                    }
                    Poll::Pending => callers.push(Caller { asking, waited: Duration::ZERO, served: false }),
                }
            }
            Op::Look(n) if !callers.is_empty() => {
                let n = n % callers.len();
                let caller = &mut callers[n];
                match futures::poll!(&mut caller.asking) {
                    Poll::Ready(guard) => {
                        assert!(caller.served, "served out of turn");
                        held.push(guard.unwrap());
                        drop(callers.remove(n));
                    }
                    Poll::Pending => assert!(!caller.served, "not served in its turn"),
                }
            }
            Op::Leave(n) if !callers.is_empty() => drop(callers.remove(n % callers.len())),
            Op::Later(millis) => {
                let by = Duration::from_millis(millis);
                tokio::time::advance(by).await;
                settle().await;
                let mut still = Vec::new();
                for mut caller in callers.drain(..) {
                    caller.waited += by;
                    match futures::poll!(&mut caller.asking) {
                        Poll::Ready(Ok(guard)) => {
                            assert!(caller.served, "served out of turn");
                            held.push(guard);
                        }
                        Poll::Ready(Err(error)) => {
                            assert!(
                                error.is_timeout() && !caller.served && caller.waited >= TIMEOUT,
                                "{error}"
                            );
                        }
                        Poll::Pending => {
                            assert!(!caller.served && caller.waited < TIMEOUT, "not served, not sent away");
                            still.push(caller);
                        }
                    }
                }
                callers = still;
            }
            Op::Try => {
                let served = callers.iter().filter(|caller| caller.served).count();
                let idle = control.live() - held.len() - served - detached.len();
                match pool.try_get() {
                    Some(guard) => {
                        assert!(idle > 0 && served == callers.len(), "lent what was not idle");
                        held.push(guard);
                    }
                    None => assert_eq!(idle, 0, "an idle connection was not lent"),
                }
            }
            Op::Return(n) if !held.is_empty() => drop(held.swap_remove(n % held.len())),
            Op::Discard(n) if !held.is_empty() => Guard::discard(held.swap_remove(n % held.len())),
            Op::Detach(n) if !held.is_empty() => {
                detached.push(Guard::detach(held.swap_remove(n % held.len())))
            }
            Op::Resize(size) => {
                limit = size;
                pool.resize(size);
            }
            Op::Reset => pool.reset(),
            Op::Look(_) | Op::Leave(_) | Op::Return(_) | Op::Discard(_) | Op::Detach(_) => {}
        }
        settle().await;
        serve(&mut callers, held.len(), limit);
        let served = callers.iter().filter(|caller| caller.served).count();
        let status = pool.stats().status;
        assert_eq!(status.in_use, held.len() + served, "in use: {status:?}");
        assert_eq!(status.waiting, callers.len() - served, "waiting: {status:?}");
        assert_eq!(status.opening, 0, "{status:?}");
        assert_eq!(status.total() + detached.len(), control.live(), "{status:?}");
        assert!(status.total() <= limit.max(held.len() + served), "above the limit: {status:?}");
        pool.check_invariants();
    }
    drop((callers, held));
    assert_eq!(pool.close(Duration::from_secs(1)).await, 0);
    settle().await;
    assert_eq!(control.live(), detached.len());
}

proptest! {
    #[test]
    fn agrees_with_a_queue_and_a_number(ops in ops()) {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(run(ops));
    }
}
