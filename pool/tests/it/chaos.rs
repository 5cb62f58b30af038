//! Random callers, faults and settings on a clock that is moved by hand; the pool checks its own counts after every step.
//!
//! `model` says exactly who is served when all connects work. Here everything may fail, hang or panic, so the question is
//! another: do the counts agree after each step, is the limit kept, and is all well once the faults are over?

use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use millpond_pool::{Error, Fairness, Guard, ManualClock, Priority, Request};
use proptest::prelude::*;

use crate::support::{Act, Broken, Fake, pool, settle};

const ACTS: [Act; 6] = [Act::Work, Act::Fail, Act::Hang, Act::Panic, Act::Slow, Act::Refuse];
const PRIORITIES: [Priority; 3] = [Priority::High, Priority::Normal, Priority::Low];

#[derive(Clone, Debug)]
enum Op {
    Ask(usize),
    /// All who wait look.
    Look,
    Leave(usize),
    Return(usize),
    Discard(usize),
    Detach(usize),
    /// The pool's clock moves on, tokio's stands.
    Age(u64),
    /// Tokio's clock moves on, and with it the timeouts.
    Later(u64),
    Connect(usize),
    Validate(usize),
    Reset(usize),
    Verdict(usize),
    Resize(usize),
    Generation,
    Suspend,
    Resume,
    Retain(usize),
    Try,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let any = 0..1000usize;
    let act = 0..ACTS.len();
    let op = prop_oneof![
        8 => any.clone().prop_map(Op::Ask),
        6 => Just(Op::Look),
        3 => any.clone().prop_map(Op::Leave),
        6 => any.clone().prop_map(Op::Return),
        1 => any.clone().prop_map(Op::Discard),
        1 => any.clone().prop_map(Op::Detach),
        3 => (0..5000u64).prop_map(Op::Age),
        3 => prop_oneof![0..300u64, 900..1100u64].prop_map(Op::Later),
        2 => act.clone().prop_map(Op::Connect),
        2 => act.clone().prop_map(Op::Validate),
        1 => act.clone().prop_map(Op::Reset),
        1 => act.prop_map(Op::Verdict),
        1 => (0..5usize).prop_map(Op::Resize),
        1 => Just(Op::Generation),
        1 => Just(Op::Suspend),
        2 => Just(Op::Resume),
        1 => any.prop_map(Op::Retain),
        2 => Just(Op::Try),
    ];
    prop::collection::vec(op, 1..100)
}

type Asking<'p> = Pin<Box<dyn Future<Output = Result<Guard<Fake>, Error<Broken>>> + 'p>>;

async fn run(ops: Vec<Op>, eventual: bool, shed: bool, max_waiters: Option<usize>) {
    let clock = Arc::new(ManualClock::new());
    let second = Duration::from_secs(1);
    let (pool, control) = pool(|b| {
        let b = b.clock(Arc::clone(&clock)).max_size(4).min_idle(1).max_waiters(max_waiters);
        let b = b.acquire_timeout(second).connect_timeout(second).validation_timeout(second);
        let b = b.idle_timeout(second * 3).max_lifetime(second * 20).keepalive(second * 2);
        let b = b.shed(shed.then_some(second / 10), second);
        if eventual { b.fairness(Fairness::Eventual(second / 5)) } else { b }
    });
    let mut asking: Vec<Asking<'_>> = Vec::new();
    let mut held: Vec<Guard<Fake>> = Vec::new();
    let mut detached = Vec::new();
    for op in ops {
        match op {
            Op::Ask(n) => {
                let request = Request::new().priority(PRIORITIES[n % PRIORITIES.len()]);
                asking.push(Box::pin(pool.get_with(request)));
            }
            Op::Look => {
                let mut still = Vec::new();
                for mut caller in asking.drain(..) {
                    match futures::poll!(&mut caller) {
                        Poll::Ready(Ok(guard)) => held.push(guard),
                        Poll::Ready(Err(Error::Closed)) => panic!("nobody closed it"),
                        Poll::Ready(Err(_)) => {}
                        Poll::Pending => still.push(caller),
                    }
                    pool.check_invariants();
                }
                asking = still;
            }
            Op::Leave(n) if !asking.is_empty() => drop(asking.swap_remove(n % asking.len())),
            Op::Return(n) if !held.is_empty() => drop(held.swap_remove(n % held.len())),
            Op::Discard(n) if !held.is_empty() => Guard::discard(held.swap_remove(n % held.len())),
            Op::Detach(n) if !held.is_empty() => {
                detached.push(Guard::detach(held.swap_remove(n % held.len())));
            }
            Op::Age(millis) => clock.advance(Duration::from_millis(millis)),
            Op::Later(millis) => tokio::time::advance(Duration::from_millis(millis)).await,
            Op::Connect(n) => control.connect.set(ACTS[n]),
            Op::Validate(n) => control.validate.set(ACTS[n]),
            Op::Reset(n) => control.reset.set(ACTS[n]),
            Op::Verdict(n) => control.on_return.set(ACTS[n]),
            Op::Resize(size) => pool.resize(size),
            Op::Generation => pool.reset(),
            Op::Suspend => pool.suspend(),
            Op::Resume => pool.resume(),
            Op::Retain(n) => drop(pool.retain(|connection| connection.id % 3 != n % 3)),
            Op::Try => held.extend(pool.try_get()),
            Op::Leave(_) | Op::Return(_) | Op::Discard(_) | Op::Detach(_) => {}
        }
        pool.check_invariants();
        settle().await;
        pool.check_invariants();
        let status = pool.stats().status;
        assert!(control.live() - detached.len() <= 4, "above the limit: {status:?}");
        assert!(status.waiting <= asking.len(), "{status:?}");
        assert!(status.in_use >= held.len(), "{status:?}");
        if let Some(most) = max_waiters {
            assert!(
                status.waiting <= most + 4,
                "only those whose connection died come beside the cap: {status:?}"
            );
        }
    }
    // The faults are over: all there are may be had, and then all are gone.
    drop((asking, held));
    for step in [&control.connect, &control.validate, &control.reset, &control.on_return] {
        step.set(Act::Work);
    }
    pool.resume();
    pool.resize(4);
    let mut held = Vec::new();
    for _ in 0..4 {
        let mut tries = 0;
        let guard = loop {
            tries += 1;
            match pool.get_timeout(second * 5).await {
                Ok(guard) => break guard,
                // The breaker may be open still.
                Err(Error::Connect { .. }) if tries < 200 => tokio::time::sleep(second / 20).await,
                Err(error) => panic!("a slot or a permit was lost: {error}"),
            }
        };
        held.push(guard);
    }
    drop(held);
    assert_eq!(pool.close(second * 2).await, 0, "{:?}", pool.stats());
    settle().await;
    tokio::time::sleep(second * 2).await;
    assert_eq!(control.live(), detached.len());
    let stats = pool.stats();
    assert_eq!(stats.opened, stats.retired + stats.discarded + stats.detached, "{stats:?}");
}

proptest! {
    #[test]
    fn counts_agree_whatever_happens(
        ops in ops(),
        eventual in any::<bool>(),
        shed in any::<bool>(),
        max_waiters in prop::option::of(1..4usize),
    ) {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(run(ops, eventual, shed, max_waiters));
    }
}
