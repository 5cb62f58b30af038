//! Write-behind's hand-over, with the real queue: what is accepted has a driver, there are never two, and who waits is told.

use std::pin::pin;
use std::sync::Arc as StdArc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Wake, Waker};

use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

use super::model;
use crate::backing::driven::{Driven, Step};
use crate::backing::queue::{Accept, Landing, Limits, Queue, Verdict};

/// Nobody waits so long: only a bell wakes the driver.
const NEVER: u64 = u64::MAX;

struct World {
    driven: Driven<u64, u64>,
    /// What the store was told, in its order.
    told: parking_lot::Mutex<Vec<(u64, u64)>>,
    /// Batches that the store refuses before it takes one.
    refusals: AtomicUsize,
    /// Drivers between two steps.
    driving: AtomicUsize,
    now: AtomicU64,
    drivers: parking_lot::Mutex<Vec<thread::JoinHandle<()>>>,
}

fn world(delay: u64, batch_length: usize, length: usize) -> Arc<World> {
    let limits = Limits {
        length,
        bytes: u64::MAX,
        batch_length,
        batch_bytes: u64::MAX,
        delay,
        in_flight: 1,
        attempts: 0,
        first_backoff: 2,
        most_backoff: 2,
    };
    Arc::new(World {
        driven: Driven::new(Queue::new(limits, 1)),
        told: parking_lot::Mutex::default(),
        refusals: AtomicUsize::new(0),
        driving: AtomicUsize::new(0),
        now: AtomicU64::new(0),
        drivers: parking_lot::Mutex::default(),
    })
}

impl World {
    /// What `Behind::accept` does, where there is no journal.
    fn accept(&self, key: u64, value: u64) -> bool {
        let (key, value) = (StdArc::new(key), Some(StdArc::new(value)));
        let now = self.now.load(SeqCst);
        let accept = self.driven.accept(|queue| queue.accept(*key, StdArc::clone(&key), value, 1, now, true));
        matches!(accept, Accept::Accepted { .. })
    }

    /// Accepts, and drives itself if nobody does.
    fn put(&self, key: u64, value: u64) {
        assert!(self.accept(key, value));
        self.driven.ensure(|| self.drive());
    }

    /// What the driver's task does; batches are written one after the other, between two turns of the lock.
    fn drive(&self) {
        while let Some(step) = self.driven.step(self.now.load(SeqCst)) {
            assert_eq!(self.driving.fetch_add(1, SeqCst), 0, "there is one driver");
            self.act(step);
            self.driving.fetch_sub(1, SeqCst);
        }
    }

    fn act(&self, Step { departing, wakes_in }: Step<u64, u64>) {
        match wakes_in {
            _ if !departing.is_empty() => {}
            Some(ticks) if ticks < NEVER / 2 => {
                // A timer, and nothing happens before.
                assert!(ticks > 0, "it would spin");
                self.now.fetch_add(ticks, SeqCst);
            }
            _ => block_on(self.driven.rung()),
        }
        for batch in departing {
            let landing = match self.refusals.load(SeqCst) {
                0 => {
                    let values = batch.changes.iter().map(|(key, value)| (**key, **value.as_ref().unwrap()));
                    self.told.lock().extend(values);
                    Landing::Each(Vec::new())
                }
                left => {
                    self.refusals.store(left - 1, SeqCst);
                    Landing::Whole(Verdict::Transient)
                }
            };
            let landed = self.driven.lock().land(batch.id, &landing, self.now.load(SeqCst));
            assert!(landed.letters.is_empty());
            self.driven.tell();
        }
    }

    fn told(&self, key: u64) -> Vec<u64> {
        self.told.lock().iter().filter(|told| told.0 == key).map(|told| told.1).collect()
    }

    /// Nothing is left, and nobody drives an empty queue.
    fn is_over(&self) {
        for driver in std::mem::take(&mut *self.drivers.lock()) {
            driver.join().unwrap();
        }
        let queue = self.driven.lock();
        queue.check_invariants();
        assert!(queue.is_at_rest(), "a write was left: {queue:?}");
        drop(queue);
        self.put(99, 99);
        assert_eq!(self.told(99), [99], "the flag is down");
    }
}

/// A driver as a thread of its own.
fn spawn(world: &Arc<World>, drive: impl FnOnce(&World) + 'static) {
    let other = Arc::clone(world);
    let driver = thread::spawn(move || drive(&other));
    world.drivers.lock().push(driver);
}

/// Loom forgets an `unpark` of a thread that waits for a lock, so this has a lock of its own.
struct Alarm(Mutex<bool>, Condvar);

impl Wake for Alarm {
    fn wake(self: StdArc<Self>) {
        *self.0.lock().unwrap() = true;
        self.1.notify_one();
    }
}

/// A lost wake-up is a deadlock, which loom reports.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let alarm = StdArc::new(Alarm(Mutex::new(false), Condvar::new()));
    let waker = Waker::from(StdArc::clone(&alarm));
    let mut future = pin!(future);
    loop {
        if let std::task::Poll::Ready(outcome) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return outcome;
        }
        let mut is_rung = alarm.0.lock().unwrap();
        while !std::mem::take(&mut *is_rung) {
            is_rung = alarm.1.wait(is_rung).unwrap();
        }
    }
}

#[test]
fn models_a_write_beside_a_driver_that_leaves_is_written() {
    model(3, || {
        let world = world(0, 10, 10);
        let other = Arc::clone(&world);
        let writer = thread::spawn(move || other.put(2, 20));
        world.put(1, 10);
        writer.join().unwrap();
        assert_eq!((world.told(1), world.told(2)), (vec![10], vec![20]));
        world.is_over();
    });
}

#[test]
fn models_of_three_writers_one_drives() {
    model(3, || {
        let world = world(0, 10, 10);
        let writers = [2, 3].map(|key| {
            let other = Arc::clone(&world);
            thread::spawn(move || other.put(key, key))
        });
        world.put(1, 1);
        for writer in writers {
            writer.join().unwrap();
        }
        assert_eq!((world.told(1), world.told(2), world.told(3)), (vec![1], vec![2], vec![3]));
        world.is_over();
    });
}

fn overwritten_in_flight(refusals: usize) {
    model(3, move || {
        let world = world(0, 10, 10);
        world.refusals.store(refusals, SeqCst);
        assert!(world.accept(1, 1));
        let other = Arc::clone(&world);
        let writer = thread::spawn(move || {
            other.put(1, 2);
            other.put(1, 3);
        });
        world.driven.ensure(|| world.drive());
        writer.join().unwrap();
        let told = world.told(1);
        assert!(told.is_sorted_by(|one, next| one < next) && told.last() == Some(&3), "{told:?}");
        world.is_over();
    });
}

#[test]
fn models_writes_of_a_key_in_flight_come_after_it() {
    overwritten_in_flight(0);
}

#[test]
fn models_writes_of_a_key_in_flight_take_the_place_of_what_is_refused() {
    overwritten_in_flight(1);
}

#[test]
fn models_a_flush_wakes_the_driver_and_is_told() {
    model(3, || {
        let world = world(NEVER, 10, 10);
        assert!(world.accept(1, 1));
        world.driven.ensure(|| spawn(&world, World::drive));
        block_on(world.driven.flush(|| world.drive()));
        assert_eq!(world.told(1), [1]);
        // Nobody waits any more, and the driver leaves by itself.
        for driver in std::mem::take(&mut *world.drivers.lock()) {
            driver.join().unwrap();
        }
        assert!(world.driven.lock().is_at_rest());
    });
}

#[test]
fn models_two_who_flush_beside_a_writer_are_told() {
    model(3, || {
        let world = world(NEVER, 10, 10);
        assert!(world.accept(1, 1));
        let other = Arc::clone(&world);
        let writer = thread::spawn(move || {
            assert!(other.accept(2, 2));
            block_on(other.driven.flush(|| other.drive()));
            assert_eq!(other.told(2), [2]);
        });
        block_on(world.driven.flush(|| world.drive()));
        assert_eq!(world.told(1), [1]);
        writer.join().unwrap();
    });
}

#[test]
fn models_a_batch_that_is_full_wakes_the_driver() {
    model(3, || {
        let world = world(NEVER, 2, 10);
        assert!(world.accept(1, 1));
        let other = Arc::clone(&world);
        let driver = thread::spawn(move || other.driven.ensure(|| other.drive()));
        world.put(2, 2);
        driver.join().unwrap();
        assert_eq!((world.told(1), world.told(2)), (vec![1], vec![2]));
        assert!(world.driven.lock().is_at_rest());
    });
}

#[test]
fn models_who_waits_for_room_is_told() {
    model(3, || {
        let world = world(0, 10, 1);
        assert!(world.accept(1, 1));
        let other = Arc::clone(&world);
        let writer = thread::spawn(move || {
            let attempt = || other.accept(2, 2).then_some(());
            block_on(other.driven.until_room(attempt, || other.drive()));
            other.driven.ensure(|| other.drive());
        });
        world.driven.ensure(|| world.drive());
        writer.join().unwrap();
        assert_eq!((world.told(1), world.told(2)), (vec![1], vec![2]));
        world.is_over();
    });
}

/// A driver whose runtime ends under it, with a batch in flight that the store was told of or not.
fn dropped(world: &World) {
    if let Some(Step { departing, .. }) = world.driven.step(0) {
        assert_eq!(world.driving.fetch_add(1, SeqCst), 0, "there is one driver");
        drop(departing);
        world.driving.fetch_sub(1, SeqCst);
        world.driven.desert();
    }
}

#[test]
fn models_writes_beside_a_driver_that_is_dropped_are_driven_by_the_next() {
    model(3, || {
        let world = world(0, 10, 10);
        assert!(world.accept(1, 1));
        let other = Arc::clone(&world);
        let writer = thread::spawn(move || other.put(2, 2));
        world.driven.ensure(|| dropped(&world));
        writer.join().unwrap();
        // The next call drives what was left.
        world.put(1, 3);
        assert_eq!((world.told(1).last(), world.told(2)), (Some(&3), vec![2]));
        world.is_over();
    });
}

#[test]
fn models_a_flush_outlives_a_driver_that_is_dropped() {
    model(3, || {
        let world = world(NEVER, 10, 10);
        assert!(world.accept(1, 1));
        world.driven.ensure(|| spawn(&world, dropped));
        block_on(world.driven.flush(|| world.drive()));
        assert_eq!(world.told(1), [1]);
        assert!(world.driven.lock().is_at_rest());
    });
}
