//! Which retired memory can no reader see any more?
//!
//! A writer unlinks entries, then seals them with a stamp ([`Domain::seal`]: one read-modify-write of the clock for a
//! batch). A reader that pins makes its own word odd, so to speak: the word counts its live pins and, above them, the
//! periods in which it was pinned. Whoever wants memory back looks at the words of all threads, and waits until each that
//! was pinned has ended that period ([`Domain::advance`]). Then all that was sealed before the look may be reused:
//!
//! - a period that the look saw and that is over released its reads to the later look that saw its end;
//! - a reader whose pin the look did not see runs its loads after the heavy barrier before it, so it sees the unlinking.
//!
//! The result is a watermark for the whole process, [`Domain::safe`]: one barrier by any cache serves all of them, and a
//! pin that lives long delays frees but never blocks a thread. This is the grace period of read-copy-update (P. McKenney,
//! J. Slingwine, "Read-copy update: using execution history to solve concurrency problems", 1998), with the two sides of
//! M. Desnoyers' user-space one; a clock read by each pin, as epochs have (K. Fraser, "Practical lock-freedom", 2004),
//! would make all readers share the line that writers move on.

use std::marker::PhantomData;

use crossbeam_utils::CachePadded;

use super::barrier;
use crate::clock::kept;
use crate::sync::{AtomicU64, Mutex, Ordering, fence};

/// A participant's word numbers, in its lowest bits, the periods of a round in which the thread is pinned.
const PERIOD: u64 = ONE_PIN - 1;
/// Above, it counts live pins. A count that ran over would let go of a live pin; to forget so many takes centuries.
const ONE_PIN: u64 = if cfg!(millpond_loom) { 1 << 1 } else { 1 << 8 };
/// One pin, in the last period before the number comes round. Below, an end of a pin has no more to do than to say so.
const LAST_OF_ROUND: u64 = ONE_PIN | PERIOD;
/// Set while a participant is borrowed for one pin, and is to be given back with it.
const BORROWED: u64 = 1 << 63;
/// Looks at a reader that was pinned before `advance` leaves the rest to the next call: lookups are over in an instant.
const LOOKS: usize = if cfg!(any(millpond_loom, millpond_shuttle)) { 1 } else { 64 };

/// One thread's announcement. Only its owner writes it; the freeing side reads it.
#[derive(Debug)]
pub(crate) struct Participant {
    word: AtomicU64,
    /// Rounds that are over. Two periods of one number differ by it: a thread that reads and writes in turn would otherwise find
    /// itself, call by call, in the period that it saw.
    rounds: AtomicU64,
    /// A small number, unique among the live participants; picks a stripe for counters.
    index: u32,
}

impl Participant {
    /// The number of the period in which the owner is pinned now.
    fn period(&self) -> Option<u64> {
        // Acquire, twice: the end of a period releases its reads, also that of a round's last.
        let word = self.word.load(Ordering::Acquire);
        // As long as the pin lives that was seen, this does not change. If it ends before this look at it, any answer is right.
        let rounds = self.rounds.load(Ordering::Acquire);
        (word >= ONE_PIN).then_some(rounds * ONE_PIN + (word & PERIOD))
    }

    /// Ends a pin that is not the only one of its thread, one of the last period of a round, or the one of a borrowed participant,
    /// which is given back.
    #[cold]
    fn unpin_slow(participant: &'static CachePadded<Self>, word: u64) {
        let pins = word & !PERIOD;
        let outermost = pins & !BORROWED == ONE_PIN;
        let next = if outermost { (word + 1) & PERIOD } else { word - ONE_PIN };
        if outermost && next == 0 {
            participant.rounds.store(participant.rounds.load(Ordering::Relaxed) + 1, Ordering::Release);
        }
        participant.word.store(next, Ordering::Release);
        if pins == BORROWED | ONE_PIN {
            super::local::leave(participant);
        } else {
            // Also of a pin within a pin: the outer one may end late or never.
            kept::see_to_it();
        }
    }
}

#[derive(Debug, Default)]
struct Registry {
    all: Vec<&'static CachePadded<Participant>>,
    free: Vec<&'static CachePadded<Participant>>,
    look: Look,
}

/// A look at all threads that is not over: what was sealed before it may be reused when these periods have ended.
#[derive(Debug, Default)]
struct Look {
    /// The clock before the heavy barrier.
    stamp: u64,
    waiting: Vec<(&'static CachePadded<Participant>, u64)>,
}

impl Look {
    /// Whether all periods that it saw are over.
    fn is_over(&mut self) -> bool {
        self.waiting.retain(|(participant, period)| participant.period() == Some(*period));
        self.waiting.is_empty()
    }

    /// The same, with some patience.
    fn ends_soon(&mut self) -> bool {
        for _ in 0..LOOKS {
            if self.is_over() {
                return true;
            }
            std::hint::spin_loop();
        }
        false
    }
}

#[derive(Debug)]
pub(crate) struct Domain {
    clock: CachePadded<AtomicU64>,
    /// Everything stamped below this may be reused. Only grows.
    safe: CachePadded<AtomicU64>,
    registry: Mutex<Registry>,
}

impl Domain {
    #[cfg(not(any(millpond_loom, millpond_shuttle)))]
    pub(crate) const fn new() -> Self {
        Self {
            clock: CachePadded::new(AtomicU64::new(1)),
            safe: CachePadded::new(AtomicU64::new(0)),
            registry: Mutex::new(Registry {
                all: Vec::new(),
                free: Vec::new(),
                look: Look { stamp: 0, waiting: Vec::new() },
            }),
        }
    }

    #[cfg(any(millpond_loom, millpond_shuttle))]
    pub(crate) fn new() -> Self {
        Self {
            clock: CachePadded::new(AtomicU64::new(1)),
            safe: CachePadded::new(AtomicU64::new(0)),
            registry: Mutex::new(Registry::default()),
        }
    }

    /// A participant for a thread that has none. It lives for ever and is reused after [`Domain::leave`].
    pub(crate) fn join(&self) -> &'static CachePadded<Participant> {
        barrier::prepare();
        let mut registry = self.registry.lock();
        if let Some(participant) = registry.free.pop() {
            return participant;
        }
        let index = u32::try_from(registry.all.len()).unwrap_or(u32::MAX);
        let participant: &'static _ = Box::leak(Box::new(CachePadded::new(Participant {
            word: AtomicU64::new(0),
            rounds: AtomicU64::new(0),
            index,
        })));
        registry.all.push(participant);
        participant
    }

    /// Gives a participant back when its thread ends. One whose pin was leaked stays pinned: memory leaks, nothing dangles.
    pub(crate) fn leave(&self, participant: &'static CachePadded<Participant>) {
        if participant.word.load(Ordering::Relaxed) <= PERIOD {
            self.registry.lock().free.push(participant);
        }
    }

    /// Pins a participant of this domain: nothing that is reachable from now on is reused before the guard is dropped.
    /// Wait-free. Only for processes with asymmetric barriers, see [`Domain::pin_fenced`].
    #[inline]
    pub(crate) fn pin(participant: &'static CachePadded<Participant>) -> Pinned {
        let word = participant.word.load(Ordering::Relaxed);
        // Release: whoever sees this period also sees that the reads of the last one are over.
        participant.word.store(word + ONE_PIN, Ordering::Release);
        barrier::light();
        Pinned { participant, _not_send: PhantomData }
    }

    /// As [`Domain::pin`], for any process.
    pub(crate) fn pin_fenced(participant: &'static CachePadded<Participant>) -> Pinned {
        let pinned = Self::pin(participant);
        fence(Ordering::SeqCst);
        pinned
    }

    /// Pins a participant that was joined for this alone, and leaves when the guard is dropped.
    #[cold]
    pub(crate) fn pin_borrowed(participant: &'static CachePadded<Participant>) -> Pinned {
        participant.word.store(participant.word.load(Ordering::Relaxed) | BORROWED, Ordering::Relaxed);
        Self::pin_fenced(participant)
    }

    /// The stamp for everything that the caller has unlinked so far.
    pub(crate) fn seal(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::AcqRel)
    }

    /// What is stamped below this may be reused.
    #[inline]
    pub(crate) fn safe(&self) -> u64 {
        self.safe.load(Ordering::Acquire)
    }

    /// Moves the watermark up. Under the registry's lock, so no two do it at once; no `fetch_max`, which ThreadSanitizer does not see.
    fn raise(&self, stamp: u64) {
        if stamp > self.safe.load(Ordering::Relaxed) {
            self.safe.store(stamp, Ordering::Release);
        }
    }

    /// Looks who is pinned, unless those that an earlier look saw are not done yet, and moves the watermark. One heavy
    /// barrier and a scan of the threads.
    pub(crate) fn advance(&self) -> u64 {
        let mut registry = self.registry.lock();
        let Registry { all, look, .. } = &mut *registry;
        if look.ends_soon() {
            self.raise(look.stamp);
            let stamp = self.clock.load(Ordering::Acquire);
            if stamp > look.stamp && barrier::heavy() {
                look.stamp = stamp;
                look.waiting.extend(all.iter().filter_map(|one| Some((*one, one.period()?))));
                if look.ends_soon() {
                    self.raise(stamp);
                }
            }
        }
        self.safe()
    }
}

/// Proof that this thread is pinned.
#[derive(Debug)]
pub(crate) struct Pinned {
    participant: &'static CachePadded<Participant>,
    _not_send: PhantomData<*const ()>,
}

impl Pinned {
    /// A small number that differs between threads that run at the same time.
    #[inline]
    pub(crate) fn stripe(&self) -> u32 {
        self.participant.index
    }
}

impl Drop for Pinned {
    #[inline]
    fn drop(&mut self) {
        let word = self.participant.word.load(Ordering::Relaxed);
        if word < LAST_OF_ROUND {
            self.participant.word.store(word + 1 - ONE_PIN, Ordering::Release);
        } else {
            Participant::unpin_slow(self.participant, word);
        }
    }
}

#[cfg(all(test, not(any(millpond_loom, millpond_shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_a_period_comes_round_and_no_pin_is_lost() {
        static DOMAIN: Domain = Domain::new();
        let (domain, participant) = (&DOMAIN, DOMAIN.join());
        for period in 0..3 * ONE_PIN + 7 {
            let number = Some(period);
            let outer = Domain::pin(participant);
            assert_eq!(participant.period(), number);
            let inner = Domain::pin(participant);
            drop(inner);
            assert_eq!(participant.period(), number, "a pin within a pin is of its period");
            let stamp = domain.seal();
            assert!(domain.advance() <= stamp, "it is pinned");
            drop(outer);
            assert_eq!(participant.period(), None);
            assert!(domain.advance() > stamp, "nobody is pinned");
        }
        // The last of a round, once more, borrowed.
        participant.word.store(PERIOD, Ordering::Relaxed);
        drop(Domain::pin_borrowed(participant));
        assert_eq!(participant.word.load(Ordering::Relaxed), 0);
    }

    /// 255 reads and a write, for ever: the write calls `advance` within a pin.
    #[test]
    fn a_thread_that_comes_back_in_a_period_of_the_same_number_does_not_wait_for_itself() {
        static DOMAIN: Domain = Domain::new();
        let (domain, participant) = (&DOMAIN, DOMAIN.join());
        for _ in 0..3 {
            let pin = Domain::pin(participant);
            let stamp = domain.seal();
            domain.advance();
            drop(pin);
            for _ in 1..ONE_PIN {
                drop(Domain::pin(participant));
            }
            let _pin = Domain::pin(participant);
            assert!(domain.advance() > stamp);
        }
    }

    /// So that hits by the kept time end although the thread that keeps it does not run.
    #[test]
    fn who_pins_looks_at_the_clock_once_in_a_round() {
        static DOMAIN: Domain = Domain::new();
        let participant = DOMAIN.join();
        kept::tests::until_it_moves_without_its_thread(|| {
            for _ in 0..ONE_PIN {
                drop(Domain::pin(participant));
            }
        });
    }

    /// Of a guard that lives long, or was leaked.
    #[test]
    fn who_pins_within_a_pin_looks_at_the_clock_too() {
        static DOMAIN: Domain = Domain::new();
        let participant = DOMAIN.join();
        let _outer = Domain::pin(participant);
        kept::tests::until_it_moves_without_its_thread(|| {
            for _ in 0..ONE_PIN {
                drop(Domain::pin(participant));
            }
        });
    }
}
