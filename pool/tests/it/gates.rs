//! A gate at every await of a connection's way: open, failing or shut; and callers who leave in front of them. All products,
//! as deadpool's cancellation test has them for its own steps.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use millpond_pool::{HookFuture, Pool, PoolBuilder, TokioClock};

use crate::support::{Act, Broken, Connection, Control, Fake, Step, settle};

const SECOND: Duration = Duration::from_secs(1);
const GATES: [Act; 3] = [Act::Work, Act::Fail, Act::Hang];

fn hook(
    control: &Arc<Control>,
    step: fn(&Control) -> &Step,
) -> impl for<'c> Fn(&'c mut Connection) -> HookFuture<'c, Broken> + Send + Sync + use<> {
    let control = Arc::clone(control);
    move |_| {
        let control = Arc::clone(&control);
        Box::pin(async move { step(&control).run().await })
    }
}

fn gated() -> (Pool<Fake>, Arc<Control>) {
    let fake = Fake::default();
    let control = Arc::clone(&fake.0);
    control.on_return.set(Act::Slow); // asks for a reset
    let builder: PoolBuilder<Fake> = Pool::builder(fake)
        .clock(TokioClock::new())
        .max_size(2)
        .acquire_timeout(SECOND * 10)
        .connect_timeout(SECOND)
        .validation_timeout(SECOND)
        .validation_bypass(Duration::ZERO)
        .after_connect(hook(&control, |control| &control.after_connect))
        .before_acquire(hook(&control, |control| &control.before_acquire))
        .after_release(hook(&control, |control| &control.after_release));
    (builder.build().unwrap(), control)
}

fn open(control: &Control) {
    let steps = [
        &control.connect,
        &control.after_connect,
        &control.validate,
        &control.before_acquire,
        &control.reset,
        &control.after_release,
    ];
    for step in steps {
        step.set(Act::Work);
    }
}

async fn leave(gates: [Act; 6], polls: usize) {
    let case = format!("{gates:?}, {polls} polls");
    let [connect, after_connect, validate, before_acquire, reset, after_release] = gates;
    let (pool, control) = gated();
    let first = pool.get().await.unwrap();
    control.reset.set(reset);
    control.after_release.set(after_release);
    control.connect.set(connect);
    control.after_connect.set(after_connect);
    control.validate.set(validate);
    control.before_acquire.set(before_acquire);
    drop(first);
    let mut callers: Vec<_> = (0..4).map(|_| Box::pin(pool.get().fuse())).collect();
    for _ in 0..polls {
        for caller in &mut callers {
            let _served_or_not = futures::poll!(caller);
        }
        settle().await;
        pool.check_invariants();
    }
    drop(callers);
    pool.check_invariants();
    open(&control);
    let began = tokio::time::Instant::now();
    let held = (pool.get().await, pool.get().await);
    assert!(held.0.is_ok() && held.1.is_ok(), "a slot or a permit was lost: {case}: {:?}", pool.stats());
    assert!(began.elapsed() <= SECOND * 4, "{:?}: {case}", began.elapsed());
    assert!(control.most() <= 2, "T3: {case}");
    drop(held);
    settle().await;
    let status = pool.stats().status;
    assert_eq!((status.in_use, status.checking, status.waiting), (0, 0, 0), "{case}");
    pool.check_invariants();
    assert_eq!(pool.close(SECOND).await, 0, "{case}");
    settle().await;
    assert_eq!(control.live(), 0, "{case}");
}

#[tokio::test(start_paused = true)]
async fn t01_every_product_of_gates_loses_nothing() {
    for product in 0..GATES.len().pow(6) {
        let mut rest = product;
        let gates = std::array::from_fn(|_| {
            let gate = GATES[rest % GATES.len()];
            rest /= GATES.len();
            gate
        });
        for polls in 0..3 {
            leave(gates, polls).await;
        }
    }
}

/// Of the hooks after a return both run: the manager's reset, then the user's.
#[tokio::test(start_paused = true)]
async fn a_reset_does_not_leave_out_after_release() {
    let (pool, control) = gated();
    let first = pool.get().await.unwrap();
    let id = first.id;
    control.after_release.set(Act::Fail);
    drop(first);
    settle().await;
    control.after_release.set(Act::Work);
    assert_ne!(pool.get().await.unwrap().id, id);
}
