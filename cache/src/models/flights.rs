//! Flights: who waits is told.

use std::pin::pin;
use std::task::{Context, Poll, Wake, Waker};

use loom::sync::Arc;
use loom::thread;

use super::model;
use crate::flight::{Flight, Outcome};

fn wakes_a_thread(outcome: fn() -> Outcome<u32>) {
    model(3, move || {
        let flight = Arc::new(Flight::new(false));
        let other = Arc::clone(&flight);
        let waiter = thread::spawn(move || match other.wait() {
            Outcome::Loaded(value) => assert_eq!(*value, 5),
            Outcome::Absent | Outcome::Abandoned | Outcome::Failed(_) => {}
        });
        flight.complete(outcome());
        waiter.join().unwrap();
    });
}

#[test]
fn models_a_waiting_thread_is_woken() {
    wakes_a_thread(|| Outcome::Loaded(5));
}

#[test]
fn models_a_waiting_thread_is_told_of_an_abandoned_load() {
    wakes_a_thread(|| Outcome::Abandoned);
}

/// Wakes the thread that polls.
struct Alarm(thread::Thread);

impl Wake for Alarm {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.unpark();
    }
}

#[test]
fn models_a_waiting_task_is_woken_and_sees_the_outcome() {
    model(3, || {
        let flight = Arc::new(Flight::new(false));
        let other = Arc::clone(&flight);
        let waiter = thread::spawn(move || {
            let waker = Waker::from(std::sync::Arc::new(Alarm(thread::current())));
            let mut waiting = pin!(other.waiting());
            // A lost wake-up is a deadlock, which loom reports.
            while waiting.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
                thread::park();
            }
        });
        flight.complete(Outcome::Loaded(5));
        waiter.join().unwrap();
    });
}

#[test]
fn models_a_task_that_leaves_takes_nobody_with_it() {
    model(3, || {
        let flight = Arc::new(Flight::<u32>::new(false));
        let (first, second) = (Arc::clone(&flight), Arc::clone(&flight));
        let leaver = thread::spawn(move || {
            let waker = Waker::noop();
            let mut waiting = Box::pin(first.waiting());
            let _: Poll<_> = waiting.as_mut().poll(&mut Context::from_waker(waker));
            drop(waiting);
        });
        let stayer = thread::spawn(move || {
            assert!(matches!(second.wait(), Outcome::Abandoned));
        });
        flight.complete(Outcome::Abandoned);
        leaver.join().unwrap();
        stayer.join().unwrap();
    });
}
