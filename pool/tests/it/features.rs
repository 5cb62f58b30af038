//! What a pool can do beside lending and taking back.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use millpond_pool::managers::Objects;
use millpond_pool::{
    BuildError, Config, ConfigError, Error, Event, Fairness, Guard, GuardRef, ManualClock, Pool, Priority,
    Request, StartError, Verdict,
};

use parking_lot::Mutex;

use crate::support::{Act, Fake, pool, settle};

const MILLI: Duration = Duration::from_millis(1);

#[tokio::test]
async fn a_borrowed_guard_returns_like_an_owned_one() {
    let (pool, control) = pool(|b| b);
    let first = pool.get_ref().await.unwrap();
    let id = first.id;
    drop(first);
    assert_eq!(pool.try_get_ref().unwrap().id, id);
    GuardRef::discard(pool.get_ref().await.unwrap());
    let kept = GuardRef::detach(pool.get_ref().await.unwrap());
    assert_eq!((control.live(), pool.stats().status.total()), (1, 0), "only the detached one");
    drop(kept);
    let other = {
        let pool = pool.clone();
        std::thread::spawn(move || pool.try_get_ref().is_none())
    };
    assert!(other.join().unwrap());
    pool.check_invariants();
}

/// Eventual fairness: a newcomer may pass, until the first has waited for the limit; a cancelled waiter that was told to
/// look holds up nobody.
#[tokio::test]
async fn eventual_fairness_lets_newcomers_pass_for_a_while() {
    let clock = Arc::new(ManualClock::new());
    let (pool, _) = pool(|b| b.max_size(1).clock(Arc::clone(&clock)).fairness(Fairness::Eventual(MILLI * 5)));
    let held = pool.get().await.unwrap();
    let mut first = Box::pin(pool.get());
    let mut second = Box::pin(pool.get());
    assert!(futures::poll!(&mut first).is_pending() && futures::poll!(&mut second).is_pending());
    drop(held);
    let quick = pool.get().await.unwrap();
    pool.check_invariants();
    assert!(futures::poll!(&mut first).is_pending(), "it looked too late");
    drop(quick);
    pool.check_invariants();
    drop(first);
    pool.check_invariants();
    let held = second.await.unwrap();
    let mut third = Box::pin(pool.get());
    assert!(futures::poll!(&mut third).is_pending());
    clock.advance(MILLI * 5);
    drop(held);
    let mut quick = Box::pin(pool.get());
    assert!(futures::poll!(&mut quick).is_pending(), "nobody passes one who has waited for the limit");
    drop(third.await.unwrap());
    drop(quick.await.unwrap());
    pool.check_invariants();
}

/// Many callers under eventual fairness, with leavers: nobody is forgotten.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn eventual_fairness_forgets_nobody() {
    let (pool, _) =
        pool(|b| b.max_size(3).fairness(Fairness::Eventual(MILLI)).acquire_timeout(MILLI * 20_000));
    let callers: Vec<_> = (0..24)
        .map(|n| {
            let pool = pool.clone();
            tokio::spawn(async move {
                for step in 0..400 {
                    if (n + step) % 5 == 0 {
                        drop(tokio::time::timeout(Duration::from_micros(30), pool.get()).await);
                    } else {
                        let held = pool.get().await.unwrap();
                        if step % 3 == 0 {
                            tokio::task::yield_now().await;
                        }
                        drop(held);
                    }
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap();
    }
    pool.check_invariants();
    assert_eq!(pool.stats().timeouts, 0);
}

#[tokio::test]
async fn higher_priorities_are_served_first() {
    let (pool, _) = pool(|b| b.max_size(1));
    let held = pool.get().await.unwrap();
    let ask = |priority| Box::pin(pool.get_with(Request::new().priority(priority)));
    let (mut low, mut normal, mut high) = (ask(Priority::Low), ask(Priority::Normal), ask(Priority::High));
    for waiting in [&mut low, &mut normal, &mut high] {
        assert!(futures::poll!(waiting).is_pending());
    }
    drop(held);
    assert!(futures::poll!(&mut normal).is_pending() && futures::poll!(&mut low).is_pending());
    drop(high.await.unwrap());
    assert!(futures::poll!(&mut low).is_pending());
    drop(normal.await.unwrap());
    drop(low.await.unwrap());
}

#[tokio::test]
async fn as_many_may_wait_as_is_allowed() {
    let (pool, _) = pool(|b| b.max_size(1).max_waiters(1));
    let held = pool.get().await.unwrap();
    let mut first = Box::pin(pool.get());
    assert!(futures::poll!(&mut first).is_pending());
    let Err(Error::QueueFull { status }) = pool.get().await else { panic!("one waits already") };
    assert_eq!((status.waiting, pool.stats().rejected), (1, 1));
    drop(held);
    drop(first.await.unwrap());
}

/// A queue that stands sheds the late; those behind get what they would have got too late.
#[tokio::test]
async fn a_standing_queue_sheds_the_late() {
    let clock = Arc::new(ManualClock::new());
    let (pool, _) = pool(|b| b.max_size(1).clock(Arc::clone(&clock)).shed(MILLI * 50, MILLI * 1000));
    let mut held = pool.get().await.unwrap();
    // Three intervals in which everybody waits for 400 ms.
    for _ in 0..8 {
        let mut next = Box::pin(pool.get());
        assert!(futures::poll!(&mut next).is_pending());
        clock.advance(MILLI * 400);
        drop(held);
        held = match next.await {
            Ok(next) => next,
            Err(Error::Shed { .. }) => pool.get().await.unwrap(),
            Err(error) => panic!("{error}"),
        };
    }
    assert!(pool.stats().shed > 0);
    let before = pool.stats().shed;
    let mut late = Box::pin(pool.get());
    let mut soon = Box::pin(pool.get());
    assert!(futures::poll!(&mut late).is_pending());
    clock.advance(MILLI * 150);
    assert!(futures::poll!(&mut soon).is_pending());
    drop(held);
    let Err(Error::Shed { .. }) = late.await else { panic!("it is late") };
    drop(soon.await.unwrap());
    assert_eq!(pool.stats().shed, before + 1);
    pool.check_invariants();
}

#[tokio::test(start_paused = true)]
async fn times_are_recorded_by_what_they_were_spent_on() {
    let (pool, control) = pool(|b| b.max_size(1).record_hold_times(true).validation_bypass(Duration::ZERO));
    control.connect.set(Act::Slow);
    let held = pool.get().await.unwrap();
    tokio::time::sleep(MILLI * 40).await;
    drop(held);
    control.validate.set(Act::Slow);
    drop(pool.get().await.unwrap());
    let timings = pool.timings();
    assert_eq!((timings.connect.count(), timings.connect.longest()), (1, MILLI * 100));
    assert_eq!((timings.validate.count(), timings.validate.longest()), (1, MILLI * 100));
    assert_eq!((timings.queue.count(), timings.hold.count()), (2, 2));
    assert!(timings.hold.longest() >= MILLI * 40 && timings.hold.quantile(0.4) < MILLI);
    assert!(timings.queue.quantile(0.5) >= MILLI * 100, "{timings:?}");
}

#[tokio::test]
async fn retain_ends_what_it_is_told_to() {
    let (pool, control) = pool(|b| b.max_size(4));
    let held: Vec<_> = [pool.get().await, pool.get().await, pool.get().await].into_iter().flatten().collect();
    let busy = pool.get().await.unwrap();
    let doomed = held[1].id;
    drop(held);
    assert_eq!(pool.retain(|connection| connection.id != doomed), 1);
    assert_eq!((control.live(), pool.stats().status.idle), (3, 2));
    drop(busy);
    assert_eq!(pool.retain(|_| panic!("told to")), 3);
    settle().await;
    assert_eq!(control.live(), 0);
    assert!(pool.get().await.is_ok());
    pool.check_invariants();
}

#[tokio::test(start_paused = true)]
async fn start_says_at_once_what_is_wrong() {
    let start = |act| {
        let fake = Fake::default();
        fake.0.connect.set(act);
        Pool::builder(fake).start()
    };
    assert_eq!(start(Act::Work).await.unwrap().stats().opened, 1);
    let error = start(Act::Refuse).await.unwrap_err();
    assert!(matches!(error, StartError::Connect(Error::Connect { .. })), "{error}");
    assert!(matches!(start(Act::Fail).await, Err(StartError::Connect(Error::Connect { .. }))));
    let wrong = Pool::builder(Fake::default()).max_size(0).start().await;
    assert!(matches!(wrong, Err(StartError::Build(BuildError::MaxSize))));
}

/// A leak is reported once, with its place and, where it was picked, the whole way there.
#[tokio::test(start_paused = true)]
async fn leaks_are_told_with_place_and_sampled_backtrace() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let listener = Arc::clone(&told);
    let (pool, _) = pool(|b| {
        b.leak_threshold(MILLI * 100).leak_backtraces(2).on_event(move |event| {
            if let Event::Leak { borrowed, backtrace, .. } = event {
                listener.lock().push((borrowed.line(), backtrace.map(ToString::to_string)));
            }
        })
    });
    let one = pool.get().await.unwrap();
    let line = line!() + 1;
    let two = pool.get().await.unwrap();
    tokio::time::sleep(MILLI * 500).await;
    let told = told.lock().clone();
    assert_eq!((told.len(), pool.stats().leaks), (2, 2), "once each");
    let (_, backtrace) = told.iter().find(|(at, _)| *at == line).expect("the place of the call");
    assert!(backtrace.as_ref().expect("every second one").contains("features"), "it leads here");
    assert_eq!(pool.borrows().len(), 2);
    drop((one, two));
}

#[test]
fn variables_are_read_and_errors_name_them() {
    let vars = [
        ("DB_MAX_SIZE", "7"),
        ("DB_MAX_WAITERS", "none"),
        ("DB_ACQUIRE_TIMEOUT", "1m30s"),
        ("DB_FAIRNESS", "eventual 2ms"),
        ("DB_SHED_TARGET", "50ms"),
        ("DB_WARN_NESTED", "off"),
        ("OTHER_MAX_SIZE", "x"),
    ];
    let config = Config::from_vars("DB_", vars).unwrap();
    assert_eq!((config.max_size, config.acquire_timeout), (7, Duration::from_secs(90)));
    assert_eq!((config.fairness, config.shed_target), (Fairness::Eventual(MILLI * 2), Some(MILLI * 50)));
    for (name, value, says) in [
        ("DB_MAX_SISE", "7", "no such setting"),
        ("DB_MAX_SIZE", "-1", "`-1` is not a whole number"),
        ("DB_KEEPALIVE", "2", "`2` is not a duration"),
        ("DB_FAIRNESS", "fair", "expected `strict`"),
    ] {
        let error = Config::from_vars("DB_", [(name, value)]).unwrap_err();
        assert!(error.to_string().starts_with(&format!("{name}: {says}")), "{error}");
    }
    let error = Config::from_vars("DB_", [("DB_MIN_IDLE", "11")]).unwrap_err();
    assert_eq!(error.to_string(), "DB_*: min_idle: 11 is more than max_size, 10");
    assert!(matches!(error, ConfigError::Build { .. }));
}

#[cfg(feature = "serde")]
#[test]
fn a_file_is_read_and_written() {
    let text =
        r#"{"max_size": 3, "acquire_timeout": "250ms", "idle_timeout": null, "fairness": "eventual 1ms"}"#;
    let config: Config = serde_json::from_str(text).unwrap();
    assert_eq!((config.max_size, config.idle_timeout), (3, None));
    assert_eq!(config.keepalive, Config::default().keepalive);
    let again: Config = serde_json::from_str(&serde_json::to_string(&config).unwrap()).unwrap();
    assert_eq!(again, config);
    let error = serde_json::from_str::<Config>(r#"{"max_sice": 3}"#).unwrap_err();
    assert!(error.to_string().contains("max_sice"), "{error}");
    let error = serde_json::from_str::<Config>(r#"{"keepalive": "soon"}"#).unwrap_err();
    assert!(error.to_string().contains("`soon` is not a duration"), "{error}");
}

#[cfg(feature = "metrics")]
#[tokio::test(start_paused = true)]
async fn metrics_carry_the_pools_name() {
    use metrics_util::debugging::{DebugValue, DebuggingRecorder};
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let (pool, control) =
        metrics::with_local_recorder(&recorder, || pool(|b| b.name("main").max_size(1).keepalive(None)));
    control.connect.set(Act::Slow);
    for _ in 0..3 {
        drop(pool.get().await.unwrap());
    }
    let held = pool.get().await.unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let found = snapshotter.snapshot().into_vec();
    let value = |name: &str, state: Option<&str>| {
        let found = found.iter().find(|(key, ..)| {
            let key = key.key();
            let label =
                |label: &str| key.labels().find(|one| one.key() == label).map(|one| one.value().to_owned());
            key.name() == name
                && label("pool").as_deref() == Some("main")
                && label("state").as_deref() == state
        });
        match &found.unwrap_or_else(|| panic!("{name}")).3 {
            DebugValue::Counter(count) => *count as f64,
            DebugValue::Gauge(level) => level.into_inner(),
            DebugValue::Histogram(values) => values.iter().map(|value| value.into_inner()).sum(),
        }
    };
    assert_eq!(value("millpond_pool_acquired_total", None), 4.0);
    assert_eq!(value("millpond_pool_connections", Some("in_use")), 1.0);
    assert_eq!(value("millpond_pool_max_size", None), 1.0);
    assert!((value("millpond_pool_connect_seconds", None) - 0.1).abs() < 0.01);
    assert!(value("millpond_pool_wait_seconds", None) >= 0.1);
    drop(held);
}

/// Objects that are no connections: bounded, shared, cleaned as they come back.
#[tokio::test]
async fn objects_are_pooled_by_the_same_core() {
    let objects = Objects::new(Vec::<u8>::new).on_return(|buffer| {
        buffer.clear();
        if buffer.capacity() > 64 { Verdict::Discard } else { Verdict::Keep }
    });
    let pool = Pool::builder(objects).max_size(1).build().unwrap();
    let mut buffer = pool.get().await.unwrap();
    buffer.extend_from_slice(b"abc");
    drop(buffer);
    let mut buffer = pool.try_get().unwrap();
    assert!(buffer.is_empty() && buffer.capacity() >= 3, "the same, clean");
    buffer.resize(1000, 0);
    drop(buffer);
    assert_eq!(pool.get().await.unwrap().capacity(), 0, "a giant is not kept");
    let broken = Pool::builder(Objects::<u8>::new(|| panic!("told to"))).build().unwrap();
    assert!(matches!(broken.get().await, Err(Error::Connect { .. })));
    Guard::discard(pool.get().await.unwrap());
    assert_eq!(pool.stats().status.total(), 0);
}

/// `before_acquire` runs for blocking callers and borrowed guards too.
#[test]
fn hooks_run_for_every_kind_of_borrow() {
    let calls = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counter = Arc::clone(&calls);
    let (pool, _) = pool(|b| {
        b.before_acquire(move |_| {
            counter.fetch_add(1, Ordering::SeqCst);
            Box::pin(async { Ok(()) })
        })
    });
    drop(pool.get_blocking().unwrap());
    drop(pool.get_blocking_with(Request::new().priority(Priority::High)).unwrap());
    futures::executor::block_on(async {
        drop(pool.get().await.unwrap());
        drop(pool.get_ref().await.unwrap());
    });
    assert_eq!(calls.load(Ordering::SeqCst), 4);
    assert!(pool.try_get().is_none() && pool.try_get_ref().is_none());
}
