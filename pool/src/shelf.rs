//! Where idle connections lie: a table of cells that never move, and a few lock-free stacks of the cells that are full.
//!
//! A [`Slot`] is the right to one cell. There is one for each cell, it can't be copied, and it is always in one of two
//! hands: its owner's, who lends the connection, opens it or ends it; or the shelf's, while the cell lies on a stack. An item
//! carries its slot with it ([`Placed`]), so that what is lent is one pointer.
//! Taking an item and putting it back are one compare-and-swap each, on a word of 64 bits:
//!
//! | bits | content |
//! |---|---|
//! | 0..31 | the top cell's index + 1, or 0 for an empty stack |
//! | 31 | *blocked*: nothing may be taken or put but by whoever holds the core's lock |
//! | 32..64 | a tag that grows with each change, so that a word never means two things (ABA) |
//!
//! *Blocked* is what makes waiting fair without costing those who need not wait: who puts an item back while somebody
//! waits fails the very same compare-and-swap, and goes where the waiters are. Each thread has a home stack, so that two
//! workers seldom meet on one word. This is Treiber's stack (IBM RJ 5118, 1986) over indices.
//!
//! The cells are the only `unsafe` code of this crate.

#![expect(unsafe_code, reason = "the cells; the proof stands at each use, the models in models.rs")]

use std::cell::Cell as ThreadCell;
use std::sync::OnceLock;
use std::sync::atomic::AtomicUsize;

use crossbeam_utils::CachePadded;

use crate::sync::{AtomicBool, AtomicU32, AtomicU64, Ordering, UnsafeCell};

const BLOCKED: u64 = 1 << 31;
const TOP: u64 = BLOCKED - 1;
const TAG: u64 = 1 << 32;

/// The table grows by doubling: this many times at most.
const SEGMENTS: usize = 24;

/// The right to one cell of one shelf.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Slot(u32);

/// An item, and the right to the cell that it lies in between loans.
pub(crate) struct Placed<T> {
    slot: Slot,
    pub(crate) item: T,
}

impl<T> Placed<T> {
    pub(crate) fn new(slot: Slot, item: T) -> Box<Self> {
        Box::new(Self { slot, item })
    }

    #[expect(clippy::boxed_local, reason = "every item is in a box")]
    pub(crate) fn apart(self: Box<Self>) -> (Slot, T) {
        let Self { slot, item } = *self;
        (slot, item)
    }
}

struct Cell<T> {
    /// The index + 1 of the cell below on the same stack; meaningful while on one.
    below: AtomicU32,
    /// Whether the item lies here; for those who count.
    full: AtomicBool,
    /// How often the item was taken by [`Shelf::take`]; written by the owner of the slot alone.
    taken: AtomicU64,
    /// Touched by the owner of the slot alone.
    item: UnsafeCell<Option<Box<Placed<T>>>>,
}

// SAFETY: `item` is the only part that is not `Sync` by itself. It is touched only by who owns the slot (see `put` and
// `take`), so that an item moves between threads, which `T: Send` allows, and is never shared by two.
unsafe impl<T: Send> Sync for Cell<T> {}

impl<T> Cell<T> {
    fn new() -> Self {
        Self {
            below: AtomicU32::new(0),
            full: AtomicBool::new(false),
            taken: AtomicU64::new(0),
            item: UnsafeCell::new(None),
        }
    }
}

impl<T> Cell<T> {
    /// Puts an item into its cell, which lies on no stack yet; the item's slot is the right to do so.
    #[inline(always)]
    fn lay(&self, item: Box<Placed<T>>) {
        // SAFETY: we own the slot, which came with the item, and nobody else has it: `mint` made one for this cell, and it is
        // not `Clone`. Whoever owned it before gave it up by a release of a stack's word in `push`, which `pop` acquired, or
        // moved it to us under the core's lock. The place is empty, so nothing is lost by not dropping what was there.
        self.item.with_mut(|place| unsafe { place.write(Some(item)) });
        self.full.store(true, Ordering::Relaxed);
    }

    /// Puts a full cell on a stack whose word was `word`, or says what the word is now.
    #[inline(always)]
    fn push(&self, stack: &AtomicU64, word: u64, index: u32) -> Result<(), u64> {
        self.below.store((word & TOP) as u32, Ordering::Relaxed);
        let new = (word & !TOP).wrapping_add(TAG) | (u64::from(index) + 1);
        stack.compare_exchange(word, new, Ordering::AcqRel, Ordering::Relaxed).map(|_| ())
    }

    /// Takes the item out of a cell that was taken off its stack just now.
    #[inline(always)]
    fn lift(&self) -> Box<Placed<T>> {
        // One writer: a load and a store are enough.
        self.taken.store(self.taken.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        self.lift_locked()
    }

    /// As [`lift`](Self::lift), uncounted.
    #[inline(always)]
    fn lift_locked(&self) -> Box<Placed<T>> {
        self.full.store(false, Ordering::Relaxed);
        // SAFETY: the exchange in `pop` took the cell off its stack, and with it the slot, which is now ours alone. Who put the
        // item there released the word; we acquired it, or a later value of its release sequence.
        let item = self.item.with_mut(|place| unsafe { (*place).take() });
        item.expect("a cell on a stack is full")
    }
}

/// Why nothing was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Miss {
    Empty,
    Blocked,
}

type Segment<T> = Box<[CachePadded<Cell<T>>]>;

/// The most stacks: more would make those who start to wait block more of them.
pub(crate) const MOST_STACKS: usize = 8;

pub(crate) struct Shelf<T> {
    /// The first `used` of them are in use. A fixed number, so that finding one costs no look at a length.
    stacks: [CachePadded<AtomicU64>; MOST_STACKS],
    /// How many of them are in use, less one: a mask.
    mask: usize,
    /// The first cells, as many as a power of two: for nearly all pools all there are.
    first: Segment<T>,
    /// The others.
    more: [OnceLock<Segment<T>>; SEGMENTS],
    /// How many slots were handed out.
    minted: AtomicUsize,
}

thread_local! {
    static HOME: ThreadCell<usize> = const { ThreadCell::new(usize::MAX) };
}

/// This thread's number, for its home stack. Threads have the same one until they [`settle`], which is no harm before they meet.
#[inline(always)]
pub(crate) fn home() -> usize {
    // The threads of a model share one of the system's, and each run of it must be like the others.
    if cfg!(any(millpond_loom, millpond_shuttle)) { 0 } else { HOME.with(ThreadCell::get) }
}

/// Gives this thread a number of its own, if it has none: it went to an empty stack, or met another thread on one.
#[cold]
fn settle() {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    if home() == usize::MAX {
        let own = NEXT.fetch_add(1, Ordering::Relaxed) % (usize::MAX / 2);
        HOME.with(|home| home.set(own));
    }
}

/// Takes the top cell off a stack whose word was `word`, or says what the word is now. With the cell the caller has its slot.
#[inline(always)]
fn pop<T>(cell: &Cell<T>, stack: &AtomicU64, word: u64) -> Result<(), u64> {
    // If the cell has left the stack meanwhile this is nonsense, and the tag makes the exchange fail.
    let below = cell.below.load(Ordering::Relaxed);
    let new = (word & !TOP).wrapping_add(TAG) | u64::from(below);
    stack.compare_exchange(word, new, Ordering::AcqRel, Ordering::Acquire).map(|_| ())
}

fn segment<T>(len: usize) -> Segment<T> {
    (0..len).map(|_| CachePadded::new(Cell::new())).collect()
}

impl<T> Shelf<T> {
    /// A shelf for about `size` items, with `stacks` stacks (a power of two). It grows.
    pub(crate) fn new(size: usize, stacks: usize) -> Self {
        debug_assert!(stacks.is_power_of_two() && stacks <= MOST_STACKS);
        Self {
            stacks: std::array::from_fn(|_| CachePadded::new(AtomicU64::new(0))),
            mask: stacks - 1,
            first: segment(size.clamp(2, 256).next_power_of_two()),
            more: [const { OnceLock::new() }; SEGMENTS],
            minted: AtomicUsize::new(0),
        }
    }

    /// A new slot. The caller holds the core's lock; slots are used again, so there are as many as there ever were items.
    pub(crate) fn mint(&self) -> Slot {
        let index = self.minted.load(Ordering::Relaxed);
        if index >= self.first.len() {
            let (number, _) = self.place(index);
            self.more[number].get_or_init(|| segment(self.first.len() << number));
        }
        self.minted.store(index + 1, Ordering::Release);
        Slot(u32::try_from(index).expect("fewer than 2^31 connections"))
    }

    /// Of a cell behind the first: its segment, and where in that. Each is as long as all before it.
    fn place(&self, index: usize) -> (usize, usize) {
        let number = (index / self.first.len()).ilog2() as usize;
        (number, index - (self.first.len() << number))
    }

    fn cell(&self, index: usize) -> &Cell<T> {
        match self.first.get(index) {
            Some(cell) => cell,
            None => self.later_cell(index),
        }
    }

    #[cold]
    fn later_cell(&self, index: usize) -> &Cell<T> {
        let (number, offset) = self.place(index);
        &self.more[number].get().expect("minted before it is used")[offset]
    }

    #[inline(always)]
    fn stack(&self, number: usize) -> &AtomicU64 {
        &self.stacks[number & self.mask & (MOST_STACKS - 1)]
    }

    fn stacks(&self) -> impl Iterator<Item = &AtomicU64> {
        self.stacks[..=self.mask].iter().map(|stack| &**stack)
    }

    /// Puts an item on this thread's home stack, or hands it back if the shelf is blocked.
    ///
    /// What does not go at the first try goes another way from its start, so that nothing need be kept for it.
    #[inline(always)]
    pub(crate) fn put(&self, item: Box<Placed<T>>) -> Result<(), Box<Placed<T>>> {
        let index = item.slot.0;
        let Some(cell) = self.first.get(index as usize) else { return self.put_slowly(item) };
        let stack = self.stack(home());
        let word = stack.load(Ordering::Relaxed);
        if word & BLOCKED != 0 {
            return Err(item);
        }
        cell.lay(item);
        if cell.push(stack, word, index).is_ok() { Ok(()) } else { self.put_again(index) }
    }

    #[cold]
    fn put_slowly(&self, item: Box<Placed<T>>) -> Result<(), Box<Placed<T>>> {
        let index = item.slot.0;
        self.cell(index as usize).lay(item);
        self.put_again(index)
    }

    /// Somebody was quicker: once more, with the item in its cell.
    #[cold]
    fn put_again(&self, index: u32) -> Result<(), Box<Placed<T>>> {
        settle();
        let (cell, stack) = (self.cell(index as usize), self.stack(home()));
        let mut word = stack.load(Ordering::Relaxed);
        while word & BLOCKED == 0 {
            match cell.push(stack, word, index) {
                Ok(()) => return Ok(()),
                Err(now) => word = now,
            }
        }
        cell.full.store(false, Ordering::Relaxed);
        // SAFETY: as in `lay`: no exchange succeeded, so the slot is still ours.
        let item = cell.item.with_mut(|place| unsafe { (*place).take() });
        Err(item.expect("just put there"))
    }

    /// As [`put`](Self::put), blocked or not; for whoever holds the core's lock.
    pub(crate) fn put_locked(&self, stack: usize, item: Box<Placed<T>>) {
        let index = item.slot.0;
        let (cell, stack) = (self.cell(index as usize), self.stack(stack));
        cell.lay(item);
        let mut word = stack.load(Ordering::Relaxed);
        while let Err(now) = cell.push(stack, word, index) {
            word = now;
        }
    }

    /// Takes the item that was put last on this thread's home stack, or on the next that has one.
    #[inline(always)]
    pub(crate) fn take(&self) -> Result<Box<Placed<T>>, Miss> {
        let stack = self.stack(home());
        let word = stack.load(Ordering::Acquire);
        if word & BLOCKED != 0 {
            return Err(Miss::Blocked);
        }
        // Of an empty stack the index is beyond all others.
        if let Some(cell) = self.first.get((word as u32 as usize).wrapping_sub(1)) {
            if pop(cell, stack, word).is_ok() {
                return Ok(cell.lift());
            }
        }
        self.take_any()
    }

    /// Not at once: whatever the reason was.
    #[cold]
    fn take_any(&self) -> Result<Box<Placed<T>>, Miss> {
        settle();
        let home = home();
        for stack in 0..=self.mask {
            match self.take_from(home.wrapping_add(stack)) {
                Ok(cell) => return Ok(cell.lift()),
                Err(Miss::Empty) => {}
                Err(Miss::Blocked) => return Err(Miss::Blocked),
            }
        }
        Err(Miss::Empty)
    }

    fn take_from(&self, stack: usize) -> Result<&Cell<T>, Miss> {
        let stack = self.stack(stack);
        let mut word = stack.load(Ordering::Acquire);
        loop {
            if word & BLOCKED != 0 {
                return Err(Miss::Blocked);
            }
            if word & TOP == 0 {
                return Err(Miss::Empty);
            }
            match self.pop(stack, word) {
                Ok(cell) => return Ok(cell),
                Err(now) => word = now,
            }
        }
    }

    /// Takes an item, blocked or not; for whoever holds the core's lock. Says which stack it was on.
    pub(crate) fn take_locked(&self) -> Option<(usize, Box<Placed<T>>)> {
        for number in 0..=self.mask {
            let stack = self.stack(number);
            let mut word = stack.load(Ordering::Acquire);
            while word & TOP != 0 {
                match self.pop(stack, word) {
                    Ok(cell) => return Some((number, cell.lift_locked())),
                    Err(now) => word = now,
                }
            }
        }
        None
    }

    fn pop(&self, stack: &AtomicU64, word: u64) -> Result<&Cell<T>, u64> {
        let cell = self.cell((word & TOP) as usize - 1);
        pop(cell, stack, word).map(|()| cell)
    }

    /// From now on [`put`](Self::put) and [`take`](Self::take) fail; what was put before is seen by
    /// [`take_locked`](Self::take_locked). The caller holds the core's lock.
    pub(crate) fn block(&self) {
        for stack in self.stacks() {
            stack.fetch_or(BLOCKED, Ordering::AcqRel);
        }
    }

    /// Ends a [`block`](Self::block). The caller holds the core's lock.
    pub(crate) fn unblock(&self) {
        for stack in self.stacks() {
            stack.fetch_and(!BLOCKED, Ordering::AcqRel);
        }
    }

    fn cells(&self) -> impl Iterator<Item = &Cell<T>> {
        (0..self.minted.load(Ordering::Acquire)).map(|index| self.cell(index))
    }

    /// Whether nothing lies here: a look at each stack.
    pub(crate) fn is_empty(&self) -> bool {
        self.stacks().all(|stack| stack.load(Ordering::Relaxed) & TOP == 0)
    }

    /// How many items lie here. One that is being put or taken this very moment counts, and one whose put is about to fail.
    pub(crate) fn count(&self) -> usize {
        self.cells().filter(|cell| cell.full.load(Ordering::Relaxed)).count()
    }

    /// How often an item was taken by [`take`](Self::take).
    pub(crate) fn taken(&self) -> u64 {
        self.cells().map(|cell| cell.taken.load(Ordering::Relaxed)).sum()
    }
}

#[cfg(all(test, not(any(millpond_loom, millpond_shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn the_last_put_is_the_first_taken_and_blocking_blocks() {
        let shelf = Shelf::new(2, 1);
        let slots: Vec<_> = (0..9).map(|_| shelf.mint()).collect();
        for (number, slot) in slots.into_iter().enumerate() {
            assert!(shelf.put(Placed::new(slot, number)).is_ok());
        }
        assert_eq!(shelf.count(), 9);
        let taken = |found: Result<Box<Placed<usize>>, Miss>| found.map(|placed| placed.item);
        let Ok(eight) = shelf.take() else { panic!("nine are there") };
        assert_eq!(eight.item, 8);
        shelf.block();
        assert_eq!(taken(shelf.take()), Err(Miss::Blocked));
        let Err(eight) = shelf.put(eight) else { panic!("it is blocked") };
        shelf.put_locked(0, eight);
        assert_eq!(shelf.take_locked().map(|(_, placed)| placed.item), Some(8));
        shelf.unblock();
        for number in (0..8).rev() {
            assert_eq!(taken(shelf.take()), Ok(number));
        }
        assert_eq!(taken(shelf.take()), Err(Miss::Empty));
        assert!(shelf.is_empty() && shelf.count() == 0);
    }

    #[test]
    fn threads_never_share_an_item() {
        let shelf = Shelf::new(8, 2);
        for number in 0..8_usize {
            let slot = shelf.mint();
            assert!(shelf.put(Placed::new(slot, number)).is_ok());
        }
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..if cfg!(miri) { 100 } else { 20_000 } {
                        if let Ok(mut placed) = shelf.take() {
                            // Torn or shared writes would break the remainder.
                            placed.item += 8;
                            assert!(shelf.put(placed).is_ok());
                        }
                    }
                });
            }
        });
        let mut rest: Vec<usize> =
            std::iter::from_fn(|| shelf.take().ok().map(|placed| placed.item % 8)).collect();
        rest.sort_unstable();
        assert_eq!(rest, (0..8).collect::<Vec<_>>());
    }
}
