//! Who waits for a connection, in order: a linked list over a slab, so that leaving is O(1) wherever one stands.
//!
//! A delivery is left in the waiter's own node: the connection itself changes hands, not the right to fetch one. A node
//! lives until its waiter has taken the delivery or left.

use std::task::Waker;
use std::thread::Thread;

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
    Delivered(D),
}

#[derive(Debug)]
struct Node<D> {
    prev: usize,
    next: usize,
    state: State<D>,
}

/// The queue. `D` is what is delivered.
#[derive(Debug)]
pub(crate) struct Waiters<D> {
    nodes: Vec<Node<D>>,
    free: Vec<usize>,
    head: usize,
    tail: usize,
    len: usize,
}

impl<D> Waiters<D> {
    pub(crate) fn new() -> Self {
        Self { nodes: Vec::new(), free: Vec::new(), head: NONE, tail: NONE, len: 0 }
    }

    /// Those who wait and have no delivery yet.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Joins at the end, or at the front: whoever had a connection that proved dead keeps the rank.
    pub(crate) fn join(&mut self, front: bool) -> Ticket {
        let node = Node { prev: NONE, next: NONE, state: State::Waiting(None) };
        let index = match self.free.pop() {
            Some(index) => {
                self.nodes[index] = node;
                index
            }
            None => {
                self.nodes.push(node);
                self.nodes.len() - 1
            }
        };
        let (prev, next) = if front { (NONE, self.head) } else { (self.tail, NONE) };
        self.nodes[index].prev = prev;
        self.nodes[index].next = next;
        if prev == NONE {
            self.head = index;
        } else {
            self.nodes[prev].next = index;
        }
        if next == NONE {
            self.tail = index;
        } else {
            self.nodes[next].prev = index;
        }
        self.len += 1;
        Ticket(index)
    }

    fn unlink(&mut self, index: usize) {
        let (prev, next) = (self.nodes[index].prev, self.nodes[index].next);
        if prev == NONE {
            self.head = next;
        } else {
            self.nodes[prev].next = next;
        }
        if next == NONE {
            self.tail = prev;
        } else {
            self.nodes[next].prev = prev;
        }
        self.len -= 1;
    }

    /// Delivers to the first who waits, and returns whom to wake. Hands the delivery back if nobody waits.
    pub(crate) fn deliver(&mut self, delivery: D) -> Result<Option<Waiter>, D> {
        let index = self.head;
        if index == NONE {
            return Err(delivery);
        }
        self.unlink(index);
        match std::mem::replace(&mut self.nodes[index].state, State::Delivered(delivery)) {
            State::Waiting(waiter) => Ok(waiter),
            State::Free | State::Delivered(_) => unreachable!("only those who wait are linked"),
        }
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
            State::Free => unreachable!("a ticket is used once"),
        }
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
            State::Free | State::Waiting(_) => None,
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
            State::Free => unreachable!("a ticket is used once"),
        };
        self.free.push(ticket.0);
        left
    }

    /// Deliveries that were not taken yet.
    pub(crate) fn delivered(&self) -> impl Iterator<Item = &D> {
        self.nodes.iter().filter_map(|node| match &node.state {
            State::Delivered(delivery) => Some(delivery),
            State::Free | State::Waiting(_) => None,
        })
    }

    /// Panics unless the links agree with the count.
    pub(crate) fn check_invariants(&self) {
        let (mut index, mut prev, mut len) = (self.head, NONE, 0);
        while index != NONE {
            let node = &self.nodes[index];
            assert_eq!(node.prev, prev, "links agree in both directions");
            assert!(matches!(node.state, State::Waiting(_)), "only those who wait are linked");
            prev = index;
            index = node.next;
            len += 1;
        }
        assert_eq!((self.tail, self.len), (prev, len), "the queue counts what it holds");
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
        let tickets: Vec<_> = (0..4).map(|_| waiters.join(false)).collect();
        assert_eq!(waiters.leave(tickets[1]).0, None);
        let first = waiters.join(true);
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
}
