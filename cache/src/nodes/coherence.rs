//! Settings of what nodes tell each other, and figures.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// What a write does on a node that can't reach the bus.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenCut {
    /// It is done. Nodes that can reach the bus learn of it when this one can again, and then forget everything.
    #[default]
    Write,
    /// It is refused, before anything was done: no node is ever behind for longer than [`Coherence`] says.
    Refuse,
}

/// Configures [`Invalidations`](super::Invalidations). All nodes use the same. A hundred years are as long as any time gets.
///
/// ```
/// use millpond_cache::nodes::{Coherence, WhenCut};
/// use std::time::Duration;
/// let settings = Coherence::new().max_staleness(Duration::from_secs(2)).when_cut(WhenCut::Refuse);
/// ```
#[derive(Clone, Debug)]
#[must_use = "settings do nothing by themselves"]
pub struct Coherence {
    pub(super) max_staleness: Duration,
    pub(super) write_lease: Duration,
    pub(super) timeout: Duration,
    pub(super) when_cut: WhenCut,
}

impl Default for Coherence {
    fn default() -> Self {
        Self {
            max_staleness: Duration::from_secs(5),
            write_lease: Duration::from_secs(10),
            timeout: Duration::from_millis(500),
            when_cut: WhenCut::Write,
        }
    }
}

/// Longer times are taken for this one, about a hundred years: no sum of them and a moment overflows.
pub(super) const LONGEST: Duration = Duration::from_secs(100 * 365 * 86_400);

impl Coherence {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// How long a value may be used after the last sign that the bus is heard. At least 10 ms; default: 5 seconds.
    ///
    /// A node sends itself a message in every third part of this time. Cut off, it forgets everything this long after it has heard the
    /// last one, and again each time this long has passed.
    pub fn max_staleness(mut self, duration: Duration) -> Self {
        self.max_staleness = duration.clamp(Duration::from_millis(10), LONGEST);
        self
    }

    /// How long a write may take: longer than the store's own limit (`statement_timeout`). When a node dies while it writes, the others
    /// forget its keys after this time. Default: 10 seconds.
    pub fn write_lease(mut self, duration: Duration) -> Self {
        self.write_lease = duration.min(LONGEST);
        self
    }

    /// How long the bus may take for a message. Default: 500 ms.
    pub fn timeout(mut self, duration: Duration) -> Self {
        self.timeout = duration.min(LONGEST);
        self
    }

    /// What a write does that can't be announced. Default: [`WhenCut::Write`].
    pub fn when_cut(mut self, when_cut: WhenCut) -> Self {
        self.when_cut = when_cut;
        self
    }
}

/// What a node has told and heard; from [`Invalidations::stats`](super::Invalidations::stats).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CoherenceStats {
    sent: u64,
    send_failures: u64,
    refused: u64,
    received: u64,
    forgotten: u64,
    forgot_all: u64,
    overdue: u64,
    foreign: u64,
    connects: u64,
    cuts: u64,
    is_connected: bool,
}

macro_rules! figures {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        impl CoherenceStats {
            $($(#[$doc])* #[must_use] pub fn $name(&self) -> u64 { self.$name })*
        }

        #[derive(Debug, Default)]
        pub(crate) struct Counts {
            $(pub(crate) $name: AtomicU64,)*
            pub(crate) is_connected: AtomicBool,
        }

        impl Counts {
            pub(crate) fn read(&self) -> CoherenceStats {
                CoherenceStats {
                    $($name: self.$name.load(Ordering::Relaxed),)*
                    is_connected: self.is_connected.load(Ordering::Relaxed),
                }
            }
        }
    };
}

figures! {
    /// Messages that were sent, those to find out whether the bus is heard included.
    sent,
    /// Messages that the bus did not take in time.
    send_failures,
    /// Writes that were refused, because they could not be announced.
    refused,
    /// Messages of other nodes.
    received,
    /// Keys that were forgotten because another node wrote them.
    forgotten,
    /// How often everything was forgotten: after a connect, during a cut, or because another node was cut off.
    forgot_all,
    /// Writes of other nodes whose end was not heard in time.
    overdue,
    /// Messages that could not be read. After each, everything was forgotten.
    foreign,
    /// How often this node was connected to the bus.
    connects,
    /// How often it lost the connection.
    cuts,
}

impl CoherenceStats {
    /// Whether it is connected now.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.is_connected
    }
}

pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
