//! Who waits for a connection, in order: a linked list over a slab, so that leaving is O(1) wherever one stands.
//!
//! There is one list for each class of priority; within a class who came first is served first. A lower class is not starved:
//! after [`PATIENCE`] deliveries to others its own first waiter is next.
//!
//! A delivery is left in the waiter's own node: the connection itself changes hands, not the right to fetch one. A node
//! lives until its waiter has taken the delivery or left.

use std::task::Waker;
use std::thread::Thread;

use tokio::time::Instant;

use crate::clock::Ticks;

/// How many classes of priority there are.
pub(crate) const CLASSES: usize = 3;
/// After so many deliveries to higher classes a lower one is next.
const PATIENCE: u8 = 8;

const NONE: usize = usize::MAX;

/// How to wake who waits.
#[derive(Clone, Debug)]
pub(crate) enum Waiter {
    Thread(Thread),
    Task(Waker),
}

impl Waiter {
    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Thread(one), Self::Thread(other)) => one.id() == other.id(),
            (Self::Task(one), Self::Task(other)) => one.will_wake(other),
            _ => false,
        }
    }

    /// Runs the waker: never call it under a lock.
    pub(crate) fn wake(self) {
        match self {
            Self::Thread(thread) => thread.unpark(),
            Self::Task(waker) => waker.wake(),
        }
    }
}

/// A waiter's place; given back by [`Waiters::take`] or [`Waiters::leave`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket(usize);

#[derive(Debug)]
enum State<D> {
    Free,
    Waiting(Option<Waiter>),
    /// Told to look for a connection itself; it still stands in the queue.
    Nudged(Option<Waiter>),
    Delivered(D),
}

/// Where in the queue somebody joins.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rank {
    /// 0 is served first; below [`CLASSES`].
    pub(crate) class: usize,
    /// Before the others of its class: whoever had a connection that proved dead keeps the rank.
    pub(crate) front: bool,
    /// When it came.
    pub(crate) since: Ticks,
    /// When its time is up, if somebody else is to tell it so.
    pub(crate) deadline: Option<Instant>,
}

#[derive(Debug)]
struct Node<D> {
    prev: usize,
    next: usize,
    rank: Rank,
    state: State<D>,
}

/// Those of one class, in order.
#[derive(Clone, Copy, Debug)]
struct List {
    head: usize,
    tail: usize,
    /// Deliveries to higher classes since the last one here.
    passed: u8,
}

const EMPTY: List = List { head: NONE, tail: NONE, passed: 0 };

/// The queue. `D` is what is delivered.
#[derive(Debug)]
pub(crate) struct Waiters<D> {
    nodes: Vec<Node<D>>,
    free: Vec<usize>,
    lists: [List; CLASSES],
    len: usize,
    /// A bit for each class in which somebody waits.
    classes: u8,
    nudged: usize,
}

impl<D> Waiters<D> {
    pub(crate) fn new() -> Self {
        Self { nodes: Vec::new(), free: Vec::new(), lists: [EMPTY; CLASSES], len: 0, classes: 0, nudged: 0 }
    }

    /// Those who wait and have no delivery yet.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Of those who wait, those who were told to look for themselves and have not looked yet.
    pub(crate) fn nudged(&self) -> usize {
        self.nudged
    }

    /// Joins at the end of a class, or at its front.
    pub(crate) fn join(&mut self, rank: Rank, waiter: Option<Waiter>) -> Ticket {
        let index = self.free.pop().unwrap_or_else(|| self.grow());
        let list = &mut self.lists[rank.class];
        let (prev, next) = if rank.front { (NONE, list.head) } else { (list.tail, NONE) };
        if prev == NONE {
            list.head = index;
        }
        if next == NONE {
            list.tail = index;
        }
        self.classes |= 1 << rank.class;
        let node = &mut self.nodes[index];
        (node.prev, node.next) = (prev, next);
        node.rank = rank;
        node.state = State::Waiting(waiter);
        if prev != NONE {
            self.nodes[prev].next = index;
        }
        if next != NONE {
            self.nodes[next].prev = index;
        }
        self.len += 1;
        Ticket(index)
    }

    #[cold]
    fn grow(&mut self) -> usize {
        self.nodes.push(Node { prev: NONE, next: NONE, rank: Rank::default(), state: State::Free });
        self.nodes.len() - 1
    }

    #[inline(always)]
    fn unlink(&mut self, index: usize) {
        let Node { prev, next, rank: Rank { class, .. }, .. } = self.nodes[index];
        let list = &mut self.lists[class];
        if prev == NONE {
            list.head = next;
        }
        if next == NONE {
            list.tail = prev;
        }
        if list.head == NONE {
            list.passed = 0;
            self.classes &= !(1 << class);
        }
        if prev != NONE {
            self.nodes[prev].next = next;
        }
        if next != NONE {
            self.nodes[next].prev = prev;
        }
        self.len -= 1;
    }

    /// The class whose turn it is, if anybody waits.
    #[inline]
    fn turn(&self) -> Option<usize> {
        if self.classes & self.classes.wrapping_sub(1) != 0 { self.turn_of_several() } else { self.only() }
    }

    /// The only class in which anybody waits.
    #[inline]
    fn only(&self) -> Option<usize> {
        (self.classes != 0).then(|| self.classes.trailing_zeros() as usize)
    }

    #[cold]
    fn turn_of_several(&self) -> Option<usize> {
        let waits = |class: &usize| self.lists[*class].head != NONE;
        let overlooked = (1..CLASSES).rev().filter(waits).find(|class| self.lists[*class].passed >= PATIENCE);
        overlooked.or_else(|| (0..CLASSES).find(waits))
    }

    /// Since when the one whose turn it is has waited.
    pub(crate) fn since(&self) -> Option<Ticks> {
        self.turn().map(|class| self.nodes[self.lists[class].head].rank.since)
    }

    /// Delivers to the first who waits, and returns whom to wake. Hands the delivery back if nobody waits.
    pub(crate) fn deliver(&mut self, delivery: D) -> Result<Option<Waiter>, D> {
        let Some(class) = self.turn() else { return Err(delivery) };
        let index = self.lists[class].head;
        self.unlink(index);
        self.lists[class].passed = 0;
        if self.classes >> class > 1 {
            for list in &mut self.lists[class + 1..] {
                list.passed = if list.head == NONE { 0 } else { list.passed.saturating_add(1) };
            }
        }
        match std::mem::replace(&mut self.nodes[index].state, State::Delivered(delivery)) {
            State::Waiting(waiter) => Ok(waiter),
            State::Nudged(waiter) => {
                self.nudged -= 1;
                Ok(waiter)
            }
            State::Free | State::Delivered(_) => unreachable!("only those who wait are linked"),
        }
    }

    /// Tells the first who was not told yet to look for itself, and returns whom to wake. False if all were told.
    pub(crate) fn nudge(&mut self, wake: &mut impl Extend<Waiter>) -> bool {
        for list in self.lists {
            let mut index = list.head;
            while index != NONE {
                let node = &mut self.nodes[index];
                if let State::Waiting(waiter) = &mut node.state {
                    wake.extend(waiter.take());
                    node.state = State::Nudged(None);
                    self.nudged += 1;
                    return true;
                }
                index = node.next;
            }
        }
        false
    }

    /// Whether this one was told to look for itself.
    pub(crate) fn is_nudged(&self, ticket: Ticket) -> bool {
        matches!(self.nodes[ticket.0].state, State::Nudged(_))
    }

    /// Takes the delivery, which ends the ticket; otherwise stores whom to wake and hands back what is to be dropped after
    /// the unlock.
    pub(crate) fn take(&mut self, ticket: Ticket, waiter: Waiter) -> Result<D, Option<Waiter>> {
        let state = &mut self.nodes[ticket.0].state;
        match std::mem::replace(state, State::Free) {
            State::Delivered(delivery) => {
                self.free.push(ticket.0);
                Ok(delivery)
            }
            State::Waiting(Some(before)) if before.is_same(&waiter) => {
                *state = State::Waiting(Some(before));
                Err(Some(waiter))
            }
            State::Waiting(before) => {
                *state = State::Waiting(Some(waiter));
                Err(before)
            }
            State::Nudged(before) => {
                // It has looked.
                self.nudged -= 1;
                *state = State::Waiting(Some(waiter));
                Err(before)
            }
            State::Free => unreachable!("a ticket is used once"),
        }
    }

    /// Stores whom to wake, for one who joined just now.
    pub(crate) fn settle(&mut self, ticket: Ticket, waiter: Waiter) {
        if let State::Waiting(place) | State::Nudged(place) = &mut self.nodes[ticket.0].state {
            *place = Some(waiter);
        }
    }

    /// Those whose time is up, to be woken, and the first deadline of the others.
    pub(crate) fn late(&mut self, now: Instant) -> (Vec<Waiter>, Option<Instant>) {
        let (mut late, mut next) = (Vec::new(), None::<Instant>);
        for list in self.lists {
            let mut index = list.head;
            while index != NONE {
                let node = &mut self.nodes[index];
                index = node.next;
                let Some(deadline) = node.rank.deadline else { continue };
                if deadline > now {
                    next = Some(next.map_or(deadline, |next| next.min(deadline)));
                } else if let State::Waiting(waiter) | State::Nudged(waiter) = &mut node.state {
                    late.extend(waiter.take());
                }
            }
        }
        (late, next)
    }

    /// Takes the delivery if it is there already.
    pub(crate) fn take_if_delivered(&mut self, ticket: Ticket) -> Option<D> {
        let state = &mut self.nodes[ticket.0].state;
        if !matches!(state, State::Delivered(_)) {
            return None;
        }
        self.free.push(ticket.0);
        match std::mem::replace(state, State::Free) {
            State::Delivered(delivery) => Some(delivery),
            State::Free | State::Waiting(_) | State::Nudged(_) => None,
        }
    }

    /// Ends the ticket; a delivery that came too late is handed back and must go on to the next.
    pub(crate) fn leave(&mut self, ticket: Ticket) -> (Option<D>, Option<Waiter>) {
        let state = std::mem::replace(&mut self.nodes[ticket.0].state, State::Free);
        let left = match state {
            State::Delivered(delivery) => (Some(delivery), None),
            State::Waiting(waiter) => {
                self.unlink(ticket.0);
                (None, waiter)
            }
            State::Nudged(waiter) => {
                self.nudged -= 1;
                self.unlink(ticket.0);
                (None, waiter)
            }
            State::Free => unreachable!("a ticket is used once"),
        };
        self.free.push(ticket.0);
        left
    }

    /// Deliveries that were not taken yet.
    pub(crate) fn delivered(&self) -> impl Iterator<Item = &D> {
        self.nodes.iter().filter_map(|node| match &node.state {
            State::Delivered(delivery) => Some(delivery),
            State::Free | State::Waiting(_) | State::Nudged(_) => None,
        })
    }

    /// Panics unless the links agree with the count.
    pub(crate) fn check_invariants(&self) {
        let (mut len, mut nudged) = (0, 0);
        for list in &self.lists {
            let (mut index, mut prev) = (list.head, NONE);
            while index != NONE {
                let node = &self.nodes[index];
                assert_eq!(node.prev, prev, "links agree in both directions");
                let told = matches!(node.state, State::Nudged(_));
                assert!(told || matches!(node.state, State::Waiting(_)), "only those who wait are linked");
                nudged += usize::from(told);
                prev = index;
                index = node.next;
                len += 1;
            }
            assert_eq!(list.tail, prev, "the tail is the last");
        }
        for (class, list) in self.lists.iter().enumerate() {
            assert_eq!(self.classes >> class & 1 == 1, list.head != NONE, "classes with waiters");
        }
        assert_eq!((self.len, self.nudged), (len, nudged), "the queue counts what it holds");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wake_nobody() -> Waiter {
        Waiter::Thread(std::thread::current())
    }

    #[test]
    fn serves_in_order_and_skips_those_who_left() {
        let mut waiters = Waiters::new();
        let tickets: Vec<_> = (0..4).map(|_| waiters.join(Rank::default(), None)).collect();
        assert_eq!(waiters.leave(tickets[1]).0, None);
        let first = waiters.join(Rank { front: true, ..Rank::default() }, None);
        waiters.check_invariants();
        for delivery in 0..4 {
            waiters.deliver(delivery).unwrap();
        }
        assert_eq!(waiters.deliver(9).unwrap_err(), 9);
        assert_eq!(waiters.take(first, wake_nobody()).unwrap(), 0);
        assert_eq!(waiters.take(tickets[0], wake_nobody()).unwrap(), 1);
        assert_eq!(waiters.leave(tickets[2]).0, Some(2), "a late delivery is handed back");
        assert_eq!(waiters.delivered().count(), 1);
        assert_eq!(waiters.take(tickets[3], wake_nobody()).unwrap(), 3);
        waiters.check_invariants();
        assert!(waiters.is_empty());
    }

    #[test]
    fn higher_classes_come_first_and_lower_ones_are_not_starved() {
        let mut waiters = Waiters::new();
        let low = waiters.join(Rank { class: 2, ..Rank::default() }, None);
        let high: Vec<_> = (0..20).map(|_| waiters.join(Rank::default(), None)).collect();
        for delivery in 0..9 {
            waiters.deliver(delivery).unwrap();
            waiters.check_invariants();
        }
        assert_eq!(waiters.take_if_delivered(low), Some(8), "after eight of the others");
        assert_eq!(waiters.take_if_delivered(high[0]), Some(0));
        assert_eq!(waiters.take_if_delivered(high[8]), None);
    }

    #[test]
    fn the_nudged_keep_their_place() {
        let mut waiters = Waiters::<u32>::new();
        let tickets: Vec<_> = (0..3).map(|_| waiters.join(Rank::default(), None)).collect();
        let mut wake = Vec::new();
        assert!(waiters.nudge(&mut wake) && waiters.nudge(&mut wake));
        assert!(waiters.is_nudged(tickets[0]) && waiters.is_nudged(tickets[1]) && waiters.nudged() == 2);
        assert!(waiters.take(tickets[1], wake_nobody()).is_err());
        assert_eq!(waiters.nudged(), 1);
        waiters.check_invariants();
        waiters.deliver(7).unwrap();
        assert_eq!((waiters.take(tickets[0], wake_nobody()).unwrap(), waiters.nudged()), (7, 0));
        waiters.check_invariants();
    }
}
