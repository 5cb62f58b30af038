//! A connection with its dates, and the right to lend it.

use crate::clock::Ticks;
use crate::shelf::Placed;

/// A connection and what the pool knows of it.
pub(crate) struct Entry<C> {
    pub(crate) connection: C,
    pub(crate) dates: Dates,
    /// The borrow's number in the register of leak detection, if that is on.
    pub(crate) borrow: Option<usize>,
}

/// The pool's generation and its suspicions, in one word: what a connection must measure up to, or what it measured up to.
///
/// Connections whose opening began in an earlier generation are not lent. Suspicions count how often something went wrong with
/// the target: a connection that has not proved alive since the last time is checked before it is lent, however recently it was
/// used. That it was returned since proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing(pub(crate) u64);

impl Standing {
    pub(crate) fn new(generation: u32, suspicions: u32) -> Self {
        Self(u64::from(generation) << 32 | u64::from(suspicions))
    }

    pub(crate) fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }

    pub(crate) fn suspicions(self) -> u32 {
        self.0 as u32
    }

    /// As it is, but proved alive just now.
    pub(crate) fn proved(self, now: Self) -> Self {
        Self::new(self.generation(), now.suspicions())
    }
}

/// When things happened to a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dates {
    /// The generation it was opened in, and the suspicions that were raised before it last proved alive.
    pub(crate) standing: Standing,
    /// A factor in 0..1, drawn once at birth, that spreads the keepalives.
    pub(crate) jitter: f32,
    /// When it is too old; drawn once, at birth.
    pub(crate) expires: Ticks,
    /// When it was opened or last checked.
    pub(crate) seen: Ticks,
    /// When it was last lent or returned: the clock of `idle_timeout`, which checks do not reset.
    pub(crate) used: Ticks,
}

impl Dates {
    /// When it last was as it should be, as far as anybody could tell.
    pub(crate) fn good(&self) -> Ticks {
        self.seen.max(self.used)
    }

    /// Whether a connection of these dates may be lent, at a glance: false says nothing.
    #[inline(always)]
    pub(crate) fn is_plainly_fit(&self, standing: Standing, bypass: Ticks, now: Ticks) -> bool {
        self.standing == standing && now < self.expires && is_within(now, self.used, bypass)
    }

    /// What may be done with a connection of these dates.
    pub(crate) fn fitness(&self, standing: Standing, bypass: Ticks, now: Ticks) -> Fitness {
        if self.standing.generation() != standing.generation() || self.expires <= now {
            Fitness::Retire
        } else if self.standing == standing && is_within(now, self.good(), bypass) {
            Fitness::Fit
        } else {
            Fitness::Check
        }
    }
}

/// Whether less than a span, which is not above `i64::MAX`, has passed. Time that went back has not passed.
#[inline(always)]
fn is_within(now: Ticks, then: Ticks, span: Ticks) -> bool {
    (now.wrapping_sub(then) as i64) < span as i64
}

/// A connection that lies on no shelf: there is one owner at any time.
pub(crate) type Held<C> = Box<Placed<Entry<C>>>;

/// What may be done with a connection that comes off the shelf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fitness {
    Fit,
    /// It was not used for a while, or something went wrong since it last proved alive.
    Check,
    /// It is too old, or from before a reset.
    Retire,
}
