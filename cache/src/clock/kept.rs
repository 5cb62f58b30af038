//! The time in one word that a thread keeps, so that a hit only loads it: [`CacheBuilder::clock_thread`].
//!
//! One thread for all caches of the process: it starts with the first that wants it and ends with the last. The word counts spans
//! of 16.8 ms, is never ahead of the system's clock, and may be a span behind, because hits that trust it leave one out before an
//! entry's end (`Quiet`). It falls behind further where the system does not let the thread run: under load, in a stopped process that
//! goes on, after a fork, which copies no thread. So each reader looks at the clock itself after one of 256 lookups
//! ([`see_to_it`]), puts the word right for all, and sees to it that there is a thread.
//!
//! A fork also copies locks as they are. So the thread holds none while it keeps the time, and sleeps by its own parker: as a waiter of
//! a condition variable it would be woken in the child too, be handed the lock there, and keep it for ever.
//!
//! [`CacheBuilder::clock_thread`]: crate::CacheBuilder::clock_thread

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::thread::{self, Thread};
use std::time::Duration;

use crossbeam_utils::CachePadded;
use parking_lot::Mutex;

use super::{span_of, system};

/// How often the thread looks whether the word is to be moved: a span begins some times four.
const PERIOD: Duration = Duration::from_millis(4);
/// A word so many spans behind is looked after by nobody.
const ABANDONED: u32 = 3;

static WORD: CachePadded<AtomicU32> = CachePadded::new(AtomicU32::new(0));
/// Changes under the lock.
static LEASES: AtomicUsize = AtomicUsize::new(0);
static KEEPER: Mutex<Keeper> = Mutex::new(Keeper { of: None });

struct Keeper {
    /// The thread, and the process in which it runs.
    of: Option<(Thread, u32)>,
}

/// As long as there is one, the word moves.
#[derive(Debug)]
pub(crate) struct Lease(());

impl Lease {
    /// None if the system gives no thread.
    pub(crate) fn take() -> Option<Self> {
        let mut keeper = KEEPER.lock();
        if !keeper.runs() && !keeper.start() {
            return None;
        }
        // Before the thread gets the lock.
        LEASES.fetch_add(1, Ordering::Relaxed);
        Some(Self(()))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let keeper = KEEPER.lock();
        if LEASES.fetch_sub(1, Ordering::Relaxed) == 1 && keeper.runs() {
            keeper.of.iter().for_each(|(thread, _)| thread.unpark());
        }
    }
}

impl Keeper {
    fn runs(&self) -> bool {
        self.of.as_ref().is_some_and(|&(_, process)| process == std::process::id())
    }

    fn start(&mut self) -> bool {
        catch_up(system::exact() + 1);
        let started = thread::Builder::new().name("millpond-clock".to_owned()).spawn(keep);
        if let Ok(handle) = &started {
            self.of = Some((handle.thread().clone(), std::process::id()));
        }
        started.is_ok()
    }
}

/// What the thread does.
fn keep() {
    loop {
        catch_up(system::exact() + 1);
        if LEASES.load(Ordering::Relaxed) == 0 {
            let mut keeper = KEEPER.lock();
            // Nobody took one up to here, and who does from here on starts another.
            if LEASES.load(Ordering::Relaxed) == 0 {
                keeper.of = None;
                return;
            }
        }
        thread::park_timeout(PERIOD);
    }
}

/// How far behind the word was; it is put right. `now` counts as [`Ticks`](super::Ticks) do, from 1 on.
fn catch_up(now: u64) -> u32 {
    let now = span_of(now);
    let behind = now.saturating_sub(span());
    if behind > 0 {
        WORD.fetch_max(now, Ordering::Relaxed);
    }
    behind
}

/// The span in which the time is, or was a period ago, while the thread gets its turns. Only while there is a [`Lease`].
#[inline]
pub(crate) fn span() -> u32 {
    WORD.load(Ordering::Relaxed)
}

/// What each thread does now and then that reads caches.
pub(crate) fn see_to_it() {
    // 0: nobody ever wanted it.
    if span() != 0 {
        look();
    }
}

/// The time by the system's coarse clock. Puts the word right.
pub(super) fn look() -> u64 {
    let now = system::coarse() + 1;
    if catch_up(now) >= ABANDONED {
        revive();
    }
    now
}

#[cold]
fn revive() {
    // If somebody holds the lock, or held it in a process that forked, another look will come.
    if let Some(mut keeper) = KEEPER.try_lock() {
        if LEASES.load(Ordering::Relaxed) > 0 && !keeper.runs() {
            keeper.start();
        }
    }
}

/// Whether there is a thread.
#[cfg(test)]
pub(crate) fn runs() -> bool {
    KEEPER.lock().of.is_some()
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::Instant;

    use super::*;

    /// Does something again and again until it has put the time right that no thread keeps any more.
    #[cfg(not(any(millpond_loom, millpond_shuttle)))]
    pub(crate) fn until_it_moves_without_its_thread(mut looks: impl FnMut()) {
        // There is a time that is kept; then the thread has ended.
        drop(Lease::take().expect("there are threads to be had"));
        let deadline = Instant::now() + Duration::from_secs(10);
        while runs() {
            assert!(Instant::now() < deadline, "the thread ends with the last lease");
            thread::yield_now();
        }
        let before = span();
        while span() == before {
            assert!(Instant::now() < deadline, "nobody puts it right");
            looks();
        }
    }

    #[test]
    fn the_word_moves_while_somebody_wants_it_and_readers_put_it_right() {
        let lease = Lease::take().expect("there are threads to be had");
        look();
        let began = span();
        let deadline = Instant::now() + Duration::from_secs(30);
        while span() < began + 2 {
            assert!(Instant::now() < deadline, "nobody moves it");
            thread::yield_now();
        }
        assert!(span() <= span_of(system::exact() + 1), "it is never ahead");
        let second = Lease::take().expect("the same thread serves it");
        drop((lease, second));
        while runs() {
            assert!(Instant::now() < deadline, "the thread ends with the last lease");
            thread::yield_now();
        }
        // As after a fork: leases, but no thread. Readers move the word by themselves.
        look();
        let before = span();
        while span_of(system::coarse()) <= before {
            assert!(Instant::now() < deadline);
            thread::yield_now();
        }
        // Other tests in this process may be among those who do.
        see_to_it();
        assert!(span() > before, "who looks puts it right");
    }
}
