//! A connection with its dates, and the right to lend it.

use crate::clock::Ticks;
use crate::shelf::Slot;

/// A connection and what the pool knows of it.
pub(crate) struct Entry<C> {
    pub(crate) connection: C,
    pub(crate) dates: Dates,
    /// The borrow's number in the register of leak detection, if that is on.
    pub(crate) borrow: Option<usize>,
}

/// When things happened to a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dates {
    /// The pool's generation at the time its opening began.
    pub(crate) generation: u32,
    /// The suspicions that were raised before it last proved alive: that it was returned since proves nothing.
    pub(crate) proved: u32,
    /// A factor in 0..1, drawn once at birth, that spreads the keepalives.
    pub(crate) jitter: f32,
    /// When it is too old; drawn once, at birth.
    pub(crate) expires: Ticks,
    /// When it was last opened, checked or returned.
    pub(crate) seen: Ticks,
    /// When it was last lent or returned: the clock of `idle_timeout`, which checks do not reset.
    pub(crate) used: Ticks,
}

/// A connection that lies on no shelf, with the slot it goes back to: there is one owner at any time.
pub(crate) struct Held<C> {
    pub(crate) slot: Slot,
    pub(crate) entry: Box<Entry<C>>,
}

/// What may be done with a connection that comes off the shelf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fitness {
    Fit,
    /// It was not used for a while, or something went wrong since it last proved alive.
    Check,
    /// It is too old, or from before a reset.
    Retire,
}
