//! Grace periods: a reader may use what it found linked under its pin, a writer may reuse what is below the watermark.

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, Ordering};
use loom::thread;

use super::model;
use crate::reclaim::{self, domain::Domain};

/// One entry: linked while `link` is 1.
struct Entry {
    domain: Domain,
    link: AtomicU32,
    cell: UnsafeCell<()>,
}

impl Entry {
    fn new() -> Arc<Self> {
        Arc::new(Self { domain: Domain::new(), link: AtomicU32::new(1), cell: UnsafeCell::new(()) })
    }

    fn read(&self) {
        if self.link.load(Ordering::Acquire) == 1 {
            self.cell.with(|_| ());
        }
    }

    /// Out of every later reader's reach; the stamp says since when.
    fn unlink(&self) -> u64 {
        self.link.store(0, Ordering::Release);
        self.domain.seal()
    }

    fn reuse_if_safe(&self, stamp: u64) {
        if stamp < self.domain.safe() {
            self.cell.with_mut(|_| ());
        }
    }
}

#[test]
fn models_no_reuse_while_a_reader_is_pinned() {
    model(3, || {
        let entry = Entry::new();
        let participant = entry.domain.join();
        let shared = Arc::clone(&entry);
        let reader = thread::spawn(move || {
            let _pin = Domain::pin(participant);
            shared.read();
        });
        let stamp = entry.unlink();
        entry.domain.advance();
        entry.reuse_if_safe(stamp);
        reader.join().unwrap();
        entry.domain.advance();
        assert!(stamp < entry.domain.safe(), "with nobody pinned, one look is enough");
    });
}

#[test]
fn models_no_reuse_while_a_reader_pins_again_and_again() {
    model(3, || {
        let entry = Entry::new();
        let participant = entry.domain.join();
        let shared = Arc::clone(&entry);
        let reader = thread::spawn(move || {
            for _ in 0..2 {
                let _pin = Domain::pin(participant);
                shared.read();
            }
            let _outer = Domain::pin(participant);
            drop(Domain::pin(participant));
            shared.read();
        });
        let stamp = entry.unlink();
        entry.domain.advance();
        entry.reuse_if_safe(stamp);
        reader.join().unwrap();
    });
}

#[test]
fn models_a_look_that_takes_several_calls() {
    model(3, || {
        let entry = Entry::new();
        let participant = entry.domain.join();
        let shared = Arc::clone(&entry);
        let reader = thread::spawn(move || {
            for _ in 0..2 {
                let _pin = Domain::pin(participant);
                shared.read();
            }
        });
        let stamp = entry.unlink();
        // The first may see the first pin and the second its end, or the second pin, which is another period.
        for _ in 0..3 {
            entry.domain.advance();
        }
        entry.reuse_if_safe(stamp);
        reader.join().unwrap();
    });
}

#[test]
fn models_a_reader_that_pins_again_does_not_hold_a_look_up() {
    model(3, || {
        let entry = Entry::new();
        let participant = entry.domain.join();
        let stamp = entry.unlink();
        let first = Domain::pin(participant);
        entry.domain.advance();
        assert!(stamp >= entry.domain.safe(), "the period that the look saw goes on");
        let shared = Arc::clone(&entry);
        let ticker = thread::spawn(move || {
            shared.domain.advance();
        });
        drop(first);
        let _second = Domain::pin(participant);
        ticker.join().unwrap();
        entry.domain.advance();
        assert!(stamp < entry.domain.safe(), "it is over, though its thread is pinned again");
    });
}

#[test]
fn models_a_second_batch_waits_for_a_look_of_its_own() {
    model(3, || {
        let (first, second) = (Entry::new(), AtomicU32::new(1));
        let second = Arc::new((second, UnsafeCell::new(())));
        let participant = first.domain.join();
        let (one, other) = (Arc::clone(&first), Arc::clone(&second));
        let reader = thread::spawn(move || {
            for _ in 0..2 {
                let _pin = Domain::pin(participant);
                one.read();
                if other.0.load(Ordering::Acquire) == 1 {
                    other.1.with(|_| ());
                }
            }
        });
        let early = first.unlink();
        first.domain.advance();
        // Sealed while a look may be under way, which began without it.
        second.0.store(0, Ordering::Release);
        let late = first.domain.seal();
        for _ in 0..2 {
            first.domain.advance();
            first.reuse_if_safe(early);
            if late < first.domain.safe() {
                second.1.with_mut(|_| ());
            }
        }
        reader.join().unwrap();
    });
}

#[test]
fn models_nested_pins_end_with_the_last() {
    model(3, || {
        let entry = Entry::new();
        let participant = entry.domain.join();
        let shared = Arc::clone(&entry);
        let reader = thread::spawn(move || {
            let outer = Domain::pin(participant);
            let inner = Domain::pin(participant);
            // In the wrong order, as values in a struct may be dropped.
            drop(outer);
            shared.read();
            drop(inner);
        });
        let stamp = entry.unlink();
        for _ in 0..2 {
            entry.domain.advance();
            entry.reuse_if_safe(stamp);
        }
        reader.join().unwrap();
        entry.domain.advance();
        assert!(stamp < entry.domain.safe(), "both pins are gone");
    });
}

#[test]
fn models_one_thread_unlinks_another_advances() {
    model(3, || {
        let entry = Entry::new();
        let participant = entry.domain.join();
        let for_reader = Arc::clone(&entry);
        let reader = thread::spawn(move || {
            let _pin = Domain::pin(participant);
            for_reader.read();
        });
        let for_helper = Arc::clone(&entry);
        let helper = thread::spawn(move || {
            for_helper.domain.advance();
        });
        let stamp = entry.unlink();
        // No look of our own: another cache's watermark serves us too.
        entry.reuse_if_safe(stamp);
        helper.join().unwrap();
        entry.reuse_if_safe(stamp);
        reader.join().unwrap();
    });
}

#[test]
fn models_a_reader_that_joins_during_the_scan() {
    model(3, || {
        let entry = Entry::new();
        let shared = Arc::clone(&entry);
        let reader = thread::spawn(move || {
            let participant = shared.domain.join();
            let pin = Domain::pin(participant);
            shared.read();
            drop(pin);
            shared.domain.leave(participant);
        });
        let stamp = entry.unlink();
        entry.domain.advance();
        entry.reuse_if_safe(stamp);
        reader.join().unwrap();
    });
}

/// A link and a cell that the process-wide domain protects: borrowed participants are its own.
#[test]
fn models_borrowed_participants_are_given_from_thread_to_thread() {
    model(2, || {
        let entry = Arc::new((AtomicU32::new(1), UnsafeCell::new(())));
        let readers = [0, 1].map(|_| {
            let shared = Arc::clone(&entry);
            thread::spawn(move || {
                let _pin = reclaim::pin();
                if shared.0.load(Ordering::Acquire) == 1 {
                    shared.1.with(|_| ());
                }
            })
        });
        entry.0.store(0, Ordering::Release);
        let stamp = reclaim::seal();
        for _ in 0..2 {
            if stamp < reclaim::advance() {
                entry.1.with_mut(|_| ());
                break;
            }
        }
        for reader in readers {
            reader.join().unwrap();
        }
        assert!(stamp < reclaim::advance(), "nobody is pinned, and nobody is still borrowed");
    });
}
