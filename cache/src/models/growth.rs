//! Growth and clearing: the real shard, a reader without the lock, a writer that moves entries.

use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, Ordering};
use loom::thread;

use super::model;
use crate::policy::Kind;
use crate::reclaim;
use crate::store::locked::{Ends, Locked};
use crate::store::shard::Shard;
use crate::store::table::FULL;

/// Keys of a shard whose first table is exactly full: that of a model holds two entries, or no model of growth would end.
const KEYS: [u64; FULL] = [6, 7];

/// Hash of a key: all keys of one home bucket, so that the order of the moves is known.
fn hash(key: u64) -> u32 {
    key as u32 + 1
}

fn admit(locked: &mut Locked<'_, u64, u64>, key: u64, value: u64) {
    let id = locked.admit_plain(hash(key), key, value);
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
