//! The time in one word that a thread keeps, so that a hit only loads it: [`CacheBuilder::clock_thread`].
//!
//! One thread for all caches of the process: it starts with the first that wants it and ends with the last. The word is never ahead
//! of the system's clock. It falls behind by a period, and further where the system does not let the thread run: under load, in a
//! stopped process that goes on, after a fork, which copies no thread. So each reader looks at the clock itself after one of
//! 256 lookups ([`see_to_it`]), puts the word right for all, and sees to it that there is a thread.
//!
//! [`CacheBuilder::clock_thread`]: crate::CacheBuilder::clock_thread

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam_utils::CachePadded;
use parking_lot::{Condvar, Mutex};

use super::system;

/// How often the thread moves the word.
const PERIOD: Duration = Duration::from_millis(1);
/// A word so far behind, in ns, is looked after by nobody.
const ABANDONED: u64 = 50_000_000;

static WORD: CachePadded<AtomicU64> = CachePadded::new(AtomicU64::new(0));
static KEEPER: Mutex<Keeper> = Mutex::new(Keeper { leases: 0, of: None });
/// The last lease has.
static ENDED: Condvar = Condvar::new();

struct Keeper {
    leases: usize,
    /// The process in which the thread runs, if it does.
    of: Option<u32>,
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
        keeper.leases += 1;
        Some(Self(()))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut keeper = KEEPER.lock();
        keeper.leases -= 1;
        if keeper.leases == 0 {
            ENDED.notify_one();
        }
    }
}

impl Keeper {
    fn runs(&self) -> bool {
        self.of == Some(std::process::id())
    }

    fn start(&mut self) -> bool {
        catch_up(system::exact());
        let started = thread::Builder::new().name("millpond-clock".to_owned()).spawn(keep).is_ok();
        if started {
            self.of = Some(std::process::id());
        }
        started
    }
}

/// What the thread does.
fn keep() {
    let mut keeper = KEEPER.lock();
    while keeper.leases > 0 {
        catch_up(system::exact());
        ENDED.wait_for(&mut keeper, PERIOD);
    }
    keeper.of = None;
}

/// The word counts as [`Ticks`](super::Ticks) do, from 1 on.
fn catch_up(now: u64) {
    WORD.fetch_max(now + 1, Ordering::Relaxed);
}

/// The time, a period behind at most while the thread gets its turns. Only while there is a [`Lease`].
#[inline]
pub(crate) fn glance() -> u64 {
    WORD.load(Ordering::Relaxed)
}

/// What each thread does now and then that reads caches.
pub(crate) fn see_to_it() {
    // 0: nobody ever wanted it.
    if glance() != 0 {
        look();
    }
}

/// The time by the system's coarse clock. Puts the word right.
pub(super) fn look() -> u64 {
    let now = system::coarse();
    let behind = now.saturating_sub(glance());
    if behind > 0 {
        catch_up(now);
    }
    if behind > ABANDONED {
        revive();
    }
    now + 1
}

#[cold]
fn revive() {
    // If somebody holds the lock, or held it in a process that forked, another look will come.
    if let Some(mut keeper) = KEEPER.try_lock() {
        if keeper.leases > 0 && !keeper.runs() {
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
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn the_word_moves_while_somebody_wants_it_and_readers_put_it_right() {
        let lease = Lease::take().expect("there are threads to be had");
        let began = look();
        let deadline = Instant::now() + Duration::from_secs(30);
        while WORD.load(Ordering::Relaxed) < began + 5_000_000 {
            assert!(Instant::now() < deadline, "nobody moves it");
            thread::yield_now();
        }
        assert!(WORD.load(Ordering::Relaxed) <= system::exact() + 1, "it is never ahead");
        let second = Lease::take().expect("the same thread serves it");
        drop((lease, second));
        while runs() {
            assert!(Instant::now() < deadline, "the thread ends with the last lease");
            thread::yield_now();
        }
        // As after a fork: leases, but no thread. Readers move the word by themselves.
        look();
        let before = WORD.load(Ordering::Relaxed);
        while system::coarse() <= before + 1_000_000 {
            assert!(Instant::now() < deadline);
            thread::yield_now();
        }
        // Other tests in this process may be among those who do.
        see_to_it();
        assert!(glance() > before, "who looks puts it right");
    }
}
