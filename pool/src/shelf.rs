//! Where idle connections lie: a table of cells that never move, and a few lock-free stacks of the cells that are full.
//!
//! A [`Slot`] is the right to one cell. There is one for each cell, it can't be copied, and it is always in one of two
//! hands: its owner's, who lends the connection, opens it or ends it; or the shelf's, while the cell lies on a stack.
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

struct Cell<T> {
    /// The index + 1 of the cell below on the same stack; meaningful while on one.
    below: AtomicU32,
    /// Whether the item lies here; for those who count.
    full: AtomicBool,
    /// How often the item was taken by [`Shelf::take`]; written by the owner of the slot alone.
    taken: AtomicU64,
    /// Touched by the owner of the slot alone.
    item: UnsafeCell<Option<T>>,
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

/// Why nothing was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Miss {
    Empty,
    Blocked,
}

type Segment<T> = Box<[CachePadded<Cell<T>>]>;

pub(crate) struct Shelf<T> {
    stacks: Box<[CachePadded<AtomicU64>]>,
    segments: [OnceLock<Segment<T>>; SEGMENTS],
    /// The length of the first segment, a power of two.
    first: usize,
    /// How many slots were handed out.
    minted: AtomicUsize,
}

thread_local! {
    static HOME: ThreadCell<usize> = const { ThreadCell::new(usize::MAX) };
}

/// This thread's number, for its home stack.
#[inline]
fn home() -> usize {
    HOME.with(|home| {
        if home.get() == usize::MAX {
            static NEXT: AtomicUsize = AtomicUsize::new(0);
            home.set(NEXT.fetch_add(1, Ordering::Relaxed) % (usize::MAX / 2));
        }
        home.get()
    })
}

impl<T> Shelf<T> {
    /// A shelf for about `size` items, with `stacks` stacks (a power of two). It grows.
    pub(crate) fn new(size: usize, stacks: usize) -> Self {
        debug_assert!(stacks.is_power_of_two());
        Self {
            stacks: (0..stacks).map(|_| CachePadded::new(AtomicU64::new(0))).collect(),
            segments: [const { OnceLock::new() }; SEGMENTS],
            first: size.clamp(2, 256).next_power_of_two(),
            minted: AtomicUsize::new(0),
        }
    }

    /// A new slot. The caller holds the core's lock; slots are used again, so there are as many as there ever were items.
    pub(crate) fn mint(&self) -> Slot {
        let index = self.minted.load(Ordering::Relaxed);
        let (segment, _) = self.place(index);
        self.segments[segment].get_or_init(|| {
            let len = if segment == 0 { self.first } else { self.first << (segment - 1) };
            (0..len).map(|_| CachePadded::new(Cell::new())).collect()
        });
        self.minted.store(index + 1, Ordering::Release);
        Slot(u32::try_from(index).expect("fewer than 2^31 connections"))
    }

    #[inline]
    fn place(&self, index: usize) -> (usize, usize) {
        if index < self.first {
            (0, index)
        } else {
            let segment = (index / self.first).ilog2() as usize + 1;
            (segment, index - (self.first << (segment - 1)))
        }
    }

    #[inline]
    fn cell(&self, index: usize) -> &Cell<T> {
        let (segment, offset) = self.place(index);
        &self.segments[segment].get().expect("minted before it is used")[offset]
    }

    /// This thread's home stack.
    #[inline]
    pub(crate) fn home(&self) -> usize {
        home() & (self.stacks.len() - 1)
    }

    /// Puts an item on this thread's home stack, or hands both back if the shelf is blocked.
    #[inline(always)]
    pub(crate) fn put(&self, slot: Slot, item: T) -> Result<(), (Slot, T)> {
        self.put_on(self.home(), slot, item, false)
    }

    /// As [`put`](Self::put), blocked or not; for whoever holds the core's lock.
    pub(crate) fn put_locked(&self, stack: usize, slot: Slot, item: T) {
        let put = self.put_on(stack, slot, item, true);
        assert!(put.is_ok(), "the lock's holder is not blocked");
    }

    #[inline(always)]
    fn put_on(&self, stack: usize, slot: Slot, item: T, locked: bool) -> Result<(), (Slot, T)> {
        let stack = &*self.stacks[stack];
        let mut word = stack.load(Ordering::Relaxed);
        if word & BLOCKED != 0 && !locked {
            return Err((slot, item));
        }
        let cell = self.cell(slot.0 as usize);
        // SAFETY: we own `slot`, and nobody else has it: `mint` made one for this cell, and it is not `Clone`. Whoever owned
        // it before gave it up by a release of a stack's word in `put_on`, which `take_from` acquired, or moved it to us
        // under the core's lock.
        cell.item.with_mut(|place| unsafe { *place = Some(item) });
        cell.full.store(true, Ordering::Relaxed);
        loop {
            cell.below.store((word & TOP) as u32, Ordering::Relaxed);
            let new = (word & !TOP).wrapping_add(TAG) | (u64::from(slot.0) + 1);
            match stack.compare_exchange_weak(word, new, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return Ok(()),
                Err(now) if now & BLOCKED != 0 && !locked => {
                    cell.full.store(false, Ordering::Relaxed);
                    // SAFETY: as above: the exchange failed, so the slot is still ours.
                    let item = cell.item.with_mut(|place| unsafe { (*place).take() });
                    return Err((slot, item.expect("just put there")));
                }
                Err(now) => word = now,
            }
        }
    }

    /// Takes the item that was put last on this thread's home stack, or on the next that has one.
    #[inline(always)]
    pub(crate) fn take(&self) -> Result<(Slot, T), Miss> {
        let home = self.home();
        for stack in 0..self.stacks.len() {
            match self.take_from((home + stack) & (self.stacks.len() - 1), false) {
                Err(Miss::Empty) => {}
                other => return other,
            }
        }
        Err(Miss::Empty)
    }

    /// Takes an item, blocked or not; for whoever holds the core's lock. Says which stack it was on.
    pub(crate) fn take_locked(&self) -> Option<(usize, Slot, T)> {
        (0..self.stacks.len())
            .find_map(|stack| self.take_from(stack, true).ok().map(|(slot, item)| (stack, slot, item)))
    }

    #[inline(always)]
    fn take_from(&self, stack: usize, locked: bool) -> Result<(Slot, T), Miss> {
        let stack = &*self.stacks[stack];
        let mut word = stack.load(Ordering::Acquire);
        loop {
            if word & BLOCKED != 0 && !locked {
                return Err(Miss::Blocked);
            }
            let top = (word & TOP) as u32;
            if top == 0 {
                return Err(Miss::Empty);
            }
            let cell = self.cell((top - 1) as usize);
            // If the cell has left the stack meanwhile this is nonsense, and the tag makes the exchange fail.
            let below = cell.below.load(Ordering::Relaxed);
            let new = (word & !TOP).wrapping_add(TAG) | u64::from(below);
            match stack.compare_exchange_weak(word, new, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => {
                    cell.full.store(false, Ordering::Relaxed);
                    if !locked {
                        // One writer: a load and a store are enough.
                        cell.taken.store(cell.taken.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
                    }
                    // SAFETY: the exchange took the top cell off its stack, and with it the slot, which is now ours alone. Who
                    // put the item there released the word; we acquired it, or a later value of its release sequence.
                    let item = cell.item.with_mut(|place| unsafe { (*place).take() });
                    return Ok((Slot(top - 1), item.expect("a cell on a stack is full")));
                }
                Err(now) => word = now,
            }
        }
    }

    /// From now on [`put`](Self::put) and [`take`](Self::take) fail; what was put before is seen by
    /// [`take_locked`](Self::take_locked). The caller holds the core's lock.
    pub(crate) fn block(&self) {
        for stack in &self.stacks {
            stack.fetch_or(BLOCKED, Ordering::AcqRel);
        }
    }

    /// Ends a [`block`](Self::block). The caller holds the core's lock.
    pub(crate) fn unblock(&self) {
        for stack in &self.stacks {
            stack.fetch_and(!BLOCKED, Ordering::AcqRel);
        }
    }

    fn cells(&self) -> impl Iterator<Item = &Cell<T>> {
        (0..self.minted.load(Ordering::Acquire)).map(|index| self.cell(index))
    }

    /// Whether nothing lies here: a look at each stack.
    pub(crate) fn is_empty(&self) -> bool {
        self.stacks.iter().all(|stack| stack.load(Ordering::Relaxed) & TOP == 0)
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
            shelf.put(slot, number).unwrap();
        }
        assert_eq!(shelf.count(), 9);
        let (slot, item) = shelf.take().unwrap();
        assert_eq!(item, 8);
        shelf.block();
        assert_eq!(shelf.take().unwrap_err(), Miss::Blocked);
        let (slot, item) = shelf.put(slot, item).unwrap_err();
        shelf.put_locked(0, slot, item);
        assert_eq!(shelf.take_locked().unwrap().2, 8);
        shelf.unblock();
        for number in (0..8).rev() {
            assert_eq!(shelf.take().unwrap().1, number);
        }
        assert_eq!(shelf.take().unwrap_err(), Miss::Empty);
        assert!(shelf.is_empty() && shelf.count() == 0);
    }

    #[test]
    fn threads_never_share_an_item() {
        let shelf = Shelf::new(8, 2);
        for number in 0..8_usize {
            let slot = shelf.mint();
            shelf.put(slot, Box::new(number)).unwrap();
        }
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..20_000 {
                        if let Ok((slot, mut item)) = shelf.take() {
                            // Torn or shared writes would break the remainder.
                            *item += 8;
                            shelf.put(slot, item).unwrap();
                        }
                    }
                });
            }
        });
        let mut rest: Vec<usize> =
            std::iter::from_fn(|| shelf.take().ok().map(|(_, item)| *item % 8)).collect();
        rest.sort_unstable();
        assert_eq!(rest, (0..8).collect::<Vec<_>>());
    }
}
