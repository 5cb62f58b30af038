//! The bound on the whole cache, in entries or in weight.
//!
//! Room is taken before an entry becomes visible and given back after one is unlinked, so the sum over all shards never
//! exceeds the bound, at no instant and for no observer. In the steady state a write evicts in its own shard what it
//! needs and never writes the shared counter.
//!
//! What is counted is the room that is *free*. So a bound that shrinks is a taker like any other: it takes free room out of
//! circulation, bit by bit, and when it has all that it wants, nobody can have taken by the old bound. Room that is held in
//! between, by a write or by the shrinking, is held while no user code runs: whoever waits for it does not wait for long.

use crossbeam_utils::CachePadded;

use crate::sync::{AtomicU64, Mutex, Ordering, fence, thread};

#[derive(Debug)]
pub(crate) struct Budget {
    free: CachePadded<AtomicU64>,
    /// The bound as it is. Follows `target`.
    max: AtomicU64,
    target: AtomicU64,
    /// Odd while `max` and `free` change together.
    version: AtomicU64,
    changing: Mutex<()>,
}

impl Budget {
    pub(crate) fn new(max: u64) -> Self {
        Self {
            free: CachePadded::new(AtomicU64::new(max)),
            max: AtomicU64::new(max),
            target: AtomicU64::new(max),
            version: AtomicU64::new(0),
            changing: Mutex::new(()),
        }
    }

    /// The bound as it is now; while it shrinks, a step on the way.
    #[inline]
    pub(crate) fn max(&self) -> u64 {
        self.max.load(Ordering::Relaxed)
    }

    /// The bound that was asked for.
    pub(crate) fn target(&self) -> u64 {
        self.target.load(Ordering::Acquire)
    }

    pub(crate) fn used(&self) -> u64 {
        loop {
            let version = self.version.load(Ordering::Acquire);
            if version % 2 == 0 {
                let max = self.max.load(Ordering::Relaxed);
                let free = self.free.load(Ordering::Acquire);
                fence(Ordering::Acquire);
                if self.version.load(Ordering::Relaxed) == version {
                    return max.saturating_sub(free);
                }
            }
            thread::yield_now();
        }
    }

    #[inline]
    pub(crate) fn room(&self) -> u64 {
        self.free.load(Ordering::Relaxed)
    }

    /// Takes `amount` if all of it is free.
    #[inline]
    pub(crate) fn try_take(&self, amount: u64) -> bool {
        let mut free = self.free.load(Ordering::Relaxed);
        loop {
            let Some(left) = free.checked_sub(amount) else { return false };
            match self.free.compare_exchange_weak(free, left, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(current) => free = current,
            }
        }
    }

    #[inline]
    pub(crate) fn give(&self, amount: u64) {
        if amount > 0 {
            let before = self.free.fetch_add(amount, Ordering::AcqRel);
            debug_assert!(before.checked_add(amount).is_some(), "more given back than was taken");
        }
    }

    /// Asks for another bound; [`adjust`](Self::adjust) brings it about.
    pub(crate) fn request(&self, target: u64) {
        let _one_at_a_time = self.changing.lock();
        self.target.store(target, Ordering::Release);
    }

    /// By how much the bound is above what was asked for.
    pub(crate) fn excess(&self) -> u64 {
        self.max().saturating_sub(self.target())
    }

    /// Brings the bound nearer to what was asked for, with the room that is free and with `held`, which the caller has freed;
    /// what is not needed of that becomes free. True if the bound is there.
    pub(crate) fn adjust(&self, held: u64) -> bool {
        let _one_at_a_time = self.changing.lock();
        let (max, target) = (self.max(), self.target());
        if max == target {
            self.give(held);
            return true;
        }
        let version = self.version.load(Ordering::Relaxed);
        self.version.store(version.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        let reached = if target > max {
            self.max.store(target, Ordering::Relaxed);
            self.give(target - max + held);
            target
        } else {
            let used = held.min(max - target);
            let reached = max - used - self.take_up_to(max - target - used);
            self.max.store(reached, Ordering::Relaxed);
            self.give(held - used);
            reached
        };
        self.version.store(version.wrapping_add(2), Ordering::Release);
        reached == target
    }

    fn take_up_to(&self, amount: u64) -> u64 {
        let mut free = self.free.load(Ordering::Relaxed);
        loop {
            let taken = free.min(amount);
            match self.free.compare_exchange_weak(free, free - taken, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return taken,
                Err(current) => free = current,
            }
        }
    }
}

#[cfg(all(test, not(any(millpond_loom, millpond_shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn shrinks_by_what_is_free_and_what_is_brought() {
        let budget = Budget::new(100);
        assert!(budget.try_take(70) && !budget.try_take(31));
        budget.request(50);
        assert!(!budget.adjust(0));
        assert_eq!((budget.max(), budget.used(), budget.room(), budget.excess()), (70, 70, 0, 20));
        assert!(!budget.adjust(5));
        assert_eq!((budget.max(), budget.used()), (65, 65));
        assert!(budget.adjust(18), "three more than needed");
        assert_eq!((budget.max(), budget.used(), budget.room()), (50, 47, 3));
        budget.request(u64::MAX);
        assert!(budget.adjust(7));
        assert_eq!((budget.max(), budget.used(), budget.excess()), (u64::MAX, 40, 0));
        budget.request(0);
        assert!(!budget.adjust(0) && budget.adjust(40));
        assert_eq!((budget.max(), budget.used(), budget.room()), (0, 0, 0));
    }

    #[test]
    fn no_observer_sees_more_than_the_larger_bound_nor_a_sum_that_never_was() {
        let budget = Budget::new(1000);
        assert!(budget.try_take(100));
        thread::scope(|scope| {
            let resizer = scope.spawn(|| {
                for i in 0..if cfg!(miri) { 50 } else { 20_000 } {
                    budget.request(if i % 2 == 0 { 200 } else { 1000 });
                    assert!(budget.adjust(0));
                }
            });
            while !resizer.is_finished() {
                assert_eq!(budget.used(), 100);
            }
        });
    }
}

#[cfg(all(test, millpond_loom))]
mod models {
    use loom::sync::Arc;

    use super::*;

    fn model(test: impl Fn() + Send + Sync + 'static) {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(builder.preemption_bound.map_or(3, |bound| bound.min(3)));
        builder.check(test);
    }

    #[test]
    fn a_bound_that_was_reached_is_not_passed() {
        model(|| {
            let budget = Arc::new(Budget::new(2));
            assert!(budget.try_take(1));
            let writer = {
                let budget = Arc::clone(&budget);
                thread::spawn(move || budget.try_take(1))
            };
            budget.request(1);
            let reached = budget.adjust(0);
            assert!(!reached || budget.used() <= 1);
            let taken = writer.join().unwrap();
            assert!(!(reached && taken), "either of them had the last room");
            assert!(reached || budget.adjust(1), "the writer gives up what it has");
            assert_eq!((budget.max(), budget.used()), (1, 1));
        });
    }

    #[test]
    fn a_look_at_what_is_used_sees_no_half_of_a_change() {
        model(|| {
            let budget = Arc::new(Budget::new(3));
            assert!(budget.try_take(1));
            let resizer = {
                let budget = Arc::clone(&budget);
                thread::spawn(move || {
                    budget.request(2);
                    assert!(budget.adjust(0));
                    budget.request(4);
                    assert!(budget.adjust(0));
                })
            };
            assert_eq!(budget.used(), 1);
            resizer.join().unwrap();
            assert_eq!((budget.max(), budget.used(), budget.room()), (4, 1, 3));
        });
    }
}
