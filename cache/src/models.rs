//! Models of the lock-free protocols: loom runs them in every interleaving, and with every value that a load may return,
//! up to a bound on preemptions.
//!
//! Run: `just loom`. What they cover, and what they cannot, is in docs/unsafe.md. Memory that the protocols protect is
//! loom's `UnsafeCell` here, told of each access, so that a use after reuse and a missing happens-before fail the model.

use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Instant;

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, Ordering};
use loom::thread;

use crate::flight::{Flight, Outcome};
use crate::policy::Kind;
use crate::reclaim::{self, domain::Domain};
use crate::store::locked::{Ends, Locked};
use crate::store::shard::Shard;
use crate::store::table::{FULL, Table};

/// `preemptions`: how often a thread is interrupted where it need not be; `LOOM_MAX_PREEMPTIONS` lowers it, not more. Says
/// how many executions there were, and how long they took.
#[expect(clippy::print_stdout, reason = "a count that nobody sees proves nothing")]
fn model(preemptions: usize, test: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.max_branches = 100_000;
    builder.preemption_bound =
        Some(builder.preemption_bound.map_or(preemptions, |bound| bound.min(preemptions)));
    let (executions, began) = (std::sync::Arc::new(AtomicUsize::new(0)), Instant::now());
    let counted = std::sync::Arc::clone(&executions);
    builder.check(move || {
        counted.fetch_add(1, Relaxed);
        test();
    });
    let name = std::thread::current().name().map(String::from).unwrap_or_default();
    let (count, seconds) = (executions.load(Relaxed), began.elapsed().as_secs_f64());
    println!("{count:>9} executions, {seconds:>5.1} s: {name}");
}

// ---- Grace periods: a reader may use what it found linked under its pin, a writer may reuse what is below the watermark. ----

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

// ---- Table: what stays is always found, what is found is always published. ----

/// Hashes of one home bucket in any small table; the tag is the low byte.
const SAME: u32 = 0x10;

/// Cells 1 and 2, filled just before they are published.
struct Cells([UnsafeCell<()>; 3]);

impl Cells {
    fn new() -> Self {
        Self(std::array::from_fn(|_| UnsafeCell::new(())))
    }

    fn fill(&self, id: u32) {
        self.0[id as usize].with_mut(|_| ());
    }

    fn look(&self, id: u32) -> u32 {
        self.0[id as usize].with(|_| ());
        id
    }
}

#[test]
fn models_table_publishes_filled_cells() {
    model(3, || {
        let shared = Arc::new((Table::for_entries(1), Cells::new()));
        let other = Arc::clone(&shared);
        let reader = thread::spawn(move || {
            let (table, cells) = &*other;
            let found = table.find(SAME, |id| Some(cells.look(id)));
            assert!(found.is_none_or(|id| id == 1));
        });
        let (table, cells) = &*shared;
        cells.fill(1);
        table.insert(SAME, 1);
        reader.join().unwrap();
    });
}

#[test]
fn models_table_update_is_never_a_miss() {
    model(3, || {
        let shared = Arc::new((Table::for_entries(1), Cells::new()));
        shared.1.fill(1);
        shared.0.insert(SAME, 1);
        let other = Arc::clone(&shared);
        let reader = thread::spawn(move || {
            let (table, cells) = &*other;
            let first = table.find(SAME, |id| Some(cells.look(id))).expect("always there");
            let second = table.find(SAME, |id| Some(cells.look(id))).expect("always there");
            assert!(first <= second, "never back to an older value");
        });
        let (table, cells) = &*shared;
        cells.fill(2);
        let (place, ()) = table.locate(SAME, |id| (id == 1).then_some(())).expect("there");
        table.replace(place, 2);
        reader.join().unwrap();
    });
}

#[test]
fn models_table_slot_that_is_used_again() {
    model(3, || {
        let shared = Arc::new((Table::for_entries(1), Cells::new()));
        shared.1.fill(1);
        shared.0.insert(SAME, 1);
        let other = Arc::clone(&shared);
        let reader = thread::spawn(move || {
            let (table, cells) = &*other;
            // May have seen the tag of the first and find the id of the second.
            table.find(SAME, |id| Some(cells.look(id)));
        });
        let (table, cells) = &*shared;
        assert!(table.remove(SAME, 1));
        cells.fill(2);
        table.insert(SAME, 2);
        reader.join().unwrap();
    });
}

#[test]
fn models_table_neighbours_come_and_go() {
    model(3, || {
        // Two buckets; the home bucket is full and cell 13 has overflowed into the next.
        let table = Arc::new(Table::for_entries(2 * FULL));
        for id in 1..=13 {
            table.insert(SAME, id);
        }
        let other = Arc::clone(&table);
        let reader = thread::spawn(move || {
            let found = other.find(SAME, |id| (id == 13).then_some(id));
            assert_eq!(found, Some(13), "a neighbour's removal hides nothing");
        });
        assert!(table.remove(SAME, 3));
        table.insert(SAME, 14);
        assert!(table.remove(SAME, 5));
        reader.join().unwrap();
    });
}

// ---- Growth: the real shard, a reader without the lock, a writer that moves entries. ----

/// Keys of a shard whose first table is exactly full: that of a model holds two entries, or no model of growth would end.
const KEYS: [u64; FULL] = [6, 7];

/// Hash of a key: all keys of one home bucket, so that the order of the moves is known.
fn hash(key: u64) -> u32 {
    key as u32 + 1
}

fn admit(locked: &mut Locked<'_, u64, u64>, key: u64, value: u64) {
    let id = locked.admit::<true>(hash(key), key, value, 1, Ends::default());
    locked.publish(hash(key), id);
}

fn finish(locked: Locked<'_, u64, u64>) {
    drop(locked.finish());
}

fn empty_shard() -> Shard<u64, u64> {
    Shard::new(u64::MAX, false, false, 1, Kind::TinyLfu)
}

/// A shard whose first table is exactly full.
fn full_shard() -> Arc<Shard<u64, u64>> {
    let shard = Arc::new(empty_shard());
    for key in KEYS {
        let mut locked = shard.lock();
        admit(&mut locked, key, key);
        finish(locked);
    }
    shard
}

fn reader(shard: &Arc<Shard<u64, u64>>, key: u64, allowed: &'static [u64]) -> thread::JoinHandle<()> {
    let participant = reclaim::join();
    let shard = Arc::clone(shard);
    thread::spawn(move || {
        let pin = reclaim::pin_as(participant);
        let found = shard.find(&pin, hash(key), |candidate| *candidate == key);
        let value = found.expect("a key that is there is never missed").node().value;
        assert!(allowed.contains(&value), "{value}");
    })
}

/// A shard that has just grown, with both keys left to move.
fn growing_shard() -> Arc<Shard<u64, u64>> {
    let shard = full_shard();
    let mut locked = shard.lock();
    admit(&mut locked, 10, 10);
    assert!(shard.is_growing(), "the model is of growth");
    drop(locked);
    shard
}

#[test]
fn models_move_has_no_false_miss() {
    model(3, || {
        let shard = growing_shard();
        let reader = reader(&shard, 7, &[7]);
        finish(shard.lock());
        reader.join().unwrap();
        shard.lock().check_invariants();
    });
}

#[test]
fn models_move_and_two_updates() {
    model(3, || {
        let shard = growing_shard();
        let reader = reader(&shard, 6, &[6, 60, 600]);
        for value in [60, 600] {
            let mut locked = shard.lock();
            let old = locked.find(hash(6), |key| *key == 6).expect("there");
            locked.update(old, hash(6), 6, value, 1, Ends::default());
            finish(locked);
        }
        reader.join().unwrap();
        shard.lock().check_invariants();
    });
}

#[test]
fn models_clear_hides_what_was_there() {
    model(2, || {
        let shard = Arc::new(empty_shard());
        for key in 0..2 {
            let mut locked = shard.lock();
            admit(&mut locked, key, key);
            finish(locked);
        }
        let cleared = Arc::new(AtomicU32::new(0));
        let participant = reclaim::join();
        let (other, done) = (Arc::clone(&shard), Arc::clone(&cleared));
        let reader = thread::spawn(move || {
            let after = done.load(Ordering::Acquire) == 1;
            let pin = reclaim::pin_as(participant);
            let found =
                other.find(&pin, hash(1), |candidate| *candidate == 1).map(|found| found.node().value);
            assert!(matches!(found, None | Some(1 | 10)), "{found:?}");
            assert!(!after || found != Some(1), "seen after the clearing had returned");
        });
        let mut locked = shard.lock();
        locked.clear(0);
        finish(locked);
        cleared.store(1, Ordering::Release);
        let mut locked = shard.lock();
        while locked.next_cleared().is_some() {}
        admit(&mut locked, 1, 10);
        finish(locked);
        reader.join().unwrap();
        shard.lock().check_invariants();
    });
}

#[test]
fn models_growth_has_no_false_miss() {
    model(3, || {
        let shard = full_shard();
        let reader = reader(&shard, 6, &[6]);
        let mut locked = shard.lock();
        admit(&mut locked, 10, 10);
        assert!(shard.is_growing(), "the model is of growth");
        finish(locked);
        reader.join().unwrap();
        shard.lock().check_invariants();
    });
}

#[test]
fn models_growth_and_update_have_no_false_miss() {
    model(3, || {
        let shard = full_shard();
        let reader = reader(&shard, 7, &[7, 70]);
        let mut locked = shard.lock();
        admit(&mut locked, 10, 10);
        assert!(shard.is_growing(), "the model is of growth");
        // Still in the old table.
        let old = locked.find(hash(7), |key| *key == 7).expect("there");
        locked.update(old, hash(7), 7, 70, 1, Ends::default());
        finish(locked);
        reader.join().unwrap();
        shard.lock().check_invariants();
    });
}

/// Looks twice for a key that is written meanwhile.
fn reader_of_two(shard: &Arc<Shard<u64, u64>>, key: u64) -> thread::JoinHandle<()> {
    let participant = reclaim::join();
    let shard = Arc::clone(shard);
    thread::spawn(move || {
        let pin = reclaim::pin_as(participant);
        let [first, second] = [0, 1].map(|_| {
            let found = shard.find(&pin, hash(key), |candidate| *candidate == key);
            found.expect("a key that is there is never missed").node().value
        });
        assert!(first <= second, "never back to an older value");
    })
}

#[test]
fn models_growth_never_goes_back_to_an_older_value() {
    model(3, || {
        let shard = full_shard();
        let reader = reader_of_two(&shard, 7);
        let mut locked = shard.lock();
        admit(&mut locked, 10, 10);
        assert!(shard.is_growing(), "the model is of growth");
        finish(locked);
        let mut locked = shard.lock();
        let old = locked.find(hash(7), |key| *key == 7).expect("there");
        locked.update(old, hash(7), 7, 70, 1, Ends::default());
        finish(locked);
        reader.join().unwrap();
        shard.lock().check_invariants();
    });
}

#[test]
fn models_growth_upon_growth_has_no_false_miss() {
    model(1, || {
        let shard = growing_shard();
        let reader = reader(&shard, 7, &[7]);
        // The first growth ends here, the second begins and ends while the reader may still be in the first table.
        for key in [11, 12] {
            let mut locked = shard.lock();
            admit(&mut locked, key, key);
            finish(locked);
        }
        reader.join().unwrap();
        shard.lock().check_invariants();
    });
}

#[test]
fn models_growth_and_a_key_that_is_new() {
    model(3, || {
        let shard = full_shard();
        let shown = Arc::new(AtomicU32::new(0));
        let participant = reclaim::join();
        let (other, flag) = (Arc::clone(&shard), Arc::clone(&shown));
        let reader = thread::spawn(move || {
            let is_shown = flag.load(Ordering::Acquire) == 1;
            let pin = reclaim::pin_as(participant);
            let found = other.find(&pin, hash(10), |key| *key == 10);
            assert!(found.is_some() || !is_shown, "what was inserted before the look is found");
        });
        let mut locked = shard.lock();
        admit(&mut locked, 10, 10);
        shown.store(1, Ordering::Release);
        finish(locked);
        reader.join().unwrap();
    });
}

#[test]
fn models_growth_and_reclamation() {
    model(3, || {
        let shard = full_shard();
        let reader = reader(&shard, 7, &[7]);
        let mut locked = shard.lock();
        admit(&mut locked, 10, 10);
        assert!(shard.is_growing(), "the model is of growth");
        finish(locked);
        // The emptied table is freed as soon as nobody can hold it.
        shard.lock().seal();
        reclaim::advance();
        drop(shard.lock().collect_all());
        reader.join().unwrap();
    });
}

// ---- Flights: who waits is told. ----

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
