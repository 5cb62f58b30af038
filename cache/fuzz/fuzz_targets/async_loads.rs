//! Any interleaving of polls and drops of loading futures with writes: one load at a time for a key, no lost wake-up,
//! nothing stale stored, nothing left behind.

#![no_main]

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::task::{Context, Poll, Wake, Waker};

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use millpond_cache::Cache;

use crate::support::{Census, Counted};

#[path = "../../tests/it/support.rs"]
#[allow(dead_code, reason = "shared with the integration tests, which use more of it")]
mod support;

const KEYS: usize = 3;
const CALLERS: usize = 6;

#[derive(Arbitrary, Debug)]
enum Op {
    /// A new call in this place; whatever was there is dropped.
    Start { caller: u8, key: u8, ending: Ending },
    Poll(u8),
    Drop(u8),
    /// The caller's own loader, if it runs, ends at its next poll.
    Finish(u8),
    Get(u8),
    Insert(u8),
    Invalidate(u8),
    InvalidateAll,
    /// A blocking load, where it need not wait.
    Load(u8),
    Maintain,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Ending {
    Value,
    Error,
    Panic,
}

#[derive(Arbitrary, Debug)]
struct Case {
    bounded: bool,
    ops: Vec<Op>,
}

/// A value: what the source held when it was read.
#[derive(Clone, Debug)]
struct Value(u64, #[expect(dead_code, reason = "counts")] Counted);

#[derive(Default)]
struct Alarm(AtomicBool);

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.0.store(true, SeqCst);
    }
}

/// Counts a loader while it exists and has begun.
struct Running<'w>(&'w Cell<u32>);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

type Call<'w> = Pin<Box<dyn Future<Output = Result<Value, Arc<u8>>> + 'w>>;

struct Caller<'w> {
    call: Call<'w>,
    /// The source's version when the call began: nothing older may be the answer.
    since: u64,
    alarm: Arc<Alarm>,
    finish: Rc<Cell<bool>>,
    loader: Rc<RefCell<Option<Waker>>>,
}

/// What loads read: one version for each key, and how many loaders read it now.
struct World {
    cache: Cache<usize, Value>,
    census: Census,
    versions: [Cell<u64>; KEYS],
    /// Loaders at work since the key was last written.
    running: [RefCell<Rc<Cell<u32>>>; KEYS],
}

impl World {
    fn value(&self, key: usize) -> Value {
        Value(self.versions[key].get(), self.census.one())
    }

    /// The source changes; loaders at work are overtaken and may be joined by a new one.
    fn overtake(&self, key: usize) {
        self.versions[key].set(self.versions[key].get() + 1);
        self.running[key].replace(Rc::default());
    }

    fn call(&self, key: usize, ending: Ending) -> Caller<'_> {
        let finish = Rc::new(Cell::new(false));
        let loader = Rc::new(RefCell::new(None));
        let (done, slot) = (Rc::clone(&finish), Rc::clone(&loader));
        let init = async move {
            let running = Rc::clone(&self.running[key].borrow());
            running.set(running.get() + 1);
            assert_eq!(running.get(), 1, "one load at a time");
            let _running = Running(&running);
            let value = self.value(key);
            poll_fn(|context| {
                slot.replace(Some(context.waker().clone()));
                if done.get() { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
            match ending {
                Ending::Value => Ok(value),
                Ending::Error => Err(7),
                Ending::Panic => std::panic::resume_unwind(Box::new("a loader")),
            }
        };
        Caller {
            call: Box::pin(self.cache.try_get_or_insert_with_async(key, init)),
            since: self.versions[key].get(),
            // A new task is to be polled.
            alarm: Arc::new(Alarm(AtomicBool::new(true))),
            finish,
            loader,
        }
    }

    fn get(&self, key: usize) {
        if let Some(value) = self.cache.get(&key) {
            assert_eq!(value.0, self.versions[key].get(), "stale");
        }
    }
}

impl Caller<'_> {
    /// True if the call has ended.
    fn poll(&mut self) -> bool {
        self.alarm.0.store(false, SeqCst);
        let waker = Waker::from(Arc::clone(&self.alarm));
        let call = std::panic::AssertUnwindSafe(|| self.call.as_mut().poll(&mut Context::from_waker(&waker)));
        match std::panic::catch_unwind(call) {
            Ok(Poll::Pending) => false,
            Ok(Poll::Ready(answer)) => {
                match answer {
                    Ok(value) => assert!(value.0 >= self.since, "older than the call"),
                    Err(error) => assert_eq!(*error, 7),
                }
                true
            }
            Err(panic) => {
                assert_eq!(panic.downcast_ref(), Some(&"a loader"), "only the panics of loaders");
                true
            }
        }
    }

    fn finish(&self) {
        self.finish.set(true);
        if let Some(waker) = self.loader.take() {
            waker.wake();
        }
    }
}

fuzz_target!(|case: Case| {
    let builder = Cache::builder().shards(if case.bounded { 1 } else { 2 });
    let builder = if case.bounded { builder.max_capacity(1) } else { builder };
    let world = World {
        cache: builder.build().expect("a valid configuration"),
        census: Census::default(),
        versions: std::array::from_fn(|_| Cell::new(0)),
        running: std::array::from_fn(|_| RefCell::default()),
    };
    let mut callers: [Option<Caller<'_>>; CALLERS] = std::array::from_fn(|_| None);
    let key = |key: u8| usize::from(key) % KEYS;
    let caller = |caller: u8| usize::from(caller) % CALLERS;
    for op in case.ops.iter().take(200) {
        match *op {
            Op::Start { caller: place, key: k, ending } => {
                callers[caller(place)] = Some(world.call(key(k), ending));
            }
            Op::Poll(place) => {
                let place = &mut callers[caller(place)];
                if place.as_mut().is_some_and(Caller::poll) {
                    *place = None;
                }
            }
            Op::Drop(place) => callers[caller(place)] = None,
            Op::Finish(place) => {
                if let Some(caller) = &callers[caller(place)] {
                    caller.finish();
                }
            }
            Op::Get(k) => world.get(key(k)),
            Op::Insert(k) => {
                world.overtake(key(k));
                world.cache.insert(key(k), world.value(key(k)));
                world.get(key(k));
            }
            Op::Invalidate(k) => {
                world.overtake(key(k));
                world.cache.invalidate(&key(k));
                assert!(world.cache.get(&key(k)).is_none());
            }
            Op::InvalidateAll => {
                (0..KEYS).for_each(|key| world.overtake(key));
                world.cache.invalidate_all();
                assert_eq!(world.cache.entry_count(), 0);
            }
            Op::Load(k) => {
                if world.cache.loads_in_flight() == 0 {
                    let value = world.cache.get_or_insert_with(key(k), || world.value(key(k)));
                    assert_eq!(value.0, world.versions[key(k)].get());
                }
            }
            Op::Maintain => world.cache.run_pending_tasks(),
        }
        world.cache.check_invariants();
    }
    // From here on a task is polled only when it was woken: all must come to their end.
    callers.iter().flatten().for_each(Caller::finish);
    while let Some(place) =
        callers.iter_mut().find(|place| place.as_ref().is_some_and(|caller| caller.alarm.0.load(SeqCst)))
    {
        if place.as_mut().is_some_and(Caller::poll) {
            *place = None;
        }
    }
    assert!(callers.iter().all(Option::is_none), "a call sleeps that nobody will wake");
    drop(callers);
    assert_eq!(world.cache.loads_in_flight(), 0);
    (0..KEYS).for_each(|key| world.get(key));
    world.cache.run_pending_tasks();
    world.cache.check_invariants();
    let World { cache, census, .. } = world;
    assert_eq!(census.alive(), cache.entry_count() as isize, "what was removed is dropped");
    drop(cache);
    assert_eq!(census.alive(), 0);
});
